"""Augmentation of a whole batch where the batch lies: reflect-pad crop, horizontal flip, cutout.

Crop and flip only move pixels, so together they are one gather whose row and column numbers are small tables; uint8
stays uint8, nothing is padded or copied twice, and no Python runs per example. Random numbers come from a CPU
generator, a few per image, so that every device sees the same crops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from paredown.errors import MethodError
from paredown.method import Method


@dataclass(frozen=True)
class Augmentation(Method):
    """Shifts, mirrors and masks the images of a batch at random.

    Crop and flip as in He et al. 2016, section 4.2: pad by `crop` pixels, cut out a window of the old size, mirror
    half of the images. Cutout as in DeVries & Taylor 2017: one square, its centre anywhere in the image, takes the
    image's mean colour.

    Args:
        crop: largest shift in pixels, each way; 0 leaves images in place.
        flip: mirror each image left to right with probability 1/2.
        cutout: side of the masked square in pixels; 0 masks nothing.
        per: "image" draws a shift for each image; "batch" draws one that all images of a batch share, which is what
            the original code of Data Diet did. Flips and cutout are always per image.
        padding: what stands beyond the border, the reflected image or zeros.
    """

    kind: ClassVar[str] = "augmentation"

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    per: Literal["image", "batch"] = "image"
    padding: Literal["reflect", "zero"] = "reflect"

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            if getattr(self, name) < 0:
                raise MethodError(f"Augmentation({name}={getattr(self, name)}): pixels are counted from 0 up.")

    @property
    def changes(self) -> bool:
        """Whether any setting moves or masks a pixel."""
        return bool(self.crop or self.flip or self.cutout)

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Gives the augmented batch, of the same type, device and shape.

        Args:
            images: (B, C, H, W), uint8 or float; fastest as a channels_last view.
            generator: on the CPU; the same state gives the same augmentation on every device.
        """
        if self.crop or self.flip:
            images = self._moved(images, generator)
        return self._masked(images, generator) if self.cutout else images

    def _moved(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, channels, height, width = images.shape
        if self.crop >= min(height, width):
            raise MethodError(
                f"Augmentation(crop={self.crop}): images of {height}×{width} cannot be shifted so far. "
                f"Use a crop below {min(height, width)}."
            )
        shifts = torch.zeros(count, 2, dtype=torch.int64)
        if self.crop:
            drawn = 1 if self.per == "batch" else count
            shifts = shifts + torch.randint(-self.crop, self.crop + 1, (drawn, 2), generator=generator)
        # Only what was drawn, a few bytes an image, goes to the device, and without waiting for it.
        device = images.device
        shifts = shifts.to(device, non_blocking=True)
        rows = shifts[:, :1] + torch.arange(height, device=device)
        columns = torch.arange(width, device=device).expand(count, width)
        if self.flip:
            mirrored = torch.randint(0, 2, (count, 1), generator=generator, dtype=torch.bool)
            mirrored = mirrored.to(device, non_blocking=True)
            columns = torch.where(mirrored, columns.flip(1), columns)
        columns = shifts[:, 1:] + columns

        inside_rows, inside_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
        rows, columns = _reflect(rows, height), _reflect(columns, width)
        # One number per source pixel: images as (B·H·W, C), which for a channels_last batch is a view.
        base = torch.arange(count, device=device)[:, None] * (height * width) + rows * width
        index = base[:, :, None] + columns[:, None, :]
        pixels = images.permute(0, 2, 3, 1).reshape(-1, channels)
        moved = pixels.index_select(0, index.view(-1)).view(count, height, width, channels)
        if self.padding == "zero" and self.crop:
            inside = inside_rows[:, :, None] & inside_columns[:, None, :]
            moved = moved * inside[..., None].to(moved.dtype)
        return moved.permute(0, 3, 1, 2)

    def _masked(self, images: Tensor, generator: torch.Generator) -> Tensor:
        count, _, height, width = images.shape
        device = images.device
        top = torch.randint(0, height, (count, 1), generator=generator).to(device, non_blocking=True)
        left = torch.randint(0, width, (count, 1), generator=generator).to(device, non_blocking=True)
        top, left = top - self.cutout // 2, left - self.cutout // 2
        rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
        in_rows = (rows >= top) & (rows < top + self.cutout)
        in_columns = (columns >= left) & (columns < left + self.cutout)
        square = in_rows[:, None, :, None] & in_columns[:, None, None, :]
        mean = images.mean(dim=(2, 3), keepdim=True, dtype=torch.float32)
        return torch.where(square, (mean if images.is_floating_point() else mean.round()).to(images.dtype), images)


def _reflect(positions: Tensor, size: int) -> Tensor:
    # Reflection that does not repeat the edge: -1 is pixel 1, size is pixel size - 2.
    positions = positions.abs()
    return torch.where(positions >= size, 2 * (size - 1) - positions, positions)
