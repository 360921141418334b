"""Membership inference: the figures beside slow ones, networks that tell all and nothing, and what is refused."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from paredown import Runtime, evaluate, open_data, train
from paredown.artifacts import Row, Selection, Trained
from paredown.data import ImageDataset
from paredown.errors import MethodError
from paredown.evaluation import Membership, area, detected
from paredown.evaluation.detection import bootstrapped
from paredown.evaluation.membership import answers, scores

QUIET = Runtime(progress=False, precision="float32")
CHEAP = ("threshold", "logistic-regression", "nearest-neighbors")
FEW = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


def noise(count: int, part: str, classes: int = 4) -> ImageDataset:
    """Images and labels that have nothing to do with each other, so that they can only be learnt by heart."""
    rng = np.random.default_rng([count, *part.encode()])
    images = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return ImageDataset.from_arrays(images, rng.integers(0, classes, count), classes="abcd"[:classes], name=part)


@pytest.fixture(scope="module")
def learnt() -> Trained:
    """A network that has learnt random labels by heart, and what it was before."""
    training = {"steps": 300, "batch_size": 60, "checkpoints_at": [0], "augmentation": {"crop": 0}}
    return train(noise(120, "in"), {"name": "convnet", "width": 16, "depth": 2}, training, runtime=QUIET)


def measure(network: Any, members: ImageDataset, others: ImageDataset, **fields: Any) -> dict[tuple[str, str], Row]:
    probe = {"name": "membership", "attacks": list(CHEAP)} | fields
    report = evaluate(network, members, [probe], against=others, runtime=QUIET)
    return {(row.metric, row.threat): row for row in report.rows}


@given(FEW, FEW)
def test_the_area_counts_pairs(members: list[int], others: list[int]) -> None:
    wins = [(a > b) + (a == b) / 2 for a, b in itertools.product(members, others)]
    assert area(np.array(members), np.array(others)) == pytest.approx(np.mean(wins))
    assert area(np.array(others), np.array(members)) == pytest.approx(1 - np.mean(wins))


@given(FEW, FEW, st.floats(0, 0.99))
def test_what_is_detected_is_the_best_of_all_thresholds(members: list[int], others: list[int], alarms: float) -> None:
    a, b = np.array(members), np.array(others)
    rates = [((b >= cut).mean(), (a >= cut).mean()) for cut in [*a, *b, 9]]
    best = max(found for wrong, found in rates if wrong <= alarms + 1e-9 / len(b))
    assert detected(a, b, alarms) == best


def test_no_false_alarm_is_allowed_where_others_are_few() -> None:
    assert detected(np.array([1, 2, 3, 4]), np.array([2, 0]), 0.01) == 0.5
    assert detected(np.arange(2000.0), np.arange(1000.0), 0.001) == pytest.approx(0.5005)


def test_the_bootstrap_is_near_the_known_error_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(400), rng.standard_normal(100)
    error = bootstrapped(lambda p, n: float(p.mean() - n.mean()), a, b, np.random.default_rng(1))
    assert error == pytest.approx(math.sqrt(1 / 400 + 1 / 100), rel=0.2)


def test_a_network_that_learnt_by_heart_tells_who_was_there(learnt: Trained) -> None:
    got = measure(learnt.checkpoint, noise(120, "in"), noise(200, "out"))
    assert got["membership-auc", "threshold"].value > 0.97
    assert all(got["membership-auc", attack].value > 0.9 for attack in CHEAP)
    assert got["membership-tpr-at-1%", "threshold"].value > 0.3
    row = got["membership-auc", "threshold"]
    assert row.n == 240 and row.spread is not None and row.spread < 0.03
    assert got["membership-tpr-at-1%", "threshold"].n == 120


def test_an_untrained_network_tells_nothing(learnt: Trained) -> None:
    got = measure(learnt.early[0], noise(120, "in"), noise(120, "out"))
    for attack in CHEAP:
        row = got["membership-auc", attack]
        assert row.spread is not None and abs(row.value - 0.5) < 4 * row.spread < 0.25


def test_members_are_the_positive_ones(learnt: Trained) -> None:
    # The other way round the low losses are those of the non-members.
    got = measure(learnt.checkpoint, noise(120, "out"), noise(120, "in"), attacks=["threshold"])
    assert got["membership-auc", "threshold"].value < 0.03


def test_every_attack_beside_the_plain_one() -> None:
    # Members have one logit that is higher; the loss knows nothing of it.
    rng = np.random.default_rng(3)
    features, member = rng.standard_normal((120, 3)), np.repeat([1, 0], 60)
    features[:60, 0] += 4
    assert area(*np.split(scores("threshold", features, member), 2)) == pytest.approx(0.5, abs=0.2)
    for attack in ("random-forest", "mlp", "logistic-regression", "nearest-neighbors"):
        found = scores(attack, features, member, seed=1)  # type: ignore[arg-type]
        assert area(found[:60], found[60:]) > 0.95, attack
        if attack == "logistic-regression":
            assert np.array_equal(found, scores(attack, features, member, seed=1))
            assert not np.array_equal(found, scores(attack, features, member, seed=2))


def test_no_example_is_scored_by_an_attack_that_saw_it() -> None:
    # Each row is its own neighbour: an attack that saw it would find it, and tell every member.
    rng = np.random.default_rng(4)
    features, member = rng.standard_normal((300, 5)), np.repeat([1, 0], 150)
    found = scores("nearest-neighbors", features, member)
    assert area(found[:150], found[150:]) < 0.65


def test_both_sides_are_drawn_alike_and_by_the_seed(learnt: Trained) -> None:
    members, others = noise(120, "in"), noise(200, "out")
    rows = {}
    for seed in (0, 0, 1):
        probe = Membership(attacks=("threshold",), examples=50)
        report = evaluate(learnt.checkpoint, members, [probe], against=others, seed=seed, runtime=QUIET)
        (row,) = report.of("membership-auc")
        assert row.n == 100
        assert rows.setdefault(seed, row) == row
    assert rows[0].value != rows[1].value


@pytest.mark.parametrize("loss", ["cross-entropy", "squared-error"])
def test_the_attacker_sees_logits_and_loss(loss: Any) -> None:
    class Pixels(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1)[:, :3]

    images = np.random.default_rng(0).integers(0, 256, (5, 1, 3, 1), dtype=np.uint8)
    data = ImageDataset.from_arrays(images, np.array([0, 1, 2, 1, 0]))
    seen = answers(Pixels(), data, np.array([1, 4]), loss=loss)
    z = images[[1, 4], 0, :, 0] / 255
    assert seen[:, :3] == pytest.approx(z, rel=1e-6)
    label = np.eye(3)[[1, 0]]
    expected = -np.log((np.exp(z) * label).sum(1) / np.exp(z).sum(1))
    if loss == "squared-error":
        expected = ((z - (label - 1 / 3)) ** 2).sum(1) / 2
    assert seen[:, 3] == pytest.approx(expected, rel=1e-5)


def test_the_network_comes_back_as_it_was(learnt: Trained) -> None:
    from paredown.models import load

    network = load(learnt.checkpoint).train()
    answers(network, noise(40, "in"), np.arange(40))
    assert all(module.training for module in network.modules())


def test_an_example_cannot_be_both(learnt: Trained) -> None:
    members = noise(120, "in")
    part = replace(members, images=members.images[:30], labels=members.labels[:30], ids=members.ids.take(np.arange(30)))
    with pytest.raises(MethodError, match=r"30 examples of in are both members and non-members.*test split"):
        measure(learnt.checkpoint, members, part)
    rest = np.arange(30, 120)
    others = replace(members, images=members.images[rest], labels=members.labels[rest], ids=members.ids.take(rest))
    assert measure(learnt.checkpoint, part, others, attacks=["threshold"])


def test_members_may_be_the_chosen_ones_alone() -> None:
    data, others = noise(240, "in"), noise(120, "out")
    chosen = Selection(data.ids.take(np.arange(0, 240, 3)), base=240)
    training = {"steps": 200, "batch_size": 40, "augmentation": {"crop": 0}}
    network = train(data, {"name": "convnet", "width": 16, "depth": 2}, training, selection=chosen, runtime=QUIET)
    whole, alone = (
        evaluate(
            network.checkpoint,
            data,
            [{"name": "membership", "attacks": "threshold"}],
            against=others,
            selection=part,
            runtime=QUIET,
        ).of("membership-auc")[0]
        for part in (None, chosen)
    )
    assert alone.n == 160 and alone.value > 0.95
    assert whole.n == 240 and whole.value == pytest.approx(1 / 3 * 1 + 2 / 3 * 0.5, abs=0.15)
    left = Selection(data.ids.take(np.setdiff1d(np.arange(240), chosen.ids.keys)), base=240)
    part = replace(data, images=data.images[::3], labels=data.labels[::3], ids=data.ids.take(np.arange(0, 240, 3)))
    with pytest.raises(MethodError, match="80 examples of in are both members and non-members"):
        evaluate(network.checkpoint, data, ["membership"], against=part, runtime=QUIET)
    bound = evaluate.bind(subject=network, data=data, probes=["membership"], against=part, selection=left)
    assert bound["selection"] is left
    assert "selection" not in evaluate.bind(subject=network, data=data, selection=left)


def test_what_cannot_be_measured_is_said(learnt: Trained) -> None:
    members = noise(120, "in")
    with pytest.raises(MethodError, match=r"Membership needs against=, and evaluate\(\) was given none"):
        evaluate(learnt.checkpoint, members, ["membership"], runtime=QUIET)
    with pytest.raises(
        MethodError, match=r"there are 120 members of in and 5 examples of out, and at least 12 of each"
    ):
        measure(learnt.checkpoint, members, noise(5, "out"))
    with pytest.raises(MethodError, match=r"in 4 classes, and out has .* in 2 classes"):
        measure(learnt.checkpoint, members, noise(40, "out", classes=2))
    with pytest.raises(MethodError, match=r"examples=3\): too few to train an attack on"):
        Membership(examples=3)
    with pytest.raises(MethodError, match="name at least one attack, and each once"):
        Membership(attacks=("mlp", "mlp"))
    with pytest.raises(MethodError, match=r"Did you mean 'random-forest'"):
        measure(learnt.checkpoint, members, noise(40, "out"), attacks=["random-forrest"])


def test_a_diverged_network_is_refused(learnt: Trained) -> None:
    from paredown.models import load

    network = load(learnt.checkpoint)
    with torch.no_grad():
        next(network.parameters()).fill_(math.nan)
    with pytest.raises(MethodError, match=r"logits for in that are not finite.*diverged"):
        answers(network, noise(40, "in"), np.arange(40))


def test_a_second_data_set_leaves_other_addresses_as_they_are(learnt: Trained, tmp_path: Any) -> None:
    from paredown import Store

    store, data, other = Store(tmp_path), noise(40, "in"), noise(40, "out")
    plain = store.address(evaluate, subject=learnt.checkpoint, data=data)
    assert "against" not in evaluate.bind(subject=learnt.checkpoint, data=data)
    assert plain == store.address(evaluate, subject=learnt.checkpoint, data=data, against=other)
    both = {
        store.address(evaluate, subject=learnt.checkpoint, data=data, probes=["membership"], against=against)
        for against in (other, noise(41, "out"))
    }
    assert len(both | {plain}) == 3


def test_the_second_data_set_is_read_as_the_first_is(learnt: Trained) -> None:
    test = {"name": "digits", "split": "test"}
    bound = evaluate.bind(subject=learnt.checkpoint, data="digits", probes=["membership"], against=test)
    assert bound["against"].identity() == open_data("digits", split="test").identity()
