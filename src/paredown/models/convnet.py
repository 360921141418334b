"""Plain convolutional networks: the distillation field's ConvNet and data diet's small one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from paredown.errors import MethodError
from paredown.models.build import AbstractModel
from paredown.models.layers import Padding, conv3x3, initialise, pad3x3

Norm = Literal["batch", "instance", "group", "layer", "none"]


def normalisation(norm: Norm, channels: int, side: tuple[int, int]) -> nn.Module:
    """The layer that normalises maps of `channels` x `side`; instance norm is group norm with one channel a group."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "instance":
        return nn.GroupNorm(channels, channels)
    if norm == "group":
        return nn.GroupNorm(math.gcd(4, channels), channels)
    if norm == "layer":
        return nn.LayerNorm((channels, *side))
    return nn.Identity()


@dataclass(frozen=True)
class ConvNet(AbstractModel):
    """The ConvNet of dataset distillation (Gidaris & Komodakis, "Dynamic few-shot visual learning", CVPR 2018).

    Blocks of 3x3 convolution, normalisation, rectifier and 2x2 mean; then a linear layer on all positions.

    Args:
        width: channels of every block.
        depth: blocks, each of which halves the image; None takes as many as leave about 4x4, and at least two.
        norm: "instance" is one channel a group, "group" has four groups, "layer" spans channels and positions.
    """

    width: int = 128
    depth: int | None = None
    norm: Norm = "batch"

    def __post_init__(self) -> None:
        if self.width < 1 or (self.depth is not None and self.depth < 1):
            raise MethodError(
                f"ConvNet(width={self.width}, depth={self.depth}): there is no network without channels or blocks. "
                "Use positive numbers."
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, high, wide = shape
        smallest = min(high, wide)
        depth = max(2, math.ceil(math.log2(smallest / 4))) if self.depth is None else self.depth
        if smallest < 2**depth:
            raise MethodError(
                f"ConvNet(depth={depth}): images of {high}x{wide} pixels cannot be halved {depth} times. "
                f"Use a depth of at most {int(math.log2(smallest))}."
            )
        layers: list[nn.Module] = []
        for block in range(depth):
            side = (high >> block, wide >> block)
            layers += [
                nn.Conv2d(channels if block == 0 else self.width, self.width, 3, padding=1),
                normalisation(self.norm, self.width, side),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        features = self.width * (high >> depth) * (wide >> depth)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, classes))


class SmallCnn(nn.Module):
    """Per entry of `channels` two rectified 3x3 convolutions with bias, the second of stride 2; mean; linear."""

    def __init__(self, channels: tuple[int, ...], padding: Padding, inputs: int, classes: int) -> None:
        super().__init__()
        self.pad = pad3x3(2, padding)
        self.convs = nn.ModuleList()
        for outputs in channels:
            self.convs.append(conv3x3(inputs, outputs, 1, padding, bias=True))
            self.convs.append(conv3x3(outputs, outputs, 2, padding, bias=True))
            inputs = outputs
        self.linear = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        for position, conv in enumerate(self.convs):
            x = F.relu(conv(self.pad(x) if position % 2 else x))
        return self.linear(x.mean((2, 3)))


@dataclass(frozen=True)
class SimpleCnn(AbstractModel):
    """Data diet's small network without normalisation (`simple_cnn_0`): 288,298 parameters for 10 classes.

    Args:
        channels: of each pair of convolutions; a pair halves the image.
        padding: "symmetric" as torch pads, or "same" as TensorFlow does (they differ on even sizes).
    """

    channels: tuple[int, ...] = (32, 64, 128)
    padding: Padding = "symmetric"

    def __post_init__(self) -> None:
        if not self.channels or min(self.channels) < 1:
            raise MethodError(
                f"SimpleCnn(channels={self.channels}): every pair of convolutions needs at least one channel. "
                "Give positive numbers, such as (32, 64, 128)."
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        body = SmallCnn(self.channels, self.padding, shape[0], classes)
        initialise(body, "lecun")
        return body
