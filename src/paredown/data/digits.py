"""The 1797 handwritten digits that scikit-learn carries inside: always there, no file, no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.source import AbstractSource, held_out


@dataclass(frozen=True)
class Digits(AbstractSource):
    """8×8 grey digits, 17 levels stretched to 0 … 255; the same fifth of each class is the test part everywhere.

    Args:
        split: train, test, or all.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test", "all")
    standard: ClassVar[Augmentation | None] = Augmentation(crop=1)

    split: Literal["train", "test", "all"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        from sklearn.datasets import load_digits

        bunch = load_digits()
        images = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = bunch.target.astype(np.int64)
        rows = held_out(labels, self.split)
        return self.dataset(
            images[rows], labels[rows], [str(digit) for digit in range(10)],
            reader="digits", parts=[images, labels], held_out=True,
        )  # fmt: skip
