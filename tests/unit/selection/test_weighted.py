"""Weighted draws without replacement."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError
from paredown.selection import Candidates, Weighted, choose


def of(importance: list[float]) -> Candidates:
    return Candidates(np.arange(len(importance)), np.array(importance), np.array(importance))


def test_each_order_comes_as_often_as_successive_draws_would_give_it() -> None:
    weights = np.array([1.0, 2.0, 5.0])
    given_, draws = of(weights.tolist()), 4000
    seen = [tuple(choose(Weighted(), given_, 3, seed=seed).tolist()) for seed in range(draws)]
    for order in permutations(range(3)):
        first, second, _ = weights[list(order)]
        expected = draws * first / 8 * second / (8 - first)
        # Five standard deviations of a count.
        assert abs(seen.count(order) - expected) < 5 * np.sqrt(expected)


@given(st.lists(st.sampled_from([0.0, 0.5, 3.0, np.inf]), min_size=1, max_size=12), st.integers(0, 9))
def test_what_is_infinitely_important_comes_first_and_what_is_not_at_all_last(values: list[float], seed: int) -> None:
    drawn = np.array(values)[choose(Weighted(), of(values), len(values), seed=seed)]
    ranks = np.select([np.isinf(drawn), drawn > 0], [0, 1], 2)
    assert (np.diff(ranks) >= 0).all()


def test_importance_of_0_is_drawn_evenly() -> None:
    counts = np.bincount([choose(Weighted(), of([0.0] * 4), 1, seed=seed)[0] for seed in range(800)], minlength=4)
    assert np.abs(counts - 200).max() < 62


def test_weights_below_0_are_refused() -> None:
    with pytest.raises(MethodError, match=r"Weighted: 1 of 3 examples have an importance below 0"):
        choose(Weighted(), of([1.0, -0.5, 0.0]), 2)
