"""`Mixing`: batches of two data sets, such as real images and generated ones, each with its share of every batch.

Which examples make a batch is a function of the seed, the epoch and the batch's place in it, so that nothing has to be
saved to go on after an interruption.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError
from paredown.method import Method
from paredown.rng import stream


@dataclass(frozen=True)
class Mixing(Method):
    """How more data are mixed into the batches of a training, as Gowal et al. 2021 do with generated images.

    Of a batch of B examples B · `share`, rounded to a whole number, are extra ones; an incomplete last batch is shared
    out by the same rule. An epoch has as many batches as the data alone would make, so it shows about 1 - `share` of
    them: consecutive pieces of a new order.

    Args:
        share: of every batch, that of the extra data; above 0 and below 1.
        draws: "in-turn" goes through the extra data in an order of chance, over as many epochs as that takes, and then
            begins again in another: each is seen before one is seen twice. "with-replacement" draws each anew, so that
            some are seen often while others wait.
    """

    kind: ClassVar[str] = "mixing"

    share: float = 0.8
    draws: Literal["in-turn", "with-replacement"] = "in-turn"

    def __post_init__(self) -> None:
        if self.draws not in ("in-turn", "with-replacement"):
            raise MethodError(f"Mixing(draws={self.draws!r}): not a way to draw. Use in-turn or with-replacement.")
        if not 0 < self.share < 1:
            advice = "Leave extra out." if self.share <= 0 else "To train on the extra data alone, give them as data=."
            raise MethodError(
                f"Mixing(share={self.share:g}): the share of the extra data lies above 0 and below 1. {advice}"
            )

    def extra_of(self, size: int) -> int:
        """Gives how many of a batch are extra, rounded half up."""
        return math.floor(size * self.share + 0.5)

    def refuse_one_sided(self, batch: int) -> None:
        """Raises MethodError where a whole batch would have examples of one side only."""
        extra = self.extra_of(batch)
        if not 0 < extra < batch:
            none = "extra" if not extra else "of the data itself"
            raise MethodError(
                f"Mixing(share={self.share:g}): of a batch of {batch} no example would be {none}. Take larger batches, "
                "or a share nearer to 0.5."
            )


@dataclass(frozen=True)
class Extra:
    """More data for a training.

    Args:
        data: the examples, in form and classes like those that they are mixed with.
        positions: train on these rows only; none takes all.
        weights: how much each of those rows counts; they are scaled to a mean of 1.
    """

    data: LearnableDataset
    positions: np.ndarray | None = None
    weights: np.ndarray | None = None


class Mixture:
    """The batches of a training on two data sets, as rows: first those of the data, then the extra ones.

    Args:
        mixing: how many of a batch are extra, and how they are drawn.
        extra: how many extra examples there are.
        seed: of what is drawn.
    """

    def __init__(self, mixing: Mixing, extra: int, *, seed: int) -> None:
        self.mixing, self.extra, self.seed = mixing, extra, seed
        self._number, self._order = -1, np.empty(0, np.int64)

    def epoch(self, number: int, order: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
        """Gives the batches of an epoch; each has its rows of the data before its extra ones.

        Args:
            number: of the epoch, from 0.
            order: the rows of the data in the order of this epoch.
            sizes: of the batches; the same in every epoch.
        """
        counts = [self.mixing.extra_of(size) for size in sizes]
        own, drawn = 0, number * sum(counts)
        for place, (size, count) in enumerate(zip(sizes, counts, strict=True)):
            chosen = order[own : own + size - count]
            if self.mixing.draws == "in-turn":
                more = self._in_turn(drawn, count)
            else:
                more = stream(self.seed, "extra", number, place).integers(0, self.extra, count)
            own, drawn = own + size - count, drawn + count
            yield np.concatenate([chosen, len(order) + more])

    def _in_turn(self, drawn: int, count: int) -> np.ndarray:
        """Gives the extra rows that follow after so many have been drawn, over the end of a cycle if need be."""
        rows = []
        while count:
            cycle, place = divmod(drawn, self.extra)
            rows.append(self._cycle(cycle)[place : place + count])
            drawn, count = drawn + len(rows[-1]), count - len(rows[-1])
        return np.concatenate(rows) if rows else np.empty(0, np.int64)

    def _cycle(self, number: int) -> np.ndarray:
        # A cycle through millions lasts for many epochs, so its order is kept.
        if number != self._number:
            self._number, self._order = number, stream(self.seed, "extra", number).permutation(self.extra)
        return self._order
