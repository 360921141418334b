"""Augmentation of a whole batch where the batch lies: resized windows, reflect-pad crop, horizontal flip, cutout.

Crop and flip only move pixels, so together they are one gather whose row and column numbers are small tables; uint8
stays uint8, nothing is padded or copied twice, and no Python runs per example. Random numbers come from a CPU
generator, a few per image, so that every device sees the same crops.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from paredown.errors import MethodError
from paredown.method import Method

TRIES = 10  # windows drawn for an image before the centre is taken
RATIOS = (3 / 4, 4 / 3)  # least and largest width of a window, in units of its height


class AbstractAugmentation(Method):
    """Changes the images of a batch at random: write `apply`."""

    kind: ClassVar[str] = "augmentation"
    normalised: ClassVar[bool] = False
    """Whether it works on images as a network's body takes them, not on pixels."""
    area: float | None = None
    """Least share of an image's area that a random window keeps; none takes no windows."""

    @abstractmethod
    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Gives the augmented batch, of the same type, device and shape.

        Args:
            images: (B, C, H, W), uint8 or float; fastest as a channels_last view. Float where `normalised` says so.
            generator: on the CPU; the same state gives the same augmentation on every device.
        """

    def finish(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Gives the batch after all that follows the windows, for images that were cut as they were decoded."""
        return self.apply(images, generator)


@dataclass(frozen=True)
class Augmentation(AbstractAugmentation):
    """Cuts out, shifts, mirrors and masks the images of a batch at random.

    A window of random area and shape, brought to the size of the image, is the augmentation of ImageNet (Szegedy et
    al. 2015, section 6). Images that are decoded when they are read are cut before they are made smaller, so that the
    window has the detail of the file.

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
        area: least share of an image's area that a random window keeps, such as 0.08; none takes no windows.
    """

    crop: int = 0
    flip: bool = False
    cutout: int = 0
    per: Literal["image", "batch"] = "image"
    padding: Literal["reflect", "zero"] = "reflect"
    area: float | None = None

    def __post_init__(self) -> None:
        for name in ("crop", "cutout"):
            if getattr(self, name) < 0:
                raise MethodError(f"Augmentation({name}={getattr(self, name)}): pixels are counted from 0 up.")
        if self.area is not None and not 0 < self.area <= 1:
            raise MethodError(f"Augmentation(area={self.area}): a share of the image lies above 0 and up to 1.")

    @property
    def changes(self) -> bool:
        """Whether any setting moves or masks a pixel."""
        return bool(self.crop or self.flip or self.cutout or self.area is not None)

    def apply(self, images: Tensor, generator: torch.Generator) -> Tensor:
        if self.area is not None:
            height, width = images.shape[2:]
            sizes = np.tile((width, height), (len(images), 1))
            images = _resized(images, windows(draws(len(images), generator), sizes, least=self.area))
        return self.finish(images, generator)

    def finish(self, images: Tensor, generator: torch.Generator) -> Tensor:
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
            if not self.crop:  # no gather is needed, whose table would be larger than the images
                return torch.where(mirrored[:, :, None, None], images.flip(3), images)
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


def draws(count: int, generator: torch.Generator) -> np.ndarray:
    """Gives the random numbers in [0, 1) that `windows` makes windows of, shape (count, TRIES, 4)."""
    return torch.rand(count, TRIES, 4, generator=generator).numpy()


def windows(drawn: np.ndarray, sizes: np.ndarray, *, least: float) -> np.ndarray:
    """Gives one window an image, in whole pixels: left, top, right, bottom, int64 (B, 4).

    A share of the area uniform in [least, 1] and a ratio of width to height whose logarithm is uniform between those of
    3/4 and 4/3; of `TRIES` such windows the first that fits, anywhere in the image; where none fits, the largest in the
    centre whose ratio is allowed.

    Args:
        drawn: what `draws` gave, (B, TRIES, 4): area, ratio, left, top.
        sizes: width and height of each image, (B, 2).
        least: share of the area.
    """
    width, height = sizes[:, :1].astype(np.float64), sizes[:, 1:].astype(np.float64)
    areas = width * height * (least + (1 - least) * drawn[..., 0].astype(np.float64))
    low, high = np.log(RATIOS)
    ratios = np.exp(low + (high - low) * drawn[..., 1].astype(np.float64))
    wide, tall = np.round(np.sqrt(areas * ratios)), np.round(np.sqrt(areas / ratios))
    fits = (wide >= 1) & (wide <= width) & (tall >= 1) & (tall <= height)
    tried = np.arange(len(sizes)), fits.argmax(axis=1)
    size = np.stack([wide[tried], tall[tried]], axis=1)
    free = np.concatenate([width, height], axis=1) - size
    corner = np.floor(drawn[(*tried, slice(2, 4))] * (free + 1))
    none = ~fits.any(axis=1)
    if none.any():
        w, h = sizes[none, 0], sizes[none, 1]
        size[none] = np.stack([np.minimum(w, np.round(h * RATIOS[1])), np.minimum(h, np.round(w / RATIOS[0]))], axis=1)
        corner[none] = (sizes[none] - size[none]) // 2
    return np.concatenate([corner, corner + size], axis=1).astype(np.int64)


def _resized(images: Tensor, found: np.ndarray) -> Tensor:
    """Gives each image's window at the size of the image, by bilinear interpolation; a window is never the larger."""
    count, channels, height, width = images.shape
    boxes = torch.from_numpy(found).to(images.device, torch.float32, non_blocking=True)
    full = torch.tensor([width, height], device=images.device, dtype=torch.float32)
    corner, size = boxes[:, :2] / full, (boxes[:, 2:] - boxes[:, :2]) / full
    # Coordinates of grid_sample run from -1 to 1 over the image.
    centre = 2 * corner + size - 1
    maps = torch.zeros(count, 2, 3, device=images.device)
    maps[:, 0, 0], maps[:, 1, 1] = size[:, 0], size[:, 1]
    maps[:, :, 2] = centre
    grid = torch.nn.functional.affine_grid(maps, [count, channels, height, width], align_corners=False)
    floats = images if images.is_floating_point() else images.float()
    cut = torch.nn.functional.grid_sample(floats, grid.to(floats.dtype), padding_mode="border", align_corners=False)
    return cut if images.is_floating_point() else cut.round().to(images.dtype)


def _reflect(positions: Tensor, size: int) -> Tensor:
    # Reflection that does not repeat the edge: -1 is pixel 1, size is pixel size - 2.
    positions = positions.abs()
    return torch.where(positions >= size, 2 * (size - 1) - positions, positions)
