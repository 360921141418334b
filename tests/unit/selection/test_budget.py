"""Budgets: they sum to the count, respect the capacities, and each turn order begins with every smaller budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError
from paredown.selection.budget import as_published, shaped, shaped_turns, uniform, uniform_turns

capacities = st.lists(st.integers(0, 12), min_size=1, max_size=7)
weights = st.lists(st.sampled_from([0.0, 0.1, 0.5, 1.0, 3.0]), min_size=7, max_size=7)


@given(sizes=capacities)
def test_uniform_is_as_even_as_the_capacities_allow(sizes: list[int]) -> None:
    for count in range(sum(sizes) + 1):
        budget = uniform(sizes, count)
        assert budget.sum() == count and (budget <= sizes).all() and (budget >= 0).all()
        unfilled = budget[budget < sizes]
        # A stratum that is not whole has at most one fewer than any other.
        assert not len(unfilled) or budget.max() <= unfilled.min() + 1


@given(sizes=capacities)
def test_every_beginning_of_the_turns_is_the_budget_of_that_count(sizes: list[int]) -> None:
    turns = uniform_turns(sizes, sum(sizes))
    for count in range(sum(sizes) + 1):
        np.testing.assert_array_equal(np.bincount(turns[:count], minlength=len(sizes)), uniform(sizes, count))
        np.testing.assert_array_equal(uniform_turns(sizes, count), turns[:count])


@given(sizes=capacities, shares=weights)
def test_shaped_budgets_sum_to_the_count_and_only_grow(sizes: list[int], shares: list[float]) -> None:
    shares = shares[: len(sizes)]
    before = np.zeros(len(sizes), np.int64)
    turns = shaped_turns(sizes, shares, sum(sizes))
    for count in range(sum(sizes) + 1):
        budget = shaped(sizes, shares, count)
        assert budget.sum() == count and (budget <= sizes).all() and (budget >= before).all()
        np.testing.assert_array_equal(np.bincount(turns[:count], minlength=len(sizes)), budget)
        before = budget


def test_shaped_follows_the_weights_where_there_is_room() -> None:
    assert shaped([100, 100, 100], [0.5, 0.3, 0.2], 50).tolist() == [25, 15, 10]


def test_what_a_full_stratum_cannot_take_goes_to_the_others_by_weight() -> None:
    assert shaped([10, 100, 100], [0.5, 0.3, 0.2], 60).tolist() == [10, 30, 20]


def test_without_weight_a_stratum_comes_last() -> None:
    assert shaped([3, 3, 3], [0, 1, 0], 5).tolist() == [1, 3, 1]
    assert shaped([3, 3], [0, 0], 4).tolist() == [2, 2]


def test_what_was_published_can_miss_the_count() -> None:
    # Nothing is left over to hand on, and each stratum gets one more only once.
    assert as_published([10, 40, 25, 0, 30], [5, 5, 5, 0, 5], 60).sum() == 24
    assert as_published([30, 30], [20, 20], 10).sum() == 40


@pytest.mark.parametrize("rule", [uniform, uniform_turns])
@pytest.mark.parametrize(
    ("sizes", "count", "sentence"),
    [([3, -1], 1, "cannot hold -1"), ([3, 2], 6, "hold 5 examples"), ([3, 2], -1, "A budget of -1")],
)
def test_what_no_budget_can_give_is_refused(rule: object, sizes: list[int], count: int, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        rule(sizes, count)  # type: ignore[operator]


@pytest.mark.parametrize("wrong", [[1.0], [1.0, -1.0], [1.0, np.nan], [np.inf, 1.0]])
def test_weights_that_mean_nothing_are_refused(wrong: list[float]) -> None:
    with pytest.raises(MethodError, match="one weight a stratum is needed, finite and not negative"):
        shaped([3, 3], wrong, 2)
