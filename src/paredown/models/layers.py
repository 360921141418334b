"""The pieces that several networks share: padding, 3x3 convolutions and the two initialisations."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["symmetric", "same"]
Initialisation = Literal["he", "lecun"]

# The standard deviation of a unit normal cut at +-2; dividing by it restores unit variance.
TRUNCATED_DEVIATION = 0.87962566103423978


class SamePad(nn.Module):
    """TensorFlow's "SAME" padding: `ceil(n / stride)` outputs, the odd pixel at the bottom and the right."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        high, wide = (max((math.ceil(n / self.stride) - 1) * self.stride + self.kernel - n, 0) for n in x.shape[2:])
        return F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"


def pad3x3(stride: int, padding: Padding) -> nn.Module:
    """What has to stand before `conv3x3`: nothing, unless TensorFlow's padding differs from torch's."""
    return SamePad(3, stride) if padding == "same" and stride > 1 else nn.Identity()


def conv3x3(inputs: int, outputs: int, stride: int, padding: Padding, *, bias: bool = False) -> nn.Conv2d:
    """A 3x3 convolution; it pads by itself except where `pad3x3` does so."""
    by_itself = 0 if padding == "same" and stride > 1 else 1
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=by_itself, bias=bias)


def draw_truncated(kernel: Tensor, gain: float) -> None:
    """Draws a kernel from a normal cut at two standard deviations, with variance gain / fan-in."""
    deviation = math.sqrt(gain / kernel[0].numel()) / TRUNCATED_DEVIATION
    nn.init.trunc_normal_(kernel, std=deviation, a=-2 * deviation, b=2 * deviation)


def initialise(module: nn.Module, init: Initialisation) -> None:
    """Draws every convolution's kernel anew, and for "lecun" every linear layer's too.

    "he": normal with variance 2 / fan-out (He et al. 2015), linear layers as torch makes them.
    "lecun": normal cut at two standard deviations with variance 1 / fan-in, biases 0.
    """
    for layer in module.modules():
        if init == "he" and isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif init == "lecun" and isinstance(layer, nn.Conv2d | nn.Linear):
            draw_truncated(layer.weight, 1.0)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
