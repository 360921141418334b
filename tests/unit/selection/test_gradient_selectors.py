"""CRAIG, GRAD-MATCH and GLISTER beside slow references that write every gradient out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls
from tests.oracles import gradients as oracle

from paredown.embedding.gradients import last_layer_gradients
from paredown.errors import MethodError
from paredown.rng import stream
from paredown.selection import Candidates, Craig, Glister, GradMatch, choose, decide
from paredown.selection import craig as craig_module
from paredown.selection import gradient_matching as matching_module
from paredown.selection.base import announce
from paredown.selection.gradient_matching import NonNegative

CLASSES, FEATURES = 3, 5
FACTORS = (CLASSES, FEATURES + 1)


def layer(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives features with a constant 1, the weight of a last layer, and labels."""
    rng = np.random.default_rng(seed)
    features = np.hstack([rng.standard_normal((rows, FEATURES)), np.ones((rows, 1))]).astype(np.float32)
    return features, rng.standard_normal((CLASSES, FEATURES + 1)), rng.integers(0, CLASSES, rows)


def candidates(rows: int = 30, seed: int = 0) -> Candidates:
    """Gives candidates with real gradients of the last layer."""
    features, weight, labels = layer(rows, seed)
    h = torch.from_numpy(features)
    made = last_layer_gradients(h[:, :-1], h @ torch.from_numpy(weight).float().T, torch.from_numpy(labels), bias=True)
    return Candidates(np.arange(rows), labels=labels, embeddings=made.numpy(), factors=FACTORS)


@given(seed=st.integers(0, 50), count=st.integers(1, 12))
def test_craig_is_greedy_facility_location(seed: int, count: int) -> None:
    given_ = candidates(25, seed)
    chosen, weights = oracle.craig(oracle.written_out(given_.embeddings, FACTORS), count)
    choice = decide(Craig(), given_, count)
    assert choice.positions.tolist() == chosen
    np.testing.assert_array_equal(choice.weight, weights)


def test_craig_by_class_weighs_each_class_by_its_size() -> None:
    given_ = candidates(40)
    choice = decide(Craig(), given_, 12, by_class=True)
    for label in range(CLASSES):
        assert choice.weight[choice.stratum == label].sum() == (given_.labels == label).sum()


