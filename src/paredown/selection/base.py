"""What a selector is: it puts candidates in order, best first; classes, counts and checks are the business of `choose`.

Because an order is given and not a set, one choice serves every smaller budget: each beginning is what the method would
have given for that shorter count, by class too. A method that cannot promise this says so (`nested`).
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from paredown.artifacts.apportion import turns
from paredown.artifacts.uids import told
from paredown.catalog import find, path_of
from paredown.errors import MethodError
from paredown.estimate import Estimate
from paredown.method import Method
from paredown.rng import stream
from paredown.selection.candidates import Candidates, Choice


class AbstractSelector(Method):
    """One way to put candidates in order: write `choose` and say what it `needs`."""

    kind: ClassVar[str] = "selector"
    needs: ClassVar[frozenset[str]] = frozenset({"values"})
    """Columns of `Candidates` without which it cannot work."""
    uses: ClassVar[frozenset[str]] = frozenset()
    """Columns that it looks at where they are given, and can do without."""
    either: ClassVar[frozenset[str]] = frozenset()
    """Columns of which it needs one at least."""
    decides: ClassVar[bool] = False
    """Whether it knows by itself how many to keep, see `size`."""
    draws: ClassVar[bool] = True
    """Whether chance decides anything; without, the seed is no part of an address."""
    paper: ClassVar[str] = ""

    @property
    def nested(self) -> bool:
        """Whether each beginning of an answer is the whole answer to that smaller count."""
        return True

    @abstractmethod
    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray | Choice:
        """Gives the positions of the chosen, best first, each once, shape (count,); a `Choice` to say more of them.

        Args:
            candidates: at least `count` of them, with what `needs` names; values are never NaN.
            count: how many, at least 1.
            rng: for what is drawn by chance; the same for every count.
        """

    def size(self, candidates: Candidates) -> int:
        """Gives how many of the candidates a selector that `decides` keeps."""
        raise NotImplementedError

    def decided(self, candidates: Candidates, rng: np.random.Generator) -> np.ndarray | Choice:
        """Gives the answer of a selector that `decides`, where no count is asked for: `size` of them.

        Write it where finding out how many is most of the work.
        """
        count = self.size(candidates)
        return self.choose(candidates, count, rng) if count else np.empty(0, np.int64)

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        """Gives what a choice will cost, where that is worth saying beforehand."""
        return None


def announce(
    selector: AbstractSelector, candidates: Candidates, count: int | None, *, by_class: bool = False, shown: bool
) -> None:
    """Says on standard error what a choice will cost, where that is more than a few seconds."""
    size, classes = len(candidates), 1
    if by_class and candidates.labels is not None:
        classes = len(np.unique(candidates.labels))
    # Class by class, as many choices from as many examples as a class has on average.
    estimate = selector.estimate(candidates.beginning(-(-size // classes)), -(-(count or size) // classes))
    if estimate is not None:
        estimate = replace(estimate, operations=estimate.operations * classes)
    if shown and estimate is not None and estimate.seconds > 5:
        print(f"{selector.name} on {len(candidates):,} examples will take {estimate}.", file=sys.stderr)


@dataclass(frozen=True)
class FunctionSelector(AbstractSelector):
    """Makes a selector of a function, where a class would be too much.

    Args:
        function: called as `function(candidates, count, rng)`, gives `count` positions, best first; a function at the
            top of a module, or "module:function". It sees what `select` was given; nothing is checked to be there.
    """

    function: str | Callable[..., np.ndarray]

    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", path_of(self.function))

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return find("selector", str(self.function))(candidates, count, rng)


def choose(
    selector: AbstractSelector,
    candidates: Candidates,
    count: int | None = None,
    *,
    by_class: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """Gives the positions of the chosen candidates, best first, int64 of shape (count,); see `decide`."""
    return decide(selector, candidates, count, by_class=by_class, seed=seed).positions


def decide(
    selector: AbstractSelector,
    candidates: Candidates,
    count: int | None = None,
    *,
    by_class: bool = False,
    seed: int = 0,
) -> Choice:
    """Gives the chosen candidates, best first, with their weights and strata where the selector has any.

    By class, each class is chosen from alone and gets its share of `count` (`artifacts.apportion`); the classes then
    take turns, so that each beginning of the answer is as balanced as its length allows.

    Args:
        selector: the order.
        candidates: what can be chosen.
        count: how many to choose; none leaves it to a selector that decides.
        by_class: whether each class keeps its share.
        seed: for what is drawn by chance.

    Raises:
        MethodError: a count that the candidates cannot give, something needed and not given, scores that are NaN, or an
            answer that is not `count` different positions.
    """
    _check_needs(selector, candidates, by_class)
    if count is not None:
        _check_count(selector, candidates, count)
    elif not selector.decides:
        raise MethodError(f"{type(selector).__name__} does not say how many to keep. Give fraction= or count=.")
    if not by_class:
        return _some(selector, candidates, _answer(selector, candidates, count, stream(seed, "select")))
    assert candidates.labels is not None
    classes, sizes = np.unique(candidates.labels, return_counts=True)
    members = [np.flatnonzero(candidates.labels == label) for label in classes]

    def of_class(place: int, budget: int | None) -> Choice:
        rng = stream(seed, "select", "class", int(classes[place]))
        return _answer(selector, candidates.take(members[place]), budget, rng)

    decided: list[Choice] = []
    if count is None:
        decided = [of_class(place, None) for place in range(len(classes))]
        sizes = np.array([len(part.positions) for part in decided])
        count = int(sizes.sum())
    turn = turns(sizes, count)
    chosen, weight = np.empty(count, dtype=np.int64), np.ones(count)
    weighted = False
    for place in range(len(classes)):
        budget = int((turn == place).sum())
        if budget:
            part = decided[place] if decided else of_class(place, budget)
            chosen[turn == place] = members[place][part.positions]
            if part.weight is not None:
                weighted, weight[turn == place] = True, part.weight
    stratum = candidates.labels[chosen].astype(np.int64)
    return _some(selector, candidates, Choice(chosen, weight if weighted else None, stratum))


def _some(selector: AbstractSelector, candidates: Candidates, choice: Choice) -> Choice:
    """Refuses to keep nothing, where a selector decided so."""
    if not len(choice.positions):
        values = candidates.values
        span = "" if values is None else f", whose scores lie from {values.min():g} to {values.max():g}"
        raise MethodError(
            f"{type(selector).__name__} keeps none of the {len(candidates)} candidates{span}. Change its fields, or "
            "give fraction= or count=."
        )
    return choice


def _answer(selector: AbstractSelector, candidates: Candidates, count: int | None, rng: np.random.Generator) -> Choice:
    given = selector.decided(candidates, rng) if count is None else selector.choose(candidates, count, rng)
    answer = given if isinstance(given, Choice) else Choice(np.asarray(given))
    positions = np.asarray(answer.positions)
    count = len(positions) if count is None else count
    fault = ""
    if positions.shape != (count,) or positions.dtype.kind not in "iu":
        fault = f"gave {positions.dtype} of shape {positions.shape}, and {count} whole numbers are needed"
    elif count and (positions.min() < 0 or positions.max() >= len(candidates)):
        fault = f"chose a position outside the {len(candidates)} candidates"
    elif len(np.unique(positions)) < count:
        fault = "chose an example twice"
    if fault:
        raise MethodError(f"{type(selector).__name__} {fault}. Correct its choose().")
    return Choice(positions.astype(np.int64), answer.weight, answer.stratum)


def _check_count(selector: AbstractSelector, candidates: Candidates, count: int) -> None:
    if not 1 <= count <= len(candidates):
        what = "nothing would be left" if count < 1 else f"there are {len(candidates)} candidates"
        raise MethodError(
            f"{type(selector).__name__}: {count} examples cannot be chosen, because {what}. "
            f"Ask for a count from 1 to {len(candidates)}, or a share of them."
        )


_REMEDIES = {
    "values": "scores= (from score())",
    "importance": "scores= (from score())",
    "labels": "data=",
    "embeddings": "embeddings= (from embed())",
    "graph": "graph= (from connect())",
    "bins": "bins=, a score that numbers the bin of each example",
}


def _check_needs(selector: AbstractSelector, candidates: Candidates, by_class: bool) -> None:
    name = type(selector).__name__
    if by_class and candidates.labels is None:
        raise MethodError(f"{name}, class by class, needs labels, and select() was given none. Pass data=.")
    for need in sorted(selector.needs):
        if getattr(candidates, need) is not None:
            continue
        if need == "importance" and candidates.values is not None:
            raise MethodError(
                f"{name} needs to know which examples are important, and this score has no direction. "
                "Use a score with one, or a selector that goes by value (highest, lowest, window)."
            )
        raise MethodError(f"{name} needs {need}, and select() was given none. Pass {_REMEDIES[need]}.")
    if selector.either and all(getattr(candidates, column) is None for column in selector.either):
        columns = sorted(selector.either)
        ways = " or ".join(_REMEDIES[column] for column in columns)
        raise MethodError(f"{name} needs {' or '.join(columns)}, and select() was given neither. Pass {ways}.")
    if candidates.values is not None and np.isnan(candidates.values).any():
        wrong = np.flatnonzero(np.isnan(candidates.values))
        raise MethodError(
            f"{name}: {len(wrong)} of {len(candidates)} scores are NaN; the first is that of id "
            f"{told(candidates.keys[wrong[0]])}. They have no place in an order. Score again, or leave those examples "
            "out."
        )
