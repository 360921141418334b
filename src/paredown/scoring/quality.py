"""How well scores were predicted: held-out ones beside their predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

SHARES = (0.25, 0.5, 0.75)
"""The kept shares at which the predicted and the true choice are compared."""


@dataclass(frozen=True)
class Quality:
    """How well held-out scores were predicted.

    Args:
        n: how many were held out.
        spearman: rank correlation of predicted and measured scores; 0 where either side is constant.
        pearson: their linear correlation.
        overlap: share kept → how much of the true choice of that size is in the predicted one; a choice by chance
            holds the share itself.
        slope: of measured scores over predicted ones: 1 is calibrated, above 1 the predictions are squeezed.
        error: root mean squared error, as a share of the standard deviation of the measured scores.
    """

    n: int
    spearman: float
    pearson: float
    overlap: dict[float, float]
    slope: float
    error: float

    @property
    def doubt(self) -> float:
        """The standard error of a rank correlation that is truly 0: 1 / √(n - 1)."""
        return 1 / math.sqrt(max(1, self.n - 1))

    def plain(self) -> dict[str, Any]:
        """Gives the figures as data that JSON can hold."""
        return {
            "n": self.n,
            "spearman": self.spearman,
            "pearson": self.pearson,
            "overlap": {f"{share:g}": value for share, value in self.overlap.items()},
            "slope": self.slope,
            "error": self.error,
        }

    def __str__(self) -> str:
        return (
            f"{self.n} held-out scores were predicted with a rank correlation of {self.spearman:.2f} "
            f"(± {self.doubt:.2f}), and half of them kept by prediction holds {self.overlap[0.5]:.0%} of the half kept "
            "by measurement (50% by chance)"
        )


def quality(predicted: np.ndarray, measured: np.ndarray) -> Quality:
    """Gives how well scores were predicted.

    Args:
        predicted: float64 (n,).
        measured: float64 (n,), the same examples.
    """
    count, spread, guessed = len(measured), float(measured.std()), float(predicted.std())
    covariance = float(((predicted - predicted.mean()) * (measured - measured.mean())).mean())
    return Quality(
        n=count,
        spearman=correlation(ranks(predicted), ranks(measured)),
        pearson=correlation(predicted, measured),
        overlap={share: shared(predicted, measured, max(1, round(share * count))) for share in SHARES},
        slope=covariance / guessed**2 if guessed > 0 else 0.0,
        error=float(np.sqrt(((predicted - measured) ** 2).mean()) / spread) if spread > 0 else 0.0,
    )


def ranks(values: np.ndarray) -> np.ndarray:
    """Gives ranks from 1, equal values sharing the mean of theirs; float64, shape (N,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Gives Pearson's correlation, in [-1, 1]; 0 where either side is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else 0.0


def shared(first: np.ndarray, second: np.ndarray, count: int) -> float:
    """Gives which share of the `count` highest of one list is among the `count` highest of the other.

    Where equal values stand at the cut it is the mean over all ways to break the ties, so that the order of the
    examples decides nothing and a constant prediction is as good as chance.
    """
    return float(_kept(first, count) @ _kept(second, count)) / count


def _kept(values: np.ndarray, count: int) -> np.ndarray:
    # The probability of each to be among the highest, ties drawn by chance.
    cut = np.partition(values, len(values) - count)[len(values) - count]
    above, level = values > cut, values == cut
    return above + level * (count - above.sum()) / level.sum()
