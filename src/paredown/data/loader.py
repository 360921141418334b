"""Seeded epochs that carry positions, and examples where the network is, as the network takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from paredown import rng
from paredown.data.augment import AbstractAugmentation
from paredown.data.dataset import AbstractDecoded, dealt
from paredown.data.normalised import Normalised

WHOLE = slice(None)
GPU_SHARE = 0.5  # of the free memory of a GPU that images may take; larger data stay in host memory


def epoch_order(positions: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Gives the positions in the order of one epoch, a function of seed and epoch alone."""
    return rng.stream(seed, "shuffle", epoch).permutation(np.asarray(positions, dtype=np.int64))


def runs(size: int, batch: int, *, start: int = 0) -> Iterator[np.ndarray]:
    """Gives the rows from `start` to `size`, batch by batch."""
    return (np.arange(first, min(first + batch, size)) for first in range(start, size, batch))


def batches(order: np.ndarray, batch_size: int, *, drop_last: bool) -> Iterator[np.ndarray]:
    """Gives consecutive batches of an order.

    Args:
        order: positions.
        batch_size: examples a batch.
        drop_last: leave out an incomplete last batch; an order shorter than one batch is a batch all the same, since
            otherwise a small selection would never train.
    """
    end = len(order) - len(order) % batch_size if drop_last and len(order) >= batch_size else len(order)
    for start in range(0, end, batch_size):
        yield order[start : start + batch_size]


class AbstractInputs(ABC):
    """Examples of a data set as a network takes them, batch by batch, on its device: write the three methods."""

    @abstractmethod
    def labels(self, positions: np.ndarray) -> Tensor:
        """Gives the labels, int64 (B,)."""

    @abstractmethod
    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Gives un-augmented examples, shape (B, …), and labels, int64 (B,)."""

    @abstractmethod
    def augmented(self, positions: np.ndarray, augmentation: AbstractAugmentation | None, seed: int) -> Tensor:
        """Gives the examples of one training batch, shape (B, …).

        Args:
            positions: which.
            augmentation: what happens to them; none leaves them as they are.
            seed: of what it draws; the same seed and positions give the same examples.
        """

    def ahead(
        self, parts: Iterable[tuple[np.ndarray, int]], augmentation: AbstractAugmentation | None, share: slice = WHOLE
    ) -> Iterator[Tensor]:
        """Gives the augmented examples of batches that are known beforehand; whoever decodes can begin early.

        Args:
            parts: positions and seed of each batch.
            augmentation: as in `augmented`.
            share: which examples of a batch will be looked at; the others may hold anything, and need not be decoded.
        """
        return (self.augmented(positions, augmentation, seed) for positions, seed in parts)

    def batches(self, parts: Iterable[np.ndarray]) -> Iterator[tuple[Tensor, Tensor]]:
        """Gives un-augmented examples and labels of batches that are known beforehand."""
        return (self.batch(positions) for positions in parts)


class OnDevice(AbstractInputs):
    """Images and labels of a data set where the network is, batch by batch.

    The images are copied to the device once, as uint8, when they take at most half of its free memory; otherwise they
    stay in host memory and each batch is copied. Of a pool this holds for each block of its own.

    Args:
        dataset: what to read.
        device: where batches are wanted.
    """

    def __init__(self, dataset: AbstractDecoded, device: str | torch.device) -> None:
        self._dataset, self.device = dataset, torch.device(device)
        self._blocks = [self._placed(torch.from_numpy(block)) for block in dataset.blocks]
        self._labels = torch.from_numpy(dataset.labels).to(self.device)

    def _placed(self, images: Tensor) -> Tensor:
        fits = self.device.type != "cuda" or images.nbytes <= GPU_SHARE * torch.cuda.mem_get_info(self.device)[0]
        return images.to(self.device) if fits else images

    def raw(self, positions: np.ndarray) -> Tensor:
        """Gives the images as uint8 (B, C, H, W), a channels_last view: what augmentation takes."""
        wanted = np.asarray(positions, dtype=np.int64)
        if len(self._blocks) == 1:
            return self._rows(self._blocks[0], wanted).permute(0, 3, 1, 2)
        shares = dealt(wanted, [len(block) for block in self._blocks])
        chosen = torch.cat([self._rows(self._blocks[number], inside) for number, _, inside in shares])
        came = np.concatenate([where for _, where, _ in shares])
        if (came[1:] < came[:-1]).any():
            chosen = self._rows(chosen, np.argsort(came))
        return chosen.permute(0, 3, 1, 2)

    def _rows(self, images: Tensor, positions: np.ndarray) -> Tensor:
        index = torch.from_numpy(np.ascontiguousarray(positions)).to(images.device, non_blocking=True)
        return images.index_select(0, index).to(self.device)

    def labels(self, positions: np.ndarray) -> Tensor:
        index = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.int64))
        return self._labels.index_select(0, index.to(self.device, non_blocking=True))

    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Gives images as float32 (B, C, H, W) in [0, 1], channels_last in memory, and labels, int64 (B,)."""
        return unit(self.raw(positions)), self.labels(positions)

    def augmented(self, positions: np.ndarray, augmentation: AbstractAugmentation | None, seed: int) -> Tensor:
        images = self.raw(positions)
        if augmentation is None:
            return unit(images)
        generator = torch.Generator().manual_seed(seed)
        if augmentation.normalised:
            return self.normalised.augmented(unit(images), augmentation, generator)
        return unit(augmentation.apply(images, generator))

    @cached_property
    def normalised(self) -> Normalised:
        """What a network's first layer makes of these images, and its inverse."""
        return Normalised(self._dataset, self.device)


def unit(images: Tensor) -> Tensor:
    """Gives uint8 images as float32 in [0, 1], in the same memory format."""
    return images.to(torch.float32).div_(255)
