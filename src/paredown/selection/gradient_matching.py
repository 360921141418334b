"""GRAD-MATCH: few gradients with weights whose sum comes near to the sum of all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from paredown.compiled import compiled
from paredown.errors import MethodError
from paredown.estimate import Estimate
from paredown.neighbors.products import inner, total
from paredown.selection.base import AbstractSelector, Candidates, Choice
from paredown.selection.last_layer import gradients

LARGEST = 4 * 2**30
"""Bytes that the products of the chosen and their factorisation may take: 16,384 chosen."""


@dataclass(frozen=True)
class GradMatch(AbstractSelector):
    """GRAD-MATCH: orthogonal matching pursuit of the sum of the last layer's gradients.

    Looks for S and w ≥ 0 that minimise ‖Σ_i g_i - Σ_{j ∈ S} w_j g_j‖² + λ‖w‖². Each pick is the gradient with the
    largest inner product with what is still missing, after which the weights are fitted anew. Killamsetty et al. 2021,
    ICML, algorithm 1 and equation 5. An example without which the sum is matched as well gets weight 0; the weights
    belong to the count, the order does not. Meant class by class, as in the paper.

    2·n·C·F operations a pick for n candidates, C classes and F features, and count³/3 steps for all fits; 16·count²
    bytes (of a class, where it goes class by class), above 4 GiB of which it refuses.

    Args:
        ridge: λ, above 0, in the unit of a squared norm of a gradient; more of it evens out the weights.
    """

    ridge: float = 0.5

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    draws: ClassVar[bool] = False
    paper: ClassVar[str] = (
        "Killamsetty et al. 2021, GRAD-MATCH: Gradient Matching based Data Subset Selection for Efficient Deep Model "
        "Training"
    )

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise MethodError(
                f"GradMatch(ridge={self.ridge:g}): equal gradients have no weights of their own without it. "
                "Use a number above 0."
            )

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> Choice:
        if 16 * count**2 > LARGEST:
            raise MethodError(
                f"GradMatch: fitting {count:,} weights takes {16 * count**2 / 2**30:.0f} GiB, and at most "
                f"{LARGEST / 2**30:.0f} are used. Choose class by class (by_class=True), or fewer."
            )
        given = gradients("GradMatch", candidates)
        whole = given.total()
        towards = given.along(whole)
        free = np.ones(len(given), bool)
        fit = NonNegative(count, self.ridge)
        picks, missing = np.empty(count, np.int64), whole
        # Both factors of the picked, in float64.
        errors = torch.zeros(count, whole.shape[0], dtype=torch.float64, device=whole.device)
        inputs = torch.zeros(count, whole.shape[1], dtype=torch.float64, device=whole.device)
        for number in range(count):
            pick = int(np.where(free, given.along(missing), -np.inf).argmax())
            free[pick], picks[number] = False, pick
            errors[number], inputs[number] = given.errors[pick], given.inputs[pick]
            u, v = errors[: number + 1], inputs[: number + 1]
            fit.add(inner(u[-1:], v[-1:], u, v)[0].cpu().numpy(), float(towards[pick]))
            missing = whole - total(u * torch.from_numpy(fit.weights).to(u)[:, None], v)
        weights = fit.weights
        # Where there is nothing to match, as when every gradient is zero, all count alike.
        return Choice(given.order[picks], weights if weights.any() else np.ones(count))

    def estimate(self, candidates: Candidates, count: int) -> Estimate:
        width = float(np.prod(candidates.factors))
        # The last term are steps of a loop, of which a core does a twentieth as many.
        operations = 2.0 * count * len(candidates) * width + 2.0 * count**2 * width + 20 * count**3 / 3
        return Estimate(operations, 16.0 * count**2 + 4.0 * len(candidates) * sum(candidates.factors))


class NonNegative:
    """Least squares with weights of at least 0, of which one is added at a time.

    Minimises wᵀ(G + λI)w - 2 bᵀw over w ≥ 0 by the active-set method of Lawson and Hanson (1974, chapter 23), begun at
    the last answer. Of the weights that are positive the Cholesky factor L and the solution z of L z = b are kept, so
    that another one costs as many operations as L has entries.

    Args:
        most: weights that will be added.
        ridge: λ, above 0.
    """

    def __init__(self, most: int, ridge: float) -> None:
        self.ridge = ridge
        self.products, self.factor = np.zeros((most, most)), np.zeros((most, most))
        self.target, self.values, self.half = np.zeros(most), np.zeros(most), np.zeros(most)
        self.count = 0
        self.positive = np.empty(0, np.int64)

    @property
    def weights(self) -> np.ndarray:
        """The weights as they stand, in the order added, float64."""
        return self.values[: self.count]

    def add(self, products: np.ndarray, target: float) -> None:
        """Adds a weight and fits all.

        Args:
            products: inner products of the new vector with those before and itself, float64 (count + 1,).
            target: its inner product with what is to be matched.
        """
        new = self.count
        self.products[new, : new + 1] = self.products[: new + 1, new] = products
        self.products[new, new] += self.ridge
        self.target[new] = target
        self.count += 1
        least = 1e-10 * max(1.0, float(np.abs(self.target[: self.count]).max()))
        # Each round takes in the weight that would gain most from being positive, until none would gain.
        for _ in range(3 * self.count):
            zero = np.setdiff1d(np.arange(self.count), self.positive, assume_unique=True)
            gains = self.target[zero] - self.products[zero, : self.count] @ self.weights
            if not len(zero) or gains.max() <= least:
                return
            self._take_in(int(zero[gains.argmax()]))

    def _take_in(self, entry: int) -> None:
        size = len(self.positive)
        row = forward(self.factor, self.products[entry, self.positive])
        own = self.products[entry, entry]
        # What the ridge leaves at least, whatever rounding takes.
        diagonal = math.sqrt(max(own - row @ row, 1e-12 * own))
        self.factor[size, :size], self.factor[size, size] = row, diagonal
        self.half[size] = (self.target[entry] - row @ self.half[:size]) / diagonal
        self.positive = np.append(self.positive, entry)
        while len(self.positive):
            solved = backward(self.factor, self.half[: len(self.positive)])
            now = self.values[self.positive]
            below = solved <= 0
            if not below.any():
                self.values[self.positive] = solved
                return
            # As far towards the answer as no weight gets below 0; those that reach 0 leave.
            share = (now[below] / np.maximum(now - solved, 1e-300)[below]).min()
            moved = now + share * (solved - now)
            keep = (moved > 1e-12 * max(1.0, moved.max())) & ~(below & (moved == moved[below].min()))
            self.values[self.positive] = np.where(keep, moved, 0.0)
            self.positive = self.positive[keep]
            size = len(self.positive)
            self.factor[:size, :size] = np.linalg.cholesky(self.products[np.ix_(self.positive, self.positive)])
            self.half[:size] = forward(self.factor, self.target[self.positive])


@compiled
def forward(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Gives x of L x = b, as long as b, from the lower triangle of the first rows of L."""
    found = np.empty(len(right), np.float64)
    for row in range(len(right)):
        rest = right[row]
        for column in range(row):
            rest -= factor[row, column] * found[column]
        found[row] = rest / factor[row, row]
    return found


@compiled
def backward(factor: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Gives x of Lᵀ x = b, row by row of L, which is how it lies in memory."""
    found = right.copy()
    for row in range(len(right) - 1, -1, -1):
        found[row] /= factor[row, row]
        for column in range(row):
            found[column] -= factor[row, column] * found[row]
    return found
