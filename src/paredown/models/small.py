"""A residual network that two CPU cores train in minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from paredown.errors import MethodError
from paredown.models.build import AbstractModel
from paredown.models.layers import conv3x3, initialise


class Convolution(nn.Module):
    """3x3 convolution, batch normalisation, rectifier."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = conv3x3(inputs, outputs, stride, "symmetric")
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Stage(nn.Module):
    """Halves the image and doubles the channels, then adds what two more convolutions find."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = Convolution(inputs, outputs, stride=2)
        self.residual = nn.Sequential(Convolution(outputs, outputs), Convolution(outputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        return x + self.residual(x)


@dataclass(frozen=True)
class SmallResNet(AbstractModel):
    """A small ResNet in the manner of ResNet-9, for images of 8x8 to 32x32 on a CPU.

    A stem at full resolution, then stages that halve the image by a strided convolution (no work is done at full
    resolution and full width) and hold one residual block each, until about 4x4 is left.

    Args:
        width: channels of the stem; each stage doubles them.
    """

    width: int = 32

    def __post_init__(self) -> None:
        if self.width < 1:
            raise MethodError(
                f"SmallResNet(width={self.width}): the stem needs at least one channel. Use a positive width."
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        stages = max(1, math.floor(math.log2(max(min(shape[1:]), 8) / 4)))
        body = nn.Sequential(
            Convolution(shape[0], self.width),
            *(Stage(self.width * 2**stage, self.width * 2 ** (stage + 1)) for stage in range(stages)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(self.width * 2**stages, classes),
        )
        initialise(body, "he")
        return body
