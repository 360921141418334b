"""Two ConvNets of distillation whose blocks all have the same width, as the code of their papers initialises them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from paredown.models.build import AbstractModel
from paredown.models.layers import draw_truncated
from paredown.models.norms import ChannelNorm, channel_norm
from paredown.models.widening import halvings, refuse_no_channels


@dataclass(frozen=True)
class DcConvNet(AbstractModel):
    """The ConvNet of dataset condensation (Zhao, Mopuri & Bilen, ICLR 2021), as FRePo's code has it.

    Blocks of 3x3 convolution without bias, normalisation, rectifier and 2x2 mean; a linear layer on all positions. It
    is `convnet` with another initialisation: kernels from a normal cut at two deviations with variance 2 / fan-in.
    319,626 parameters for ten classes of 32×32 images.

    Args:
        width: channels of every block.
        depth: blocks, each of which halves the image; None takes as many as leave about 4x4.
        norm: "layer" spans the channels of each pixel, "group" has 32 groups, "group1" one, "instance" one a channel.
    """

    width: int = 128
    depth: int | None = None
    norm: ChannelNorm = "batch"

    def __post_init__(self) -> None:
        refuse_no_channels(self, self.width, self.depth)

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        channels, high, wide = shape
        depth = halvings(self, self.depth, (high, wide))
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [
                nn.Conv2d(channels, self.width, 3, padding=1, bias=False),
                channel_norm(self.norm, self.width, momentum=0.1),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
            channels = self.width
        body = nn.Sequential(*layers, nn.Flatten(), _last(channels, (high >> depth, wide >> depth), classes))
        _draw(body, gain=2.0)
        return body


@dataclass(frozen=True)
class KipConvNet(AbstractModel):
    """The ConvNet of kernel inducing points (Nguyen et al., NeurIPS 2021), as FRePo's code has it.

    A 3x3 convolution and rectifier at full resolution, then blocks of normalisation, 3x3 convolution, rectifier and
    2x2 mean; a linear layer on all positions. Kernels begin as normal cut at two deviations with variance 1 / fan-in,
    biases as normal with deviation 0.1. 467,594 parameters for ten classes of 32×32 images.

    Args:
        width: channels of every convolution.
        depth: blocks, each of which halves the image; None takes as many as leave about 4x4.
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
        depth = halvings(self, self.depth, (high, wide))
        layers: list[nn.Module] = [nn.Conv2d(channels, self.width, 3, padding=1), nn.ReLU()]
        for _ in range(depth):
            layers += [
                channel_norm(self.norm, self.width, momentum=0.9),
                nn.Conv2d(self.width, self.width, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
            ]
        body = nn.Sequential(*layers, nn.Flatten(), _last(self.width, (high >> depth, wide >> depth), classes))
        _draw(body, gain=1.0, biases=0.1)
        return body


def _last(channels: int, size: tuple[int, int], classes: int) -> nn.Linear:
    return nn.Linear(channels * size[0] * size[1], classes)


def _draw(body: nn.Module, *, gain: float, biases: float = 0.0) -> None:
    """Draws kernels with variance gain / fan-in, and biases with some standard deviation."""
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            draw_truncated(layer.weight, gain)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=biases)
