"""Scores of windows, streamed, beside the same on each example's own presentations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from paredown.artifacts import ExampleIds, Pool, TrainingDynamics
from paredown.errors import MethodError
from paredown.method import build
from paredown.scoring import Dual, DynamicUncertainty, Tdds, score_dynamics


def dynamics(**quantities: np.ndarray) -> TrainingDynamics:
    epochs, examples = next(iter(quantities.values())).shape
    ids = ExampleIds.of_pool(Pool(("a",), examples, "0" * 64))
    names = tuple(name.replace("_", "-") for name in quantities)
    rows = [
        {name: matrix[epoch].astype(np.float32) for name, matrix in zip(names, quantities.values(), strict=True)}
        for epoch in range(epochs)
    ]
    return TrainingDynamics(ids, rows, quantities=names)


def probabilities(epochs: int, examples: int, seed: int, missing: float) -> np.ndarray:
    """Probabilities in which each example is presented in the first five epochs at least."""
    rng = np.random.default_rng(seed)
    matrix = rng.random((epochs, examples)).astype(np.float32)
    absent = rng.random((epochs, examples)) < missing
    absent[:5] = False
    return np.where(absent, np.nan, matrix)


def windows(column: np.ndarray, size: int) -> np.ndarray:
    """Gives the windows of one example's presentations, (windows, size)."""
    seen = column[~np.isnan(column)].astype(np.float64)
    return np.lib.stride_tricks.sliding_window_view(seen, size)


@given(seed=st.integers(0, 50), window=st.integers(2, 4), missing=st.sampled_from([0.0, 0.4]))
def test_dynamic_uncertainty_is_the_mean_deviation_of_the_windows(seed: int, window: int, missing: float) -> None:
    matrix = probabilities(9, 7, seed, missing)
    deviations = [windows(column, window).std(axis=1, ddof=1) for column in matrix.T]
    recorded = dynamics(confidence=matrix)
    published = score_dynamics(DynamicUncertainty(window), recorded)
    np.testing.assert_allclose(published, [part[:-1].mean() for part in deviations], rtol=1e-6)
    every = score_dynamics(DynamicUncertainty(window, last_window=True), recorded)
    np.testing.assert_allclose(every, [part.mean() for part in deviations], rtol=1e-6)


def test_dynamic_uncertainty_does_not_look_at_the_last_epoch() -> None:
    matrix = probabilities(8, 5, 0, 0.0)
    changed = matrix.copy()
    changed[-1] = 1 - changed[-1]
    scores = [score_dynamics(DynamicUncertainty(4), dynamics(confidence=part)) for part in (matrix, changed)]
    np.testing.assert_array_equal(*scores)


@given(seed=st.integers(0, 50), window=st.integers(2, 4), missing=st.sampled_from([0.0, 0.4]))
def test_dual_is_deviation_times_difficulty_in_the_first_epochs(seed: int, window: int, missing: float) -> None:
    matrix = probabilities(9, 7, seed, missing)
    parts = [windows(column, window) for column in matrix[:7].T]
    expected = [(10 * part.std(axis=1, ddof=1) * (1 - part.mean(axis=1))).mean() for part in parts]
    np.testing.assert_allclose(score_dynamics(Dual(7, window), dynamics(confidence=matrix)), expected, rtol=1e-6)


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1])
def test_dual_to_draw_by_is_weighted_by_the_density_of_a_beta_distribution(keep: float) -> None:
    matrix = probabilities(8, 40, 1, 0.0)
    recorded = dynamics(confidence=matrix)
    scores = score_dynamics(Dual(8, 4), recorded)
    mean = matrix.mean(axis=0, dtype=np.float64)
    anchor = mean[np.argsort(-scores)[:10]].mean()
    b = 15 * (1 - anchor) * (1 - (1 - keep) ** 4.0)
    expected = beta.pdf(mean, 16 - b, b) * scores
    np.testing.assert_allclose(score_dynamics(Dual(8, 4, keep=keep), recorded), expected, rtol=1e-6)


def test_dual_draws_from_easier_examples_the_less_is_kept() -> None:
    recorded = dynamics(confidence=probabilities(8, 400, 2, 0.0))
    mean = recorded.matrix("confidence").mean(axis=0)
    drawn = []
    for keep in (0.7, 0.3, 0.1):
        weight = score_dynamics(Dual(8, 4, keep=keep), recorded)
        drawn.append((weight * mean).sum() / weight.sum())
    assert drawn == sorted(drawn)


