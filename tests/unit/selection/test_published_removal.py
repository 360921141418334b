"""Removing the lowest share of a score, beside what the published robust pruning removes (its counts: floor(p·N))."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown import ScoreTable, select
from paredown.data import ImageDataset

SCORES = np.array([0.4, 0.1, 0.3, 0.2, 0.9, 0.7, 0.8, 0.6, 0.5, 0.05])
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])


def data(labels: np.ndarray) -> ImageDataset:
    return ImageDataset.from_arrays(np.zeros((len(labels), 2, 2, 3), np.uint8), labels, classes=["a", "b"])


def removed(kept: int, *, by_class: bool) -> set[int]:
    examples = data(LABELS)
    table = ScoreTable(examples.ids, SCORES, name="s", important="high", low=0.0, high=1.0)
    chosen = select("highest", scores=table, data=examples, count=kept, by_class=by_class)
    return set(range(10)) - set(chosen.ids.keys.tolist())


def published(labels: np.ndarray, share: float, *, by_class: bool) -> int:
    """Gives how many are removed: whole numbers below the share, of all or of each class."""
    sizes = np.unique(labels, return_counts=True)[1] if by_class else np.array([len(labels)])
    return sum(math.floor(share * size + 1e-9) for size in sizes.tolist())


@pytest.mark.parametrize(
    ("share", "by_class", "expected"),
    [
        (0.3, False, {1, 3, 9}),
        (0.5, False, {0, 1, 2, 3, 9}),
        (0.3, True, {1, 9}),
        (0.5, True, {1, 3, 7, 8, 9}),
    ],
)
def test_known_removals(share: float, by_class: bool, expected: set[int]) -> None:
    assert removed(10 - published(LABELS, share, by_class=by_class), by_class=by_class) == expected


def test_the_lowest_are_those_removed() -> None:
    examples = data(LABELS)
    table = ScoreTable(examples.ids, SCORES, name="s", important="high", low=0.0, high=1.0)
    assert set(select("lowest", scores=table, count=3).ids.keys.tolist()) == removed(7, by_class=False)


@given(first=st.integers(1, 60), second=st.integers(1, 60), share=st.integers(1, 19).map(lambda part: part / 20))
def test_a_fraction_keeps_at_most_an_example_a_class_less(first: int, second: int, share: float) -> None:
    labels = np.repeat([0, 1], [first, second])
    examples = data(labels)
    table = ScoreTable(examples.ids, np.arange(len(labels)) / 200, name="s", important="high", low=0.0, high=1.0)
    kept = len(labels) - published(labels, share, by_class=True)
    if round((1 - share) * len(labels)) < 1:
        return
    mine = len(select("highest", scores=table, data=examples, fraction=1 - share, by_class=True).ids)
    assert kept - 2 <= mine <= kept
