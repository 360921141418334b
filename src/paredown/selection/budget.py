"""Budgets: how many of each stratum, class or bin when `count` are kept in all, and in which order they take turns.

A budget is a function of the capacities (how many there are of each) and the count. Each rule also gives its turns:
whose turn it is, one after the other, so that every beginning is the budget of that smaller count. The turns of
proportional budgets are those of `artifacts.apportion`.

`as_published` is how the published code of D2 shares out by confidence and by coverage. Its budgets can sum to less
than the count, so it serves only to compare.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paredown.errors import MethodError

Counts = Sequence[int] | np.ndarray


def uniform(capacities: Counts, count: int) -> np.ndarray:
    """Gives as even a budget as the capacities allow: small strata whole, the others the same number, but for rounding.

    The allocation of CCS (Zheng et al. 2023, algorithm 1): strata in ascending order of capacity, each gets
    min(capacity, rest // strata left). So what a small stratum cannot use goes to the larger ones, and the remainder
    of the division to the largest.

    Args:
        capacities: how many there are of each stratum, shape (S,).
        count: how many are kept in all.

    Returns:
        int64 counts, shape (S,), that sum to `count`.

    Raises:
        MethodError: a negative capacity, or a count that is negative or above the sum of the capacities.

    >>> uniform([3, 9, 27, 81], 50).tolist()
    [3, 9, 19, 19]
    """
    amounts = _checked(capacities, count)
    budget = np.zeros_like(amounts)
    rest, left = count, int((amounts > 0).sum())
    for stratum in np.argsort(amounts, kind="stable"):
        if amounts[stratum]:
            budget[stratum] = min(int(amounts[stratum]), rest // left)
            rest, left = rest - int(budget[stratum]), left - 1
    return budget


def uniform_turns(capacities: Counts, count: int) -> np.ndarray:
    """Gives whose turn it is, int64 of shape (count,); the first n turns are `uniform(capacities, n)` for every n.

    They go round by round; in a round the largest stratum comes first, of equal ones the last.

    >>> uniform_turns([1, 3, 3], 7).tolist()
    [2, 1, 0, 2, 1, 2, 1]
    """
    amounts = _checked(capacities, count)
    # No stratum has more turns than this within the first `count`.
    reach = np.minimum(amounts, uniform(amounts, count).max(initial=0))
    later = np.empty(len(amounts), dtype=np.int64)
    later[np.argsort(amounts, kind="stable")[::-1]] = np.arange(len(amounts))
    stratum = np.repeat(np.arange(len(amounts)), reach)
    return stratum[np.lexsort((later[stratum], _numbered(reach)))[:count]]


def shaped(capacities: Counts, weights: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    """Gives budgets in proportion to weights, as far as the capacities allow.

    What a full stratum cannot take, the others share by their weights; strata without weight get something only when
    all others are full. Turn j of a stratum of weight w stands at (j - 1/2) / w, and the first `count` turns count:
    the method of Webster and Sainte-Laguë, bounded. So budgets always sum to `count` and never fall when it grows.

    Args:
        capacities: how many there are of each stratum, shape (S,).
        weights: how much each should get, not negative, shape (S,); only their ratios matter.
        count: how many are kept in all.

    Returns:
        int64 counts, shape (S,), that sum to `count`.

    Raises:
        MethodError: a negative capacity; a count that is negative or above the sum of the capacities; weights that are
            negative, infinite or NaN.

    >>> shaped([10, 40, 25], [0.4, 0.4, 0.2], 40).tolist()
    [10, 20, 10]
    """
    return np.bincount(shaped_turns(capacities, weights, count), minlength=len(capacities)).astype(np.int64)


def shaped_turns(capacities: Counts, weights: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    """Gives whose turn it is, int64 of shape (count,); the first n turns are `shaped(capacities, weights, n)`."""
    amounts, shares = _checked(capacities, count), np.asarray(weights, dtype=np.float64)
    if shares.shape != amounts.shape or not (np.isfinite(shares).all() and (shares >= 0).all()):
        raise MethodError("shaped(weights): one weight a stratum is needed, finite and not negative.")
    reach = np.minimum(amounts, count)
    stratum, turn = np.repeat(np.arange(len(amounts)), reach), _numbered(reach)
    with np.errstate(divide="ignore"):
        when = (turn + 0.5) / shares[stratum]
    # Those without weight come at infinity, all at once: there the earlier turns go first.
    return stratum[np.lexsort((stratum, turn, when))[:count]]


def as_published(capacities: Counts, initial: Counts, count: int) -> np.ndarray:
    """Gives the budgets of D2's published code from initial ones, which need not sum to `count`.

    Strata in ascending order of capacity take what they can of their own; of what is left over each later stratum
    gets the same whole number, trunc(left over / strata after it). In the end the largest strata get one more each,
    once, while something is missing.

    Args:
        capacities: how many there are of each stratum, shape (S,).
        initial: what each would get if it were large enough, shape (S,).
        count: how many should be kept in all.

    Returns:
        int64 counts, shape (S,).
    """
    amounts, wished = np.asarray(capacities, np.int64), np.array(initial, np.int64)
    order = np.argsort(amounts, kind="stable")
    budget = np.zeros_like(amounts)
    left = int((amounts > 0).sum())
    for place, stratum in enumerate(order):
        if amounts[stratum]:
            budget[stratum] = min(amounts[stratum], wished[stratum])
            wished[order[place + 1 :]] += int((wished[stratum] - budget[stratum]) / max(1, left - 1))
            left -= 1
    for stratum in order[::-1]:
        if budget.sum() < count and budget[stratum] < amounts[stratum]:
            budget[stratum] += 1
    return budget


def _numbered(reach: np.ndarray) -> np.ndarray:
    """Gives 0, 1, … for each stratum in turn."""
    return np.arange(int(reach.sum())) - np.repeat(np.cumsum(reach) - reach, reach)


def _checked(capacities: Counts, count: int) -> np.ndarray:
    amounts = np.asarray(capacities, dtype=np.int64)
    if (amounts < 0).any():
        raise MethodError(f"A budget: a stratum cannot hold {int(amounts.min())} examples.")
    if not 0 <= count <= amounts.sum():
        raise MethodError(f"A budget of {count}: the strata hold {int(amounts.sum())} examples together.")
    return amounts
