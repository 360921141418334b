"""Herding: the mean of the chosen follows the mean of all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.submodular import herding as slow

from paredown.artifacts.shards import Rows, View
from paredown.errors import MethodError
from paredown.selection import Candidates, Herding, choose, herding


@settings(max_examples=60)
@given(numbers=st.lists(st.lists(st.integers(-40, 40), min_size=2, max_size=2), min_size=1, max_size=16))
def test_no_other_choice_brings_the_mean_nearer(numbers: list[list[int]]) -> None:
    points = np.array(numbers, np.float64)
    size = len(points)
    chosen = choose(Herding(), Candidates(np.arange(size), embeddings=points), size)
    for turn in range(size):
        left = np.setdiff1d(np.arange(size), chosen[:turn])
        # In whole numbers: n · sum of the chosen less (t + 1) · sum of all.
        apart = size * (points[chosen[:turn]].sum(axis=0) + points) - (turn + 1) * points.sum(axis=0)
        squared = (apart**2).sum(axis=1)
        assert squared[chosen[turn]] <= squared[left].min() * (1 + 1e-9)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("offset", [0.0, 300.0])
def test_drawn_vectors(metric: str, offset: float) -> None:
    points = np.random.default_rng(0).standard_normal((150, 6)) + offset
    meant = points / np.linalg.norm(points, axis=1, keepdims=True) if metric == "cosine" else points
    chosen = choose(Herding(), Candidates(np.arange(150), embeddings=points, metric=metric), 40)
    assert chosen.tolist() == slow(meant, 40)


def test_vectors_that_do_not_fit_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.random.default_rng(1).standard_normal((200, 6)).astype(np.float32)
    held = choose(Herding(), Candidates(np.arange(200), embeddings=points), 50)
    monkeypatch.setattr(herding, "HELD", 0)
    monkeypatch.setattr("paredown.selection.grid.BLOCK", 100)
    view = View(Rows([points[:70], points[70:]]), np.arange(200))
    np.testing.assert_array_equal(choose(Herding(), Candidates(np.arange(200), embeddings=view), 50), held)


def test_the_mean_of_the_chosen_comes_near_faster_than_by_chance() -> None:
    points = np.random.default_rng(2).standard_normal((2000, 5))
    chosen = choose(Herding(), Candidates(np.arange(2000), embeddings=points), 200)
    apart = np.linalg.norm(points[chosen].mean(axis=0) - points.mean(axis=0))
    # By chance it would be √(5 / 200) = 0.16; herding falls as 1/t.
    assert apart < 0.01


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_equal_vectors_go_by_id(metric: str) -> None:
    keys = np.array([30, 10, 20, 40])
    points = np.array([[0.1, 0.7], [0.1, 0.7], [0.1, 0.7], [0.3, 0.2]])
    chosen = keys[choose(Herding(), Candidates(keys, embeddings=points, metric=metric), 4)]
    assert [key for key in chosen if key != 40] == [10, 20, 30]
    constant = choose(Herding(), Candidates(keys, embeddings=np.ones((4, 3)), metric=metric), 4)
    assert keys[constant].tolist() == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("candidates", "sentence"),
    [
        (Candidates(np.arange(3)), r"Herding needs embeddings, and select"),
        (Candidates(np.arange(3), embeddings=np.full((3, 1), np.inf)), "vector of id 0 holds NaN or infinity"),
        (Candidates(np.arange(3), embeddings=np.eye(3), factors=(1, 2)), "hold the two factors of each gradient"),
    ],
)
def test_what_is_refused(candidates: Candidates, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        choose(Herding(), candidates, 2)


def test_what_it_will_cost_grows_with_the_count() -> None:
    candidates = Candidates(np.arange(100), embeddings=np.zeros((100, 8)))
    few, many = Herding().estimate(candidates, 5), Herding().estimate(candidates, 50)
    assert few is not None and many is not None and many.operations == 10 * few.operations
