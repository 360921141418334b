"""The contract of an extrapolation sees what is wrong, and says which promise was broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from paredown.scoring import AbstractExtrapolation, NearestMean
from paredown.testing import BrokenPromise, check_extrapolation

Change = Callable[[np.ndarray, np.ndarray], np.ndarray]
COUNT = [0]


def asked_before(found: np.ndarray, queries: np.ndarray) -> np.ndarray:
    COUNT[0] += 1
    return found + COUNT[0] / 100


def by_place(found: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return found + np.linspace(0, 0.2, len(found))


def by_company(found: np.ndarray, queries: np.ndarray) -> np.ndarray:
    return found + 0.1 * float(queries.mean())


CHANGES: dict[str, Change] = {
    "column": lambda found, queries: found[:, None],
    "nan": lambda found, queries: np.where(np.arange(len(found)) == 3, np.nan, found),
    "backwards": lambda found, queries: -found,
    "company": by_company,
    "place": by_place,
    "before": asked_before,
    "larger": lambda found, queries: found * 1.01,
}


@dataclass(frozen=True)
class Changed(AbstractExtrapolation):
    """The nearest mean, spoilt."""

    how: str

    def learn(self, vectors: Any, values: np.ndarray, **given: Any) -> Callable[[np.ndarray], np.ndarray]:
        predict = NearestMean().learn(vectors, values, **given)
        return lambda queries: CHANGES[self.how](predict(queries), queries)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("column", r"it gives values of shape \(90, 1\) for 90 vectors"),
        ("nan", "a value is not finite"),
        ("backwards", "it does not tell a score that changes smoothly"),
        ("company", "asking for a few at a time gives other values"),
        ("place", "asking for a few at a time gives other values"),
        ("before", "asking for a few at a time gives other values"),
        ("larger", "equal scores do not stay equal"),
    ],
)
def test_a_wrong_prediction_is_seen(how: str, words: str) -> None:
    with pytest.raises(BrokenPromise, match=f"Changed: {words}"):
        check_extrapolation(Changed(how))


@dataclass(frozen=True)
class Writing(AbstractExtrapolation):
    """Brings the vectors to length 1 where they lie."""

    def learn(self, vectors: Any, values: np.ndarray, **given: Any) -> Callable[[np.ndarray], np.ndarray]:
        vectors /= 2
        return lambda queries: np.zeros(len(queries))


@dataclass(frozen=True)
class Ordered(AbstractExtrapolation):
    """Counts the first of the known more than the others."""

    def learn(self, vectors: Any, values: np.ndarray, **given: Any) -> Callable[[np.ndarray], np.ndarray]:
        return NearestMean().learn(vectors, values + 0.1 * (values[0] - values.mean()), **given)


@dataclass(frozen=True)
class Drawing(AbstractExtrapolation):
    """Draws without a seed."""

    def learn(self, vectors: Any, values: np.ndarray, **given: Any) -> Callable[[np.ndarray], np.ndarray]:
        return NearestMean().learn(vectors, values + 0.01 * np.random.default_rng().random(len(values)), **given)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Writing(), "it writes into the vectors or the scores"),
        (Ordered(), "permuting the known examples changes values"),
        (Drawing(), "learning again with the same seed gives other values"),
    ],
)
def test_wrong_learning_is_seen(method: AbstractExtrapolation, words: str) -> None:
    with pytest.raises(BrokenPromise, match=words):
        check_extrapolation(method)
