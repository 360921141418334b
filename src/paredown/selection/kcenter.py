"""k-centre: each next example is the one farthest from those chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from paredown.artifacts.uids import ranked
from paredown.selection.base import AbstractSelector, Estimate
from paredown.selection.candidates import Candidates
from paredown.selection.grid import Grid, in_order

NARROWEST, WIDEST = 64, 2048
"""How many of the farthest vectors are looked at together."""


@dataclass(frozen=True)
class KCenter(AbstractSelector):
    """k-centre: the example farthest from the chosen, again and again; at most twice as far as the best centres.

    The greedy algorithm of Gonzalez 1985 for min over S of max_i min_{j ∈ S} d(i, j), which Sener, Savarese 2018
    (equation 4, algorithm 1) use as a coreset. d is the metric of the embeddings. Equally far examples come in the
    order of their ids; examples whose vector stands among the chosen already come last, by id.

    Args:
        start: the first centre: "mean", the example nearest to the mean of all; "first", that of the lowest id;
            "random", one drawn.
    """

    start: Literal["mean", "first", "random"] = "mean"

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    paper: ClassVar[str] = "Sener, Savarese 2018, Active Learning for Convolutional Neural Networks, algorithm 1"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        order = ranked(candidates.keys)
        vectors = in_order(candidates, order)
        grid = Grid(vectors, metric=candidates.metric, device=candidates.device, keys=candidates.keys[order])
        if self.start == "mean":
            first = int(np.argmin(grid.squares - 2 * grid.mean_products()))
        else:
            first = int(rng.integers(len(grid))) if self.start == "random" else 0
        return order[farthest_first(grid, count, first)]

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        assert candidates.embeddings is not None
        size, width = candidates.embeddings.shape
        return Estimate(2.5 * size * width * count, 4.0 * size * width + 200e6, rate=40e9)


def farthest_first(grid: Grid, count: int, first: int) -> np.ndarray:
    """Gives the greedy centres in order, int64 (count,).

    Only chosen centres are compared with all vectors, and many of them in one product of matrices: among the vectors
    that are farthest away now, the next centres are found by the distances between these alone, for as long as they are
    farther than any other vector was at the beginning, because a vector can only come nearer.

    Args:
        grid: the vectors.
        count: how many centres.
        first: the first of them.
    """
    chosen = np.array([first])
    distance = np.full(len(grid), np.inf)  # squared, to the nearest centre; -1 for a centre
    _update(distance, grid, chosen)
    width = NARROWEST
    while len(chosen) < count:
        inside, beyond = _farthest(distance, min(width, len(grid)))
        if distance[inside].max() <= 0:  # whatever is left stands twice
            rest = np.flatnonzero(distance == 0)[: count - len(chosen)]
            return np.concatenate([chosen, rest])
        found = _among(grid, inside, distance[inside], beyond, count - len(chosen))
        chosen = np.concatenate([chosen, found])
        if len(chosen) < count:
            _update(distance, grid, found)
        # As much work within the next block as its centres are likely to make outside it.
        width = int(np.clip((len(found) * len(grid)) ** 0.5, NARROWEST, WIDEST))
    return chosen


def _farthest(distance: np.ndarray, width: int) -> tuple[np.ndarray, tuple[float, int]]:
    """Gives the places of the farthest vectors, ascending, and distance and place of the first that is not among them.

    Of equally distant ones the lowest places are farthest.
    """
    size = len(distance)
    if width == size:
        return np.arange(size), (-2.0, size)
    edge = np.partition(distance, size - width)[size - width]
    inside = np.flatnonzero(distance > edge)
    at_edge = np.flatnonzero(distance == edge)
    taken = width - len(inside)
    inside = np.sort(np.concatenate([inside, at_edge[:taken]]))
    if taken < len(at_edge):
        return inside, (float(edge), int(at_edge[taken]))
    nearer = np.where(distance < edge, distance, -2.0)
    place = int(nearer.argmax())
    return inside, (float(nearer[place]), place)


def _among(grid: Grid, inside: np.ndarray, distance: np.ndarray, beyond: tuple[float, int], most: int) -> np.ndarray:
    rows, squares = grid.rows(inside), grid.squares[inside]
    between = (rows @ rows.T).cpu().numpy()
    between *= -2
    between += squares
    between += squares[:, None]
    found: list[int] = []
    while len(found) < most:
        place = int(distance.argmax())
        if (-distance[place], inside[place]) > (-beyond[0], beyond[1]):
            break
        found.append(place)
        np.minimum(distance, between[place], out=distance)
        distance[place] = -1
        if len(found) == len(inside):
            break
    return inside[found]


def _update(distance: np.ndarray, grid: Grid, centres: np.ndarray) -> None:
    rows = grid.rows(centres)
    halves = torch.from_numpy(grid.squares[centres] / 2).to(rows.device)
    for where, part in grid.parts(len(centres)):
        # |x|² + |c|² - 2 x·c, of which |x|² is the same for every centre
        nearest = torch.addmm(halves, part, rows.T, alpha=-1).amin(dim=1).cpu().numpy()
        distance[where] = np.minimum(distance[where], 2 * nearest + grid.squares[where])
    distance[centres] = -1
