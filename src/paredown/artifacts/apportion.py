"""Shares to counts: how many of each stratum (a class, a band of scores) when `count` are kept in all.

Every stratum has its turns, spread evenly: turn j of a stratum of n stands at (j - 1/2) / n of the way. The first
`count` turns of all strata together say who gets how many. This is the method of Webster and Sainte-Laguë. It is
used instead of the largest remainder because that one can give a stratum fewer when more are kept in all (the Alabama
paradox), and then a smaller budget would not be the beginning of a larger one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paredown.errors import MethodError


def turns(sizes: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Gives whose turn it is, for the first `count` turns; each beginning of it is as even as its length allows.

    Args:
        sizes: how many there are of each stratum, shape (S,).
        count: how many turns; at most the sum of the sizes.

    Returns:
        int64 numbers of strata, shape (count,); stratum s stands there at most `sizes[s]` times.

    Raises:
        MethodError: a negative size, or a count that is negative or above the sum of the sizes.

    >>> turns([4, 2], 6).tolist()
    [0, 1, 0, 0, 1, 0]
    """
    amounts = np.asarray(sizes, dtype=np.int64)
    total = int(amounts.sum())
    if (amounts < 0).any():
        raise MethodError(f"apportion(sizes): a stratum cannot hold {int(amounts.min())} examples.")
    if not 0 <= count <= total:
        raise MethodError(f"apportion(count={count}): the strata hold {total} examples together.")
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    # At time t a stratum of n has had at least n·t - 1/2 turns, so all strata have had `count` of them by then:
    horizon = (count + len(amounts) / 2) / total
    reach = np.minimum(amounts, np.floor(amounts * horizon + 0.5).astype(np.int64) + 1)
    stratum = np.repeat(np.arange(len(amounts)), reach)
    turn = np.arange(len(stratum)) - np.repeat(np.cumsum(reach) - reach, reach)
    when = (turn + 0.5) / amounts[stratum]
    # The sort is stable and strata come in order, so that a tie goes to the lowest.
    return stratum[np.argsort(when, kind="stable")[:count]]


def apportion(sizes: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Gives how many of each stratum when `count` are kept in all: proportional, whole, nothing lost in rounding.

    The counts minimise Σ (count_s - q_s)² / q_s over the quotas q_s = count · size_s / Σ size; they sum to `count`,
    never exceed a size, and never fall when `count` grows. Ties go to the lowest stratum.

    Args:
        sizes: how many there are of each stratum, shape (S,).
        count: how many are kept in all.

    Returns:
        int64 counts, shape (S,).

    Raises:
        MethodError: a negative size, or a count that is negative or above the sum of the sizes.

    >>> apportion([50, 30, 20], 7).tolist()
    [4, 2, 1]
    """
    return np.bincount(turns(sizes, count), minlength=len(sizes)).astype(np.int64)
