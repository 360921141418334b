"""Nearest neighbours one pair at a time, in float64: slow and obvious."""

from __future__ import annotations

import numpy as np


def distance(x: np.ndarray, y: np.ndarray, metric: str) -> float:
    """Gives the distance of two vectors."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    if metric == "euclidean":
        return float(np.sqrt(((x - y) ** 2).sum()))
    return float(((x / np.sqrt((x * x).sum()) - y / np.sqrt((y * y).sum())) ** 2).sum() / 2)


def nearest(vectors: np.ndarray, k: int, metric: str = "euclidean") -> tuple[np.ndarray, np.ndarray]:
    """Gives the k nearest others of each vector and their distances; ties by position."""
    k = min(k, len(vectors) - 1)
    positions, distances = np.empty((len(vectors), k), np.int64), np.empty((len(vectors), k))
    for i, x in enumerate(vectors):
        others = sorted((distance(x, y, metric), j) for j, y in enumerate(vectors) if j != i)[:k]
        positions[i], distances[i] = [j for _, j in others], [d for d, _ in others]
    return positions, distances
