"""Do two scores, or two selections, agree: rank correlation, overlap, and what became of the classes."""

from __future__ import annotations

import numpy as np

from paredown.artifacts import ScoreTable, Selection
from paredown.artifacts.selection import count_of
from paredown.errors import MethodError
from paredown.scoring.quality import ranks


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Gives Spearman's rank correlation, in [-1, 1]: Pearson's of the ranks, ties sharing theirs (Spearman 1904).

    Raises:
        MethodError: shapes differ, fewer than two values, or one side is constant and so puts nothing in order.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise MethodError(
            f"spearman: values of shape {first.shape} and {second.shape}; two lists of the same length, at least 2, "
            "are needed. Give the values of the same examples."
        )
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (first, second))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    if scale == 0:
        raise MethodError(
            "spearman: all values of one score are equal, so it puts nothing in order. Compare other scores."
        )
    return float(np.clip(a @ b / scale, -1, 1))


def correlation(first: ScoreTable, second: ScoreTable) -> float:
    """Gives Spearman's rank correlation of two scores of the same examples, by value, whatever their directions.

    Raises:
        PoolMismatch: they are of different examples.
    """
    return spearman(first.values, second.of(first.ids))


def shared_share(first: ScoreTable, second: ScoreTable, fraction: float) -> float:
    """Gives how many of the most important examples of one score are among those of the other, as a share in [0, 1].

    Args:
        first, second: scores with a direction, of the same examples; ties go to the lowest place in `first`.
        fraction: which share of the examples is looked at; two unrelated scores share about `fraction` of them.
    """
    count = count_of(fraction, len(first.ids))
    here = first.importance()
    there = second.importance()[second.ids.positions_of(first.ids, "the second scores", "the first")]
    top, other = (np.argsort(-importance, kind="stable")[:count] for importance in (here, there))
    return len(np.intersect1d(top, other)) / count


def overlap(first: Selection, second: Selection) -> float:
    """Gives the share of the smaller selection that is in the larger one too, in [0, 1].

    Two random selections of shares f ≤ g overlap by about g.

    Raises:
        PoolMismatch: they were made from different data.
    """
    smaller, larger = sorted((first, second), key=len)
    return float(larger.mask(smaller.ids).mean())


def class_shares(labels: np.ndarray, classes: int) -> np.ndarray:
    """Gives the share of each class among some examples, shape (classes,); it sums to 1.

    Args:
        labels: class numbers of the examples, such as those kept.
        classes: how many classes there are.
    """
    if len(labels) == 0:
        raise MethodError("class_shares: there are no examples to count. Give the labels of at least one.")
    return np.bincount(labels, minlength=classes) / len(labels)
