"""Photographs made on the spot: smooth, in colour, of any size, as bytes or as a folder in ImageNet's layout."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def photograph(width: int, height: int, seed: int = 0) -> Image.Image:
    """A smooth random picture in colour."""
    draw = np.random.default_rng(seed)
    coarse = draw.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    fine = draw.integers(-12, 13, (height, width, 1))
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(np.clip(smooth + fine, 0, 255).astype(np.uint8))


def as_bytes(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    image.save(file, kind, **({"quality": 92} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def imagenet_folder(root: Path, *, each: int = 4, classes: int = 3) -> Path:
    """`train/` and `val/` with class folders named like ImageNet's; sizes and shapes differ."""
    for part, count in (("train", each), ("val", 2)):
        for label in range(classes):
            folder = root / part / f"n0144{label:04d}"
            folder.mkdir(parents=True)
            for number in range(count):
                seed = 1000 * label + number + (500 if part == "val" else 0)
                size = (60 + 25 * (number % 3), 50 + 10 * label)
                (folder / f"{folder.name}_{number}.JPEG").write_bytes(as_bytes(photograph(*size, seed)))
    return root
