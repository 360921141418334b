"""Greedy choice the slow and obvious way: the function of every larger set, whole, before each choice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SetFunction = Callable[[list[int]], float]


def facility_location(similar: np.ndarray) -> SetFunction:
    """Σ_i max_{j ∈ S} s_ij."""
    return lambda chosen: float(similar[:, chosen].max(axis=1).sum()) if chosen else 0.0


def graph_cut(similar: np.ndarray, penalty: float) -> SetFunction:
    """Σ_i Σ_{j ∈ S} s_ij - λ Σ_{i, j ∈ S} s_ij."""
    return lambda chosen: float(similar[:, chosen].sum() - penalty * similar[np.ix_(chosen, chosen)].sum())


def saturated_coverage(similar: np.ndarray, saturation: float) -> SetFunction:
    """Σ_i min(Σ_{j ∈ S} s_ij, α Σ_j s_ij); the second sum is cut to a multiple of 2⁻²⁴, as similarities are."""
    most = np.floor(saturation * similar.sum(axis=1) * 2**24) / 2**24
    return lambda chosen: float(np.minimum(similar[:, chosen].sum(axis=1), most).sum())


def greedy(function: SetFunction, size: int, count: int, *, anew: bool) -> tuple[list[int], list[float]]:
    """Gives the choice and what each added; of equal gains the lowest. `anew`: forget the chosen when nothing adds."""
    chosen: list[int] = []
    gains: list[float] = []
    begun = 0
    while len(chosen) < count:
        now = chosen[begun:]
        left = [row for row in range(size) if row not in chosen]
        gain = [function([*now, row]) - function(now) for row in left]
        best = int(np.argmax(gain))
        if anew and gain[best] <= 0:
            begun = len(chosen)
            continue
        chosen.append(left[best])
        gains.append(gain[best])
    return chosen, gains


def farthest_first(vectors: np.ndarray, count: int, first: int) -> list[int]:
    """k-centre: one chosen at a time, the distances to all that were chosen computed from the differences."""
    chosen = [first]
    while len(chosen) < count:
        nearest = [min(float(((x - vectors[c]) ** 2).sum()) for c in chosen) for x in vectors]
        chosen.append(max((row for row in range(len(vectors)) if row not in chosen), key=lambda row: nearest[row]))
    return chosen


def herding(vectors: np.ndarray, count: int) -> list[int]:
    """The example that brings the mean of the chosen nearest to the mean of all."""
    mean = vectors.mean(axis=0)
    chosen: list[int] = []
    while len(chosen) < count:
        left = [row for row in range(len(vectors)) if row not in chosen]
        apart = [float(((vectors[[*chosen, row]].mean(axis=0) - mean) ** 2).sum()) for row in left]
        chosen.append(left[int(np.argmin(apart))])
    return chosen
