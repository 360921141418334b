"""Scores of examples that were never trained on, from those of examples near them.

Measuring a score means training on the example; predicting it means looking at its neighbours. A method here learns
from vectors and scores and gives a function from other vectors to scores; blocks, checks and files are the business of
`scoring.extrapolated`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from paredown.errors import MethodError
from paredown.method import Method
from paredown.neighbors import AbstractIndex, Exact
from paredown.rng import stream

Predict = Callable[[np.ndarray], np.ndarray]
"""From vectors (Q, D) to predicted scores, float64 (Q,); what is asked together changes only last digits."""

Rule = Literal["uniform", "distance", "exponential"]

SPACED = 1024
"""Landmarks whose distances from each other say how wide the kernel is."""


class AbstractExtrapolation(Method):
    """A way to predict scores from vectors: write `learn`."""

    kind: ClassVar[str] = "extrapolation"
    paper: ClassVar[str] = ""
    draws: ClassVar[bool] = False
    """Whether something is drawn among the known examples, so that their order counts."""

    @abstractmethod
    def learn(
        self, vectors: Any, values: np.ndarray, *, metric: str, device: torch.device, block_mb: int, seed: int
    ) -> Predict:
        """Gives the function that predicts scores, from examples whose scores are known.

        Args:
            vectors: of the known examples, (N, D): an array, or rows that are read block by block.
            values: their scores, finite float64 (N,).
            metric: "euclidean" or "cosine".
            device: where to compute.
            block_mb: memory that a block may take, in MiB.
            seed: of what it draws.
        """


@dataclass(frozen=True)
class NearestMean(AbstractExtrapolation):
    """Nearest mean: the mean score of the k nearest known examples.

    f(q) = Σ_j w_j s_j / Σ_j w_j over the k nearest j, ties of equal distance by the order of the known examples; Nieth
    et al. 2024, section 3. Classes play no part, and a known example that is asked for finds itself. A mean of
    neighbours shrinks towards the middle, so predicted scores are not on the scale of measured ones: compare predicted
    scores with each other only.

    Args:
        neighbors: k; the paper's is 12.
        weights: "uniform", as in the paper; "distance", (Σd - d_j) / ((k - 1) Σd) by Euclidean distances and
            c_j / Σc by cosine similarities, so that near ones count more (the published code has the two formulas the
            wrong way round, so that far ones do; a similarity below 0 counts as 0); or "exponential", exp(-d_j), as
            in Schmidt et al. 2025, by the distance of the metric.
        index: how neighbours are searched.
    """

    neighbors: int = 12
    weights: Rule = "uniform"
    index: AbstractIndex = Exact()  # noqa: RUF009  (frozen)

    paper: ClassVar[str] = (
        "Nieth et al. 2024, Large-Scale Dataset Pruning in Adversarial Training through Data Importance Extrapolation, "
        "section 3"
    )

    def __post_init__(self) -> None:
        if self.neighbors < 1:
            raise MethodError(f"NearestMean(neighbors={self.neighbors}): a mean needs at least one neighbour.")

    def learn(
        self, vectors: Any, values: np.ndarray, *, metric: str, device: torch.device, block_mb: int, seed: int
    ) -> Predict:
        if self.neighbors > len(values):
            raise MethodError(
                f"NearestMean(neighbors={self.neighbors}): only {len(values)} examples have scores to learn from. "
                "Use fewer neighbours."
            )
        state = self.index.prepare(vectors, metric=metric, device=device, block_mb=block_mb, folder=None)

        def predict(queries: np.ndarray) -> np.ndarray:
            near, distances = self.index.nearest(state, queries, self.neighbors)
            found = near >= 0
            if not found.any(axis=1).all():
                raise MethodError(
                    f"NearestMean(index={self.index.name}): the search found no neighbour of "
                    f"{int((~found.any(axis=1)).sum())} examples. Let the index look at more, or use index='exact'."
                )
            weights = np.where(found, weights_of(distances.astype(np.float64), self.weights, metric=metric), 0.0)
            weights = np.where(weights.sum(axis=1, keepdims=True) > 0, weights, found)
            scores = values[near]
            means = (weights * scores).sum(axis=1) / weights.sum(axis=1)
            # Rounding may not lead out of what the neighbours have, so that equal scores stay exactly what they are.
            low = np.where(found, scores, np.inf).min(axis=1)
            high = np.where(found, scores, -np.inf).max(axis=1)
            return np.clip(means, low, high)

        return predict


def weights_of(distances: np.ndarray, rule: Rule, *, metric: str) -> np.ndarray:
    """Gives how much each neighbour counts, before they are brought to a sum of 1, shape (Q, k).

    Where all are 0 (a single neighbour, all at distance 0, none in the same direction) there is nothing to weigh by.

    Args:
        distances: shape (Q, k), nearest first: Euclidean, or 1 - cosine similarity; infinite where there is none.
        rule: as in `NearestMean`.
        metric: "euclidean" or "cosine".
    """
    if rule == "uniform":
        return np.ones_like(distances)
    there = np.isfinite(distances)
    distances = np.where(there, distances, 0.0)
    if rule == "exponential":
        # Less the smallest: the factor cancels, and nothing vanishes.
        weights = np.exp(distances[:, :1] - distances)
    elif metric == "cosine":
        weights = np.maximum(1 - distances, 0.0)
    else:
        weights = distances.sum(axis=1, keepdims=True) - distances
    return np.where(there, weights, 0.0)


@dataclass(frozen=True)
class KernelRidge(AbstractExtrapolation):
    """Kernel ridge: a smooth function through the known scores, by regression on landmarks.

    f(q) = m + k(q, L) (K_LN K_NL + λ N K_LL)⁻¹ K_LN (s - m) with k(a, b) = exp(-d² / 2h²), m the mean score and L some
    known examples; Williams and Seeger 2001. Where no landmark is near it gives m. Of directions, where the metric is
    cosine.

    Args:
        landmarks: how many known examples carry the function, drawn by chance; memory and time go by their square.
        ridge: λ: the larger, the smoother.
        width: h, as a share of the median distance between landmarks.
    """

    landmarks: int = 2048
    ridge: float = 1e-3
    width: float = 0.5

    paper: ClassVar[str] = "Williams, Seeger 2001, Using the Nyström Method to Speed Up Kernel Machines"
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.landmarks < 1 or self.ridge <= 0 or self.width <= 0:
            raise MethodError(
                f"KernelRidge(landmarks={self.landmarks}, ridge={self.ridge:g}, width={self.width:g}): each of the "
                "three is above 0."
            )

    def learn(
        self, vectors: Any, values: np.ndarray, *, metric: str, device: torch.device, block_mb: int, seed: int
    ) -> Predict:
        # In float64, which not every device has, because the matrix that is inverted is close to singular.
        device = torch.device("cpu") if device.type == "mps" else device
        count = len(values)
        chosen = np.sort(stream(seed, "extrapolate", "landmarks").permutation(count)[: self.landmarks])
        landmarks = _points(vectors[chosen], metric, device)
        apart = torch.pdist(landmarks[:: -(-len(landmarks) // SPACED)])
        apart = apart[apart > 0]
        width = self.width * (float(apart.median()) if len(apart) else 1.0)
        middle = float(values.mean())
        gram = torch.zeros(len(chosen), len(chosen), dtype=torch.float64, device=device)
        target = torch.zeros(len(chosen), dtype=torch.float64, device=device)
        step = max(1, block_mb * 2**20 // (8 * (3 * len(chosen) + landmarks.shape[1])))
        for start in range(0, count, step):
            rows = slice(start, start + step)
            block = _kernel(_points(vectors[rows], metric, device), landmarks, width)
            gram.addmm_(block.T, block)
            target.addmv_(block.T, torch.from_numpy(values[rows] - middle).to(device))
        gram += self.ridge * count * _kernel(landmarks, landmarks, width)
        # Equal landmarks leave the matrix singular; this much more changes no prediction that matters.
        gram.diagonal().add_(1e-8 * float(gram.diagonal().mean()))
        weights = torch.cholesky_solve(target[:, None], torch.linalg.cholesky(gram))[:, 0]

        def predict(queries: np.ndarray) -> np.ndarray:
            found = np.empty(len(queries))
            for start in range(0, len(queries), step):
                rows = slice(start, start + step)
                close = _kernel(_points(queries[rows], metric, device), landmarks, width)
                found[rows] = middle + (close @ weights).cpu().numpy()
            return found

        return predict


def _points(vectors: Any, metric: str, device: torch.device) -> torch.Tensor:
    points = torch.from_numpy(np.array(vectors, dtype=np.float64)).to(device)
    return torch.nn.functional.normalize(points, dim=1) if metric == "cosine" else points


def _kernel(first: torch.Tensor, second: torch.Tensor, width: float) -> torch.Tensor:
    return torch.cdist(first, second).square_().mul_(-0.5 / width**2).exp_()
