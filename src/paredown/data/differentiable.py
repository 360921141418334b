"""Differentiable augmentation of a whole batch: colour, crop, rotation, shift, cutout, flip, scale.

Differentiable siamese augmentation (Zhao & Bilen, "Dataset condensation with differentiable siamese augmentation",
ICML 2021) in the form that FRePo (Zhou et al., NeurIPS 2022) trains on distilled images with: one operation a batch,
with parameters of its own for each image. Moving a pixel is reading the image elsewhere, bilinearly, and beyond the
border the border; gradients flow to the images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from paredown.data.augment import AbstractAugmentation
from paredown.errors import MethodError

Operation = Literal["color", "crop", "rotate", "translate", "cutout", "flip", "scale"]

COLOR = 0.25
"""Largest change of brightness, and of the logarithms of contrast and saturation."""
ZOOM = 1.25
"""Largest zoom of a crop, and the inverse of the smallest."""
DEGREES = 15.0
SHIFT = 0.125
"""Largest shift, as a share of the side."""
HOLE = 4
"""A cutout's side is that of the image divided by this."""
SCALE = 1.2
"""Largest factor of a scale, and the inverse of the smallest."""
OF_COLOUR: tuple[Operation, ...] = ("color", "crop", "rotate", "translate", "cutout", "flip")
OF_GREY: tuple[Operation, ...] = OF_COLOUR[:-1]


@dataclass(frozen=True)
class SingleOperation(AbstractAugmentation):
    """Draws one operation for a batch and its parameters for each image.

    It works on images as a network's body takes them, normalised and, where the data are, whitened: a cutout is 0
    there, and brightness changes by up to 0.25 standard deviations. A training therefore takes pixels there and back.

    Args:
        operations: what is drawn from, each as likely; none takes color, crop, rotate, translate and cutout, and flip
            for images of more than one channel.
    """

    normalised: ClassVar[bool] = True

    operations: tuple[Operation, ...] | None = None

    def __post_init__(self) -> None:
        if self.operations is not None and not self.operations:
            raise MethodError(
                "SingleOperation(operations=[]): there is no operation to draw. Name some, or leave it out."
            )

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if not images.is_floating_point():
            raise MethodError(
                f"SingleOperation: images of {images.dtype} cannot be augmented differentiably. Give normalised floats."
            )
        among = self.operations or (OF_GREY if images.shape[1] == 1 else OF_COLOUR)
        operation = among[int(torch.randint(len(among), (), generator=generator))]
        count, _, height, width = images.shape

        def uniform(columns: int) -> Tensor:
            """Gives numbers in [-1, 1) for each image, where the images are."""
            drawn = 2 * torch.rand(count, columns, generator=generator) - 1
            return drawn.to(images.device, images.dtype, non_blocking=True)

        size = torch.tensor([height, width], dtype=images.dtype, device=images.device)
        if operation == "color":
            change = COLOR * uniform(3)
            return colored(images, change[:, 0], change[:, 1].exp(), change[:, 2].exp())
        if operation == "crop":
            zoom = (math.log(ZOOM) * uniform(1)).exp()
            return cropped(images, zoom[:, 0], uniform(2) * (size * zoom - size).abs() / 2)
        if operation == "rotate":
            return rotated(images, math.radians(DEGREES) * uniform(1)[:, 0])
        if operation == "translate":
            return translated(images, SHIFT * size * uniform(2))
        if operation == "scale":
            return scaled(images, (math.log(SCALE) * uniform(2)).exp())
        if operation == "flip":
            return flipped(images, uniform(1)[:, 0] < 0)
        side = min(height, width) // HOLE
        corners = torch.floor((uniform(2) + 1) / 2 * (size - side + 1)).clamp_(max=size - side)
        return cut_out(images, corners, side)


def colored(images: Tensor, add: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Changes brightness, then the distance from the mean of the image, then that from the mean of each pixel.

    Args:
        images: (B, C, H, W).
        add: to every number, (B,).
        contrast: factor, (B,).
        saturation: factor, (B,).
    """
    x = images + _wide(add)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    x = mean + (x - mean) * _wide(contrast)
    mean = x.mean(dim=1, keepdim=True)
    return mean + (x - mean) * _wide(saturation)


def flipped(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirrors some images left to right; `mirrored` is bool, (B,)."""
    return torch.where(_wide(mirrored), images.flip(3), images)


def rotated(images: Tensor, angles: Tensor) -> Tensor:
    """Reads pixel (r, c), counted from the centre, at (r cos θ + c sin θ, -r sin θ + c cos θ); θ in radians, (B,)."""
    cos, sin = angles.cos(), angles.sin()
    return _read_at(images, torch.stack([torch.stack([cos, sin], 1), torch.stack([-sin, cos], 1)], 1))


def translated(images: Tensor, shifts: Tensor) -> Tensor:
    """Reads pixel (r, c) at (r - dy, c - dx); shifts (dy, dx) in pixels, (B, 2), need not be whole."""
    ones = torch.ones_like(shifts)
    return _read_at(images, torch.diag_embed(ones), -shifts)


def cropped(images: Tensor, zoom: Tensor, offsets: Tensor) -> Tensor:
    """Reads pixel (r, c), counted from the centre, at ((r + cy) / z, (c + cx) / z).

    Args:
        images: (B, C, H, W).
        zoom: z, (B,); below 1 the border fills what the image leaves.
        offsets: (cy, cx) in pixels, (B, 2).
    """
    factors = (1 / zoom)[:, None].expand(-1, 2)
    return _read_at(images, torch.diag_embed(factors), offsets * factors)


def scaled(images: Tensor, factors: Tensor) -> Tensor:
    """Enlarges images about their centre, each axis by its own factor: (height, width), (B, 2)."""
    return _read_at(images, torch.diag_embed(1 / factors))


def cut_out(images: Tensor, corners: Tensor, side: int) -> Tensor:
    """Sets a square to 0, whose first row and column are given, (B, 2)."""
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[2:])
    top, left = corners[:, :1], corners[:, 1:]
    in_rows, in_columns = (rows >= top) & (rows < top + side), (columns >= left) & (columns < left + side)
    return images.masked_fill((in_rows[:, None, :, None] & in_columns[:, None, None, :]), 0)


def _read_at(images: Tensor, maps: Tensor, shifts: Tensor | None = None) -> Tensor:
    """Gives images whose pixel p, (row, column) from the centre, is the old one at maps · p + shifts.

    Args:
        images: (B, C, H, W).
        maps: (B, 2, 2).
        shifts: (B, 2), in pixels; none for none.
    """
    half = (torch.tensor(images.shape[2:], dtype=images.dtype, device=images.device) - 1) / 2
    # torch counts from -1 to 1 over the centres of the outermost pixels, and names the column first.
    theta = torch.zeros(len(images), 2, 3, dtype=images.dtype, device=images.device)
    theta[:, :, :2] = (maps * half[None, None, :] / half[None, :, None]).flip(1, 2)
    if shifts is not None:
        theta[:, :, 2] = (shifts / half).flip(1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def _wide(values: Tensor) -> Tensor:
    return values[:, None, None, None]
