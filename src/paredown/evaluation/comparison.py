"""Is one choice of data better than another: means over seeds, and differences seed by seed.

Two trainings with the same seed share their initial weights and much of their luck, so their difference varies less
than either. The words claim a difference only when Student's 95 % interval of the mean difference leaves out zero and
there are three seeds or more; with one there is no interval, and with two it hangs on a single degree of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paredown.errors import MethodError


@dataclass(frozen=True)
class Summary:
    """Some runs of one thing.

    Args:
        n: how many.
        mean: of their figures.
        spread: standard deviation over the runs, n - 1 in the denominator; none for one.
    """

    n: int
    mean: float
    spread: float | None


@dataclass(frozen=True)
class Paired:
    """Differences seed by seed.

    Args:
        n: how many seeds.
        difference: mean of first - second.
        error: standard error of that mean; none for one seed.
        low, high: Student's 95 % interval of it, n - 1 degrees of freedom; none for one seed.
        wins: in how many seeds the first was strictly higher.
    """

    n: int
    difference: float
    error: float | None
    low: float | None
    high: float | None
    wins: int

    @property
    def clear(self) -> bool:
        """Whether the seeds suffice to say which is higher."""
        return self.n >= 3 and self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def in_words(self, first: str, second: str) -> str:
        """Gives one sentence for accuracies, in percentage points, which claims no more than the seeds can carry."""
        points = f"{abs(100 * self.difference):.2f} points"
        if self.difference == 0:
            seen = f"{first} and {second} are equal on average over {_seeds(self.n)}"
        else:
            way = "above" if self.difference > 0 else "below"
            seen = f"{first} is {points} {way} {second} on average over {_seeds(self.n)}"
        if self.n == 1:
            return f"{seen}; one pair cannot tell a difference from chance."
        assert self.low is not None and self.high is not None
        interval = f"95 % interval {100 * self.low:+.2f} to {100 * self.high:+.2f}"
        if self.n == 2:
            return f"{seen} ({interval}); two pairs are too few to call it a difference."
        verdict = "a clear difference" if self.clear else "no clear difference"
        return f"{seen} ({interval}): {verdict}."


def summary(values: Sequence[float] | np.ndarray) -> Summary:
    """Gives the mean and spread of some runs.

    Raises:
        MethodError: there are none.
    """
    figures = np.asarray(values, dtype=np.float64)
    if len(figures) == 0:
        raise MethodError("summary: there are no runs to summarise. Give the figure of at least one.")
    spread = float(figures.std(ddof=1)) if len(figures) > 1 else None
    return Summary(len(figures), float(figures.mean()), spread)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Paired:
    """Gives the mean difference first - second over seeds, with its standard error and interval.

    Args:
        first, second: seed → figure, of the same seeds.

    Raises:
        MethodError: no seeds, or not the same.
    """
    if first.keys() != second.keys() or not first:
        odd = sorted(first.keys() ^ second.keys())
        why = f"seed {odd[0]} stands on one side only" if odd else "there are no seeds"
        raise MethodError(f"paired: {why}, and pairs need both. Train both with the same seeds.")
    differences = np.array([first[seed] - second[seed] for seed in sorted(first)])
    n, mean, wins = len(differences), float(differences.mean()), int((differences > 0).sum())
    if n == 1:
        return Paired(n, mean, None, None, None, wins)
    error = float(differences.std(ddof=1) / math.sqrt(n))
    reach = error * _student(n - 1)
    return Paired(n, mean, error, mean - reach, mean + reach, wins)


def _student(freedom: int) -> float:
    """Gives the 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit  # comes with scikit-learn

    return float(stdtrit(freedom, 0.975))


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"
