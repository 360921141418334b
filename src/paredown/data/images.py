"""Compressed images to one array of uint8, decoded by Pillow in a pool of threads."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from paredown.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = frozenset({"1", "L", "LA"})
DEEP = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
BLOCK = 64  # images one task decodes


def decode(
    count: int,
    stored: Callable[[int], bytes],
    *,
    called: Callable[[int], str],
    where: str,
    size: int | None,
    workers: int,
) -> np.ndarray:
    """Gives uint8 (N, H, W, C): one channel when every image is grey, three otherwise.

    Args:
        count: how many images, at least one.
        stored: gives the bytes of one, by position.
        called: names one in a message.
        where: the beginning of a message.
        size: side to which each image is brought (centre square, bicubic); None wants images of one size.
        workers: threads; 0 takes as many as there are processors, up to eight.

    Raises:
        DataError: an image cannot be decoded or has another size; the sentence names the first such one.
    """
    first = _opened(stored(0), called(0), where)
    width, height = (size, size) if size else first.size
    threads = workers or min(os.cpu_count() or 1, 8)

    def decoded(mode: str) -> np.ndarray | None:
        """All images in a mode; None when the mode is grey and an image is not."""
        images = np.empty((count, height, width, len(mode)), dtype=np.uint8)

        def block(start: int) -> bool:
            for position in range(start, min(start + BLOCK, count)):
                image = _opened(stored(position), called(position), where)
                if mode == "L" and image.mode not in GREY:
                    return False
                if size is None and image.size != (width, height):
                    raise DataError(
                        f"{where}: {called(position)} is {image.size[0]}×{image.size[1]} and "
                        f"{called(0)} is {width}×{height}. "
                        f"Set size={min(width, height)} (or another) to bring all images to one size."
                    )
                images[position] = _pixels(image, mode, size).reshape(height, width, len(mode))
            return True

        with ThreadPoolExecutor(threads) as pool:
            # In order, so that the image named in a message is the first wrong one.
            return images if all(list(pool.map(block, range(0, count, BLOCK)))) else None

    grey = decoded("L") if first.mode in GREY else None
    colour = decoded("RGB") if grey is None else None
    images = colour if grey is None else grey
    assert images is not None  # colour images are never refused for their mode
    return images


def _opened(stored: bytes, called: str, where: str) -> Image:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    try:
        image = pillow.open(io.BytesIO(stored))
        image.load()
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, pillow.DecompressionBombError) as error:
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{where}: {called} cannot be decoded, because {reason}. Replace or remove it.") from error
    if image.mode in DEEP:
        raise DataError(
            f"{where}: {called} has more than 8 bits a pixel (mode {image.mode}). Convert it to 8 bits, so that no "
            "brightness is cut off unseen."
        )
    return image


def _pixels(image: Image, mode: str, size: int | None) -> np.ndarray:
    from PIL import Image as pillow
    from PIL import ImageOps

    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode != mode:
        image = image.convert(mode)
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=pillow.Resampling.BICUBIC)
    return np.asarray(image)