def test_craig_lets_two_equal_gradients_stand_for_themselves() -> None:
    given_ = candidates(6)
    twice = Candidates(np.arange(12), embeddings=np.repeat(given_.embeddings, 2, axis=0), factors=FACTORS)
    choice = decide(Craig(), twice, 12)
    np.testing.assert_array_equal(choice.weight, np.ones(12))
    assert len(set(choice.positions[:6] // 2)) == 6


@given(seed=st.integers(0, 50), count=st.integers(1, 20), ridge=st.sampled_from([0.01, 0.5, 20.0]))
def test_grad_match_is_orthogonal_matching_pursuit(seed: int, count: int, ridge: float) -> None:
    given_ = candidates(20, seed)
    chosen, weights = oracle.grad_match(oracle.written_out(given_.embeddings, FACTORS), count, ridge)
    choice = decide(GradMatch(ridge), given_, count)
    # Where nothing that is left comes nearer, rounding orders the rest, which all weigh nothing.
    certain = int((weights > 1e-6).sum()) if (weights <= 1e-6).any() else count
    assert choice.positions[:certain].tolist() == chosen[:certain]
    if certain == count:
        np.testing.assert_allclose(choice.weight, weights, rtol=1e-3, atol=1e-4)


def test_grad_match_comes_nearer_than_chance() -> None:
    given_ = candidates(60)
    whole = oracle.written_out(given_.embeddings, FACTORS)
    target = whole.sum(axis=0)
    choice = decide(GradMatch(1e-3), given_, 8)
    missing = np.linalg.norm(target - choice.weight @ whole[choice.positions])
    draws = []
    for seed in range(20):
        rows = np.random.default_rng(seed).permutation(60)[:8]
        draws.append(nnls(whole[rows].T, target)[1])
    assert missing < min(draws)


def test_grad_match_of_gradients_that_are_zero_weighs_all_alike() -> None:
    zero = Candidates(np.arange(5), embeddings=np.zeros((5, 9), np.float32), factors=FACTORS)
    np.testing.assert_array_equal(decide(GradMatch(), zero, 3).weight, np.ones(3))


@given(seed=st.integers(0, 200), rows=st.integers(1, 12))
def test_weights_added_one_by_one_are_those_of_a_whole_solution(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, target, ridge = rng.standard_normal((rows, 6)), rng.standard_normal(6), 0.05
    fit = NonNegative(rows, ridge)
    for row in range(rows):
        fit.add(vectors[: row + 1] @ vectors[row], float(vectors[row] @ target))
        columns = np.vstack([vectors[: row + 1].T, np.sqrt(ridge) * np.eye(row + 1)])
        expected, _ = nnls(columns, np.concatenate([target, np.zeros(row + 1)]))
        np.testing.assert_allclose(fit.weights, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("picks", [1, 4])
@given(seed=st.integers(0, 30))
def test_glister_follows_the_loss_of_the_held_out_exactly(picks: int, seed: int) -> None:
    rows, rate = 24, 0.5
    features, weight, labels = layer(rows, seed)
    held = np.sort(stream(3, "select").permutation(rows)[:6])
    expected = oracle.glister(features, weight.astype(np.float32), labels, held, 12, rate, picks)
    chosen = choose(Glister(validation=0.25, rate=rate, picks=picks), candidates(rows, seed), 12, seed=3)
    assert chosen.tolist() == expected


def test_glister_keeps_the_held_out_for_the_end() -> None:
    held = stream(0, "select").permutation(20)[:2]
    chosen = choose(Glister(), candidates(20), 20)
    assert set(chosen[-2:]) == set(held.tolist())


def test_a_single_candidate_can_be_chosen() -> None:
    for selector in (Craig(), GradMatch(), Glister()):
        assert choose(selector, candidates(1), 1).tolist() == [0]


@pytest.mark.parametrize("selector", [Craig(), GradMatch(), Glister()], ids=repr)
def test_only_gradients_are_taken(selector) -> None:
    plain = Candidates(np.arange(6), embeddings=np.ones((6, 4), np.float32))
    with pytest.raises(MethodError, match=rf"{type(selector).__name__} compares gradients.*last-layer-gradient"):
        choose(selector, plain, 2)
    broken = Candidates(np.arange(6), embeddings=np.full((6, 4), np.nan, np.float32), factors=(2, 2))
    with pytest.raises(MethodError, match=rf"{type(selector).__name__}: a gradient holds NaN"):
        choose(selector, broken, 2)
    with pytest.raises(MethodError, match=r"needs embeddings.*Pass embeddings="):
        choose(selector, Candidates(np.arange(6)), 2)


def test_what_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(craig_module, "LARGEST", 100)
    with pytest.raises(MethodError, match=r"Craig: the distances between all 30 candidates.*by_class=True"):
        choose(Craig(), candidates(30), 2)
    monkeypatch.setattr(matching_module, "LARGEST", 100)
    with pytest.raises(MethodError, match=r"GradMatch: fitting 20 weights takes.*by_class=True"):
        choose(GradMatch(), candidates(30), 20)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (lambda: GradMatch(0.0), r"GradMatch\(ridge=0\): equal gradients"),
        (lambda: Glister(validation=1.0), r"Glister\(validation=1\): not a share to hold out"),
        (lambda: Glister(rate=0.0), r"Glister\(rate=0\): the step is above 0"),
        (lambda: Glister(picks=0), r"Glister\(picks=0\): at least one is picked"),
    ],
)
def test_fields_are_checked(fields, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        fields()


def test_the_cost_is_told_beforehand() -> None:
    large = Candidates(np.arange(1000), embeddings=np.zeros((1000, 9), np.float32), factors=FACTORS)
    assert Craig().estimate(large, 100).memory == 4_000_000
    for selector in (Craig(), GradMatch(), Glister()):
        assert selector.estimate(large, 200).operations > selector.estimate(large, 100).operations


def test_class_by_class_the_cost_is_that_of_the_classes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    large = Candidates(
        np.arange(30_000),
        labels=np.arange(30_000) % 3,
        embeddings=np.broadcast_to(np.zeros(500, np.float32), (30_000, 500)),
        factors=(10, 490),
    )
    announce(Craig(), large, 3000, shown=True)
    assert "craig on 30,000 examples will take about 45 s and 3.4 GiB" in capsys.readouterr().err
    announce(Craig(), large, 3000, by_class=True, shown=True)
    assert "craig on 30,000 examples will take about 15 s and 381 MiB" in capsys.readouterr().err
