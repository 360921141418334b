"""What a selector is: it puts candidates in order, best first; classes, counts and checks are the business of `choose`.

Because an order is given and not a set, one choice serves every smaller budget. The methods here give `count` positions
of which each beginning is what they would have given for that shorter count, by class too.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts.apportion import turns
from paredown.catalog import find, path_of
from paredown.errors import MethodError
from paredown.method import Method
from paredown.rng import stream


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a selector may look at: one row for each example that it may choose.

    Args:
        keys: ids, int64 or 16-byte, shape (N,), each at most once; ties are broken by them.
        values: the score, shape (N,).
        importance: the score turned so that high means important, shape (N,); none where the score has no direction.
        labels: class numbers, shape (N,).
        embeddings: vectors, shape (N, D).
    """

    keys: np.ndarray
    values: np.ndarray | None = None
    importance: np.ndarray | None = None
    labels: np.ndarray | None = None
    embeddings: np.ndarray | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            column = getattr(self, field.name)
            if column is not None and len(column) != len(self.keys):
                raise MethodError(
                    f"Candidates: {len(self.keys)} keys and {len(column)} {field.name}. Give one row for each example."
                )

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, positions: np.ndarray) -> Candidates:
        """Gives some of the candidates, in that order."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        taken: dict[str, Any] = {
            name: None if column is None else column[positions] for name, column in columns.items()
        }
        return Candidates(**taken)


class AbstractSelector(Method):
    """One way to put candidates in order: write `choose` and say what it `needs`."""

    kind: ClassVar[str] = "selector"
    needs: ClassVar[frozenset[str]] = frozenset({"values"})
    paper: ClassVar[str] = ""

    @abstractmethod
    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        """Gives the positions of the chosen, best first, each once, shape (count,).

        Args:
            candidates: at least `count` of them, with what `needs` names; values are never NaN.
            count: how many, at least 1.
            rng: for what is drawn by chance; the same for every count.
        """


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
    selector: AbstractSelector, candidates: Candidates, count: int, *, by_class: bool = False, seed: int = 0
) -> np.ndarray:
    """Gives the positions of the chosen candidates, best first.

    By class, each class is chosen from alone and gets its share of `count` (`artifacts.apportion`); the classes then
    take turns, so that each beginning of the answer is as balanced as its length allows.

    Args:
        selector: the order.
        candidates: what can be chosen.
        count: how many to choose.
        by_class: whether each class keeps its share.
        seed: for what is drawn by chance.

    Returns:
        int64, shape (count,).

    Raises:
        MethodError: a count that the candidates cannot give, something needed and not given, scores that are NaN, or an
            answer that is not `count` different positions.
    """
    name = type(selector).__name__
    if not 1 <= count <= len(candidates):
        what = "nothing would be left" if count < 1 else f"there are {len(candidates)} candidates"
        raise MethodError(
            f"{name}: {count} examples cannot be chosen, because {what}. "
            f"Ask for a count from 1 to {len(candidates)}, or a share of them."
        )
    _check_needs(selector, candidates, by_class)
    if not by_class:
        return _answer(selector, candidates, count, stream(seed, "select"))
    assert candidates.labels is not None
    classes, sizes = np.unique(candidates.labels, return_counts=True)
    turn = turns(sizes, count)
    chosen = np.empty(count, dtype=np.int64)
    for place, label in enumerate(classes):
        budget = int((turn == place).sum())
        if budget:
            members = np.flatnonzero(candidates.labels == label)
            rng = stream(seed, "select", "class", int(label))
            chosen[turn == place] = members[_answer(selector, candidates.take(members), budget, rng)]
    return chosen


def _answer(selector: AbstractSelector, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
    positions = np.asarray(selector.choose(candidates, count, rng))
    fault = ""
    if positions.shape != (count,) or positions.dtype.kind not in "iu":
        fault = f"gave {positions.dtype} of shape {positions.shape}, and {count} whole numbers are needed"
    elif positions.min() < 0 or positions.max() >= len(candidates):
        fault = f"chose a position outside the {len(candidates)} candidates"
    elif len(np.unique(positions)) < count:
        fault = "chose an example twice"
    if fault:
        raise MethodError(f"{type(selector).__name__} {fault}. Correct its choose().")
    return positions.astype(np.int64)


_REMEDIES = {
    "values": "scores= (from score())",
    "importance": "scores= (from score())",
    "labels": "data=",
    "embeddings": "embeddings= (from embed())",
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
    if candidates.values is not None and np.isnan(candidates.values).any():
        wrong = np.flatnonzero(np.isnan(candidates.values))
        raise MethodError(
            f"{name}: {len(wrong)} of {len(candidates)} scores are NaN; the first is that of id "
            f"{candidates.keys[wrong[0]]}. They have no place in an order. Score again, or leave those examples out."
        )
