"""Predicted scores beside hand-computed ones and a brute-force search."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError
from paredown.method import build
from paredown.neighbors import AbstractIndex, Ivf
from paredown.scoring.extrapolation import AbstractExtrapolation, KernelRidge, NearestMean
from paredown.scoring.quality import Quality, quality, shared

CPU = torch.device("cpu")
POINTS = np.array([[0, 0], [1, 0], [0, 2], [3, 3]], dtype=np.float64)
SCORES = np.array([0.1, 0.5, 0.3, 0.9])
QUERIES = np.array([[0, 1], [2, 2]], dtype=np.float64)


def predicted(
    method: AbstractExtrapolation,
    vectors: np.ndarray,
    values: np.ndarray,
    queries: np.ndarray,
    *,
    metric: str = "euclidean",
    block_mb: int = 64,
) -> np.ndarray:
    learnt = method.learn(vectors, values, metric=metric, device=CPU, block_mb=block_mb, seed=0)
    return learnt(queries)


def test_exponential_weights_by_hand() -> None:
    weights = np.exp([-1.0, -1.0, -np.sqrt(2)])
    expected = weights @ SCORES[[0, 2, 1]] / weights.sum()
    assert predicted(NearestMean(3, "exponential"), POINTS, SCORES, QUERIES[:1])[0] == pytest.approx(expected, abs=1e-9)


def test_a_neighbour_in_the_opposite_direction_does_not_count() -> None:
    points, scores = np.array([[1.0, 0.1], [-1.0, 0.0]]), np.array([0.2, 0.8])
    found = predicted(NearestMean(2, "distance"), points, scores, np.array([[1.0, 0.0]]), metric="cosine")
    assert found[0] == pytest.approx(0.2)
    opposite = predicted(NearestMean(1, "distance"), points[1:], scores[1:], np.array([[1.0, 0.0]]), metric="cosine")
    assert opposite[0] == 0.8  # none in the same direction: nothing to weigh by


generators = st.integers(0, 10_000).map(np.random.default_rng)


@given(rng=generators, k=st.integers(1, 6))
def test_ties_go_to_the_first_as_in_a_sort_of_all_distances(rng: np.random.Generator, k: int) -> None:
    points, queries = (rng.integers(0, 3, (size, 2)).astype(np.float64) for size in (30, 9))
    scores = rng.random(30)
    near = np.argsort(((queries[:, None] - points[None]) ** 2).sum(axis=2), axis=1, kind="stable")[:, :k]
    found = predicted(NearestMean(k), points, scores, queries, block_mb=1)
    np.testing.assert_allclose(found, scores[near].mean(axis=1), rtol=0, atol=1e-12)


@given(rng=generators, k=st.integers(1, 6))
def test_directions_are_compared_by_cosine(rng: np.random.Generator, k: int) -> None:
    points, queries, scores = rng.standard_normal((30, 4)), rng.standard_normal((9, 4)), rng.random(30)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(points, axis=1)
    near = np.argsort(-(queries @ points.T) / lengths, axis=1)[:, :k]
    found = predicted(NearestMean(k), points, scores, queries, metric="cosine")
    np.testing.assert_allclose(found, scores[near].mean(axis=1), rtol=0, atol=1e-12)


@given(rng=generators, weights=st.sampled_from(["uniform", "distance", "exponential"]), k=st.integers(1, 12))
def test_a_mean_stays_inside_and_keeps_what_is_constant(rng: np.random.Generator, weights: Any, k: int) -> None:
    points, queries = rng.standard_normal((40, 3)), 10 * rng.standard_normal((15, 3))
    points[:5] = points[5:10]
    scores = rng.standard_normal(40)
    for metric in ("euclidean", "cosine"):
        found = predicted(NearestMean(k, weights), points, scores, queries, metric=metric)
        assert found.min() >= scores.min() and found.max() <= scores.max()
        constant = predicted(NearestMean(k, weights), points, np.full(40, 0.1), queries, metric=metric)
        assert (constant == 0.1).all()
    np.testing.assert_array_equal(predicted(NearestMean(1, weights), points[5:], scores[5:], points[5:]), scores[5:])


def clusters(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors near eight centres, and a score that changes smoothly between them."""
    rng = np.random.default_rng(seed)
    centres = 4 * np.random.default_rng(1).standard_normal((8, 5))
    vectors = centres[np.arange(size) % 8] + rng.standard_normal((size, 5))
    return vectors.astype(np.float32), np.sin(vectors[:, 0] / 3) + vectors[:, 1] / 10 + 2.0


def test_an_approximate_search_predicts_nearly_the_same() -> None:
    (vectors, scores), (queries, _) = clusters(600, 0), clusters(80, 2)
    exact = predicted(NearestMean(), vectors, scores, queries)
    near = predicted(NearestMean(index=Ivf(lists=8, probes=4)), vectors, scores, queries)
    assert np.abs(exact - near).mean() < 0.05 * scores.std()


