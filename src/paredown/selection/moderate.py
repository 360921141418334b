"""Moderate coresets: examples neither near the centre of their class nor far from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from paredown.artifacts.uids import ranked
from paredown.neighbors.base import refuse_bad_vectors, slices
from paredown.selection.base import AbstractSelector, Estimate
from paredown.selection.candidates import Candidates
from paredown.selection.grid import BLOCK, directed, in_order

Center = Literal["median", "mean"]

HELD = 2**29
"""Bytes of vectors of one class that are held at a time; a larger class is read in several stretches of columns."""


@dataclass(frozen=True)
class Moderate(AbstractSelector):
    """Moderate: the examples whose distance to the centre of their class is in the middle of all distances.

    With all N distances in ascending order, ties by id, the K kept are those at places ⌊(N - K) / 2⌋ and the K - 1
    that follow, the median of distances first and then outwards. Xia et al. 2023, section 3, keeps the score bits next
    to the median in the same way. The `moderate` baseline of D2 pruning is the other way round: it keeps the two tails
    that this one leaves out (its `moderate` at a share r is the complement of this one at 1 - r).

    Without labels all examples are one class. Where the metric of the embeddings is cosine, each vector is first given
    the length 1. Class by class (`by_class=True`) each class keeps its own middle.

    Args:
        center: of each class, in each dimension: "median", or "mean", which is the paper's.
    """

    center: Center = "median"

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"labels"})
    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Xia et al. 2023, Moderate Coreset: A Universal Method of Data Selection"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        order = ranked(candidates.keys)
        vectors, metric = in_order(candidates, order), candidates.metric
        refuse_bad_vectors(vectors, metric=metric, keys=candidates.keys[order])
        labels = None if candidates.labels is None else candidates.labels[order]
        distances = from_center(vectors, labels, center=self.center, metric=metric)
        return order[np.argsort(distances, kind="stable")[outwards(len(order))[:count]]]

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        assert candidates.embeddings is not None
        size, width = candidates.embeddings.shape
        return Estimate(40.0 * size * width, min(2.0 * HELD, 16.0 * size * width), rate=1e9)


def outwards(size: int) -> np.ndarray:
    """Gives the places of a row from its middle outwards: the first K are the K consecutive ones from ⌊(N - K) / 2⌋."""
    turn = np.arange(size)
    # From K = 1 on, the window opens below first where N is odd, and above first where it is even.
    side = np.where(turn % 2 == size % 2, -1, 1)
    places: np.ndarray = (size - 1) // 2 + side * ((turn + 1) // 2)
    return places


def from_center(
    vectors: Any, labels: np.ndarray | None = None, *, center: Center = "median", metric: str = "euclidean"
) -> np.ndarray:
    """Gives the Euclidean distance of each vector to the centre of its class, float64 (N,).

    Args:
        vectors: (N, D), an array or rows that are read as they are indexed.
        labels: class numbers (N,); without, all are one class.
        center: the median of each dimension, or its mean.
        metric: "cosine" gives each vector the length 1 first.
    """
    distances = np.empty(len(vectors))
    members = np.zeros(len(vectors), np.int64) if labels is None else labels
    for label in np.unique(members):
        rows = np.flatnonzero(members == label)
        middle = _mean(vectors, rows, metric) if center == "mean" else _median(vectors, rows, metric)
        for where, part in _parts(vectors, rows, metric):
            distances[rows[where]] = np.sqrt(((part - middle) ** 2).sum(axis=1))
    return distances


def _parts(vectors: Any, rows: np.ndarray, metric: str) -> Iterator[tuple[slice, np.ndarray]]:
    for where in slices(len(rows), max(1, BLOCK // vectors.shape[1])):
        yield where, directed(np.asarray(vectors[rows[where]]), metric)


def _mean(vectors: Any, rows: np.ndarray, metric: str) -> np.ndarray:
    total = np.zeros(vectors.shape[1])
    for _, part in _parts(vectors, rows, metric):
        total += part.sum(axis=0)
    return total / len(rows)


def _median(vectors: Any, rows: np.ndarray, metric: str) -> np.ndarray:
    width = vectors.shape[1]
    median = np.empty(width)
    for columns in slices(width, max(1, HELD // (8 * len(rows)))):
        held = np.empty((columns.stop - columns.start, len(rows)))
        for where, part in _parts(vectors, rows, metric):
            held[:, where] = part[:, columns].T
        median[columns] = np.median(held, axis=1, overwrite_input=True)
    return median
