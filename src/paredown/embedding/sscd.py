"""SSCD: descriptors that tell copies of an image from other images."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from paredown.data.squares import Square
from paredown.embedding.vision import AbstractVisionEncoder, Tower, read_weights
from paredown.errors import DataError, MethodError
from paredown.models.resnet import ResNet
from paredown.models.torchvision_names import resnet_of

SMALLEST = 1e-6  # below which maps are cut off before they are raised to a power
BLOCK = re.compile(r"blocks\.(\d)\.(?:block\d+-)?(\d+)\.(?:convolutional_block\.)?(.+)")
"""A part of Classy Vision's trunk: stage, block, and what it is inside."""
CLASSY = {"initial_block._module.0": "conv1", "initial_block._module.1": "bn1", "embeddings.1": "fc"}
INNER = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2", "6": "conv3"}


def generalised_mean(maps: Tensor, power: float) -> Tensor:
    """Gives `(mean over positions of max(x, 1e-6)^p)^(1/p)` of each map (Radenović et al. 2019, eq. 2).

    Args:
        maps: (B, F, H, W).
        power: p; 1 is the mean, large ones tend to the maximum.
    """
    return maps.clamp(min=SMALLEST).pow(power).mean((2, 3)).pow(1 / power)


class Descriptor(nn.Module):
    """A trunk, the generalised mean of its maps, and a linear layer."""

    def __init__(self, trunk: ResNet, power: float) -> None:
        super().__init__()
        self.trunk, self.power = trunk, power

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk.linear(generalised_mean(self.trunk.maps(x), self.power))


@dataclass(frozen=True)
class Sscd(AbstractVisionEncoder):
    """The SSCD descriptor of Pizzi et al. 2022 (CVPR): ResNet trunk, generalised mean, linear layer, length 1.

    Two images are copies where the cosine of their descriptors is high (above 0.75 nine in ten pairs are, for the
    published `sscd_disc_mixup`). The whole image is squeezed into a square, which is what its authors recommend for
    batches; 512 numbers an image.

    Args:
        weights: the file that ends in `.torchvision.pt`, `.torchscript.pt` or `.classy.pt`, or the same numbers as
            safetensors.
        size: side of the square.
        power: p of the generalised mean.
        normalise: divide each vector by its length.
        dtype: how the vectors are stored.
    """

    weights: str
    size: int = 320
    power: float = 3.0
    normalise: bool = True
    dtype: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        if self.size < 32:
            raise MethodError(f"Sscd(size={self.size}): the trunk needs images of at least 32 pixels.")
        if self.power <= 0:
            raise MethodError(f"Sscd(power={self.power}): a mean of powers needs a power above 0.")

    def tower(self) -> Tower:
        weights = read_weights(self.weights, self.where)
        trunk = in_torchvisions_names({name.removeprefix("backbone."): value for name, value in weights.items()})
        if "fc.weight" not in trunk:
            raise DataError(f"{self.where}: the weights have no last layer 'fc', which makes the descriptor.")
        return Tower(Descriptor(resnet_of(trunk, self.where), self.power), Square(self.size, None))


def in_torchvisions_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the weights of a trunk under torchvision's names; those that have them, or others still, keep theirs."""
    deep = any(".convolutional_block.6." in name for name in weights)
    named = {}
    for name, value in weights.items():
        part, _, kind = name.rpartition(".")
        if hit := BLOCK.fullmatch(part):
            inner = ("bn3" if deep else "bn2") if hit[3] == "bn" else INNER.get(hit[3], hit[3])
            part = f"layer{int(hit[1]) + 1}.{hit[2]}.{inner}"
        named[f"{CLASSY.get(part, part)}.{kind}"] = value
    return named
