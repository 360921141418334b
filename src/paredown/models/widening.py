"""The ConvNet of distillation by feature regression: each block has twice the channels of the one before.

FRePo (Zhou, Nezhadarya & Ba, "Dataset distillation using neural feature regression", NeurIPS 2022, appendix B) widens
so that the features stay as many while the image shrinks, and normalises before every convolution but the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import nn

from paredown.errors import MethodError
from paredown.models.build import AbstractModel
from paredown.models.layers import initialise
from paredown.models.norms import ChannelNorm, channel_norm

LEFT = 4
"""Pixels, each way, that the default depth leaves."""
GREY_PADDING = 3
"""Around images of one channel, so that 28×28 become 32×32."""


@dataclass(frozen=True)
class WideningConvNet(AbstractModel):
    """Blocks of normalisation, 3x3 convolution, rectifier and 2x2 mean, then a linear layer on all positions.

    The first block does not normalise and pads grey images by 3 pixels. 1,561,610 parameters for ten classes of 32×32
    images; its 8192 features are what a ridge regression sees. Kernels begin as normal cut at two deviations with
    variance 1 / fan-in, biases at 0.

    Args:
        width: channels of the first block; each next block has twice as many.
        depth: blocks, each of which halves the image; None takes as many as leave about 4x4: 3 for 28 and 32 pixels,
            4 for 64, 5 for 128.
        norm: "layer" spans the channels of each pixel, "group" has 32 groups, "group1" one, "instance" one a channel.
            Running statistics are nearly those of the last batch (momentum 0.9).
    """

    width: int = 128
    depth: int | None = None
    norm: ChannelNorm = "batch"

    def __post_init__(self) -> None:
        refuse_no_channels(self, self.width, self.depth)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, high, wide = shape
        padding = GREY_PADDING if channels == 1 else 1
        high, wide = high + 2 * (padding - 1), wide + 2 * (padding - 1)
        depth = halvings(self, self.depth, (high, wide))
        layers: list[nn.Module] = []
        for block in range(depth):
            outputs = self.width * 2**block
            if block > 0:
                layers.append(channel_norm(self.norm, channels, momentum=0.9))
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=padding if block == 0 else 1),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
            channels = outputs
        features = channels * (high >> depth) * (wide >> depth)
        body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, classes))
        initialise(body, "lecun")
        return body


def refuse_no_channels(model: AbstractModel, width: int, depth: int | None) -> None:
    """Raises MethodError for a network without channels or blocks."""
    if width < 1 or (depth is not None and depth < 1):
        raise MethodError(
            f"{type(model).__name__}(width={width}, depth={depth}): there is no network without channels or blocks. "
            "Use positive numbers."
        )


def halvings(model: AbstractModel, depth: int | None, size: tuple[int, int]) -> int:
    """Gives how often images are halved: as asked, or until about 4x4 is left.

    Args:
        model: asks.
        depth: as asked.
        size: height and width of the images.

    Raises:
        MethodError: they cannot be halved so often.
    """
    smallest = min(size)
    found = max(1, math.ceil(math.log2(smallest / LEFT))) if depth is None else depth
    if smallest < 2**found:
        raise MethodError(
            f"{type(model).__name__}(depth={found}): images of {size[0]}x{size[1]} pixels cannot be halved {found} "
            f"times. Use a depth of at most {int(math.log2(smallest))}."
        )
    return found
