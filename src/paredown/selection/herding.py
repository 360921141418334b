"""Herding: each next example brings the mean of the chosen nearest to the mean of all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from paredown.artifacts.uids import ranked
from paredown.neighbors.bounds import full_precision
from paredown.selection.base import AbstractSelector, Estimate
from paredown.selection.candidates import Candidates
from paredown.selection.grid import Grid, in_order

HELD = 4 * 2**30
"""Bytes of vectors that are held; more are read anew for every example that is chosen."""


@dataclass(frozen=True)
class Herding(AbstractSelector):
    """Herding: the example that brings the mean of the chosen nearest to the mean of all, again and again.

    j_{t+1} = argmin_j ‖μ - (Σ_{i ∈ S_t} x_i + x_j) / (t + 1)‖, each example once: the rule of iCaRL (Rebuffi et al.
    2017, algorithm 4) for the herding of Welling 2009 and Chen, Welling, Smola 2010. Where the metric of the embeddings
    is cosine, each vector is first given the length 1, as iCaRL does. Of equally good examples the lowest id.

    One product of all vectors with one vector for each choice, 2·N·D operations at the speed of memory. They cannot be
    made in blocks, as those of k-centre can: every choice turns the vector that all are compared with.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Welling 2009, Herding Dynamical Weights to Learn; Rebuffi et al. 2017, algorithm 4"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        order = ranked(candidates.keys)
        vectors, keys = in_order(candidates, order), candidates.keys[order]
        grid = Grid(vectors, metric=candidates.metric, device=candidates.device, keys=keys, keep=False)
        return order[herded(grid, count)]

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        assert candidates.embeddings is not None
        size, width = candidates.embeddings.shape
        return Estimate(2.0 * size * width * count, 4.0 * size * width, rate=2.5e9)


def herded(grid: Grid, count: int) -> np.ndarray:
    """Gives the places of the chosen in order, int64 (count,).

    With vectors less their mean, the next one minimises ‖v + x‖², v the sum of the chosen: it maximises -2 x·v - ‖x‖².
    The products are made in float32; those that could be the largest, by the bound on its error, again in float64.

    Args:
        grid: the vectors.
        count: how many.
    """
    mean = grid.mean()
    held = _held(grid, mean)
    squares = np.concatenate([((part - mean) ** 2).sum(dim=1).cpu().numpy() for _, part in grid.parts()])
    lengths = np.sqrt(squares)
    total = np.zeros(grid.width)
    chosen = np.empty(count, np.int64)
    for turn in range(count):
        towards = torch.from_numpy(-2 * total).to(grid.device)
        gain = _products(grid, held, towards, mean) - squares
        # What the sum of D products can lose, twice.
        wrong = (grid.width + 4) * 2.0**-23 * float(np.linalg.norm(2 * total)) * lengths + 1e-12 * squares
        gain[chosen[:turn]] = -np.inf
        contenders = np.flatnonzero(gain + wrong >= (gain - wrong).max())
        exact = grid.rows(contenders).cpu().numpy() - mean.cpu().numpy()
        best = int(np.argmax(-(exact * (exact + 2 * total)).sum(axis=1)))
        chosen[turn] = contenders[best]
        total += exact[best]
    return chosen


def _held(grid: Grid, mean: torch.Tensor) -> torch.Tensor | None:
    if grid.size * grid.width * 4 > HELD:
        return None
    held = torch.empty(grid.size, grid.width, dtype=torch.float32, device=grid.device)
    for where, part in grid.parts():
        held[where] = (part - mean).float()
    return held


def _products(grid: Grid, held: torch.Tensor | None, towards: torch.Tensor, mean: torch.Tensor) -> np.ndarray:
    if held is not None:
        with full_precision():
            return torch.mv(held, towards.float()).cpu().numpy().astype(np.float64)
    found = np.empty(grid.size)
    for where, part in grid.parts():
        found[where] = torch.mv(part - mean, towards).cpu().numpy()
    return found
