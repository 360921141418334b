"""Pictures inside the page: thumbnails as PNG data addresses, alone or as one sheet."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

Images = Callable[[np.ndarray], np.ndarray] | np.ndarray


@dataclass(frozen=True)
class Thumbnail:
    """One picture: its data address, and its width and height in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Sheet:
    """Many pictures of one size in one, row by row: `count` of them, `columns` a row."""

    uri: str
    width: int
    height: int
    columns: int
    rows: int
    count: int


def thumbnails(images: Images, positions: Sequence[int] | np.ndarray, *, side: int = 64) -> list[Thumbnail]:
    """Gives a picture for each position, made smaller where its longer side has more than `side` pixels."""
    if len(positions) == 0:
        return []
    return [Thumbnail(_address(p), p.width, p.height) for p in _pictures(images, positions, side)]


def sheet(images: Images, positions: np.ndarray, *, side: int = 40, max_bytes: int = 2_400_000) -> Sheet:
    """Gives the first pictures of `positions` as one sheet, as many as fit into `max_bytes`.

    How well pictures compress differs widely (a digit takes a tenth of a photograph), so the number is found by trying.
    """
    count = len(positions)
    while True:
        pictures = _pictures(images, positions[:count], side)
        columns = max(1, math.ceil(math.sqrt(count)))
        rows = math.ceil(count / columns)
        width, height = pictures[0].size
        whole = Image.new(pictures[0].mode, (columns * width, rows * height))
        for place, picture in enumerate(pictures):
            whole.paste(picture, (place % columns * width, place // columns * height))
        data = _png(whole)
        if len(data) <= max_bytes or count == 1:
            return Sheet(_uri(data), width, height, columns, rows, count)
        count = max(1, int(count * 0.95 * max_bytes / len(data)))


def _pictures(images: Images, positions: Sequence[int] | np.ndarray, side: int) -> list[Image.Image]:
    where = np.asarray(positions, dtype=np.int64)
    pixels = np.asarray(images[where] if isinstance(images, np.ndarray) else images(where))
    # Two channels or more than three are not a colour picture: the first, or the first three, are shown.
    pixels = pixels[..., :3] if pixels.shape[-1] >= 3 else pixels[..., 0]
    scale = min(1.0, side / max(pixels.shape[1:3]))
    size = (max(1, round(pixels.shape[2] * scale)), max(1, round(pixels.shape[1] * scale)))
    pictures = [Image.fromarray(np.ascontiguousarray(one)) for one in pixels]
    return [one.resize(size, Image.Resampling.LANCZOS) for one in pictures] if scale < 1 else pictures


def _address(picture: Image.Image) -> str:
    return _uri(_png(picture))


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
