"""CLIP's image tower gives what transformers gives, whatever the names of the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.wrong_inputs import pictures
from torch import Tensor

from paredown.data import ImageDataset
from paredown.embedding import Clip
from paredown.embedding.clip import VisionTransformer, openai_names
from paredown.errors import DataError, MethodError
from paredown.runtime import Runtime

CPU = Runtime(device="cpu", batch_size=2, progress=False)


def tiny(activation: str = "quick_gelu") -> tuple[Any, Any]:
    """A random tower of transformers, and its configuration."""
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=128, intermediate_size=320, projection_dim=48, num_hidden_layers=3, num_attention_heads=4,
        image_size=32, patch_size=8, hidden_act=activation,
    )  # fmt: skip
    torch.manual_seed(0)
    tower = transformers.CLIPVisionModelWithProjection(config).eval()
    with torch.no_grad():  # biases begin at zero, where a wrong one would not be seen
        for value in tower.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    return tower, config


def in_openai_names(tower: Any) -> dict[str, Tensor]:
    """The weights by OpenAI's names, written down one by one."""
    state = tower.state_dict()
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in state) else ""
    take = lambda name: state[prefix + name].clone()  # noqa: E731
    found = {
        "visual.class_embedding": take("embeddings.class_embedding"),
        "visual.conv1.weight": take("embeddings.patch_embedding.weight"),
        "visual.positional_embedding": take("embeddings.position_embedding.weight"),
        "visual.proj": state["visual_projection.weight"].T.contiguous(),
        "positional_embedding": torch.zeros(2, 2),  # of the text tower
    }
    for end in ("weight", "bias"):
        found[f"visual.ln_pre.{end}"] = take(f"pre_layrnorm.{end}")
        found[f"visual.ln_post.{end}"] = take(f"post_layernorm.{end}")
        for layer in range(3):
            ours, theirs = f"visual.transformer.resblocks.{layer}", f"encoder.layers.{layer}"
            parts = [take(f"{theirs}.self_attn.{one}_proj.{end}") for one in "qkv"]
            found[f"{ours}.attn.in_proj_{end}"] = torch.cat(parts)
            found[f"{ours}.attn.out_proj.{end}"] = take(f"{theirs}.self_attn.out_proj.{end}")
            for number in (1, 2):
                found[f"{ours}.ln_{number}.{end}"] = take(f"{theirs}.layer_norm{number}.{end}")
            found[f"{ours}.mlp.c_fc.{end}"] = take(f"{theirs}.mlp.fc1.{end}")
            found[f"{ours}.mlp.c_proj.{end}"] = take(f"{theirs}.mlp.fc2.{end}")
    return found


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_vector_is_that_of_transformers(tmp_path: Path, activation: str) -> None:
    tower, _ = tiny(activation)
    data = ImageDataset.from_arrays(pictures(5, 32), np.arange(5) % 2)
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    with torch.no_grad():
        wanted = tower(pixel_values=(x - mean) / std).image_embeds
    save_file(in_openai_names(tower), tmp_path / "openai.safetensors")
    tower.save_pretrained(tmp_path / "folder")
    named = "quick-gelu" if activation == "quick_gelu" else "gelu"
    encoders = (
        Clip(str(tmp_path / "openai.safetensors"), activation=named, heads=4, normalise=False),  # type: ignore[arg-type]
        Clip(str(tmp_path / "folder"), normalise=False),
    )
    for encoder in encoders:
        found = encoder.embed(data, runtime=CPU)
        np.testing.assert_allclose(found.vectors, wanted, rtol=1e-4, atol=1e-5)
        assert found.metric == "euclidean"
    normed = Clip(str(tmp_path / "folder")).embed(data, runtime=CPU)
    np.testing.assert_allclose(normed.vectors, torch.nn.functional.normalize(wanted), atol=1e-5)
    assert normed.metric == "cosine" and normed.normalised


