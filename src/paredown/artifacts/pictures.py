"""Pictures for people: a grid of images with the names of their classes, and a film of how such a grid changed."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ACROSS = 10
"""Pictures in a row."""
CLASSES = 20
"""More classes than these are shown one picture each, in rows across classes and without names."""
MOST = 100
"""Pictures, at most, where there are more classes than that."""
SIDE = 56
"""Pixels that a small picture is enlarged to, about."""
GAP = 2
PAPER, INK = 255, 60


def grid(pictures: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> bytes:
    """Gives a grid as PNG: a row for each class, with its name, and in it the first pictures of that class.

    Args:
        pictures: uint8 (n, H, W, C), grey or in colour.
        labels: int64 (n,), below `len(names)`.
        names: of the classes.
    """
    present = np.unique(labels)
    if len(present) <= CLASSES:
        rows = [np.flatnonzero(labels == label)[:ACROSS] for label in present]
        words = [str(names[label]) for label in present]
    else:
        firsts = np.array([np.flatnonzero(labels == label)[0] for label in present[:MOST]])
        rows = [firsts[start : start + ACROSS] for start in range(0, len(firsts), ACROSS)]
        words = []
    return _png(_drawn(pictures, rows, words))


def film(pngs: Sequence[bytes], *, milliseconds: int = 250, last: int = 2000) -> bytes:
    """Gives an animated GIF of some pictures of one size.

    Args:
        pngs: the pictures, in the order in which they are shown.
        milliseconds: for which each is shown.
        last: milliseconds of the last one.
    """
    # One palette for all frames: colours that jump from frame to frame would look like a change.
    frames = [Image.open(io.BytesIO(png)).convert("RGB") for png in pngs]
    palette = frames[-1].quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [milliseconds] * (len(drawn) - 1) + [last]
    out = io.BytesIO()
    drawn[0].save(out, format="GIF", save_all=True, append_images=drawn[1:], duration=durations, loop=0)
    return out.getvalue()


def _drawn(pictures: np.ndarray, rows: Sequence[np.ndarray], words: Sequence[str]) -> Image.Image:
    _, height, width, channels = pictures.shape
    scale = max(1, round(SIDE / max(height, width)))
    high, wide = height * scale, width * scale
    font = ImageFont.load_default()
    margin = 2 * GAP + max((round(font.getlength(word)) for word in words), default=-GAP)
    across = max(len(row) for row in rows)
    whole = Image.new("RGB", (margin + across * (wide + GAP), GAP + len(rows) * (high + GAP)), (PAPER,) * 3)
    pen = ImageDraw.Draw(whole)
    for line, row in enumerate(rows):
        top = GAP + line * (high + GAP)
        if words:
            pen.text((GAP, top + high // 2 - 6), words[line], fill=(INK,) * 3, font=font)
        for column, position in enumerate(row):
            # Two channels or more than three are not a colour picture: the first, or the first three, are shown.
            pixels = pictures[position][..., :3] if channels >= 3 else pictures[position][..., 0]
            picture = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
            whole.paste(picture.resize((wide, high), Image.Resampling.NEAREST), (margin + column * (wide + GAP), top))
    return whole


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG", optimize=True)
    return out.getvalue()
