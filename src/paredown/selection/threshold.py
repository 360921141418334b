"""Keeping what passes a bound or is of some classes: filters, which compose through `within`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paredown.errors import MethodError
from paredown.selection.base import AbstractSelector, Candidates
from paredown.selection.simple import ascending


@dataclass(frozen=True)
class Threshold(AbstractSelector):
    """Threshold: all examples with `at_least` ≤ value ≤ `at_most`; it knows by itself how many these are.

    They are ordered by how far inside the bounds their value lies, the farthest first; of equal ones the smallest id.
    Asked for a count, it gives that many in this order, which goes on beyond the bounds with the nearest to them.

    Args:
        at_least: the lowest value that passes; none when there is no such bound.
        at_most: the highest value that passes; none when there is no such bound.
    """

    at_least: float | None = None
    at_most: float | None = None

    decides: ClassVar[bool] = True

    def __post_init__(self) -> None:
        low, high = self._bounds
        if self.at_least is None and self.at_most is None:
            raise MethodError("Threshold: without a bound everything passes. Give at_least= or at_most=, or both.")
        if not low <= high:
            raise MethodError(
                f"Threshold(at_least={self.at_least}, at_most={self.at_most}): nothing lies between. Swap the two."
            )

    @property
    def _bounds(self) -> tuple[float, float]:
        low = -np.inf if self.at_least is None else self.at_least
        return low, np.inf if self.at_most is None else self.at_most

    def size(self, candidates: Candidates) -> int:
        return int((self._inside(candidates) >= 0).sum())

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return ascending(-self._inside(candidates), candidates.keys)[:count]

    def _inside(self, candidates: Candidates) -> np.ndarray:
        """Gives how far inside the nearer bound each value lies: not negative exactly where it passes."""
        assert candidates.values is not None, "choose() checks what a selector needs"
        sides = []
        if self.at_least is not None:
            sides.append(candidates.values - self.at_least)
        if self.at_most is not None:
            sides.append(self.at_most - candidates.values)
        return np.minimum.reduce(sides)


@dataclass(frozen=True)
class OfClasses(AbstractSelector):
    """Classes: all examples of some classes, by id; it knows by itself how many these are.

    Given as `within=`, it lets another selector choose inside a phase of class-incremental learning. Asked for a count
    that is larger, it goes on with the other classes.

    Args:
        classes: their numbers.
    """

    classes: tuple[int, ...]

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})
    decides: ClassVar[bool] = True
    draws: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.classes or min(self.classes) < 0 or len(set(self.classes)) < len(self.classes):
            raise MethodError(
                f"OfClasses(classes={list(self.classes)}): name at least one class, each once, by its number from 0 up."
            )

    def size(self, candidates: Candidates) -> int:
        return int(self._wanted(candidates).sum())

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return ascending(-self._wanted(candidates).astype(np.float64), candidates.keys)[:count]

    def _wanted(self, candidates: Candidates) -> np.ndarray:
        assert candidates.labels is not None, "choose() checks what a selector needs"
        return np.isin(candidates.labels, self.classes)
