"""The spectral score and dynamic uncertainty beside the numbers of the specification and a plain transform."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import ExampleIds, Pool, TrainingDynamics
from paredown.errors import MethodError
from paredown.scoring import DynamicUncertainty, Spectral, score_dynamics, spectrum
from paredown.scoring.base import AbstractDynamicsScorer
from paredown.scoring.spectrum import Traces, spectrum_norm, without_gaps

P = np.array([[0.1, 0.5, 0.9], [0.3, 0.5, 0.95], [0.2, 0.5, 0.85], [0.6, 0.5, 0.9], [0.9, 0.5, 0.99], [0.8, 0.5, 0.97]])


def dynamics(matrix: np.ndarray, quantity: str = "confidence") -> TrainingDynamics:
    ids = ExampleIds.of_pool(Pool(("a",), matrix.shape[1], "0" * 64))
    return TrainingDynamics(ids, [{quantity: row.astype(np.float32)} for row in matrix], quantities=(quantity,))


def test_known_spectra() -> None:
    np.testing.assert_allclose(spectrum_norm(P), [3.6782923076, 0, 0.6307416430], rtol=0, atol=1e-9)
    np.testing.assert_allclose(score_dynamics(Spectral(), dynamics(P)), spectrum_norm(P), rtol=0, atol=1e-5)
    by_hand = np.array([[0, 1, 0, 1], [0, 1, 1, 1]], dtype=np.float64).T
    np.testing.assert_allclose(score_dynamics(Spectral(), dynamics(by_hand)), [2, 3], rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("last_window", "expected"),
    [(False, [0.2197850195, 0, 0.0569819963]), (True, [0.2030268954, 0, 0.0545510363])],
)
def test_known_dynamic_uncertainty(last_window: bool, expected: list[float]) -> None:
    found = score_dynamics(DynamicUncertainty(3, last_window=last_window), dynamics(P))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], 0.158113883),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 0.9, 0.8], 0.2889203913),
    ],
)
def test_known_dynamic_uncertainty_of_ten_epochs(trace: list[float], expected: float) -> None:
    found = score_dynamics(DynamicUncertainty(), dynamics(np.array(trace)[:, None]))
    np.testing.assert_allclose(found, [expected], rtol=0, atol=1e-6)


@pytest.mark.parametrize("scorer", [DynamicUncertainty(3), Spectral()], ids=["windows", "spectrum"])
def test_both_remove_the_second_example_first(scorer: AbstractDynamicsScorer) -> None:
    assert score_dynamics(scorer, dynamics(P)).argmin() == 1


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


def test_one_epoch_is_refused() -> None:
    with pytest.raises(MethodError, match="one value has no frequencies"):
        score_dynamics(Spectral(), dynamics(P[:1]))


def test_a_full_disk_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, content: object) -> None:
            raise OSError(28, "No space left on device")

    state = Traces(3)
    monkeypatch.setattr(state, "_file", Full())
    with pytest.raises(MethodError, match=r"No space left on device\)\. Set TMPDIR"):
        state.put(np.zeros(3))
