"""CCS: as many from each band of scores, so that easy and hard examples are both there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.errors import MethodError
from paredown.selection.base import AbstractSelector, Candidates, Choice
from paredown.selection.bins import Budget, extra_needs, members_of, picked, turns_of
from paredown.selection.simple import Random


@dataclass(frozen=True)
class Ccs(AbstractSelector):
    """CCS: coverage-centric selection, evenly from strata of the score (Zheng, Liu, Lai, Prakash 2023, algorithm 1).

    The range of the score is cut into `strata` intervals of equal width. Each gets the same number, small strata are
    taken whole and what they cannot use goes to the larger ones; inside a stratum the examples are drawn by chance, or
    by any other selector. Strata take turns, the largest first, so that each beginning is the allocation of that
    smaller count. The answer carries the stratum of each example, 0 for the lowest scores.

    The paper first leaves out the share β of the hardest examples, which may be mislabelled. Here that is a selection
    of its own, given as `within=`: for AUM, `select("highest", scores=aum, fraction=1 - beta)`.

    A score that is the same for all makes one stratum. Scores of fewer values than strata leave some strata empty. The
    direction of the score does not matter.

    Args:
        strata: how many, k in the paper.
        picker: what chooses inside a stratum; it sees the candidates of that stratum alone. With D2 or k-centre these
            are the stratified modes of D2's published code.
        budget: as in `Bins`; the paper's is "uniform".
        compat: "paper", where the highest score belongs to the last stratum. "published" computes the limits as the
            code does, in float32 and with a last one of 1.0001 times the highest score: where that score is 0 or less
            the best are in no stratum. The code never chooses them; here they come when all others are gone.

    Raises:
        MethodError: no stratum, or scores that are infinite.
    """

    strata: int = 50
    picker: AbstractSelector = Random()  # noqa: RUF009  (frozen)
    budget: Budget = "uniform"
    compat: Literal["paper", "published"] = "paper"

    paper: ClassVar[str] = "Zheng, Liu, Lai, Prakash 2023, Coverage-centric Coreset Selection, algorithm 1"

    def __post_init__(self) -> None:
        if self.strata < 1:
            raise MethodError(f"Ccs(strata={self.strata}): scores cannot be cut into none. Use 1 or more.")

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The score, and what the picker and the budget need."""
        return frozenset({"values"}) | self.picker.needs | extra_needs(self.budget)

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """What the picker uses."""
        return self.picker.uses

    @property
    def either(self) -> frozenset[str]:  # type: ignore[override]
        """Of what the picker needs one at least."""
        return self.picker.either

    @property
    def nested(self) -> bool:
        return self.picker.nested and self.budget != "coverage"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> Choice:
        values = candidates.values
        assert values is not None, "choose() checks what a selector needs"
        if not np.isfinite(values).all():
            raise MethodError(
                f"Ccs(strata={self.strata}): a score is infinite, so its range has no strata of equal width. "
                "Use a score that is finite, such as forgetting with never_learned='hardest'."
            )
        stratum = equal_width(values, self.strata) if self.compat == "paper" else as_published(values, self.strata)
        members, seed = members_of(stratum, self.strata + 1), int(rng.integers(2**62))
        left_out = len(members[-1])
        inside = min(count, len(candidates) - left_out)
        turn = turns_of(self.budget, candidates, members[:-1], self.picker, inside, seed)
        turn = np.concatenate([turn, np.full(count - inside, self.strata)])
        return picked(candidates, members, turn, self.picker, seed)


def equal_width(values: np.ndarray, strata: int) -> np.ndarray:
    """Gives the stratum of each value, int64, 0 to strata - 1; a limit belongs to the stratum above it, but the last.

    >>> equal_width(np.array([0.0, 1.0, 5.0, 9.9, 10.0]), 10).tolist()
    [0, 1, 5, 9, 9]
    """
    wide = np.asarray(values, dtype=np.float64)
    low, high = wide.min(), wide.max()
    if low == high:
        return np.zeros(len(wide), dtype=np.int64)
    # Multiplied first: whole numbers that stand on a limit then stay there.
    return np.minimum(((wide - low) * strata / (high - low)).astype(np.int64), strata - 1)


def as_published(values: np.ndarray, strata: int) -> np.ndarray:
    """Gives the stratum of each value as the published code does; `strata` for those that are in none."""
    scores = np.asarray(values, dtype=np.float32)
    low, high = scores.min(), scores.max() * np.float32(1.0001)
    limits = low + np.arange(strata + 1, dtype=np.float32) * ((high - low) / np.float32(strata))
    # Beyond the last limit there is no stratum; a constant score of 0 or less has none at all.
    return np.minimum(np.searchsorted(limits, scores, side="right") - 1, strata).astype(np.int64)
