"""VGG with batch normalisation, in the form that robust pruning uses it.

Simonyan and Zisserman, "Very deep convolutional networks" (ICLR 2015), as HYDRA built it for images of 32 pixels
(Sehwag et al., NeurIPS 2020): no pooling after the last block, maps averaged to 2x2, a classifier of two hidden layers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from paredown.errors import MethodError
from paredown.models.build import AbstractModel
from paredown.models.layers import conv3x3, initialise

LEFT = 2  # height and width of the maps that the classifier sees


class Vgg(nn.Module):
    """Blocks of 3x3 convolutions with a pooling between blocks, averaged maps, a classifier of three linear layers."""

    def __init__(self, widths: tuple[int, ...], convs: tuple[int, ...], hidden: int, channels: int, classes: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for block, (width, count) in enumerate(zip(widths, convs, strict=True)):
            if block:
                layers.append(nn.MaxPool2d(2))
            for _ in range(count):
                layers += [conv3x3(inputs, width, 1, "symmetric"), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(LEFT)
        self.classifier = nn.Sequential(
            nn.Linear(inputs * LEFT * LEFT, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.pool(self.features(x)).flatten(1))


@dataclass(frozen=True)
class Vgg16Bn(AbstractModel):
    """VGG-16-BN: 15,302,848 weights in 16 layers for three colours and ten classes.

    Args:
        width: channels of the first block; the second has twice, the third four times, the others eight times as many.
        convs: convolutions in each block; images are halved between blocks.
        hidden: features of the two hidden linear layers; None takes four times the width (256 for 64).
    """

    width: int = 64
    convs: tuple[int, ...] = (2, 2, 3, 3, 3)
    hidden: int | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or not self.convs or min(self.convs) < 1 or (self.hidden is not None and self.hidden < 1):
            raise MethodError(
                f"Vgg16Bn(width={self.width}, convs={self.convs}, hidden={self.hidden}): every block needs a "
                "convolution and a channel, because it would pass nothing on. Use positive numbers."
            )

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        halved = len(self.convs) - 1
        if min(shape[1:]) >> halved < 1:
            raise MethodError(
                f"Vgg16Bn(convs={self.convs}): images of {shape[1]}x{shape[2]} pixels cannot be halved {halved} "
                "times. Use fewer blocks."
            )
        widths = tuple(self.width * min(2**block, 8) for block in range(len(self.convs)))
        hidden = 4 * self.width if self.hidden is None else self.hidden
        body = Vgg(widths, self.convs, hidden, shape[0], classes)
        initialise(body, "he")
        return body
