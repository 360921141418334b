"""A small data set made by formula, for tests, documentation and dry runs."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown import rng
from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractImages, Whiten
from paredown.data.encoded import Held
from paredown.data.source import AbstractSource
from paredown.data.squares import Square
from paredown.data.stored_images import stored_images
from paredown.errors import MethodError


@dataclass(frozen=True)
class Synthetic(AbstractSource):
    """One smooth random prototype image a class, and examples scattered around it by Gaussian pixel noise.

    x = clip(128 + 40·(p_y + spread·ε)), with p_y a 4×4 grid of standard normal values enlarged to the image, and ε
    standard normal in each pixel. Row i has class i mod C. Train and test share prototypes.

    Args:
        split: train or test.
        n: examples in this split.
        classes: how many.
        size: height and width in pixels.
        channels: 1 or 3.
        spread: standard deviation of the pixel noise, in units of the prototypes'; 0 makes all examples of a class
            equal.
        seed: of prototypes and noise.
        stored: keep each image encoded, as PNG, and decode it when it is read, as it is done with millions of files.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    standard: ClassVar[Augmentation | None] = Augmentation(crop=1)

    split: Literal["train", "test"] = "train"
    n: int = 512
    classes: int = 4
    size: int = 8
    channels: Literal[1, 3] = 3
    spread: float = 1.0
    seed: int = 0
    stored: bool = False
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def __post_init__(self) -> None:
        for name, least in (("classes", 2), ("n", self.classes), ("size", 4), ("spread", 0)):
            if getattr(self, name) < least:
                raise MethodError(f"Synthetic({name}={getattr(self, name)}): at least {least} is needed.")

    def read(self, workers: int) -> AbstractImages:
        shape = (self.classes, 4, 4, self.channels)
        grids = rng.stream(self.seed, "synthetic", "prototypes").standard_normal(shape)
        cells = np.arange(self.size) * 4 // self.size
        labels = np.arange(self.n) % self.classes
        scatter = rng.stream(self.seed, "synthetic", self.split).standard_normal(
            (self.n, self.size, self.size, self.channels)
        )
        pixels = 128 + 40 * (grids[:, cells][:, :, cells][labels] + self.spread * scatter)
        images = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        names = [f"class {number}" for number in range(self.classes)]
        if self.stored:
            square = Square(self.size, self.size)
            return stored_images(
                self, Held(tuple(map(encoded, images))), labels, names,
                square=square, parts=[images, labels], stem="", part=self.split,
            )  # fmt: skip
        return self.dataset(images, labels, names, reader="synthetic", parts=[images, labels])


def encoded(image: np.ndarray) -> bytes:
    """Gives an image, uint8 (H, W, C), as PNG."""
    from PIL import Image as pillow

    file = io.BytesIO()
    pillow.fromarray(image.squeeze()).save(file, "PNG")
    return file.getvalue()