@pytest.mark.parametrize(
    ("width", "patch", "layers", "output", "parameters"),
    [(768, 32, 12, 512, 87_849_216), (768, 16, 12, 512, 86_192_640), (1024, 14, 24, 768, 303_966_208)],
    ids=["ViT-B/32", "ViT-B/16", "ViT-L/14"],
)
def test_published_towers_have_their_published_size(
    width: int, patch: int, layers: int, output: int, parameters: int
) -> None:
    with torch.device("meta"):
        made = VisionTransformer(
            width=width, patch=patch, side=224 // patch, layers=layers, inner=4 * width, output=output,
            heads=width // 64, activation="quick-gelu",
        )  # fmt: skip
    assert sum(value.numel() for value in made.parameters()) == parameters


def test_sizes_are_read_off_the_weights(tmp_path: Path) -> None:
    tower, _ = tiny()
    file = tmp_path / "half.pt"
    torch.save({name: value.half() for name, value in in_openai_names(tower).items()}, file)
    made = Clip(str(file), activation="quick-gelu").tower()
    assert made.square.size == made.square.resize == 32 and made.square.filter == "bicubic"
    blocks: Any = made.module.transformer["resblocks"]  # type: ignore[index]
    assert len(blocks) == 3 and blocks[0].attn.heads == 2  # 128 / 64
    assert {value.dtype for value in made.module.parameters()} == {torch.float32}


def test_a_whole_clip_gives_its_image_tower() -> None:
    transformers = pytest.importorskip("transformers")
    about = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config=about | {"vocab_size": 9}, vision_config=about | {"image_size": 16, "patch_size": 8}
    )
    found = openai_names(transformers.CLIPModel(config).state_dict())
    with torch.device("meta"):
        wanted = VisionTransformer(
            width=64, patch=8, side=2, layers=1, inner=96, output=512, heads=2, activation="gelu"
        ).state_dict()
    assert {name: value.shape for name, value in found.items()} == {n: v.shape for n, v in wanted.items()}


def test_what_a_folder_says_is_part_of_the_identity(tmp_path: Path) -> None:
    tower, _ = tiny()
    tower.save_pretrained(tmp_path)
    before = Clip(str(tmp_path)).identity()
    assert before == Clip(str(tmp_path), activation="quick-gelu", heads=4).identity()
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(about | {"hidden_act": "gelu"}))
    assert Clip(str(tmp_path)).identity() != before


def test_what_is_no_tower_is_told(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({"visual.layer1.0.conv1.weight": torch.zeros(1)}, file)
    with pytest.raises(DataError, match="no image tower of a CLIP with a vision transformer"):
        Clip(str(file), activation="gelu").tower()
    tower, _ = tiny()
    state = in_openai_names(tower)
    save_file(state, file)
    with pytest.raises(MethodError, match=r"weights alone do not tell their activation. Set activation=quick-gelu"):
        Clip(str(file)).tower()
    with pytest.raises(MethodError, match=r"Clip\(heads=5\): a width of 128 cannot be shared"):
        Clip(str(file), activation="gelu", heads=5).tower()
    for name, sentence in (
        ("visual.proj", "the weights hold no 'proj'"),
        ("visual.transformer.resblocks.1.ln_2.bias", r"the weights hold no 'transformer.resblocks.1.ln_2.bias'"),
    ):
        save_file({key: value for key, value in state.items() if key != name}, file)
        with pytest.raises(DataError, match=sentence):
            Clip(str(file), activation="gelu").tower()
    save_file(state | {"visual.transformer.resblocks.0.ls_1.gamma": torch.zeros(1)}, file)
    with pytest.raises(DataError, match=r"hold 'transformer.resblocks.0.ls_1.gamma', which this network has not"):
        Clip(str(file), activation="gelu").tower()
    sentences = open_sentences()
    with pytest.raises(MethodError, match=r"Clip is of images, and talk has sentences"):
        Clip(str(file), activation="gelu").embed(sentences, runtime=CPU)


def open_sentences() -> Any:
    from paredown.data.dataset import AbstractDataset

    class Sentences(AbstractDataset):
        name, noun, classes, labels = "talk", "sentences", (), None

        def identity(self) -> dict[str, Any]:
            return {}

    return Sentences()
