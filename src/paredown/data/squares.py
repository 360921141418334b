"""The square of an image that a network sees, cut out and brought to size in one step as the image is decoded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from paredown.data.encoded import AbstractEncoded
from paredown.data.images import header, in_mode, pixels, turned
from paredown.errors import MethodError

if TYPE_CHECKING:
    from PIL.Image import Image

BoxesOf = Callable[[np.ndarray], np.ndarray]
DETAIL = 2
"""A JPEG is decoded small only where that leaves at least so many pixels for each one of the square, each way: the
result then differs from that of decoding the whole by less than the two resamplings of common libraries do."""
FIRST_TURNED = 5
"""EXIF orientations from here on exchange width and height."""


@dataclass(frozen=True)
class Square:
    """How an image becomes a square: its shorter side is brought to `resize` pixels and the middle is cut out.

    With 224 of 256 bilinear it is what networks for ImageNet are tested on.

    Args:
        size: side of the square.
        resize: the shorter side before the middle is cut out; none squeezes the whole image into the square.
        filter: how pixels are interpolated, antialiased.
    """

    size: int = 224
    resize: int | None = 256
    filter: Literal["bilinear", "bicubic"] = "bilinear"

    def __post_init__(self) -> None:
        if self.size < 1:
            raise MethodError(f"Square(size={self.size}): images need a side of at least one pixel.")
        if self.resize is not None and self.resize < self.size:
            raise MethodError(
                f"Square(size={self.size}, resize={self.resize}): a square cannot be cut out of something smaller. "
                f"Use resize={self.size} or more."
            )

    def plain(self) -> dict[str, Any]:
        """Gives the settings as data that JSON can hold."""
        return {"size": self.size, "resize": self.resize, "filter": self.filter}

    def boxes(self, sizes: np.ndarray) -> np.ndarray:
        """Gives the part of each image that becomes the square: left, top, right, bottom, float64 (B, 4).

        Resizing that part at once gives the pixels of resizing the whole and cutting out the middle; so the longer side
        is rounded down to whole pixels, and the middle to the nearest, as they are there.

        Args:
            sizes: width and height of each image, (B, 2).
        """
        sizes = sizes.astype(np.float64)
        if self.resize is None:
            return np.concatenate([np.zeros_like(sizes), sizes], axis=1)
        scaled = np.floor(self.resize * sizes / sizes.min(axis=1, keepdims=True))
        corner = np.round((scaled - self.size) / 2)
        return np.concatenate([corner, corner + self.size], axis=1) * np.tile(sizes / scaled, 2)

    def decode(
        self,
        encoded: AbstractEncoded,
        numbers: Sequence[int] | np.ndarray,
        out: np.ndarray,
        *,
        where: str,
        boxes: BoxesOf | None = None,
    ) -> None:
        """Decodes images into `out`, uint8 (B, size, size, 3).

        Args:
            encoded: where they lie.
            numbers: which.
            out: written to.
            where: the beginning of a message.
            boxes: called with the sizes of the images (B, 2), gives the part of each, as `boxes` does; that by default.

        Raises:
            DataError: one cannot be read or decoded; the sentence names it.
        """
        names = [encoded.called(int(number)) for number in numbers]
        heads = [header(encoded.stored(int(n)), name, where) for n, name in zip(numbers, names, strict=True)]
        sizes = np.array([upright_size(head) for head in heads])
        for row, box in enumerate((boxes or self.boxes)(sizes)):
            out[row] = self._cut(heads[row], box, sizes[row], names[row], where)
            heads[row] = None  # type: ignore[call-overload]  # its pixels are not needed any more

    def _cut(self, head: Image, box: np.ndarray, size: np.ndarray, called: str, where: str) -> np.ndarray:
        from PIL import Image as pillow

        enough = DETAIL * self.size / (box[2:] - box[:2]).min()
        about = (max(1, int(head.width * enough)), max(1, int(head.height * enough))) if enough < 1 else None
        image = in_mode(pixels(head, called, where, about=about), "RGB")
        scale = np.array(image.size) / size  # below 1 where a JPEG was decoded small
        left, top, right, bottom = np.minimum(box * np.tile(scale, 2), np.tile(image.size, 2)).tolist()
        by = pillow.Resampling.BILINEAR if self.filter == "bilinear" else pillow.Resampling.BICUBIC
        # Pillow gives back a copy of the image where the box is all of it and the size is the same.
        return np.asarray(image.resize((self.size, self.size), by, box=(left, top, right, bottom)))


def upright_size(head: Image) -> tuple[int, int]:
    """Gives width and height of an image whose header was read, as it stands upright."""
    return (head.height, head.width) if turned(head) >= FIRST_TURNED else head.size
