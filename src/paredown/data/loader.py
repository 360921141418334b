"""Seeded epochs that carry positions, and a data set that lies on the device as uint8."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from paredown import rng
from paredown.data.dataset import ImageDataset

GPU_SHARE = 0.5  # of the free memory of a GPU that images may take; larger data stay in host memory


def epoch_order(positions: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Gives the positions in the order of one epoch, a function of seed and epoch alone."""
    return rng.stream(seed, "shuffle", epoch).permutation(np.asarray(positions, dtype=np.int64))


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


class OnDevice:
    """Images and labels of a data set where the network is, batch by batch.

    The images are copied to the device once, as uint8, when they take at most half of its free memory; otherwise they
    stay in host memory and each batch is copied.

    Args:
        dataset: what to read.
        device: where batches are wanted.
    """

    def __init__(self, dataset: ImageDataset, device: str | torch.device) -> None:
        self.device = torch.device(device)
        images = torch.from_numpy(dataset.images)
        fits = self.device.type != "cuda" or images.nbytes <= GPU_SHARE * torch.cuda.mem_get_info(self.device)[0]
        self._images = images.to(self.device) if fits else images
        self._labels = torch.from_numpy(dataset.labels).to(self.device)

    def raw(self, positions: np.ndarray) -> Tensor:
        """Gives the images as uint8 (B, C, H, W), a channels_last view: what augmentation takes."""
        index = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.int64))
        chosen = self._images.index_select(0, index.to(self._images.device, non_blocking=True))
        return chosen.to(self.device).permute(0, 3, 1, 2)

    def labels(self, positions: np.ndarray) -> Tensor:
        """Gives the labels, int64 (B,)."""
        index = torch.from_numpy(np.ascontiguousarray(positions, dtype=np.int64))
        return self._labels.index_select(0, index.to(self.device, non_blocking=True))

    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Gives images as float32 (B, C, H, W) in [0, 1], channels_last in memory, and labels, int64 (B,)."""
        return unit(self.raw(positions)), self.labels(positions)


def unit(images: Tensor) -> Tensor:
    """Gives uint8 images as float32 in [0, 1], in the same memory format."""
    return images.to(torch.float32).div_(255)