def test_dual_to_draw_by_is_finite_where_examples_were_always_or_never_known() -> None:
    matrix = probabilities(8, 30, 0, 0.0)
    matrix[:, 0], matrix[:, 1] = 0.0, 1.0
    weight = score_dynamics(Dual(8, 4, keep=0.05), dynamics(confidence=matrix))
    assert np.isfinite(weight).all() and weight[0] == weight[1] == 0


@given(seed=st.integers(0, 50), window=st.integers(3, 5), missing=st.sampled_from([0.0, 0.4]))
def test_tdds_weighs_the_latest_windows_most(seed: int, window: int, missing: float) -> None:
    matrix = probabilities(10, 6, seed, missing)
    matrix[0] = np.nan  # nothing came before the first presentation
    expected = []
    for column in matrix.T:
        parts = windows(column, window - 1)
        norms = np.linalg.norm(parts - parts.mean(axis=1, keepdims=True), axis=1)
        expected.append((norms * 0.9 * 0.1 ** np.arange(len(norms))[::-1]).sum())
    np.testing.assert_allclose(score_dynamics(Tdds(window=window), dynamics(divergence=matrix)), expected, rtol=1e-5)


def test_tdds_looks_at_the_first_epochs_alone() -> None:
    matrix = probabilities(10, 6, 0, 0.0)
    matrix[0] = np.nan
    part = score_dynamics(Tdds(window=4), dynamics(divergence=matrix[:7]))
    np.testing.assert_array_equal(score_dynamics(Tdds(epochs=7, window=4), dynamics(divergence=matrix)), part)


@pytest.mark.parametrize("scorer", [DynamicUncertainty(), Dual(), Dual(keep=0.3), Tdds(), Tdds(epochs=20)], ids=repr)
def test_plain_data_gives_the_scorer_back(scorer) -> None:
    assert build("scorer", scorer.plain()) == scorer


def seldom() -> np.ndarray:
    matrix = np.full((6, 3), 0.5)
    matrix[2:, 1] = np.nan
    return matrix


@pytest.mark.parametrize(
    ("scorer", "seen", "sentence"),
    [
        (
            DynamicUncertainty(),
            dynamics(confidence=np.zeros((8, 2))),
            r"DynamicUncertainty\(window=10\): the dynamics hold 8 epochs, and a window needs 10\. Train longer or use",
        ),
        (
            DynamicUncertainty(window=8),
            dynamics(confidence=np.zeros((8, 2))),
            r"DynamicUncertainty\(window=8\): the dynamics hold 8 epochs, and the last window does not count",
        ),
        (
            DynamicUncertainty(window=3),
            dynamics(confidence=seldom()),
            "1 of 3 examples were presented too seldom to fill a window",
        ),
        (Dual(), dynamics(confidence=np.zeros((8, 2))), r"Dual\(epochs=30\): the dynamics hold 8 epochs"),
        (Dual(6, 3), dynamics(confidence=seldom()), r"Dual\(window=3\): 1 of 3 examples were presented too seldom"),
        (Tdds(), dynamics(divergence=np.zeros((8, 2))), r"Tdds\(window=10\): the dynamics hold 8 epochs"),
        (Tdds(epochs=20), dynamics(divergence=np.zeros((8, 2))), r"Tdds\(epochs=20\): the dynamics hold 8 epochs"),
        (Tdds(), dynamics(loss=np.zeros((12, 2))), r"Tdds needs 'divergence'.*record divergence"),
    ],
)
def test_what_is_refused(scorer, seen: TrainingDynamics, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        score_dynamics(scorer, seen)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (lambda: DynamicUncertainty(window=1), r"DynamicUncertainty\(window=1\): one presentation does not vary"),
        (lambda: Dual(window=1), r"Dual\(window=1\)"),
        (lambda: Dual(epochs=5), r"Dual\(epochs=5, window=10\): the window is longer"),
        (lambda: Dual(keep=1.0), r"Dual\(keep=1\): not a share to keep"),
        (lambda: Dual(c_d=0.0), r"Dual\(c_d=0\): the exponent is above 0"),
        (lambda: Tdds(window=2), r"Tdds\(window=2\): one step between presentations does not vary"),
        (lambda: Tdds(epochs=5), r"Tdds\(epochs=5, window=10\): the window is longer"),
    ],
)
def test_fields_are_checked(fields, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        fields()
