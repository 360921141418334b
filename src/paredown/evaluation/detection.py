"""How well a score tells two kinds apart: the area under the ROC curve, and what is detected at few false alarms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from paredown.scoring.quality import ranks

BOOTSTRAPS = 200


def area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Gives the area under the ROC curve (AUC): how often a positive scores higher than a negative, ties half.

    By the sum of ranks, in N log N (Mann, Whitney 1947; Hanley, McNeil 1982).

    Args:
        positive: scores of those that are to be detected, shape (P,), higher for likelier ones.
        negative: scores of the others, shape (N,).

    Returns:
        In [0, 1]; 0.5 for a score that tells nothing.
    """
    place = ranks(np.concatenate([positive, negative]))[: len(positive)]
    wins = place.sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def detected(positive: np.ndarray, negative: np.ndarray, alarms: float) -> float:
    """Gives the true positive rate at a false positive rate of at most `alarms`, for a single threshold of the score.

    Nothing is interpolated: with fewer negatives than 1 / alarms, no false alarm at all is allowed.

    Args:
        positive: scores of those that are to be detected, shape (P,), higher for likelier ones.
        negative: scores of the others, shape (N,).
        alarms: in [0, 1).
    """
    allowed = int(alarms * len(negative) + 1e-9)
    # The lowest threshold with no more false alarms lies just above the first negative that must not be one.
    bound = np.partition(negative, len(negative) - 1 - allowed)[len(negative) - 1 - allowed]
    return float((positive > bound).mean())


def bootstrapped(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    positive: np.ndarray,
    negative: np.ndarray,
    rng: np.random.Generator,
    *,
    times: int = BOOTSTRAPS,
) -> float:
    """Gives the bootstrap's standard error of a figure of two samples: each is drawn anew, with replacement.

    It holds how much the figure would move with other examples of either kind, under the scores as they are
    (Efron 1979).
    """
    values = [
        statistic(
            positive[rng.integers(len(positive), size=len(positive))],
            negative[rng.integers(len(negative), size=len(negative))],
        )
        for _ in range(times)
    ]
    return float(np.std(values, ddof=1))
