"""Batches of real images as the networks of a distillation take them: whitened, never augmented, labels centred."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from paredown.data.loader import epoch_order, runs
from paredown.distillation.base import Task
from paredown.distillation.labels import centred
from paredown.models.build import AbstractNetwork
from paredown.training.devices import Place

RESIDENT = 2 << 30
"""Bytes that whitened images may take in memory, or half of what a GPU has free; more are whitened batch by batch."""
BLOCK = 1024


class RealImages:
    """The images that are learnt from, in an endless shuffled order that a batch may cut anywhere.

    Args:
        task: what is to be distilled.
        rows: which of its rows are learnt from.
        network: its first layer takes pixels to where the images are learnt.
        batch_size: of a batch; all rows where there are fewer.
        place: where batches are wanted.
        workers: threads that decode what is not in memory.
    """

    def __init__(
        self, task: Task, rows: np.ndarray, network: AbstractNetwork, *, batch_size: int, place: Place, workers: int = 0
    ) -> None:
        self.rows, self.seed, self.size = rows, task.seed, min(batch_size, len(rows))
        self.classes = len(task.data.classes)
        self._orders: dict[int, np.ndarray] = {}
        self._network, self._place = network, place
        self._inputs = network.inputs(task.data, place.device, workers)
        self._labels = torch.from_numpy(task.data.labels).to(place.device)
        self._resident = self._whitened() if self._fits(task.data.shape) else None

    def rows_of(self, step: int) -> np.ndarray:
        """Gives where the images of a step stand among `rows`, int64 (B,); each pass has an order of its own."""
        epoch, begin = divmod(step * self.size, len(self.rows))
        where = self._order(epoch)[begin : begin + self.size]
        if len(where) == self.size:
            return where
        return np.concatenate([where, self._order(epoch + 1)[: self.size - len(where)]])

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Gives the images of a step, (B, C, H, W), their centred labels, (B, classes), and their rows of the data."""
        where = self.rows_of(step)
        rows = torch.from_numpy(self.rows[where]).to(self._place.device, non_blocking=True)
        labels = centred(self._labels[rows], self.classes)
        if self._resident is None:
            return self._enter(self.rows[where]), labels, rows
        index = torch.from_numpy(where).to(self._place.device, non_blocking=True)
        return self._resident.index_select(0, index).permute(0, 3, 1, 2), labels, rows

    @torch.no_grad()
    def enter(self, rows: np.ndarray) -> Tensor:
        """Gives rows of the data in the space in which images are learnt, float32 (B, C, H, W)."""
        images, _ = self._inputs.batch(rows)
        return self._network.first(images)  # type: ignore[operator]

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:  # two at most: a batch may be cut
            self._orders = {epoch: epoch_order(np.arange(len(self.rows)), seed=self.seed, epoch=epoch)} | {
                number: order for number, order in self._orders.items() if number == epoch - 1
            }
        return self._orders[epoch]

    def _enter(self, rows: np.ndarray) -> Tensor:
        entered = self.enter(rows)
        kept = entered.bfloat16() if self._place.bfloat16 else entered
        return kept.contiguous(memory_format=torch.channels_last)

    def _fits(self, shape: tuple[int, ...]) -> bool:
        size = len(self.rows) * int(np.prod(shape)) * (2 if self._place.bfloat16 else 4)
        if self._place.device.type == "cuda":
            return size <= torch.cuda.mem_get_info(self._place.device)[0] // 2
        return size <= RESIDENT

    def _whitened(self) -> Tensor:
        whole: Tensor | None = None
        for part in runs(len(self.rows), BLOCK):
            block = self._enter(self.rows[part]).permute(0, 2, 3, 1)
            if whole is None:
                whole = block.new_empty(len(self.rows), *block.shape[1:])
            whole[part[0] : part[-1] + 1] = block
        assert whole is not None
        return whole
