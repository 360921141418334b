"""Residual networks from weights in torchvision's names, in which published ones are stored; it need not be there."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from paredown.errors import DataError
from paredown.models.resnet import Basic, Bottleneck, ResNet

BLOCK = re.compile(r"layer(\d)\.(\d+)\.(.+)")
PARTS = {"conv1": "stem", "bn1": "stem_norm", "fc": "linear"}
INNER = {"downsample": "shortcut", "bn1": "norm1", "bn2": "norm2", "bn3": "norm3"}


def resnet_of(weights: Mapping[str, Tensor], where: str) -> ResNet:
    """Gives the residual network that some weights belong to, in inference mode; its shape is read off theirs.

    Args:
        weights: by torchvision's names: `conv1`, `bn1`, `layer1.0.conv1` to `layer4.…`, and `fc` unless there is none.
        where: the beginning of a message.

    Raises:
        DataError: they are of another kind of network, or one is missing.
    """
    stages = tuple(
        1 + max((int(hit[2]) for hit in map(BLOCK.match, weights) if hit and int(hit[1]) == stage), default=-1)
        for stage in range(1, 5)
    )
    if "conv1.weight" not in weights or "layer1.0.conv2.weight" not in weights or min(stages) < 1:
        raise DataError(
            f"{where}: the weights are not those of a ResNet in torchvision's names (conv1, bn1, layer1.0.conv1, …); "
            f"the first is '{next(iter(weights), 'nothing')}'. Give weights of a torchvision ResNet."
        )
    width, channels = weights["conv1.weight"].shape[:2]
    inner = weights["layer1.0.conv2.weight"].shape
    if inner[0] != width or inner[1] != width:
        raise DataError(
            f"{where}: the weights are those of a wide or grouped ResNet (ResNeXt), which is not built here. Give "
            "those of a ResNet-18, -34, -50, -101 or -152."
        )
    block = Bottleneck if "layer1.0.conv3.weight" in weights else Basic
    classes = len(weights["fc.weight"]) if "fc.weight" in weights else 1
    with torch.device("meta"):
        made = ResNet(block, stages, width, "symmetric", channels, classes, "large")
    named = {ours(name, stages): value for name, value in weights.items()}
    if "fc.weight" not in weights:  # a trunk alone: its logits mean nothing
        named |= {"linear.weight": torch.zeros(1, made.linear.in_features), "linear.bias": torch.zeros(1)}
    # Counters of batches, which older files do not have, mean nothing for inference.
    counters = {name: torch.tensor(0) for name in made.state_dict() if name.endswith("num_batches_tracked")}
    named = counters | named
    refuse_misfit(named, made.state_dict(), where)
    made.load_state_dict(named, assign=True)
    return made.float().eval()


def ours(name: str, stages: tuple[int, ...]) -> str:
    """Gives the name that this package's ResNet has for a weight of torchvision's."""
    hit = BLOCK.match(name)
    first, _, rest = (hit[3] if hit else name).partition(".")
    if hit is None:
        return f"{PARTS.get(first, first)}.{rest}"
    return f"blocks.{sum(stages[: int(hit[1]) - 1]) + int(hit[2])}.{INNER.get(first, first)}.{rest}"


def refuse_misfit(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Raises DataError for the first weight that is missing, of another shape, or unknown."""
    for name, value in expected.items():
        if name not in weights:
            raise DataError(f"{where}: the weights hold no '{name}'. The file may be cut short, or of another network.")
        if weights[name].shape != value.shape:
            raise DataError(
                f"{where}: '{name}' has shape {tuple(weights[name].shape)}, and this network needs "
                f"{tuple(value.shape)}. Give weights of the network that they are said to be."
            )
    unknown = next((name for name in weights if name not in expected), None)
    if unknown is not None:
        raise DataError(
            f"{where}: the weights hold '{unknown}', which this network has not. Give weights of this kind."
        )
