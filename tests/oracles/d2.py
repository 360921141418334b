"""The sampler of D2's published code, slow and obvious: dense matrices, loops over edges, a search for every choice.

It follows the published mechanics also in what they cost: distances are computed twice, weights fill an N×N matrix, and
every step looks at every node. `benchmarks/d2.py` measures against it.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import kneighbors_graph


def connected(features: np.ndarray, k: int, *, gamma: float, power: int = 1) -> np.ndarray:
    """Gives the dense matrix of weights exp(-γ d^p), 0 where neither of two is among the other's k nearest."""
    distance = pairwise_distances(features)
    near = kneighbors_graph(features, k).tocoo()
    weight = np.zeros(distance.shape)
    for i, j in zip(near.row, near.col, strict=True):
        weight[i, j] = weight[j, i] = np.exp(-gamma * distance[i, j].item() ** power)
    return weight


def density_of(weight: np.ndarray, importance: np.ndarray, forward: str = "sum", least: float = 1e-7) -> np.ndarray:
    """Gives ρ after the forward pass, float64."""
    density = np.zeros(len(weight))
    for i in range(len(weight)):
        near = np.flatnonzero(weight[i] > 0)
        if forward == "none":
            density[i] = weight[i, near].mean() if len(near) else 0.0
            continue
        message = (weight[i, near] * np.maximum(importance[near], least)).sum()
        density[i] = message * importance[i] if forward == "product" else message + importance[i]
    return density


def selected(weight: np.ndarray, density: np.ndarray, count: int, *, taken: np.ndarray | None = None) -> np.ndarray:
    """Gives `count` nodes in the order of choice.

    Args:
        weight: the dense matrix; positive where there is an edge, from row to column.
        density: ρ.
        count: how many.
        taken: what of its density a chosen row takes from each column; all of it where none is given.
    """
    density = density.astype(np.float64).copy()
    chosen: list[int] = []
    while len(chosen) < count:
        best = int(np.argmax(density))
        near = np.flatnonzero(weight[best] > 0)
        density[near] -= density[best] * (1.0 if taken is None else taken[best, near])
        chosen.append(best)
        density[chosen] = min(density) - 1  # Python's min over the array, at every step, as in the original
    return np.array(chosen)


def published(
    features: np.ndarray,
    importance: np.ndarray,
    count: int,
    *,
    k: int,
    gamma: float,
    forward: str = "sum",
    weighted: bool = True,
) -> np.ndarray:
    """Gives what the published sampler chooses, in order."""
    weight = connected(features, k, gamma=gamma if forward == "none" else 1.0)
    density = density_of(weight, importance, forward)
    # exp(-γ_r d) from exp(-d)
    taken = weight ** (1.0 if forward == "none" else gamma) if weighted else None
    return selected(weight, density, count, taken=taken)
