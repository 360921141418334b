"""Magnitude pruning: at once, little by little, by one LAMP threshold; against plain formulas."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.unit.pruning.small import MODELS, images, network, robust, run, strategy, training, under_way

from paredown.artifacts import Granularity
from paredown.errors import MethodError
from paredown.log import read_metrics
from paredown.models import load
from paredown.pruning.magnitude import Going, Magnitude, cubic, ranked
from paredown.sparsity.apply import zeros_hold
from paredown.sparsity.groups import consistent_masks, groups_of
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import kept_of, lamp_scores, magnitude_masks, weights_of
from paredown.training import Adam, Sgd
from paredown.training.devices import Place
from paredown.training.learner import Learner


@given(arrays.arrays(np.int8, st.integers(1, 30)))
def test_lamp_scores_are_their_definition(numbers: np.ndarray) -> None:
    weight = torch.from_numpy(numbers).float()
    order = sorted(range(len(numbers)), key=lambda at: (-abs(float(weight[at])), at))
    expected = [0.0] * len(numbers)
    total = 0.0
    for at in order:
        total += float(weight[at]) ** 2
        expected[at] = float(weight[at]) ** 2 / total if total else 0.0
    np.testing.assert_allclose(lamp_scores(weight).numpy(), expected, rtol=1e-12)


def test_the_kept_share_falls_by_a_cubic() -> None:
    assert [cubic(done, 0.2) for done in (0, 0.5, 1)] == pytest.approx([1, 0.2 + 0.8 / 8, 0.2])
    shares = [cubic(step / 50, 0.1) for step in range(51)]
    assert all(late <= early for early, late in pairwise(shares))


@pytest.mark.parametrize("granularity", ["weight", "channel", "filter", "2:4"])
@pytest.mark.parametrize("name", MODELS)
def test_at_once_the_largest_stay(tmp_path: Path, name: str, granularity: Granularity) -> None:
    asked = strategy(granularity, name=name)
    found = run(Magnitude(fine_tune=None), asked, tmp_path, name)
    net = load(network(name))
    layers = layers_of(net)
    weights = weights_of(net, layers)
    if granularity in ("channel", "filter"):
        expected = consistent_masks(weights, layers, groups_of(net), asked)
    else:
        expected = magnitude_masks(weights, layers, asked)
    for layer in layers:
        assert np.array_equal(found.masks[layer.name], expected[layer.name].numpy())
        kept = found.checkpoint.weights[f"{layer.name}.weight"]
        assert np.array_equal(kept, (weights[layer.name] * expected[layer.name]).numpy())
    assert not (tmp_path / "metrics.jsonl").exists()
    tuned = run(Magnitude(fine_tune=robust()), asked, tmp_path / "tuned", name)
    assert all(np.array_equal(tuned.masks[one], found.masks[one]) for one in found.masks.masks)
    assert zeros_hold(load(tuned.checkpoint), tuned.masks)
    assert tuned.checkpoint != found.checkpoint


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.05, weight_decay=0.01), Adam(lr=0.01)], ids=lambda one: one.name)
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_gradually_nothing_that_went_comes_back(granularity: Granularity, optimizer: object) -> None:
    pruning = under_way(strategy(granularity, 0.25, name="residual"), Path(), "residual")
    units = pruning.units()
    how = training(9, optimizer=optimizer)
    going = Going(units, 2, "magnitude", 1)
    learner = Learner(
        load(network("residual")), how, how.plan(kept=60, whole=60), seed=0, place=Place(torch.device("cpu")),
        compiled=False, constraint=going,
    )  # fmt: skip
    data = images()
    x = torch.from_numpy(data.images[:20]).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(data.labels[:20]).long()
    gone: dict[str, torch.Tensor] = {}
    for step in range(1, 10):
        learner.take(step, x, y, count=20, weights=None)
        for name in units.layers:
            weight = learner.network.get_parameter(f"{name}.weight").detach()
            if name in gone:
                assert not weight[gone[name]].any()
        if step % 2 == 0 or step == 9:
            assert going.handle is not None
            kept = {name: mask.bool() for name, mask in going.handle.masks.items()}
            for name, mask in kept.items():
                assert name not in gone or not (mask & gone[name]).any()
            gone = {name: ~mask for name, mask in kept.items()}
            if granularity == "weight":
                for name, mask in kept.items():
                    size = units.sizes[name]
                    least = units.counts[name]
                    assert int(mask.sum()) == max(least, kept_of(size, cubic(step / 9, least / size)))
    assert going.handle is not None


@pytest.mark.parametrize("granularity", ["weight", "channel", "filter"])
def test_gradually_it_ends_where_the_strategy_says(tmp_path: Path, granularity: Granularity) -> None:
    asked = strategy(granularity, 0.25, name="residual")
    pruner = Magnitude(gradual=robust(7), fine_tune=robust(), every=3)
    found = run(pruner, asked, tmp_path, "residual")
    assert zeros_hold(load(found.checkpoint), found.masks)
    units = under_way(asked, tmp_path, "residual").units()
    at_once = run(Magnitude(fine_tune=None), asked, tmp_path / "once", "residual")
    assert found.masks.counts() == at_once.masks.counts()
    rows = [row["kept"] for row in read_metrics(tmp_path / "gradual" / "metrics.jsonl") if "kept" in row]
    assert rows == sorted(rows, reverse=True) and rows[-1] == pytest.approx(found.masks.kept / found.masks.total)
    assert sum(units.counts.values()) < sum(units.sizes.values())


@pytest.mark.parametrize("gradual", [None, robust(5)])
def test_by_lamp_only_the_sum_counts(tmp_path: Path, gradual: object) -> None:
    asked = strategy("weight", 0.2, name="residual")
    pruner = Magnitude(ranking="lamp", fine_tune=None, gradual=gradual, every=2)  # type: ignore[arg-type]
    found = run(pruner, asked, tmp_path, "residual").masks
    net = load(network("residual"))
    layers = layers_of(net)
    assert found.kept == sum(kept_of(layer.weights, 0.2) for layer in layers)
    counts = [kept / size for kept, size in found.counts().values()]
    assert max(counts) - min(counts) > 0.05 and min(counts) > 0
    if gradual is None:
        scores = {name: lamp_scores(weight) for name, weight in weights_of(net, layers).items()}
        least = min(float(scores[name][torch.from_numpy(mask)].min()) for name, mask in found.masks.items())
        most = max(float(scores[name][torch.from_numpy(~mask)].max()) for name, mask in found.masks.items())
        assert least >= most


def test_two_norms_rank_channels_otherwise() -> None:
    pruning = under_way(strategy("channel", name="residual"), Path(), "residual")
    units, weights = pruning.units(), pruning.weights_of()
    one, two = (ranked(units, weights, 1.0, "magnitude", power) for power in (1, 2))
    for kept, power in ((one, 1), (two, 2)):
        for name, stays in kept.items():
            norms = units.magnitudes(weights, power)[name]
            assert int(stays.sum()) == units.counts[name] and norms[stays].min() >= norms[~stays].max()


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match="at least 1 step"):
        Magnitude(every=0)
    with pytest.raises(MethodError, match="the masks come from the end of this phase"):
        Magnitude(gradual=training(average=0.9))
    with pytest.raises(MethodError, match="ranks single weights, and the strategy is one of channels"):
        run(Magnitude(ranking="lamp"), strategy("channel"), tmp_path / "lamp")
    with pytest.raises(MethodError, match="go at once"):
        run(Magnitude(gradual=training()), strategy("2:4"), tmp_path / "pattern")
