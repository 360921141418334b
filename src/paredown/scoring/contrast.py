"""Cal: how differently a network sees an example and those that look alike to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from paredown.artifacts.scores import Direction
from paredown.errors import MethodError
from paredown.neighbors import nearest_neighbors
from paredown.neighbors.base import slices
from paredown.runtime import Runtime
from paredown.scoring.base import AbstractFeatureScorer

AT_ONCE = 16 * 2**20
"""Probabilities of neighbours that are looked at together."""


@dataclass(frozen=True)
class Cal(AbstractFeatureScorer):
    """Cal: the mean divergence of the neighbours' predictions from the example's own, (1/k) Σ_j KL(p(x_j) ‖ p(x)).

    The k nearest neighbours are found exactly, among all examples, by the Euclidean distance of their penultimate
    features. Margatina et al. 2021, section 2, where the neighbours come from the labelled pool; without a pool they
    come from all the data, as in DeepCore. Labels play no part. 2·N²·F operations for the neighbours.

    Args:
        neighbors: how many, the paper's k.
    """

    neighbors: int = 10

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = "Margatina et al. 2021, Active Learning by Acquiring Contrastive Examples, section 2"

    def __post_init__(self) -> None:
        if self.neighbors < 1:
            raise MethodError(f"Cal(neighbors={self.neighbors}): there is nothing to compare with. Take 1 or more.")

    def of(
        self, features: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, runtime: Runtime, seed: int
    ) -> np.ndarray:
        if len(features) < 2:
            raise MethodError("Cal: a single example has no neighbours to be compared with. Score more of them.")
        near = nearest_neighbors(features, self.neighbors, device=runtime.device)
        return contrast(logits, np.asarray(near.positions))


def contrast(logits: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Gives the mean over an example's neighbours j of KL(p_j ‖ p), float64 (N,).

    Args:
        logits: shape (N, C).
        positions: the neighbours' rows, shape (N, k).
    """
    values = np.empty(len(logits))
    step = max(1, AT_ONCE // (logits.shape[1] * positions.shape[1]))
    for part in slices(len(logits), step):
        own = functional.log_softmax(torch.from_numpy(logits[part]).double(), dim=1)
        others = functional.log_softmax(torch.from_numpy(logits[positions[part]]).double(), dim=2)
        divergence = (others.exp() * (others - own[:, None])).sum(2)
        values[part] = divergence.mean(1).clamp_min_(0).numpy()
    return values
