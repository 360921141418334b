"""CLIP: the image tower, from any of the forms in which its weights are published."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.data.squares import Square
from paredown.embedding.vision import AbstractVisionEncoder, Tower, read_weights
from paredown.errors import DataError, MethodError
from paredown.models.torchvision_names import refuse_misfit

Activation = Literal["quick-gelu", "gelu"]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
HEAD = 64
"""Numbers a head sees, in the towers that were published with CLIP."""
LAYER = re.compile(r"transformer\.resblocks\.(\d+)\.")
# Hugging Face's names of what is not in a layer, then of what is.
OUTER = {
    "embeddings.class_embedding": "class_embedding",
    "embeddings.patch_embedding.weight": "conv1.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "pre_layrnorm": "ln_pre",
    "post_layernorm": "ln_post",
}
INNER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


class Attention(nn.Module):
    """Self-attention, in the names of torch's own module."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        joint = functional.linear(x, self.in_proj_weight, self.in_proj_bias)
        query, key, value = joint.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(query, key, value)
        return self.out_proj(seen.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attention, then two linear layers, each beside a shortcut and after a normalisation."""

    def __init__(self, width: int, inner: int, heads: int, activation: Activation) -> None:
        super().__init__()
        self.activation = activation
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, inner), "c_proj": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        wide = self.mlp["c_fc"](self.ln_2(x))
        # The original's approximation: x · sigmoid(1.702 x).
        wide = wide * torch.sigmoid(1.702 * wide) if self.activation == "quick-gelu" else functional.gelu(wide)
        return x + self.mlp["c_proj"](wide)


class VisionTransformer(nn.Module):
    """CLIP's image tower (Radford et al. 2021, section 2.4): patches and a class token to one vector."""

    def __init__(
        self,
        *,
        width: int,
        patch: int,
        side: int,
        layers: int,
        inner: int,
        output: int,
        heads: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(side**2 + 1, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        blocks = [Block(width, inner, heads, activation) for _ in range(layers)]
        self.transformer = nn.ModuleDict({"resblocks": nn.Sequential(*blocks)})
        self.proj = nn.Parameter(torch.empty(width, output))

    def forward(self, x: Tensor) -> Tensor:
        patches = self.conv1(x).flatten(2).transpose(1, 2)
        token = self.class_embedding.to(patches.dtype).expand(len(x), 1, -1)
        seen = self.ln_pre(torch.cat([token, patches], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer["resblocks"](seen)[:, 0]) @ self.proj


@dataclass(frozen=True)
class Clip(AbstractVisionEncoder):
    """The image vector of a CLIP with a vision transformer (Radford et al. 2021), such as ViT-B/32, B/16 or L/14.

    The sizes of the tower are read off the weights. They may have the names of OpenAI and OpenCLIP (`visual.conv1`) or
    those of Hugging Face (`vision_model.embeddings`); in a folder, `config.json` says heads and activation. Images with
    the shorter side at 224 (or what the tower takes), the middle, bicubic, by CLIP's own mean and deviation.

    Args:
        weights: safetensors, a torch file of tensors, or a folder of Hugging Face or OpenCLIP.
        activation: "quick-gelu" for OpenAI's weights, "gelu" for most of OpenCLIP's; none takes what the folder says.
        heads: of attention; none takes what the folder says, else one for 64 numbers of the width.
        normalise: divide each vector by its length, as the comparison with text does.
        dtype: how the vectors are stored.
    """

    weights: str
    activation: Activation | None = None
    heads: int | None = None
    normalise: bool = True
    dtype: Literal["float32", "float16"] = "float32"

    def identity(self) -> dict[str, Any]:
        # What the folder says besides the weights counts as much as a field that was set.
        return super().identity() | {"activation": self._activation(), "heads": self.heads or self._told("heads")}

    def tower(self) -> Tower:
        weights = openai_names(read_weights(self.weights, self.where))
        if "conv1.weight" not in weights or "positional_embedding" not in weights:
            raise DataError(
                f"{self.where}: the weights hold no image tower of a CLIP with a vision transformer ('visual.conv1' or "
                "'vision_model.embeddings'). Give weights of a ViT."
            )
        width, _, _, patch = weights["conv1.weight"].shape
        side = round((len(weights["positional_embedding"]) - 1) ** 0.5)
        heads = self.heads or self._told("heads") or max(1, width // HEAD)
        if width % heads:
            raise MethodError(f"Clip(heads={heads}): a width of {width} cannot be shared by so many heads.")
        layers = 1 + max((int(hit[1]) for hit in map(LAYER.match, weights) if hit), default=-1)
        inner, output = weights.get("transformer.resblocks.0.mlp.c_fc.bias"), weights.get("proj")
        with torch.device("meta"):
            made = VisionTransformer(
                width=width, patch=patch, side=side, layers=layers, inner=0 if inner is None else len(inner),
                output=0 if output is None else output.shape[1], heads=heads, activation=self._activation(),
            )  # fmt: skip
        refuse_misfit(weights, made.state_dict(), self.where)
        made.load_state_dict(weights, assign=True)
        size = side * patch
        return Tower(made.float(), Square(size, size, "bicubic"), MEAN, STD)

    def _activation(self) -> Activation:
        if self.activation is not None:
            return self.activation
        told = {"gelu": "gelu", "quick_gelu": "quick-gelu"}.get(self._told("activation"))
        if told is None:
            raise MethodError(
                f"{self.where}: weights alone do not tell their activation. Set activation=quick-gelu for OpenAI's "
                "weights and those made from them, activation=gelu for most of OpenCLIP's."
            )
        return told  # type: ignore[return-value]

    def _told(self, what: Literal["heads", "activation"]) -> Any:
        """Gives what a folder's configuration says, if there is one."""
        file = Path(self.weights).expanduser() / "config.json"
        if not file.is_file():
            return None
        about = json.loads(file.read_text(encoding="utf-8"))
        about = about.get("vision_config", about)
        return about.get({"heads": "num_attention_heads", "activation": "hidden_act"}[what])


def openai_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the weights of the image tower by OpenAI's names, without their prefix; those of text are left out."""
    if not any(name.startswith("vision_model.") for name in weights):
        return {name.removeprefix("visual."): value for name, value in weights.items() if name.startswith("visual.")}
    found: dict[str, Tensor] = {}
    if "visual_projection.weight" in weights:
        found["proj"] = weights["visual_projection.weight"].T.contiguous()
    joint: dict[str, dict[str, Tensor]] = {}
    for name, value in weights.items():
        inside = name.removeprefix("vision_model.")
        if inside == name or inside.endswith("position_ids"):
            continue
        hit = re.match(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)$", inside)
        if hit is None:
            stem, _, end = inside.rpartition(".")
            found[OUTER.get(inside) or f"{OUTER.get(stem, stem)}.{end}"] = value
            continue
        layer, part, end = f"transformer.resblocks.{hit[1]}", hit[2], hit[3]
        if part in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            joint.setdefault(f"{layer}.attn.in_proj_{end}", {})[part] = value
        else:
            found[f"{layer}.{INNER.get(part, part)}.{end}"] = value
    for name, parts in joint.items():
        found[name] = torch.cat([parts[f"self_attn.{one}_proj"] for one in "qkv" if f"self_attn.{one}_proj" in parts])
    return found
