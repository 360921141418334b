"""How far vectors lie from the nearest of some others: how well a coreset covers what it leaves out."""

from __future__ import annotations

from typing import Any

import numpy as np

from paredown.artifacts.shards import blocks
from paredown.data.device import choose
from paredown.errors import MethodError
from paredown.neighbors.base import refuse_bad_vectors
from paredown.neighbors.exact import Exact

QUERIES = 16_384
"""Vectors that are compared with the chosen at a time."""


def to_nearest(chosen: Any, others: Any, *, metric: str = "euclidean", device: str = "cpu") -> np.ndarray:
    """Gives the distance of each of some vectors to the nearest chosen one, float64 (M,), in blocks.

    2·K·M·D operations; a distance is computed from the differences of coordinates.

    Args:
        chosen: (K, D), an array or rows that are read as they are indexed.
        others: (M, D), the same.
        metric: "euclidean" or "cosine".
        device: where to compute.

    Raises:
        MethodError: nothing is chosen, or a vector has no distance.
    """
    if not len(chosen):
        raise MethodError("Nothing is chosen, so nothing is near it. Choose one example at least.")
    for vectors in (chosen, others):
        refuse_bad_vectors(vectors, metric=metric)
    index = Exact()
    state = index.prepare(chosen, metric=metric, device=choose(device), block_mb=256, folder=None)
    distances = np.empty(len(others))
    for start, part in blocks(others, size=QUERIES):
        if len(part):
            distances[start : start + len(part)] = index.nearest(state, part, 1)[1][:, 0]
    return distances


def aucpr(chosen: Any, rest: Any, *, metric: str = "euclidean", device: str = "cpu") -> float:
    """Gives AUCpr, the mean distance of what was left out to the nearest chosen: 1/M Σ_i min_{j ∈ S} d(i, j).

    Zheng et al. 2023, section 3; lower covers better, 0 where nothing was left out.

    Args:
        chosen: the vectors of the coreset S, (K, D).
        rest: those of the examples outside it, (M, D).
        metric, device: as in `to_nearest`.
    """
    return float(to_nearest(chosen, rest, metric=metric, device=device).mean()) if len(rest) else 0.0