def test_a_search_that_finds_nothing_says_so() -> None:
    class Nothing(AbstractIndex):
        def prepare(self, vectors: Any, **how: Any) -> None:
            return None

        def nearest(self, state: None, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            return np.full((len(queries), k), -1), np.full((len(queries), k), np.inf, np.float32)

    with pytest.raises(MethodError, match="found no neighbour of 2 examples"):
        predicted(NearestMean(2, index=Nothing()), POINTS, SCORES, QUERIES)


def test_too_few_examples_are_refused() -> None:
    with pytest.raises(MethodError, match="only 4 examples have scores"):
        predicted(NearestMean(), POINTS, SCORES, QUERIES)
    with pytest.raises(MethodError, match="at least one neighbour"):
        NearestMean(0)


def kernel(first: np.ndarray, second: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-((first[:, None] - second[None]) ** 2).sum(axis=2) / (2 * width**2))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_with_every_example_a_landmark_it_is_kernel_ridge_regression(metric: str) -> None:
    rng = np.random.default_rng(3)
    vectors, scores, queries = rng.standard_normal((25, 2)), rng.random(25), rng.standard_normal((7, 2))
    x, q = vectors, queries
    if metric == "cosine":
        x, q = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (x, q))
    apart = np.linalg.norm(x[:, None] - x[None], axis=2)[np.triu_indices(25, 1)]
    width = float(np.sort(apart)[(len(apart) - 1) // 2])  # torch's median is the lower of the two in the middle
    weights = np.linalg.solve(kernel(x, x, width) + 0.1 * 25 * np.eye(25), scores - scores.mean())
    expected = scores.mean() + kernel(q, x, width) @ weights
    found = predicted(KernelRidge(ridge=0.1, width=1.0), vectors, scores, queries, metric=metric, block_mb=1)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_fewer_landmarks_are_drawn_and_predict_well() -> None:
    (vectors, scores), (queries, truth) = clusters(800, 0), clusters(100, 2)
    found = predicted(KernelRidge(landmarks=200), vectors, scores, queries)
    assert quality(found, truth).spearman > 0.9
    again = predicted(KernelRidge(landmarks=200), vectors, scores, queries)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("vectors", [np.ones((30, 3)), np.repeat(np.eye(3), 10, axis=0)], ids=["one", "three"])
def test_equal_landmarks_do_no_harm(vectors: np.ndarray) -> None:
    scores = np.arange(30) / 30
    found = predicted(KernelRidge(), vectors, scores, vectors[:4])
    assert np.isfinite(found).all() and (abs(found - 0.5) < 0.6).all()
    np.testing.assert_allclose(predicted(KernelRidge(), vectors, np.full(30, 0.1), vectors), 0.1, atol=1e-9)


@pytest.mark.parametrize("fields", [{"landmarks": 0}, {"ridge": 0}, {"width": -1}], ids=str)
def test_kernel_ridge_refuses_what_makes_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match="each of the three is above 0"):
        build("extrapolation", {"name": "kernel-ridge"} | fields)


def test_quality_by_hand() -> None:
    found = quality(np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 8.0, 6.0]))
    assert found.spearman == pytest.approx(0.8) and found.n == 4
    assert found.pearson == pytest.approx(np.corrcoef([1, 2, 3, 4], [2, 4, 8, 6])[0, 1])
    assert found.slope == pytest.approx(np.polyfit([1, 2, 3, 4], [2, 4, 8, 6], 1)[0])
    assert found.overlap == {0.25: 0.0, 0.5: 1.0, 0.75: 1.0}
    assert found.error == pytest.approx(np.sqrt(np.mean([1, 4, 25, 4])) / np.std([2, 4, 8, 6]))
    assert "rank correlation of 0.80" in str(found) and "100%" in str(found)


def test_a_constant_is_as_good_as_chance() -> None:
    found = quality(np.full(20, 3.0), np.arange(20.0))
    assert (found.spearman, found.pearson, found.slope) == (0.0, 0.0, 0.0)
    assert found.overlap == pytest.approx({0.25: 0.25, 0.5: 0.5, 0.75: 0.75})
    assert quality(np.arange(20.0), np.full(20, 3.0)).error == 0.0


@given(rng=generators, count=st.integers(1, 12))
def test_ties_at_the_cut_are_shared(rng: np.random.Generator, count: int) -> None:
    first, second = rng.integers(0, 4, (2, 12)).astype(np.float64)
    share = shared(first, second, count)
    assert 0 <= share <= 1 and share == pytest.approx(shared(second, first, count))
    order = rng.permutation(12)
    assert share == pytest.approx(shared(first[order], second[order], count))
    assert shared(np.arange(12.0), np.arange(12.0) ** 3, count) == 1


def test_quality_is_data_that_json_can_hold() -> None:
    plain = quality(np.arange(4.0), np.arange(4.0)).plain()
    assert plain.keys() == Quality.__dataclass_fields__.keys() and plain["overlap"]["0.5"] == 1.0
