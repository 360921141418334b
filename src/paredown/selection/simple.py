"""The plain selectors: by value, named by the value so that nothing can be misread, and by chance.

There is one ascending order: by value, then by id. `Lowest` reads it from its beginning, `Highest` from its end and
`Window` from a place inside, as in the original (Paul et al. 2021), where the order of ties was left to chance. So the
lowest k and the highest N - k are always the whole. An infinite value stands at its end of the order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paredown.artifacts.uids import ranked
from paredown.errors import MethodError
from paredown.selection.base import AbstractSelector, Candidates


def ascending(values: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Gives positions in the order of their values; ties in the order of their ids, shape (N,)."""
    by_id = ranked(keys)
    return by_id[np.argsort(values[by_id], kind="stable")]


def _values(candidates: Candidates) -> np.ndarray:
    assert candidates.values is not None, "choose() checks what a selector needs"
    return candidates.values


@dataclass(frozen=True)
class Highest(AbstractSelector):
    """Highest: the largest values first; of equal ones the largest id.

    The keep-max rule of Paul, Ganguli, Dziugaite 2021, section 3, for EL2N and GraNd.
    """

    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Paul, Ganguli, Dziugaite 2021, Deep Learning on a Data Diet, section 3"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return ascending(_values(candidates), candidates.keys)[::-1][:count]


@dataclass(frozen=True)
class Lowest(AbstractSelector):
    """Lowest: the smallest values first; of equal ones the smallest id."""

    draws: ClassVar[bool] = False

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return ascending(_values(candidates), candidates.keys)[:count]


@dataclass(frozen=True)
class Window(AbstractSelector):
    """Window: leaves out a share of the smallest values, then takes the next in ascending order.

    With o = ⌊offset · N⌋ it gives places o, o + 1, … of the ascending order. For a fixed count, sliding the offset
    finds where noisy labels begin to hurt (Paul, Ganguli, Dziugaite 2021, section 4).

    Args:
        offset: share of the candidates left out at the low end, in [0, 1); class by class, of each class.
    """

    offset: float = 0.0

    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Paul, Ganguli, Dziugaite 2021, Deep Learning on a Data Diet, section 4"

    def __post_init__(self) -> None:
        if not 0 <= self.offset < 1:
            raise MethodError(
                f"Window(offset={self.offset:g}): not a share to leave out. Use a number from 0 to below 1."
            )

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        # A hair more, so that offset = o / N gives o again in spite of rounding.
        start = math.floor(self.offset * len(candidates) + 1e-6)
        if start + count > len(candidates):
            raise MethodError(
                f"Window(offset={self.offset:g}): {start} of {len(candidates)} candidates are left out, so {count} "
                "cannot be chosen from the rest. Make the offset or the share smaller: together they are at most 1."
            )
        return ascending(_values(candidates), candidates.keys)[start : start + count]


@dataclass(frozen=True)
class HighestMagnitude(AbstractSelector):
    """Highest magnitude: the largest |values| first; of equal ones the largest id. In the code of Paul et al. 2021."""

    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Paul, Ganguli, Dziugaite 2021, Deep Learning on a Data Diet, code only"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return ascending(np.abs(_values(candidates)), candidates.keys)[::-1][:count]


@dataclass(frozen=True)
class LowestMagnitude(AbstractSelector):
    """Lowest magnitude: the smallest |values| first; of equal ones the smallest id. In the code of Paul et al. 2021."""

    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Paul, Ganguli, Dziugaite 2021, Deep Learning on a Data Diet, code only"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return ascending(np.abs(_values(candidates)), candidates.keys)[:count]


@dataclass(frozen=True)
class Random(AbstractSelector):
    """Random: every set of `count` is equally likely. The baseline that no report lacks, by class or not.

    Args:
        legacy_seed: draw as the original does, with numpy's legacy `RandomState(legacy_seed).choice(N, count)` over the
            candidates in the order of their ids (run r of the original: 4426 + 424242 · r), whatever the seed of the
            selection; class by class, every class is drawn with that seed.
    """

    legacy_seed: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if self.legacy_seed is not None and not 0 <= self.legacy_seed < 2**32:
            raise MethodError(
                f"Random(legacy_seed={self.legacy_seed}): numpy's legacy generator takes 0 to 2³² - 1. Use such a seed."
            )

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        size = len(candidates)
        if self.legacy_seed is None:
            drawn = rng.permutation(size)[:count]
        else:
            drawn = np.random.RandomState(self.legacy_seed).choice(size, count, replace=False)
        return ranked(candidates.keys)[drawn]
