"""Counts by stratum: proportional, whole, nested."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paredown.artifacts.apportion import apportion, turns
from paredown.errors import MethodError

sizes_and_count = st.lists(st.integers(0, 40), min_size=1, max_size=6).flatmap(
    lambda sizes: st.tuples(st.just(sizes), st.integers(0, sum(sizes)))
)


@given(sizes_and_count)
def test_counts_sum_and_stay_within_the_sizes(case: tuple[list[int], int]) -> None:
    sizes, count = case
    counts = apportion(sizes, count)
    assert counts.sum() == count
    assert (counts >= 0).all()
    assert (counts <= sizes).all()


@given(sizes_and_count)
def test_a_smaller_count_is_nested_in_a_larger_one(case: tuple[list[int], int]) -> None:
    sizes, count = case
    if count:
        assert (apportion(sizes, count - 1) <= apportion(sizes, count)).all()


@given(sizes_and_count)
def test_each_beginning_of_the_turns_is_the_apportionment_of_its_length(case: tuple[list[int], int]) -> None:
    sizes, count = case
    order = turns(sizes, sum(sizes))
    np.testing.assert_array_equal(np.bincount(order[:count], minlength=len(sizes)), apportion(sizes, count))
    np.testing.assert_array_equal(order[:count], turns(sizes, count))


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4).flatmap(
        lambda sizes: st.tuples(st.just(sizes), st.integers(0, sum(sizes)))
    )
)
def test_no_other_counts_are_nearer_to_the_quotas(case: tuple[list[int], int]) -> None:
    sizes, count = case

    def distance(counts: tuple[int, ...]) -> Fraction:
        # Σ (c - q)² / q, times count / Σ sizes, which no choice changes and which may be zero.
        share = Fraction(count, sum(sizes))
        return sum(((c - share * size) ** 2 / size for c, size in zip(counts, sizes, strict=True)), Fraction(0))

    every = itertools.product(*(range(size + 1) for size in sizes))
    best = min(distance(counts) for counts in every if sum(counts) == count)
    assert distance(tuple(apportion(sizes, count).tolist())) == best


def test_equal_strata_get_equal_counts_and_the_lowest_get_the_rest() -> None:
    assert apportion([100] * 4, 10).tolist() == [3, 3, 2, 2]


def test_the_whole_is_every_size_even_when_one_is_empty() -> None:
    assert apportion([5, 0, 2], 7).tolist() == [5, 0, 2]


def test_a_stratum_does_not_lose_when_more_are_kept() -> None:
    # The Alabama paradox: the largest remainder gives the last stratum 2 of 10 and then 1 of 11.
    assert apportion([6, 6, 2], 10)[2] <= apportion([6, 6, 2], 11)[2]


def test_large_strata_cost_by_what_is_kept() -> None:
    counts = apportion([3_000_000_000, 1_000_000_000], 8)
    assert counts.tolist() == [6, 2]


@pytest.mark.parametrize(
    ("sizes", "count", "sentence"),
    [
        ([3, 2], 6, r"count=6.*hold 5 examples"),
        ([3, 2], -1, r"count=-1"),
        ([3, -2], 1, r"cannot hold -2"),
    ],
)
def test_impossible_counts_are_refused(sizes: list[int], count: int, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        apportion(sizes, count)
