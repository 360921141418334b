"""`Feed`: the batches of a training, shuffled, augmented and on the device.

Every draw is a function of the seed and of the epoch or step, so that nothing has to be saved to go on after an
interruption.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from paredown.data.augment import AbstractAugmentation
from paredown.data.loader import WHOLE, AbstractInputs, batches, epoch_order
from paredown.rng import key
from paredown.training.begin import Examples
from paredown.training.devices import Place
from paredown.training.mixing import Mixing, Mixture
from paredown.training.training import Training


class Feed:
    """Augmented batches on the device.

    A batch is named by rows: 0, 1, … are the chosen examples of the data, and those of extra data are counted on from
    there. In a batch the extra ones stand last.

    Args:
        inputs: the examples; of the pool of both where there are extra data.
        examples: which of them, and how much each counts.
        training: how many make a batch, and how many of those are extra.
        augmentation: what happens to them.
        seed: of order and augmentation.
        place: where they are wanted.
    """

    def __init__(
        self,
        inputs: AbstractInputs,
        examples: Examples,
        training: Training,
        augmentation: AbstractAugmentation | None,
        *,
        seed: int,
        place: Place,
    ) -> None:
        self.inputs, self.augmentation = inputs, augmentation
        self.positions = examples.positions
        """Of the data's own examples among the inputs."""
        self.training, self.seed, self.place = training, seed, place
        both, self._mixture = examples, None
        if examples.extra is not None:
            self._mixture = Mixture(training.mixing or Mixing(), len(examples.extra.positions), seed=seed)
            both = examples.joined()
        self._positions = both.positions
        self.weights = None if both.weights is None else torch.from_numpy(both.weights).to(place.device)

    def epoch(self, number: int) -> Iterator[np.ndarray]:
        """Gives the batches of an epoch as rows; they depend on seed and epoch alone."""
        order = epoch_order(np.arange(len(self.positions)), seed=self.seed, epoch=number)
        parts = batches(order, self.training.batch_size, drop_last=self.training.drop_last)
        return parts if self._mixture is None else self._mixture.epoch(number, order, [len(part) for part in parts])

    def whole(self, parts: list[np.ndarray], first: int, *, looked_at: slice = WHOLE) -> Iterator[Tensor]:
        """Gives the examples of consecutive batches, augmented under the number of the first step on each.

        Args:
            parts: the batches, as rows.
            first: the first step on the first of them.
            looked_at: the others of a batch may hold anything; see `AbstractInputs.ahead`.
        """
        apart = self.training.objective.replays
        numbers = range(first, first + apart * len(parts), apart)
        numbered = (
            (self._positions[rows], key(self.seed, "augment", n)) for rows, n in zip(parts, numbers, strict=True)
        )
        return self.inputs.ahead(numbered, self.augmentation, looked_at)

    @property
    def mine(self) -> slice:
        """This process's share of every batch."""
        return slice(self.place.rank, None, self.place.processes)

    def own(self, rows: np.ndarray) -> int:
        """Gives how many of this process's share of a batch are the data's own; they are the first of it."""
        return len(range(*self.mine.indices(int((rows < len(self.positions)).sum()))))

    def share(self, rows: np.ndarray, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Gives this process's share of a batch: examples, labels, rows, weights.

        Random numbers are drawn for the whole batch in every process, so that their number changes no example.
        """
        y = self.inputs.labels(self._positions[rows])
        where = torch.from_numpy(rows).to(self.place.device, non_blocking=True)
        if self.place.processes > 1:
            x, y, where = x[self.mine], y[self.mine], where[self.mine]
        return x, y, where, None if self.weights is None else self.weights[where]
