"""A distilled set as data that one trains on: pixels that are numbers of their own, and labels that were learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from paredown.artifacts.distilled import DistilledSet
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.whitening import Whitening
from paredown.data.augment import AbstractAugmentation, Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractImages
from paredown.data.loader import AbstractInputs
from paredown.data.normalised import Normalised
from paredown.errors import MethodError


@dataclass(frozen=True, eq=False, repr=False)
class DistilledImages(AbstractImages):
    """Distilled images and their labels, in memory.

    Where an example is looked at, in scoring or in evaluation, its label is the class that stands highest; a training
    sees the whole row (`targets`). A network that begins on them has their whitening as its first layer.

    Args:
        name: of the data that they were distilled from.
        values: float32 (n, C, H, W), in units of [0, 1] pixels; some lie outside.
        targets: float32 (n, classes).
        labels: int64 (n,), the class that stands highest in each row of `targets`.
        classes: the names of the classes.
        ids: one a row; the pool is this set.
        mean, std: per channel, as `AbstractImages`.
        whitening: what networks begin with; none for normalised pixels.
        augmentation: none: they are trained on as they are, unless a training says otherwise.
        settings: the digest of the set.
    """

    name: str
    values: np.ndarray
    targets: np.ndarray = field()  # required here, though the base has a default
    labels: np.ndarray
    classes: tuple[str, ...]
    ids: ExampleIds
    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: Whitening | None = None
    augmentation: Augmentation | None = None  # type: ignore[assignment]
    corrupted: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    noun: ClassVar[str] = "images"

    @classmethod
    def of(cls, distilled: DistilledSet) -> DistilledImages:
        """Gives a distilled set as data."""
        digest, whitening = distilled.digest(), distilled.whitening
        name = f"distilled {' + '.join(distilled.ids.pool.sources)}"
        return cls(
            name,
            distilled.pixels(),
            distilled.labels,
            distilled.hard_labels,
            distilled.classes,
            ExampleIds.of_pool(Pool((name,), len(distilled), digest)),
            distilled.mean,
            distilled.std,
            whitening,
            settings={"artifact": "DistilledSet", "digest": digest},
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.values.shape
        return channels, height, width

    def identity(self) -> dict[str, Any]:
        return dict(self.settings)

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Gives the images as one can look at them, cut off at black and white: uint8 (B, H, W, C)."""
        levels = np.round(self.values[positions].clip(0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))

    def __getitem__(self, position: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Gives one image as float32 (C, H, W) in units of [0, 1] pixels, and its learnt label, float32 (classes,)."""
        return torch.from_numpy(self.values[position].copy()), torch.from_numpy(self.targets[position].copy())

    def with_noise(self, noise: LabelNoise) -> DistilledImages:
        raise MethodError(f"{self.name} has learnt labels, and label noise changes classes. Distil noisy data instead.")


class Learnt(AbstractInputs):
    """Distilled images where the network is.

    Args:
        data: what to read.
        device: where batches are wanted.
    """

    def __init__(self, data: DistilledImages, device: str | torch.device) -> None:
        self._data, self.device = data, torch.device(device)
        images = torch.from_numpy(data.values).to(self.device)
        self._images = images.contiguous(memory_format=torch.channels_last)
        self._targets = torch.from_numpy(data.targets).to(self.device)
        self._classes = torch.from_numpy(data.labels).to(self.device)

    def labels(self, positions: np.ndarray) -> Tensor:
        """Gives what is learnt, float32 (B, classes)."""
        return self._targets.index_select(0, self._where(positions))

    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Gives images, and the classes that stand highest, int64 (B,)."""
        where = self._where(positions)
        return self._images.index_select(0, where), self._classes.index_select(0, where)

    def augmented(self, positions: np.ndarray, augmentation: AbstractAugmentation | None, seed: int) -> Tensor:
        images = self._images.index_select(0, self._where(positions))
        if augmentation is None:
            return images
        generator = torch.Generator().manual_seed(seed)
        if augmentation.normalised:
            return self.normalised.augmented(images, augmentation, generator)
        return augmentation.apply(images, generator)

    @cached_property
    def normalised(self) -> Normalised:
        """What a network's first layer makes of these images, and its inverse."""
        return Normalised(self._data, self.device)

    def _where(self, positions: np.ndarray) -> Tensor:
        index = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.int64))
        return index.to(self.device, non_blocking=True)
