"""k-centre: the farthest first, exactly, whatever the blocks; and the grid that makes it exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.submodular import farthest_first as slow

from paredown.artifacts.shards import Rows, View
from paredown.errors import MethodError
from paredown.selection import Candidates, KCenter, choose, grid, kcenter
from paredown.selection.grid import Grid

FIRST = KCenter(start="first")


@st.composite
def vectors(draw: st.DrawFn) -> np.ndarray:
    """Vectors of small whole numbers: many equal distances, and some equal vectors."""
    size, width = draw(st.integers(1, 24)), draw(st.integers(1, 3))
    numbers = draw(st.lists(st.integers(-3, 3), min_size=size * width, max_size=size * width))
    return np.array(numbers, np.float32).reshape(size, width)


@settings(max_examples=150)
@given(points=vectors())
def test_it_is_the_obvious_choice_ties_and_duplicates_included(points: np.ndarray) -> None:
    chosen = choose(FIRST, Candidates(np.arange(len(points)), embeddings=points), len(points))
    assert chosen.tolist() == slow(points, len(points), 0)


@settings(max_examples=60)
@given(points=vectors(), narrow=st.integers(1, 5))
def test_how_wide_a_block_is_changes_nothing(points: np.ndarray, narrow: int) -> None:
    candidates = Candidates(np.arange(len(points)), embeddings=points)
    whole = choose(FIRST, candidates, len(points))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kcenter, "NARROWEST", 1)
        patch.setattr(kcenter, "WIDEST", narrow)
        patch.setattr(grid, "BLOCK", 7)
        patch.setattr(grid, "KEPT", 0)
        np.testing.assert_array_equal(choose(FIRST, candidates, len(points)), whole)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_drawn_vectors_in_many_blocks(metric: str, offset: float) -> None:
    points = np.random.default_rng(0).standard_normal((400, 8)) + offset
    meant = points / np.linalg.norm(points, axis=1, keepdims=True) if metric == "cosine" else points
    chosen = choose(FIRST, Candidates(np.arange(400), embeddings=points, metric=metric), 30)
    assert chosen.tolist() == slow(meant, 30, 0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_vectors_that_are_read_from_files_give_the_same(dtype: Any) -> None:
    points = np.random.default_rng(1).standard_normal((200, 6)).astype(dtype)
    rows = Rows([points[:90], points[90:]])
    where = np.random.default_rng(2).permutation(200)[:150]
    keys = np.arange(1000, 1150)[np.random.default_rng(3).permutation(150)]
    for selector in (KCenter(), FIRST):
        from_files = choose(selector, Candidates(keys, embeddings=View(rows, where)), 40)
        np.testing.assert_array_equal(from_files, choose(selector, Candidates(keys, embeddings=points[where]), 40))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_the_unit_of_the_vectors_does_not_matter(scale: float) -> None:
    points = np.random.default_rng(4).standard_normal((100, 5))
    candidates = Candidates(np.arange(100), embeddings=points)
    larger = Candidates(np.arange(100), embeddings=points * scale)
    np.testing.assert_array_equal(choose(KCenter(), larger, 30), choose(KCenter(), candidates, 30))


def test_where_it_starts() -> None:
    points = np.array([[0.0], [9.0], [4.0], [10.0], [3.0]])
    candidates = Candidates(np.array([5, 4, 3, 2, 1]), embeddings=points)
    assert choose(KCenter(), candidates, 2).tolist() == [2, 3]  # the mean is 5.2
    assert choose(FIRST, candidates, 2).tolist() == [4, 3]  # the lowest id stands last
    drawn = {int(choose(KCenter(start="random"), candidates, 1, seed=seed)[0]) for seed in range(40)}
    assert drawn == set(range(5))


def test_centres_are_at_most_twice_as_far_as_the_best() -> None:
    rng = np.random.default_rng(5)
    heaps = rng.permutation(np.repeat(np.eye(6) * 100, 20, axis=0)) + rng.random((120, 6))
    chosen = choose(KCenter(), Candidates(np.arange(120), embeddings=heaps), 6)
    assert len(np.unique(heaps[chosen].argmax(axis=1))) == 6


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equal_vectors_go_by_id(metric: str) -> None:
    keys = np.array([30, 10, 20])
    chosen = choose(KCenter(), Candidates(keys, embeddings=np.full((3, 2), 0.1), metric=metric), 3)
    assert keys[chosen].tolist() == [10, 20, 30]


@given(points=vectors(), weights=st.integers(0, 1000))
def test_products_on_the_grid_are_exact(points: np.ndarray, weights: int) -> None:
    shifted = points + weights  # whole numbers, so the grid holds them as they are
    made = Grid(shifted, metric="euclidean")
    apart = ((shifted[:, None] - shifted[None]) ** 2).sum(axis=2)
    products = made.product(made.rows(slice(0, len(points))))
    squared = made.squares[:, None] + made.squares[None] - 2 * products
    np.testing.assert_array_equal(squared, apart * made.scale**2)
    # Products with the mean are those of the rounded mean: off by less than a step of the finer grid.
    mean = made.rows(slice(0, len(points))).numpy().mean(axis=0)
    length = np.sqrt(made.squares.max(initial=0))
    expected = made.rows(slice(0, len(points))).numpy() @ mean
    np.testing.assert_allclose(made.mean_products(), expected, rtol=1e-12, atol=1e-6 * max(1, length))


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [
        (Candidates(np.arange(3)), r"KCenter needs embeddings, and select.*Pass embeddings="),
        (
            Candidates(np.arange(5, 8), embeddings=np.array([[1.0], [np.nan], [2.0]])),
            "vector of id 6 holds NaN or infinity",
        ),
        (Candidates(np.arange(3), embeddings=np.eye(3) - np.eye(3)[0], metric="cosine"), "vector of id 0 is zero"),
        (Candidates(np.arange(3), embeddings=np.eye(3), factors=(1, 2)), "hold the two factors of each gradient"),
    ],
)
def test_what_is_refused(candidates: Candidates, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        choose(KCenter(), candidates, 2)


def test_what_it_will_cost_grows_with_the_count() -> None:
    candidates = Candidates(np.arange(100), embeddings=np.zeros((100, 8)))
    few, many = KCenter().estimate(candidates, 5), KCenter().estimate(candidates, 50)
    assert few is not None and many is not None and many.operations == 10 * few.operations
