"""New images made of those that there are, in place of a generative model's, without any download."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
import torch

from paredown import rng
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractImages, ImageDataset
from paredown.data.source import AbstractSource
from paredown.errors import DataError, MethodError

BLOCK = 4096
"""Images that are made at once."""


@dataclass(frozen=True)
class GeneratedMixtures(AbstractSource):
    """Mixtures of two real images of one class, each augmented, under noise: for tests, recipes and trying things out.

    x = clip(λ·a + (1 - λ)·b + σ·ε), with a and b two images of class y drawn with replacement and moved as the base's
    own augmentation moves them, λ uniform in [0, 1], ε standard normal in each pixel, and σ uniform between 0 and twice
    `grain`, so that some are better than others. Row i has class i mod C. They say nothing about images that a
    generative model made; they only come in the same form.

    Args:
        base: the real images, such as `{name: cifar10}`.
        count: how many are made.
        grain: the mean of σ, in grey levels of 255.
        seed: of everything that is drawn.
        split: train; such images are for training.
        noise: label noise.
    """

    splits: ClassVar[tuple[str, ...]] = ("train",)

    base: AbstractSource
    count: int = 10_000
    grain: float = 8.0
    seed: int = 0
    split: Literal["train"] = "train"
    noise: LabelNoise | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise MethodError(f"GeneratedMixtures(count={self.count}): nothing would be made. Give at least 1.")
        if self.grain < 0:
            raise MethodError(f"GeneratedMixtures(grain={self.grain}): a deviation of noise is at least 0.")

    def read(self, workers: int) -> ImageDataset:
        real = self.base.load(workers=workers)
        if not isinstance(real, AbstractImages):
            raise DataError(f"GeneratedMixtures(base=…): {real.name} has {real.noun}, and only images are mixed.")
        classes = len(real.classes)
        if self.count < classes:
            raise MethodError(
                f"GeneratedMixtures(count={self.count}): {real.name} has {classes} classes, and each needs an image. "
                f"Give at least {classes}."
            )
        labels = np.arange(self.count) % classes
        channels, height, width = real.shape
        images = np.empty((self.count, height, width, channels), np.uint8)
        of_class = [np.flatnonzero(real.labels == label) for label in range(classes)]
        for start in range(0, self.count, BLOCK):
            rows = slice(start, start + BLOCK)
            images[rows] = self._mixed(real, labels[rows], of_class, start)
        made = self.dataset(images, labels, real.classes, reader="generated-mixtures", parts=[images, labels])
        # The base stands there by what it is; where it lies is different on every machine.
        own = {name: value for name, value in self.identity().items() if name not in ("base", "noise")}
        return replace(
            made,
            mean=real.mean,
            std=real.std,
            augmentation=real.augmentation,
            settings={"source": own, "base": real.identity()},
        )

    def _mixed(self, real: AbstractImages, labels: np.ndarray, of_class: list[np.ndarray], start: int) -> np.ndarray:
        draw = rng.stream(self.seed, "generated-mixtures", start)
        halves = []
        for which in range(2):
            places = draw.random(len(labels))
            rows = np.array([of_class[y][int(u * len(of_class[y]))] for y, u in zip(labels, places, strict=True)])
            pixels = torch.from_numpy(real.read(rows)).permute(0, 3, 1, 2)
            generator = torch.Generator().manual_seed(rng.key(self.seed, "generated-mixtures", start, which))
            moved = real.augmentation.apply(pixels, generator)
            halves.append(moved.permute(0, 2, 3, 1).numpy().astype(np.float32))
        share = draw.random((len(labels), 1, 1, 1), np.float32)
        noise = 2 * self.grain * draw.random((len(labels), 1, 1, 1), np.float32)
        noise = noise * draw.standard_normal(halves[0].shape, np.float32)
        return np.clip(np.round(share * halves[0] + (1 - share) * halves[1] + noise), 0, 255).astype(np.uint8)
