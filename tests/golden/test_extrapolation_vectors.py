"""Vectors of the specification: scores of what training saw, selection by them, extrapolation, duplicates.

What the published code does otherwise and is not done here, its weights of neighbours, is written out beside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from paredown import EmbeddingMatrix, ExampleIds, ScoreTable, select
from paredown.artifacts import Pool, TrainingDynamics
from paredown.data import ImageDataset
from paredown.embedding.sscd import generalised_mean
from paredown.neighbors import nearest_neighbors
from paredown.scoring import DynamicUncertainty, NearestMean, Spectral, score_dynamics
from paredown.scoring.base import AbstractDynamicsScorer
from paredown.scoring.spectrum import spectrum_norm
from paredown.scoring.windows import Window
from paredown.selection.deduplicate import groups

P = np.array([[0.1, 0.5, 0.9], [0.3, 0.5, 0.95], [0.2, 0.5, 0.85], [0.6, 0.5, 0.9], [0.9, 0.5, 0.99], [0.8, 0.5, 0.97]])


def ids(size: int) -> ExampleIds:
    return ExampleIds.of_pool(Pool(("vectors",), size, "0" * 64))


def dynamics(matrix: np.ndarray, best_epoch: int | None = None) -> TrainingDynamics:
    rows = [{"confidence": row.astype(np.float32)} for row in matrix]
    return TrainingDynamics(ids(matrix.shape[1]), rows, quantities=("confidence",), best_epoch=best_epoch)


# Scores (11.1); recorded as float32, so to 1e-7 ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_window", "expected"),
    [(False, [0.2197850195, 0, 0.0569819963]), (True, [0.2030268954, 0, 0.0545510363])],
)
def test_dynamic_uncertainty(last_window: bool, expected: list[float]) -> None:
    found = score_dynamics(DynamicUncertainty(3, last_window=last_window), dynamics(P))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7)


def test_the_deviation_of_each_window() -> None:
    window, found = Window(3, 3), []
    for row in P:
        if window.put(row).all():
            found.append(np.sqrt(window.moments()[1] / 2))
    expected = [[0.1, 0, 0.05], [0.2081665999, 0, 0.05], [0.3511884584, 0, 0.0709459888]]
    np.testing.assert_allclose(found[:3], expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 0.158113883),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 0.9, 0.8], 0.2889203913),
    ],
)
def test_dynamic_uncertainty_of_ten_epochs(trace: list[float], expected: float) -> None:
    found = score_dynamics(DynamicUncertainty(), dynamics(np.array(trace)[:, None]))
    np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-7)


def test_until_the_best_epoch_is_the_first_rows() -> None:
    later = np.concatenate([P, 1 - P])
    found = score_dynamics(DynamicUncertainty(3, until="best"), dynamics(later, best_epoch=6))
    np.testing.assert_allclose(found, [0.2197850195, 0, 0.0569819963], rtol=0, atol=1e-7)
    found = score_dynamics(Spectral(until="best"), dynamics(later, best_epoch=6))
    np.testing.assert_allclose(found, [3.6782923076, 0, 0.6307416430], rtol=0, atol=1e-6)


def test_the_spectrum() -> None:
    np.testing.assert_allclose(spectrum_norm(P), [3.6782923076, 0, 0.6307416430], rtol=0, atol=1e-9)
    sizes = np.abs(np.fft.fft(P[:, 0]))
    np.testing.assert_allclose(sizes, [2.9, 1.1532562595, 0.4358898944, 0.5, 0.4358898944, 1.1532562595], atol=1e-9)
    np.testing.assert_allclose(score_dynamics(Spectral(), dynamics(P)), spectrum_norm(P), rtol=0, atol=1e-6)
    by_hand = np.array([[0, 1, 0, 1], [0, 1, 1, 1]], dtype=np.float64).T
    np.testing.assert_allclose(score_dynamics(Spectral(), dynamics(by_hand)), [2, 3], rtol=0, atol=1e-12)


@pytest.mark.parametrize("scorer", [DynamicUncertainty(3), Spectral()], ids=["windows", "spectrum"])
def test_of_three_a_third_less_is_without_the_second(scorer: AbstractDynamicsScorer) -> None:
    table = ScoreTable(ids(3), score_dynamics(scorer, dynamics(P)), name="s", important="high", low=0, high=np.inf)
    kept = select("highest", scores=table, count=3 - int(0.34 * 3))
    assert set(range(3)) - set(kept.ids.keys.tolist()) == {1}


# Selection (11.2) ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "by_class", "removed"),
    [
        (0.3, False, {1, 3, 9}),
        (0.5, False, {0, 1, 2, 3, 9}),
        (0.3, True, {1, 9}),
        (0.5, True, {1, 3, 7, 8, 9}),
    ],
)
def test_what_is_removed(share: float, by_class: bool, removed: set[int]) -> None:
    values = np.array([0.4, 0.1, 0.3, 0.2, 0.9, 0.7, 0.8, 0.6, 0.5, 0.05])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    data = ImageDataset.from_arrays(np.arange(40, dtype=np.uint8).reshape(10, 2, 2, 1), labels)
    table = ScoreTable(data.ids, values, name="s", important="high", low=0, high=1)
    # The floor of the share, of all or of each class, which published code removes.
    sizes = np.bincount(labels) if by_class else np.array([10])
    count = 10 - sum(int(share * size) for size in sizes)
    kept = select("highest", scores=table, data=data, count=count, by_class=by_class)
    assert set(range(10)) - set(kept.ids.keys.tolist()) == removed


# Extrapolation (11.3) ------------------------------------------------------------------------------------------------

POINTS = np.array([[0, 0], [1, 0], [0, 2], [3, 3]], dtype=np.float64)
SCORES = np.array([0.1, 0.5, 0.3, 0.9])
QUERIES = np.array([[0, 1], [2, 2]], dtype=np.float64)


def predicted(method: NearestMean, points: np.ndarray, queries: np.ndarray, metric: str = "euclidean") -> np.ndarray:
    learnt = method.learn(points, SCORES, metric=metric, device=torch.device("cpu"), block_mb=64, seed=0)
    return learnt(queries)


def test_distances_and_their_order() -> None:
    index = NearestMean().index
    state = index.prepare(POINTS, metric="euclidean", device=torch.device("cpu"), block_mb=64, folder=None)
    near, apart = index.nearest(state, QUERIES, 4)
    assert near[:, :3].tolist() == [[0, 2, 1], [3, 2, 1]]
    whole = [[1, 1.4142135624, 1, 3.6055512755], [2.8284271247, 2.2360679775, 2, 1.4142135624]]
    np.testing.assert_allclose(apart, np.take_along_axis(np.array(whole), near, axis=1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("k", "weights", "expected"),
    [
        (1, "uniform", [0.1, 0.9]),
        (1, "distance", [0.1, 0.9]),
        (1, "exponential", [0.1, 0.9]),
        (2, "uniform", [0.2, 0.6]),
        (2, "distance", [0.2, 0.6514718626]),
        (3, "uniform", [0.3, 0.5666666667]),
        (3, "distance", [0.2878679656, 0.5853383036]),
    ],
)
def test_the_mean_of_the_nearest(k: int, weights: Any, expected: list[float]) -> None:
    np.testing.assert_allclose(predicted(NearestMean(k, weights), POINTS, QUERIES), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("weights", "expected"), [("uniform", 0.3), ("distance", 0.3047378541)])
def test_the_mean_of_the_nearest_by_cosine(weights: Any, expected: float) -> None:
    points = np.array([[1, 0], [1, 1], [0, 2], [-1, 0]], dtype=np.float64)
    found = predicted(NearestMean(3, weights), points, np.array([[2.0, 1.0]]), metric="cosine")
    np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-9)


def test_the_published_weights_are_not_done() -> None:
    """They favour the far: d / Σd of distances, (Σc - c) / ((k - 1) Σc) of similarities."""
    apart, near = np.array([2**0.5, 2, 5**0.5]), np.array([3, 2, 1])
    for k, published, ours in ((2, 0.5485281374, 0.6514718626), (3, 0.5293233928, 0.5853383036)):
        weights = apart[:k] / apart[:k].sum()
        assert weights @ SCORES[near[:k]] == pytest.approx(published, abs=1e-9)
        assert predicted(NearestMean(k, "distance"), POINTS, QUERIES)[1] == pytest.approx(ours, abs=1e-9)
    apart = np.array([1, 1, 2**0.5])
    assert apart / apart.sum() @ SCORES[[0, 2, 1]] == pytest.approx(0.3242640687, abs=1e-9)
    close = np.array([0.9486832981, 0.894427191, 0.4472135955])
    weights = (close.sum() - close) / (2 * close.sum())
    assert weights @ SCORES[[1, 0, 2]] == pytest.approx(0.2976310729, abs=1e-9)


# Duplicates (11.9) ---------------------------------------------------------------------------------------------------

ANGLES = np.deg2rad([0, 10, 20, 90, 95, 180, 270])
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


@pytest.mark.parametrize("threshold", [0.97, 0.95, 0.90])
def test_groups_on_a_circle(threshold: float) -> None:
    assert groups(CIRCLE, threshold).tolist() == [0, 0, 0, 1, 1, 2, 3]
    matrix = EmbeddingMatrix(ids(7), CIRCLE.astype(np.float32), metric="cosine", normalised=True)
    kept = select({"name": "near-duplicates", "threshold": threshold}, embeddings=matrix)
    assert kept.ids.keys.tolist() == [0, 3, 5, 6]


def test_the_largest_similarities_to_another() -> None:
    nearest = 1 - nearest_neighbors(CIRCLE, 1, metric="cosine").distances[:, 0]
    expected = [0.98480775, 0.98480775, 0.98480775, 0.9961947, 0.9961947, 0.08715574, 0]
    np.testing.assert_allclose(nearest, expected, rtol=0, atol=1e-8)
    assert CIRCLE[0] @ CIRCLE[2] == pytest.approx(0.9397, abs=1e-4)


def test_the_generalised_mean() -> None:
    maps = torch.tensor([[1, 2], [3, -4]], dtype=torch.float64)[None, None]
    assert float(generalised_mean(maps, 3)) == pytest.approx(2.0800838231, abs=1e-10)
