"""Choosing inside bins: a budget says how many of each, and another selector picks them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.artifacts.apportion import turns
from paredown.artifacts.uids import ranked
from paredown.errors import MethodError
from paredown.neighbors.coverage import aucpr
from paredown.rng import key
from paredown.selection.base import AbstractSelector, Candidates, Choice, decide
from paredown.selection.budget import shaped, shaped_turns, uniform, uniform_turns
from paredown.selection.simple import Random

Budget = Literal["uniform", "proportional", "confidence", "coverage"]


@dataclass(frozen=True)
class Bins(AbstractSelector):
    """Bins: so many of each bin, picked inside it by another selector.

    Bins are those that `select` was given (`bins=`), else the classes. With classes, a uniform budget and D2 as the
    picker it is the setting of D2's runs on CIFAR (Maharana, Yadav, Bansal 2024); unlike `by_class`, which keeps the
    shares of the classes, it then evens them out. Bins take turns, so that each beginning is as even as its length
    allows. The answer carries the bin of each example as its stratum.

    Args:
        picker: what chooses inside a bin; it sees the candidates of that bin alone.
        budget: "uniform": as many of each as there are, small bins whole. "proportional": to the sizes. "confidence":
            in proportion to 1 - mean confidence of the bin, for scores that are confidences. "coverage": in proportion
            to how badly a uniform budget covers the bin, the mean distance of those left out to the nearest one picked
            (AUCpr); what a uniform budget covers wholly keeps that. It needs embeddings, and a beginning of its answer
            is not the answer to the smaller count.

    Raises:
        MethodError: neither bins nor labels, or "confidence" with a score outside [0, 1].
    """

    picker: AbstractSelector = Random()  # noqa: RUF009  (frozen)
    budget: Budget = "uniform"

    paper: ClassVar[str] = "Maharana, Yadav, Bansal 2024, D2 Pruning, code only"

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What the picker and the budget need."""
        return self.picker.needs | extra_needs(self.budget)

    @property
    def uses(self) -> frozenset[str]:  # type: ignore[override]
        """The bins, else the labels, and what the picker uses."""
        return self.picker.uses | {"bins", "labels"}

    @property
    def either(self) -> frozenset[str]:  # type: ignore[override]
        """Of what the picker needs one at least."""
        return self.picker.either

    @property
    def nested(self) -> bool:
        return self.picker.nested and self.budget != "coverage"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> Choice:
        numbers = candidates.labels if candidates.bins is None else candidates.bins
        if numbers is None:
            raise MethodError(
                "Bins needs bins or labels, and select() was given neither. "
                "Pass bins=, a score that numbers the bin of each example, or data=, whose labels are the bins."
            )
        names, group = np.unique(numbers, return_inverse=True)
        members, seed = members_of(group, len(names)), int(rng.integers(2**62))
        turn = turns_of(self.budget, candidates, members, self.picker, count, seed)
        choice = picked(candidates, members, turn, self.picker, seed)
        return Choice(choice.positions, choice.weight, names[turn].astype(np.int64))


def extra_needs(budget: str) -> frozenset[str]:
    """Gives the columns that a budget looks at."""
    return frozenset({"confidence": {"values"}, "coverage": {"embeddings"}}.get(budget, set()))


def members_of(group: np.ndarray, groups: int) -> list[np.ndarray]:
    """Gives the positions of each group's members, in ascending order; groups are numbered from 0."""
    order = np.argsort(group, kind="stable")
    return np.split(order, np.cumsum(np.bincount(group, minlength=groups))[:-1])


def picked(
    candidates: Candidates, members: list[np.ndarray], turn: np.ndarray, picker: AbstractSelector, seed: int
) -> Choice:
    """Gives what a picker chooses from each group alone, in the order of the turns; the group is the stratum.

    Args:
        candidates: all of them.
        members: the positions of each group.
        turn: whose turn it is, shape (count,).
        picker: chooses inside a group.
        seed: every group draws from a stream of its own, so that one's budget changes nothing for another.
    """
    places = members_of(turn, len(members))
    positions, weight = np.empty(len(turn), np.int64), np.ones(len(turn))
    weighted = False
    for group, (rows, mine) in enumerate(zip(members, places, strict=True)):
        if len(mine):
            part = decide(picker, candidates.take(rows), len(mine), seed=key(seed, "group", group))
            positions[mine] = rows[part.positions]
            if part.weight is not None:
                weighted, weight[mine] = True, part.weight
    return Choice(positions, weight if weighted else None, turn.astype(np.int64))


def turns_of(
    budget: Budget,
    candidates: Candidates,
    members: list[np.ndarray],
    picker: AbstractSelector,
    count: int,
    seed: int,
) -> np.ndarray:
    """Gives whose turn it is under a budget, int64 of shape (count,)."""
    sizes = np.array([len(rows) for rows in members])
    if budget == "uniform":
        return uniform_turns(sizes, count)
    if budget == "proportional":
        return turns(sizes, count)
    if budget == "confidence":
        return shaped_turns(sizes, _doubt(candidates, members), count)
    even = uniform(sizes, count)
    # A bin that would get nothing is tried with one.
    tried = np.repeat(np.arange(len(sizes)), np.minimum(np.maximum(even, 1), sizes))
    trial = picked(candidates, members, tried, picker, seed).positions
    gaps = np.array(
        [
            _gap(candidates.take(rows), np.flatnonzero(np.isin(rows, trial[tried == group]))) if len(rows) else 0.0
            for group, rows in enumerate(members)
        ]
    )
    open_, shares = gaps > 0, even
    if open_.any():
        shares[open_] = shaped(sizes[open_], gaps[open_], count - int(even[~open_].sum()))
    return turns(shares, count)


def _doubt(candidates: Candidates, members: list[np.ndarray]) -> np.ndarray:
    values = candidates.values
    assert values is not None, "choose() checks what a selector needs"
    if values.min() < 0 or values.max() > 1:
        raise MethodError(
            f"A budget by confidence needs scores from 0 to 1, and these go from {values.min():g} to {values.max():g}. "
            "Use scores='confidence', or another budget."
        )
    # Sorted, so that rounding does not depend on the order of the rows.
    return np.array([1 - np.sort(values[rows]).mean() if len(rows) else 0.0 for rows in members])


def _gap(candidates: Candidates, trial: np.ndarray) -> float:
    """Gives AUCpr of a bin. In the order of the ids, so that rounding does not depend on the order of the rows."""
    order = ranked(candidates.keys)
    inside = np.isin(order, trial)
    vectors = candidates.embeddings
    assert vectors is not None, "choose() checks what a selector needs"
    chosen, rest = vectors[order[inside]], vectors[order[~inside]]
    return aucpr(chosen, rest, metric=candidates.metric, device=candidates.device)
