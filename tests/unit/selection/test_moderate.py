"""Moderate coresets: the middle of all distances to the centres."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts.shards import Rows, View
from paredown.errors import MethodError
from paredown.selection import Candidates, Moderate, choose, moderate
from paredown.selection.moderate import from_center, outwards


@given(size=st.integers(1, 60))
def test_every_beginning_is_the_middle(size: int) -> None:
    places = outwards(size)
    for count in range(1, size + 1):
        low = (size - count) // 2
        assert sorted(places[:count]) == list(range(low, low + count))


@given(
    rows=st.lists(st.tuples(st.integers(0, 2), st.integers(-9, 9), st.integers(-9, 9)), min_size=1, max_size=30),
    labelled=st.booleans(),
    center=st.sampled_from(["median", "mean"]),
)
def test_the_middle_of_the_distances_to_the_centre_of_the_class(
    rows: list[tuple[int, int, int]], labelled: bool, center: Any
) -> None:
    table = np.array(rows, np.float64)
    labels, points = table[:, 0].astype(np.int64), table[:, 1:]
    distances = np.empty(len(points))
    for label in np.unique(labels):
        mine = labels == label if labelled else np.ones(len(points), bool)
        middle = np.median(points[mine], axis=0) if center == "median" else points[mine].mean(axis=0)
        distances[mine] = np.linalg.norm(points[mine] - middle, axis=1)
    given_ = labels if labelled else None
    np.testing.assert_allclose(from_center(points, given_, center=center), distances, rtol=1e-12)
    candidates = Candidates(np.arange(len(points)), labels=given_, embeddings=points)
    count = max(1, len(points) // 3)
    chosen = choose(Moderate(center=center), candidates, count)
    low = (len(points) - count) // 2
    np.testing.assert_allclose(np.sort(distances[chosen]), np.sort(distances)[low : low + count], rtol=1e-12)


def test_neither_the_typical_nor_the_odd() -> None:
    points = np.concatenate([np.zeros(5), np.ones(5) * [1, -1, 1, -1, 1], np.array([50.0, -50, 50, -50, 50])])[:, None]
    chosen = choose(Moderate(), Candidates(np.arange(15), embeddings=points), 5)
    assert sorted(chosen) == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("center", ["median", "mean"])
def test_vectors_that_do_not_fit_give_the_same(monkeypatch: pytest.MonkeyPatch, center: Any, dtype: Any) -> None:
    points = np.random.default_rng(0).standard_normal((120, 7)).astype(dtype)
    labels = np.arange(120) % 3
    whole = from_center(points, labels, center=center, metric="cosine")
    monkeypatch.setattr(moderate, "HELD", 40 * 8 * 2)  # two columns of a class
    monkeypatch.setattr(moderate, "BLOCK", 100)
    view = View(Rows([points[:50], points[50:]]), np.arange(120))
    np.testing.assert_allclose(from_center(view, labels, center=center, metric="cosine"), whole, rtol=1e-12)


def test_directions_are_compared_where_the_metric_is_cosine() -> None:
    points = np.random.default_rng(1).standard_normal((60, 4))
    stretched = points * np.random.default_rng(2).uniform(0.1, 9, (60, 1))
    of = [
        choose(Moderate(), Candidates(np.arange(60), embeddings=vectors, metric="cosine"), 20)
        for vectors in (points, stretched)
    ]
    assert set(of[0]) == set(of[1])


def test_equal_vectors_go_by_id() -> None:
    keys = np.array([30, 10, 50, 20, 40])
    chosen = choose(Moderate(), Candidates(keys, embeddings=np.ones((5, 2))), 5)
    assert keys[chosen].tolist() == [30, 20, 40, 10, 50]


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [
        (Candidates(np.arange(3)), r"Moderate needs embeddings, and select"),
        (Candidates(np.arange(3), embeddings=np.full((3, 1), np.nan)), "vector of id 0 holds NaN or infinity"),
        (Candidates(np.arange(3), embeddings=np.eye(3), factors=(1, 2)), "hold the two factors of each gradient"),
    ],
)
def test_what_is_refused(candidates: Candidates, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        choose(Moderate(), candidates, 2)


def test_what_it_will_cost_grows_with_the_candidates() -> None:
    few, many = (
        Moderate().estimate(Candidates(np.arange(size), embeddings=np.zeros((size, 8))), 5) for size in (10, 100)
    )
    assert few is not None and many is not None and many.operations == 10 * few.operations
