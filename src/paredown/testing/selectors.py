"""The contract of a selector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paredown.errors import ParedownError
from paredown.rng import stream
from paredown.selection import AbstractSelector, Candidates, choose
from paredown.testing.promises import CLASSES, BrokenPromise, check_plain, promise


def check_selector(selector: AbstractSelector) -> None:
    """Checks a selector.

    - It is plain data: `build` gives it back from `plain()`.
    - It gives exactly the count asked for, of different candidates, by class or not; also where all scores are equal.
    - The same seed gives the same order, and a smaller count the beginning of it.
    - Neither the order of the rows nor other names for the ids change which are chosen; the candidates are only read.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(selector)
    name, size = type(selector).__name__, 40
    known = {"values", "importance", "labels", "embeddings"}
    promise(selector.needs <= known, name, f"it needs {sorted(selector.needs - known)}, which no verb can give")
    rng = stream(0, "contract", "candidates")
    values = rng.standard_normal(size).round(1)
    candidates = Candidates(
        np.arange(10, 10 + size), values, values, rng.integers(0, CLASSES, size), rng.standard_normal((size, 4))
    )
    kept = {column: getattr(candidates, column).copy() for column in known}
    constant = replace(candidates, values=np.zeros(size), importance=np.zeros(size))
    for by_class in (False, True):
        whole = _chosen(selector, candidates, 16, by_class)
        again = _chosen(selector, candidates, 16, by_class)
        promise(np.array_equal(whole, again), name, "the same seed gives another order")
        for count in (1, 7):
            fewer = _chosen(selector, candidates, count, by_class)
            promise(
                np.array_equal(fewer, whole[:count]),
                name,
                f"{count} chosen are not the beginning of 16 chosen, so Selection.with_fraction would be wrong",
            )
        _chosen(selector, constant, 16, by_class)
        order = rng.permutation(size)
        shuffled = candidates.take(order)
        moved = shuffled.keys[_chosen(selector, shuffled, 16, by_class)]
        promise(np.array_equal(moved, candidates.keys[whole]), name, "the order of the rows changes which are chosen")
        renamed = replace(candidates, keys=candidates.keys * 3 + 1)
        named = _chosen(selector, renamed, 16, by_class)
        promise(
            np.array_equal(named, whole), name, "other names for the ids, in the same order, change which are chosen"
        )
    for column, before in kept.items():
        same = np.array_equal(getattr(candidates, column), before)
        promise(same, name, f"it writes into the candidates' {column}")


def _chosen(selector: AbstractSelector, candidates: Candidates, count: int, by_class: bool) -> np.ndarray:
    try:
        return choose(selector, candidates, count, by_class=by_class)
    except ParedownError as error:
        how = ", class by class" if by_class else ""
        raise BrokenPromise(
            f"{type(selector).__name__}: {count} of {len(candidates)} candidates could not be chosen{how}: {error}"
        ) from error
