"""Scores over epochs, streamed, beside the same on the whole matrix."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import ALL_QUANTITIES, ExampleIds, Pool, TrainingDynamics
from paredown.errors import MethodError
from paredown.method import build
from paredown.scoring import (
    AbstractDynamicsScorer,
    Aum,
    Correctness,
    Forgetting,
    ForgettingEvents,
    RecordedMean,
    Variability,
    score_dynamics,
)

SCORERS = [
    Forgetting(),
    Forgetting("zero"),
    Forgetting("infinite"),
    Aum(),
    Aum("probabilities"),
    Correctness(),
    Variability(),
    RecordedMean(),
    RecordedMean("loss", first=2, last=3),
]


def dynamics(**quantities: np.ndarray) -> TrainingDynamics:
    epochs, examples = next(iter(quantities.values())).shape
    ids = ExampleIds.of_pool(Pool(("a",), examples, "0" * 64))
    rows = [{name: matrix[epoch].astype(np.float32) for name, matrix in quantities.items()} for epoch in range(epochs)]
    return TrainingDynamics(ids, rows, quantities=tuple(quantities))


def recorded(epochs: int, examples: int, seed: int = 0, missing: float = 0.2) -> TrainingDynamics:
    """Random dynamics in which everyone is presented in the second epoch and some are not in the others."""
    rng = np.random.default_rng(seed)
    matrices = {name: rng.random((epochs, examples)) for name in ALL_QUANTITIES}
    matrices["correct"] = matrices["correct"].round()
    absent = rng.random((epochs, examples)) < missing
    absent[1] = False
    return dynamics(**{name: np.where(absent, np.nan, matrix) for name, matrix in matrices.items()})


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
@given(seed=st.integers(0, 100))
def test_permuting_examples_permutes_values(scorer: AbstractDynamicsScorer, seed: int) -> None:
    whole = recorded(4, 12, seed)
    order = np.random.default_rng(seed).permutation(12)
    shuffled = dynamics(**{name: whole.matrix(name)[:, order] for name in ALL_QUANTITIES})
    np.testing.assert_array_equal(score_dynamics(scorer, shuffled), score_dynamics(scorer, whole)[order])


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_files_give_the_same_as_memory(scorer: AbstractDynamicsScorer, tmp_path: Path) -> None:
    whole = recorded(4, 12)
    whole.save(tmp_path / "dynamics")
    from_files = score_dynamics(scorer, TrainingDynamics.open(tmp_path / "dynamics"))
    np.testing.assert_array_equal(from_files, score_dynamics(scorer, whole))


@pytest.mark.parametrize("scorer", SCORERS, ids=repr)
def test_plain_data_gives_the_scorer_back(scorer: AbstractDynamicsScorer) -> None:
    assert build("scorer", scorer.plain()) == scorer


def test_means_and_deviations_leave_out_what_was_not_presented() -> None:
    whole = recorded(5, 40)
    for scorer, expected in [
        (Aum(), np.nanmean(whole.matrix("margin").astype(np.float64), axis=0)),
        (Aum("probabilities"), np.nanmean(whole.matrix("probability-margin").astype(np.float64), axis=0)),
        (Correctness(), np.nanmean(whole.matrix("correct").astype(np.float64), axis=0)),
        (Variability(), np.nanstd(whole.matrix("confidence").astype(np.float64), axis=0)),
        (RecordedMean("el2n"), np.nanmean(whole.matrix("el2n").astype(np.float64), axis=0)),
        (RecordedMean("loss", first=2, last=3), np.nanmean(whole.matrix("loss")[1:3].astype(np.float64), axis=0)),
        (RecordedMean("loss", last=2), np.nanmean(whole.matrix("loss")[:2].astype(np.float64), axis=0)),
    ]:
        np.testing.assert_allclose(score_dynamics(scorer, whole), expected, rtol=1e-12, atol=1e-12)


def test_variability_does_not_lose_small_deviations() -> None:
    confidence = np.array([[0.5, 1 - 2**-20], [0.5, 1.0]])
    np.testing.assert_allclose(score_dynamics(Variability(), dynamics(confidence=confidence)), [0, 2**-21], rtol=1e-9)


def test_forgetting_counts_only_what_was_learnt_before() -> None:
    correct = np.array(
        [
            # learnt and kept, never learnt, forgotten twice, wrong then right, forgotten over an absence
            [1, 0, 1, 0, 1],
            [1, 0, 0, 0, np.nan],
            [1, 0, 1, 1, 0],
            [1, 0, 0, 1, 0],
        ]
    )
    seen = dynamics(correct=correct)
    assert score_dynamics(Forgetting(), seen).tolist() == [0, 3, 2, 0, 1]
    assert score_dynamics(Forgetting("zero"), seen).tolist() == [0, 0, 2, 0, 1]
    assert score_dynamics(Forgetting("infinite"), seen).tolist() == [0, math.inf, 2, 0, 1]


@given(st.integers(1, 9), st.integers(0, 1000))
def test_never_learnt_is_harder_than_anything_forgotten(epochs: int, seed: int) -> None:
    correct = np.random.default_rng(seed).integers(0, 2, (epochs, 30)).astype(float)
    correct[:, 0] = 0
    correct[:, 1] = np.arange(1, epochs + 1) % 2  # right, wrong, right, …: as often as can be
    scores = score_dynamics(Forgetting(), dynamics(correct=correct))
    assert scores[0] == scores[1] + 1 == scores[1:][correct[:, 1:].any(axis=0)].max() + 1
    assert np.isfinite(scores).all()


def test_events_of_a_loop_of_ones_own() -> None:
    events = ForgettingEvents(3)
    events.update(np.array([2, 0]), np.array([True, False]))
    events.update(np.array([2]), np.array([False]))
    assert events.count.tolist() == [0, 0, 1]
    assert events.presentations.tolist() == [1, 0, 2]
    assert events.scores("hardest").tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("quantity", "important", "high"),
    [
        ("el2n", "high", math.sqrt(2)),
        ("confidence", "low", 1),
        ("margin", "low", math.inf),
        ("probability-margin", "low", 1),
        ("loss", "high", math.inf),
        ("divergence", "high", math.inf),
    ],
)
def test_a_recorded_mean_has_the_direction_of_its_quantity(quantity: str, important: str, high: float) -> None:
    scorer = RecordedMean(quantity)  # type: ignore[arg-type]
    assert (scorer.important, scorer.high) == (important, high)


@pytest.mark.parametrize(
    ("scorer", "seen", "sentence"),
    [
        (Aum(), dynamics(loss=np.zeros((2, 3))), r"Aum needs 'margin', and the dynamics hold loss.*record margin"),
        (Aum(), dynamics(margin=np.zeros((0, 3))), "Aum: the dynamics hold no epoch"),
        (
            Aum("probabilities"),
            dynamics(margin=np.zeros((2, 3))),
            "Aum needs 'probability-margin', and the dynamics hold margin.*record probability-margin",
        ),
        (
            Correctness(),
            dynamics(correct=np.array([[1, np.nan], [0, np.nan]])),
            r"Correctness: 1 of 2 examples were presented in none",
        ),
        (Forgetting(), dynamics(correct=np.full((2, 2), np.nan)), "Forgetting: 2 of 2 examples were presented in none"),
        (Variability(), dynamics(confidence=np.full((2, 2), np.nan)), "Variability: 2 of 2 examples"),
        (
            RecordedMean(first=2, last=2),
            dynamics(el2n=np.array([[1, 1], [1, np.nan]])),
            "RecordedMean: 1 of 2 examples were presented in none of the epochs that it looks at",
        ),
        (RecordedMean(last=9), dynamics(el2n=np.ones((8, 2))), r"RecordedMean\(first=1, last=9\): the dynamics hold 8"),
        (RecordedMean(first=9), dynamics(el2n=np.ones((8, 2))), r"first=9, last=None\): the dynamics hold 8 epochs"),
        (
            RecordedMean("loss"),
            dynamics(loss=np.array([[1, 1], [1, np.inf], [1, 1]])),
            r"RecordedMean: 1 of 2 values are not finite; the first, of id 1, is inf",
        ),
    ],
)
def test_what_is_refused(scorer: AbstractDynamicsScorer, seen: TrainingDynamics, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        score_dynamics(scorer, seen)


def test_fields_are_checked() -> None:
    with pytest.raises(MethodError, match=r"Forgetting\(never_learned='never'\).*Use hardest, zero or infinite"):
        Forgetting("never")  # type: ignore[arg-type]
    with pytest.raises(MethodError, match=r"Aum\(of='losses'\): a margin is between logits or between probabilities"):
        Aum("losses")  # type: ignore[arg-type]
    with pytest.raises(MethodError, match=r"RecordedMean\(quantity='gradient'\): not a recorded quantity"):
        RecordedMean("gradient")  # type: ignore[arg-type]
    with pytest.raises(MethodError, match=r"RecordedMean\(first=0, last=None\)"):
        RecordedMean(first=0)
    with pytest.raises(MethodError, match=r"RecordedMean\(first=3, last=2\)"):
        RecordedMean(first=3, last=2)
