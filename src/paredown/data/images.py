"""Compressed images to one array of uint8, decoded by Pillow in a pool of threads."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from paredown.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

GREY = frozenset({"1", "L", "LA"})
DEEP = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
ORIENTATION = 0x0112  # the number of EXIF's field
UPRIGHT = 1
MEMORY_SHARE = 0.5  # of the machine's memory that decoded images may take
BLOCK = 64  # images one task decodes


def decode(
    count: int,
    stored: Callable[[int], bytes],
    *,
    called: Callable[[int], str],
    where: str,
    size: int | None,
    workers: int,
    means: bool = False,
    colour: bool = False,
) -> np.ndarray:
    """Gives uint8 (N, H, W, C): one channel when every image is grey, three otherwise.

    Args:
        count: how many images, at least one.
        stored: gives the bytes of one, by position.
        called: names one in a message.
        where: the beginning of a message.
        size: side to which each image is brought (centre square, bicubic); None wants images of one size.
        workers: threads; 0 takes as many as there are processors, up to eight.
        means: of a smaller image each pixel is the mean of those that it stands for, in place of bicubic.
        colour: three channels even where every image is grey.

    Raises:
        DataError: an image cannot be decoded or has another size; the sentence names the first such one.
    """
    first = pixels(header(stored(0), called(0), where), called(0), where)
    width, height = (size, size) if size else first.size
    threads = workers or min(os.cpu_count() or 1, 8)

    def decoded(mode: str) -> np.ndarray | None:
        """All images in a mode; None when the mode is grey and an image is not."""
        shape = (count, height, width, len(mode))
        refuse_too_large(math.prod(shape), where)
        images = np.empty(shape, dtype=np.uint8)

        def block(start: int) -> bool:
            for position in range(start, min(start + BLOCK, count)):
                name = called(position)
                image = pixels(header(stored(position), name, where), name, where)
                if mode == "L" and image.mode not in GREY:
                    return False
                if size is None and image.size != (width, height):
                    raise DataError(
                        f"{where}: {name} is {image.size[0]}×{image.size[1]} and "
                        f"{called(0)} is {width}×{height}. "
                        f"Set size={min(width, height)} (or another) to bring all images to one size."
                    )
                images[position] = _pixels(image, mode, size, means).reshape(height, width, len(mode))
            return True

        with ThreadPoolExecutor(threads) as pool:
            # In order, so that the image named in a message is the first wrong one.
            return images if all(list(pool.map(block, range(0, count, BLOCK)))) else None

    grey = decoded("L") if first.mode in GREY and not colour else None
    images = decoded("RGB") if grey is None else grey
    assert images is not None  # colour images are never refused for their mode
    return images


def refuse_too_large(nbytes: int, where: str) -> None:
    """Raises DataError for pixels that would take more than half of the machine's memory."""
    there = memory()
    if there is not None and nbytes > MEMORY_SHARE * there:
        raise DataError(
            f"{where}: its images would take {nbytes / 2**30:,.0f} GiB of memory, and the machine has "
            f"{there / 2**30:,.0f} GiB. Set stored=true to leave them where they are, decoded when they are read."
        )


def memory() -> int | None:
    """Gives the bytes of memory that the machine has, where it tells."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def header(stored: bytes, called: str, where: str) -> Image:
    """Gives an image of which only the header has been read: its size is known, its pixels are not.

    Raises:
        DataError: it is no image.
    """
    from PIL import Image as pillow

    with _in_words(called, where):
        return pillow.open(io.BytesIO(stored))


def pixels(image: Image, called: str, where: str, *, about: tuple[int, int] | None = None) -> Image:
    """Gives what `header` gave with its pixels, upright as its EXIF data say.

    Args:
        image: as `header` gave it.
        called: names it in a message.
        where: the beginning of a message.
        about: width and height, as stored, that are enough; a JPEG may be decoded at 1/2, 1/4 or 1/8 but not below it.

    Raises:
        DataError: it is truncated or damaged, or has more than 8 bits a channel.
    """
    from PIL import ImageOps

    with _in_words(called, where):
        if about is not None:
            image.draft(None, about)
        image.load()
        if image.mode in DEEP:
            raise DataError(
                f"{where}: {called} has more than 8 bits a pixel (mode {image.mode}). Convert it to 8 bits, so that no "
                "brightness is cut off unseen."
            )
        return ImageOps.exif_transpose(image) if turned(image) != UPRIGHT else image


def turned(image: Image) -> int:
    """Gives the EXIF orientation, 1 to 8; from 5 on an upright image has width and height exchanged."""
    if "exif" not in image.info:  # looking costs more than decoding a small image
        return UPRIGHT
    found = image.getexif().get(ORIENTATION, UPRIGHT)
    return found if found in range(1, 9) else UPRIGHT


def in_mode(image: Image, mode: str) -> Image:
    """Gives an image as grey (`L`) or colour (`RGB`); what is transparent keeps the colour underneath."""
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)


@contextmanager
def _in_words(called: str, where: str) -> Iterator[None]:
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    try:
        yield
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, pillow.DecompressionBombError) as error:
        reason = "its format is not known" if isinstance(error, UnidentifiedImageError) else str(error)
        raise DataError(f"{where}: {called} cannot be decoded, because {reason}. Replace or remove it.") from error


def _pixels(image: Image, mode: str, size: int | None, means: bool) -> np.ndarray:
    from PIL import Image as pillow
    from PIL import ImageOps

    image = in_mode(image, mode)
    if size is not None and image.size != (size, size):
        by = pillow.Resampling.BOX if means else pillow.Resampling.BICUBIC
        image = ImageOps.fit(image, (size, size), method=by)
    return np.asarray(image)
