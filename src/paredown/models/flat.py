"""Networks that FRePo tests distilled images on across architectures: they end in all positions, not in their mean.

As its published code runs, which differs from the papers of these networks: VGG-11 has as many channels in every
convolution, and the blocks of the ResNet do not normalise. Kernels begin as normal cut at two deviations with variance
1 / fan-in, biases at 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from paredown.errors import MethodError
from paredown.models.build import AbstractModel
from paredown.models.layers import initialise
from paredown.models.norms import ChannelNorm, channel_norm
from paredown.models.widening import GREY_PADDING

MOMENTUM = 0.9
POOLED_AFTER = (1, 2, 4, 6, 8)
"""Convolutions of VGG-11 after which the image is halved."""
STAGES = (64, 128, 256, 512)


@dataclass(frozen=True)
class AlexNet(AbstractModel):
    """Five convolutions without normalisation (after Krizhevsky et al., NeurIPS 2012), for small images.

    5x5 convolutions of 128 and 192 channels, each followed by a 2x2 mean, then 3x3 ones of 256, 192 and 192 and a mean;
    a linear layer on all positions. 1,872,202 parameters for ten classes of 32×32 images.
    """

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, high, wide = shape
        first = 4 if channels == 1 else 2  # so that grey images of 28×28 become 32×32
        high, wide = high + 2 * (first - 2), wide + 2 * (first - 2)
        _refuse_small(self, shape, (high, wide), halvings=3)
        body = nn.Sequential(
            *(nn.Conv2d(channels, 128, 5, padding=first), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Conv2d(128, 192, 5, padding=2), nn.ReLU(), nn.AvgPool2d(2)),
            *(nn.Conv2d(192, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 192, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(192, 192, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2)),
            nn.Flatten(),
            nn.Linear(192 * (high >> 3) * (wide >> 3), classes),
        )
        initialise(body, "lecun")
        return body


@dataclass(frozen=True)
class Vgg11(AbstractModel):
    """Eight 3x3 convolutions, halved after numbers 1, 2, 4, 6 and 8 (after Simonyan & Zisserman, ICLR 2015).

    Grey images are padded by 3 pixels. 1,040,010 parameters for ten classes of 32×32 images.

    Args:
        channels: of each convolution; the paper's are (64, 128, 256, 256, 512, 512, 512, 512).
        norm: what follows each convolution; see `widening-convnet`.
    """

    channels: tuple[int, ...] = (128,) * 8
    norm: ChannelNorm = "batch"

    def __post_init__(self) -> None:
        if len(self.channels) != POOLED_AFTER[-1] or min(self.channels) < 1:
            raise MethodError(
                f"Vgg11(channels={self.channels}): there are {POOLED_AFTER[-1]} convolutions. Give as many positive "
                "numbers."
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        inputs, high, wide = shape
        first = GREY_PADDING if inputs == 1 else 1
        high, wide = high + 2 * (first - 1), wide + 2 * (first - 1)
        _refuse_small(self, shape, (high, wide), halvings=len(POOLED_AFTER))
        layers: list[nn.Module] = []
        for number, outputs in enumerate(self.channels, 1):
            norm = channel_norm(self.norm, outputs, momentum=MOMENTUM)
            layers += [nn.Conv2d(inputs, outputs, 3, padding=first if number == 1 else 1), norm, nn.ReLU()]
            if number in POOLED_AFTER:
                layers.append(nn.AvgPool2d(2))
            inputs = outputs
        left = (high >> len(POOLED_AFTER)) * (wide >> len(POOLED_AFTER))
        body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * left, classes))
        initialise(body, "lecun")
        return body


class PlainBasic(nn.Module):
    """Two 3x3 convolutions beside a shortcut, without normalisation or bias."""

    def __init__(self, inputs: int, channels: int, halves: bool, pooled: bool) -> None:
        super().__init__()
        stride = 2 if halves and not pooled else 1
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.pool = nn.MaxPool2d(2) if halves and pooled else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        same = inputs == channels and not halves
        self.shortcut = nn.Identity() if same else nn.Conv2d(inputs, channels, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.pool(self.shortcut(x))
        return F.relu(self.conv2(self.pool(F.relu(self.conv1(x)))) + shortcut)


@dataclass(frozen=True)
class FlatResNet18(AbstractModel):
    """ResNet-18 whose stem alone normalises and whose features are all positions of the last stage.

    11,241,290 parameters for ten classes of 32×32 images; for training on real images `resnet18` is the one to take.

    Args:
        downsampling: "stride", or "pool" for the maximum of each 2x2 after a convolution of stride 1.
        norm: what follows the first convolution; see `widening-convnet`.
    """

    downsampling: Literal["stride", "pool"] = "stride"
    norm: ChannelNorm = "batch"

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, high, wide = shape
        _refuse_small(self, shape, (high, wide), halvings=3)
        norm = channel_norm(self.norm, STAGES[0], momentum=MOMENTUM)
        layers = [nn.Conv2d(channels, STAGES[0], 3, padding=1, bias=False), norm, nn.ReLU()]
        inputs, pooled = STAGES[0], self.downsampling == "pool"
        for stage, outputs in enumerate(STAGES):
            layers += [PlainBasic(inputs, outputs, stage > 0, pooled), PlainBasic(outputs, outputs, False, pooled)]
            inputs = outputs
            if stage > 0:  # a stride keeps the odd pixel, a maximum of pairs leaves it out
                high, wide = (high // 2, wide // 2) if pooled else (-(-high // 2), -(-wide // 2))
        body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs * high * wide, classes))
        initialise(body, "lecun")
        return body


def _refuse_small(model: AbstractModel, shape: tuple[int, int, int], padded: tuple[int, int], *, halvings: int) -> None:
    if min(padded) < 2**halvings:
        raise MethodError(
            f"{type(model).__name__}: images of {shape[1]}×{shape[2]} cannot be halved {halvings} times. Use images of "
            f"at least {2**halvings - padded[0] + shape[1]} pixels a side, or widening-convnet, which fits its depth."
        )
