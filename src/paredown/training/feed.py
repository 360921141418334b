"""`Feed`: the batches of a training, shuffled, augmented and on the device.

Every draw is a function of the seed and of the epoch or step, so that nothing has to be saved to go on after an
interruption.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from paredown.data.augment import Augmentation
from paredown.data.loader import WHOLE, AbstractInputs, batches, epoch_order
from paredown.rng import key
from paredown.training.begin import Examples
from paredown.training.devices import Place
from paredown.training.training import Training


class Feed:
    """Augmented batches on the device.

    Args:
        inputs: the examples.
        examples: which of them, and how much each counts.
        training: how many make a batch.
        augmentation: what happens to them.
        seed: of order and augmentation.
        place: where they are wanted.
    """

    def __init__(
        self,
        inputs: AbstractInputs,
        examples: Examples,
        training: Training,
        augmentation: Augmentation | None,
        *,
        seed: int,
        place: Place,
    ) -> None:
        self.inputs, self.augmentation = inputs, augmentation
        self.positions = examples.positions
        self.weights = None if examples.weights is None else torch.from_numpy(examples.weights).to(place.device)
        self.training, self.seed, self.place = training, seed, place

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Gives the batches of an epoch as rows of the chosen examples; their order depends on seed and epoch alone."""
        order = epoch_order(np.arange(len(self.positions)), seed=self.seed, epoch=number)
        return batches(order, self.training.batch_size, drop_last=self.training.drop_last)

    def whole(self, parts: list[np.ndarray], first: int, *, looked_at: slice = WHOLE) -> Iterator[Tensor]:
        """Gives the examples of consecutive batches, augmented under the numbers from `first` on.

        Args:
            parts: the batches, as rows of the chosen examples.
            first: the number of the first.
            looked_at: the others of a batch may hold anything; see `AbstractInputs.ahead`.
        """
        numbered = ((self.positions[rows], key(self.seed, "augment", first + n)) for n, rows in enumerate(parts))
        return self.inputs.ahead(numbered, self.augmentation, looked_at)

    @property
    def mine(self) -> slice:
        """This process's share of every batch."""
        return slice(self.place.rank, None, self.place.processes)

    def share(self, rows: np.ndarray, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Gives this process's share of a batch: examples, labels, rows, weights.

        Random numbers are drawn for the whole batch in every process, so that their number changes no example.
        """
        y = self.inputs.labels(self.positions[rows])
        where = torch.from_numpy(rows).to(self.place.device, non_blocking=True)
        if self.place.processes > 1:
            x, y, where = x[self.mine], y[self.mine], where[self.mine]
        return x, y, where, None if self.weights is None else self.weights[where]
