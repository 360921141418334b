"""The contract of a selector."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from paredown.errors import MethodError, ParedownError
from paredown.neighbors import Neighbors, nearest_neighbors
from paredown.rng import stream
from paredown.selection import AbstractSelector, Candidates, Choice, decide
from paredown.testing.promises import CLASSES, BrokenPromise, check_plain, promise

SIZE, WIDTH = 40, 6


def check_selector(selector: AbstractSelector, *, most: float = 1.0) -> None:
    """Checks a selector.

    - It is plain data: `build` gives it back from `plain()`.
    - It gives exactly the count asked for, of different candidates, by class or not; one of them, some, and all.
    - So it does with many equal scores, with all scores equal, with vectors that stand twice, and with one class only.
    - The same seed gives the same order, and a smaller count the beginning of it (where it says so: `nested`).
    - Weights, where it gives any, are finite and not negative, one for each chosen.
    - Neither the order of the rows nor other names for the ids change which are chosen; the candidates are only read.

    Args:
        selector: what to check.
        most: the share of the candidates that it can give; less than 1 for one that leaves some out, such as a window.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(selector)
    name = type(selector).__name__
    known = set(Candidates.columns()) - {"keys"}
    asked = selector.needs | selector.uses | selector.either
    promise(asked <= known, name, f"it looks at {sorted(asked - known)}, which no verb can give")
    for what, candidates in examples(selector).items():
        before = {column: _copy(getattr(candidates, column)) for column in known}
        for by_class in (False, True):
            _check_orders(selector, candidates, by_class, f"{name}, {what}", most)
        for column, value in before.items():
            same = _same(getattr(candidates, column), value)
            promise(same, name, f"it writes into the candidates' {column}")


def examples(selector: AbstractSelector) -> dict[str, Candidates]:
    """Gives candidates to try a selector on, by what is special about them."""
    rng = stream(0, "contract", "candidates")
    values = rng.standard_normal(SIZE).round(1)
    vectors = rng.standard_normal((SIZE, WIDTH)).astype(np.float32)
    plain = Candidates(
        np.arange(10, 10 + SIZE),
        values,
        values,
        rng.integers(0, CLASSES, SIZE),
        vectors,
        bins=rng.integers(0, 4, SIZE),
    )
    refused = _refusal(selector, plain)
    if "last-layer-gradient" in refused:
        plain = replace(plain, factors=(2, WIDTH - 2))
    if "below 0" in refused:
        values = np.abs(values)
        plain = replace(plain, values=values, importance=values)
    twice = np.repeat(vectors[: SIZE // 2], 2, axis=0)
    kinds = {
        "drawn": plain,
        "many ties": replace(plain, values=np.round(values), importance=np.round(values)),
        "constant scores": replace(plain, values=np.zeros(SIZE), importance=np.zeros(SIZE)),
        "every vector twice": replace(plain, embeddings=twice),
        "one class": replace(plain, labels=np.zeros(SIZE, np.int64), bins=np.zeros(SIZE, np.int64)),
        "three examples": plain.take(np.arange(3)),
    }
    if "graph" in selector.needs | selector.uses | selector.either:
        near = nearest_neighbors(vectors, 5)
        kinds["a graph"] = replace(plain, graph=Neighbors(near.positions, near.distances, near.metric))
        if "graph" in selector.needs:
            kinds = {what: _connected(candidates) for what, candidates in kinds.items()}
    return kinds


def _check_orders(selector: AbstractSelector, candidates: Candidates, by_class: bool, name: str, most: float) -> None:
    size = len(candidates)
    middle = max(1, int(0.4 * size))
    whole = _chosen(selector, candidates, middle, by_class)
    again = _chosen(selector, candidates, middle, by_class)
    promise(np.array_equal(whole.positions, again.positions), name, "the same seed gives another order")
    if whole.weight is not None:
        good = whole.weight.shape == (middle,) and np.isfinite(whole.weight).all() and (whole.weight >= 0).all()
        promise(bool(good), name, "its weights are not one finite number from 0 up for each chosen")
    for count in sorted({1, middle // 2 or 1, int(most * size)}):
        given = _chosen(selector, candidates, count, by_class).positions
        if selector.nested and count <= middle:
            promise(
                np.array_equal(given, whole.positions[:count]),
                name,
                f"{count} chosen are not the beginning of {middle} chosen, so Selection.with_fraction would be wrong",
            )
    if selector.decides:
        kept = _chosen(selector, candidates, None, by_class).positions
        promise(1 <= len(kept) <= size, name, f"it decides to keep {len(kept)} of {size}")
    order = stream(0, "contract", "order", size).permutation(size)
    shuffled = candidates.take(order)
    moved = shuffled.keys[_chosen(selector, shuffled, middle, by_class).positions]
    promise(
        np.array_equal(moved, candidates.keys[whole.positions]), name, "the order of the rows changes which are chosen"
    )
    renamed = replace(candidates, keys=candidates.keys * 3 + 1)
    named = _chosen(selector, renamed, middle, by_class).positions
    promise(
        np.array_equal(named, whole.positions),
        name,
        "other names for the ids, in the same order, change which are chosen",
    )


def _refusal(selector: AbstractSelector, candidates: Candidates) -> str:
    """Gives why it refuses plain candidates: because it takes gradients, or only importance from 0 up."""
    try:
        decide(selector, candidates.take(np.arange(SIZE)), 1)
    except MethodError as error:
        return str(error)
    return ""


def _connected(candidates: Candidates) -> Candidates:
    return replace(candidates, graph=nearest_neighbors(candidates.embeddings, 5))


def _chosen(selector: AbstractSelector, candidates: Candidates, count: int | None, by_class: bool) -> Choice:
    try:
        return decide(selector, candidates, count, by_class=by_class)
    except ParedownError as error:
        how = ", class by class" if by_class else ""
        raise BrokenPromise(
            f"{type(selector).__name__}: {count} of {len(candidates)} candidates could not be chosen{how}: {error}"
        ) from error


def _copy(column: Any) -> Any:
    return (column.positions.copy(), column.distances.copy()) if isinstance(column, Neighbors) else np.copy(column)


def _same(column: Any, before: Any) -> bool:
    if isinstance(column, Neighbors):
        return np.array_equal(column.positions, before[0]) and np.array_equal(column.distances, before[1])
    return column is None or np.array_equal(column, before)
