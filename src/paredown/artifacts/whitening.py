"""`Whitening`: the linear map that a network may begin with, and back from it to pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from paredown.errors import ArtifactError


@dataclass(frozen=True, eq=False)
class Whitening:
    """Takes pixels to ((pixels - mean) / std - center) · matrix, and back.

    The rows that the matrix works on are images as (H, W, C). A matrix too small for a whole image works on each of
    its sub-images: for b·b of them, sub-image (i, j) is made of the pixels (i::b, j::b).

    Args:
        mean, std: per channel, in units of [0, 1] pixels.
        center: mean of the normalised images, float32 (H, W, C).
        matrix: symmetric, float32 (D, D); D is H·W·C, or a square number times less.
        inverse: of the matrix.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    center: np.ndarray
    matrix: np.ndarray
    inverse: np.ndarray

    def __post_init__(self) -> None:
        size, (height, width, channels) = len(self.matrix), self.center.shape
        blocks = sub_images(self.center.size, size)
        fits = size * blocks**2 == self.center.size and height % blocks == 0 and width % blocks == 0
        if not fits or not self.matrix.shape == self.inverse.shape == (size, size):
            raise ArtifactError(
                f"Whitening: matrices of {self.matrix.shape} and {self.inverse.shape} do not whiten images of "
                f"{height}×{width}×{channels}. They were damaged or belong to other images; make them again."
            )
        if not len(self.mean) == len(self.std) == channels:
            raise ArtifactError(
                f"Whitening: {len(self.mean)} means and {len(self.std)} deviations do not normalise {channels} "
                "channels. Give one of each for every channel."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        height, width, channels = self.center.shape
        return channels, height, width

    @property
    def blocks(self) -> int:
        """How many sub-images an image has in each direction."""
        return sub_images(self.center.size, len(self.matrix))

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Gives whitened images, float32 (N, C, H, W), of pixels in [0, 1], (N, C, H, W)."""
        mean, std = (np.asarray(part, np.float32)[:, None, None] for part in (self.mean, self.std))
        normalised = (pixels.astype(np.float32) - mean) / std - self.center.transpose(2, 0, 1)
        return self._mapped(normalised, self.matrix)

    def invert(self, whitened: np.ndarray) -> np.ndarray:
        """Gives pixels, float32 (N, C, H, W), of whitened images of that shape; some may lie outside [0, 1]."""
        mean, std = (np.asarray(part, np.float32)[:, None, None] for part in (self.mean, self.std))
        normalised = self._mapped(whitened.astype(np.float32), self.inverse) + self.center.transpose(2, 0, 1)
        return normalised * std + mean

    def arrays(self) -> dict[str, np.ndarray]:
        """Gives everything as arrays by name, to be stored; `of_arrays` reads them."""
        statistics = {"mean": np.array(self.mean, np.float64), "std": np.array(self.std, np.float64)}
        return statistics | {"center": self.center, "matrix": self.matrix, "inverse": self.inverse}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Reads what `arrays` gave.

        Raises:
            ArtifactError: an array is missing, or they do not belong together.
        """
        wanted = ("mean", "std", "center", "matrix", "inverse")
        missing = next((name for name in wanted if name not in arrays), None)
        if missing is not None:
            raise ArtifactError(f"Whitening: there is no array '{missing}'. The file is damaged; make it again.")
        mean, std = (tuple(float(value) for value in arrays[name]) for name in ("mean", "std"))
        center, matrix, inverse = (np.asarray(arrays[name], np.float32) for name in wanted[2:])
        return cls(mean, std, center, matrix, inverse)

    def _mapped(self, images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        _, channels, height, width = images.shape
        rows = rows_of(images.transpose(0, 2, 3, 1), self.blocks) @ matrix
        images = images_of(rows, (height, width, channels), self.blocks)
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def sub_images(numbers: int, size: int) -> int:
    """Gives how many sub-images an image of so many numbers has in each direction, for a matrix of some size."""
    return max(1, round((numbers / max(size, 1)) ** 0.5))


def rows_of(images: np.ndarray, blocks: int) -> np.ndarray:
    """Gives one row for each sub-image of images (N, H, W, C), those of an image one after the other."""
    count, height, width, channels = images.shape
    apart = images.reshape(count, height // blocks, blocks, width // blocks, blocks, channels)
    return apart.transpose(0, 2, 4, 1, 3, 5).reshape(count * blocks**2, -1)


def images_of(rows: np.ndarray, shape: tuple[int, int, int], blocks: int) -> np.ndarray:
    """Gives back the images, (N, H, W, C), that `rows_of` took apart."""
    height, width, channels = shape
    apart = rows.reshape(-1, blocks, blocks, height // blocks, width // blocks, channels)
    return apart.transpose(0, 3, 1, 4, 2, 5).reshape(-1, height, width, channels)
