"""The spectral score beside a plain transform, and what it shares with dynamic uncertainty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import ExampleIds, Pool, TrainingDynamics
from paredown.errors import MethodError
from paredown.method import build
from paredown.scoring import DynamicUncertainty, Spectral, score_dynamics, spectrum
from paredown.scoring.base import AbstractDynamicsScorer
from paredown.scoring.spectrum import Traces, spectrum_norm, without_gaps

BOTH = [DynamicUncertainty(3), DynamicUncertainty(3, last_window=True), Spectral()]


def dynamics(matrix: np.ndarray, quantity: str = "confidence", best_epoch: int | None = None) -> TrainingDynamics:
    ids = ExampleIds.of_pool(Pool(("a",), matrix.shape[1], "0" * 64))
    rows = [{quantity: row.astype(np.float32)} for row in matrix]
    return TrainingDynamics(ids, rows, quantities=(quantity,), best_epoch=best_epoch)


@given(seed=st.integers(0, 1000), epochs=st.integers(2, 9))
def test_it_is_the_sum_over_the_whole_transform(seed: int, epochs: int) -> None:
    traces = np.random.default_rng(seed).random((epochs, 5))
    whole = np.abs(np.fft.fft(traces, axis=0))[1:].sum(axis=0)
    np.testing.assert_allclose(spectrum_norm(traces), whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(spectrum_norm(traces + 3.0), whole, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(spectrum_norm(-2.0 * traces), 2 * whole, rtol=1e-9, atol=1e-12)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.random.default_rng(0).random((7, 50))
    whole = score_dynamics(Spectral(), dynamics(matrix))
    monkeypatch.setattr(spectrum, "BLOCK_BYTES", 4 * 7 * 3)
    np.testing.assert_array_equal(score_dynamics(Spectral(), dynamics(matrix)), whole)


def test_missing_epochs_keep_the_value_before() -> None:
    nan = np.nan
    traces = np.array([[nan, 0.1, nan], [0.5, nan, nan], [nan, nan, nan], [0.7, 0.4, nan]], dtype=np.float32)
    held = np.array([[0.5, 0.1, nan], [0.5, 0.1, nan], [0.5, 0.1, nan], [0.7, 0.4, nan]], dtype=np.float32)
    np.testing.assert_array_equal(without_gaps(traces), held)
    np.testing.assert_array_equal(np.isnan(spectrum_norm(held)), [False, False, True])
    found = score_dynamics(Spectral(), dynamics(traces[:, :2]))
    np.testing.assert_allclose(found, spectrum_norm(held[:, :2]), atol=1e-9)


@pytest.mark.parametrize("method", [Spectral, DynamicUncertainty])
def test_either_image_can_be_looked_at(method: Any) -> None:
    scorer = method(of="adversarial-confidence")
    attacked = dynamics(np.random.default_rng(0).random((12, 4)), "adversarial-confidence")
    assert scorer.quantities == ("adversarial-confidence",)
    assert (score_dynamics(scorer, attacked) > 0).all()


@pytest.mark.parametrize("scorer", BOTH, ids=repr)
@given(seed=st.integers(0, 1000))
def test_shifting_changes_nothing_and_scaling_scales(scorer: AbstractDynamicsScorer, seed: int) -> None:
    traces = np.random.default_rng(seed).integers(0, 17, (8, 5)) / 16  # so that float32 loses nothing
    scores = score_dynamics(scorer, dynamics(traces))
    np.testing.assert_allclose(score_dynamics(scorer, dynamics(traces - 0.5)), scores, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(score_dynamics(scorer, dynamics(-2 * traces)), 2 * scores, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scorer", BOTH, ids=repr)
def test_files_give_the_same_as_memory(scorer: AbstractDynamicsScorer, tmp_path: Path) -> None:
    seen = dynamics(np.random.default_rng(0).random((9, 20)))
    opened = TrainingDynamics.open(seen.save(tmp_path / "dynamics"))
    np.testing.assert_array_equal(score_dynamics(scorer, opened), score_dynamics(scorer, seen))


@pytest.mark.parametrize("method", [Spectral, DynamicUncertainty])
def test_until_the_best_epoch(method: Any) -> None:
    matrix = np.random.default_rng(0).random((20, 6))
    scorer = method(until="best")
    first = score_dynamics(method(), dynamics(matrix[:12]))
    np.testing.assert_array_equal(score_dynamics(scorer, dynamics(matrix, best_epoch=12)), first)
    assert build("scorer", scorer.plain()) == scorer
    with pytest.raises(MethodError, match=r"\(until=best\): the dynamics do not say which epoch was the best"):
        score_dynamics(scorer, dynamics(matrix))
    with pytest.raises(MethodError, match=r"Spectral.*hold 1 epoch up to the best one|hold 1 epochs up to the best"):
        score_dynamics(scorer, dynamics(matrix, best_epoch=1))


def test_a_best_epoch_within_the_first_window_is_refused() -> None:
    """Where published code divides by 0: as many epochs as the window, of which the last does not count."""
    matrix = np.random.default_rng(0).random((20, 6))
    sentence = "hold 10 epochs up to the best one, and the last window does not count"
    with pytest.raises(MethodError, match=sentence):
        score_dynamics(DynamicUncertainty(until="best"), dynamics(matrix, best_epoch=10))
    assert (score_dynamics(DynamicUncertainty(until="best"), dynamics(matrix, best_epoch=11)) > 0).all()


def test_one_epoch_is_refused() -> None:
    with pytest.raises(MethodError, match="one value has no frequencies"):
        score_dynamics(Spectral(), dynamics(np.zeros((1, 3))))


def test_a_full_disk_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, content: object) -> None:
            raise OSError(28, "No space left on device")

    state = Traces(3)
    monkeypatch.setattr(state, "_file", Full())
    with pytest.raises(MethodError, match=r"No space left on device\)\. Set TMPDIR"):
        state.put(np.zeros(3))
