"""Bins: budgets among them, and another selector inside."""

from __future__ import annotations

import numpy as np
import pytest

from paredown.artifacts.apportion import apportion
from paredown.errors import MethodError
from paredown.method import build
from paredown.selection import Candidates, Choice, Highest, Lowest, choose, decide
from paredown.selection.base import AbstractSelector
from paredown.selection.bins import Bins
from paredown.selection.budget import shaped, uniform
from paredown.selection.message_passing import D2

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [30, 10, 4])
CANDIDATES = Candidates(
    np.arange(44), RNG.random(44), RNG.random(44), LABELS, RNG.standard_normal((44, 3)).astype(np.float32)
)


def counts(choice: Choice, names: int = 3) -> list[int]:
    assert choice.stratum is not None
    return np.bincount(choice.stratum, minlength=names).tolist()


def test_labels_are_the_bins_where_none_are_given() -> None:
    choice = decide(Bins(), CANDIDATES, 20)
    np.testing.assert_array_equal(choice.stratum, LABELS[choice.positions])
    assert counts(choice) == uniform([30, 10, 4], 20).tolist() == [8, 8, 4]


def test_bins_that_are_given_come_first_and_may_have_any_number() -> None:
    bins = np.where(np.arange(44) % 2, 70, -5)
    given = Candidates(np.arange(44), CANDIDATES.values, labels=LABELS, bins=bins)
    choice = decide(Bins(), given, 10)
    assert choice.stratum is not None
    names, sizes = np.unique(choice.stratum, return_counts=True)
    assert names.tolist() == [-5, 70] and sizes.tolist() == [5, 5]
    np.testing.assert_array_equal(choice.stratum, bins[choice.positions])


def test_a_proportional_budget_is_that_of_by_class() -> None:
    for count in (1, 7, 20):
        choice = decide(Bins(budget="proportional"), CANDIDATES, count)
        assert counts(choice) == apportion([30, 10, 4], count).tolist()
    by_class = choose(Highest(), CANDIDATES, 20, by_class=True)
    np.testing.assert_array_equal(choose(Bins(Highest(), budget="proportional"), CANDIDATES, 20), by_class)


def test_a_budget_by_confidence_goes_by_the_mean_doubt() -> None:
    doubt = [1 - CANDIDATES.values[label == LABELS].mean() for label in range(3)]  # type: ignore[index]
    choice = decide(Bins(Lowest(), budget="confidence"), CANDIDATES, 12)
    assert counts(choice) == shaped([30, 10, 4], doubt, 12).tolist()
    wrong = Candidates(np.arange(4), np.array([0.0, 1.0, 2.0, 3.0]), labels=np.arange(4) % 2)
    with pytest.raises(MethodError, match="by confidence needs scores from 0 to 1, and these go from 0 to 3"):
        choose(Bins(budget="confidence"), wrong, 2)


def test_a_budget_by_coverage_gives_more_to_what_is_wide() -> None:
    vectors = np.concatenate([RNG.standard_normal((30, 2)), 10 * RNG.standard_normal((30, 2))])
    candidates = Candidates(np.arange(60), labels=np.repeat([0, 1], 30), embeddings=vectors)
    selector = Bins(budget="coverage")
    assert not selector.nested and selector.needs == {"embeddings"}
    narrow, wide = counts(decide(selector, candidates, 20), 2)
    assert narrow + wide == 20 and wide > 2 * narrow


def test_what_a_uniform_budget_covers_wholly_keeps_it() -> None:
    vectors = np.zeros((12, 2))
    vectors[6:] = RNG.standard_normal((6, 2))
    candidates = Candidates(np.arange(12), labels=np.repeat([0, 1], 6), embeddings=vectors)
    assert counts(decide(Bins(budget="coverage"), candidates, 6), 2) == [3, 3]


def test_the_picker_sees_the_bin_alone() -> None:
    choice = decide(Bins(D2(neighbors=3)), CANDIDATES, 18)
    for label in range(3):
        inside = np.flatnonzero(label == LABELS)
        mine = choice.positions[choice.stratum == label]
        np.testing.assert_array_equal(mine, inside[choose(D2(neighbors=3), CANDIDATES.take(inside), len(mine))])


class Weighted(AbstractSelector):
    needs = frozenset()

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> Choice:
        return Choice(np.arange(count), np.full(count, 10.0 * len(candidates)))


def test_weights_of_the_picker_are_kept() -> None:
    choice = decide(Bins(Weighted()), CANDIDATES, 6)
    assert choice.weight is not None
    np.testing.assert_array_equal(choice.weight, 10.0 * np.array([30, 10, 4])[LABELS[choice.positions]])


def test_needs_are_those_of_the_picker() -> None:
    assert Bins().needs == frozenset() and Bins(Highest()).needs == {"values"}
    assert Bins(D2()).needs == {"importance"} and Bins(D2()).either == {"graph", "embeddings"}
    assert Bins(D2()).uses == {"bins", "labels"} and Bins(D2(), budget="confidence").needs == {"importance", "values"}


def test_plain_data_gives_it_back() -> None:
    selector = build("selector", {"name": "bins", "picker": {"name": "d2", "neighbors": 3}, "budget": "confidence"})
    assert selector == Bins(D2(neighbors=3), "confidence")
    assert build("selector", selector.plain()) == selector


def test_without_bins_or_labels_it_refuses() -> None:
    with pytest.raises(MethodError, match=r"Bins needs bins or labels.*Pass bins="):
        choose(Bins(), Candidates(np.arange(4)), 2)
