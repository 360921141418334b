"""Robust ADMM: its penalty against autograd, its projections, and weights that come nearer to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.unit.pruning.small import MODELS, network, robust, run, strategy, training, under_way
from tests.unit.pruning.test_hydra import batch
from torch.nn import functional

from paredown.artifacts import Granularity, Layer, PruningStrategy
from paredown.errors import MethodError
from paredown.log import read_metrics
from paredown.models import load
from paredown.pruning.admm import Admm, Penalty, nearest, penalty
from paredown.pruning.units import Units
from paredown.sparsity.apply import zeros_hold
from paredown.sparsity.layers import fingerprint
from paredown.sparsity.masks import projection
from paredown.training import Constant, Sgd, Training
from paredown.training.devices import Place
from paredown.training.learner import Learner

LAYER = Layer("conv", "conv", (2, 2), 4, 6, 1, (4, 4), 96, 1536)


@given(
    weight=arrays.arrays(np.int8, (6, 4, 2, 2)),
    share=st.floats(0.01, 1),
    granularity=st.sampled_from(["weight", "channel", "filter"]),
)
@settings(max_examples=60)
def test_the_projection_is_idempotent_exact_and_nearest(weight: np.ndarray, share: float, granularity: str) -> None:
    asked = PruningStrategy({"conv": share}, granularity=granularity, fingerprint=fingerprint([LAYER]))  # type: ignore[arg-type]
    units = Units([LAYER], asked)
    given_weight = torch.from_numpy(weight) / 32

    def project(value: torch.Tensor) -> torch.Tensor:
        return value * units.factors(nearest(units, {"conv": value}))["conv"]

    once = project(given_weight)
    assert torch.equal(project(once), once)
    other = projection(given_weight, share, granularity)[0]  # type: ignore[arg-type]
    torch.testing.assert_close((given_weight - once).norm(), (given_weight - other).norm())
    kept = nearest(units, {"conv": given_weight})["conv"]
    assert int(kept.sum()) == units.counts["conv"]
    # No other choice of as many units lies nearer: what goes is what weighs least.
    sums = units.magnitudes({"conv": given_weight}, 2)["conv"].abs()
    if not kept.all():
        assert float(sums[~kept].max()) <= float(sums[kept].min())


@pytest.mark.parametrize("granularity", ["weight", "channel", "filter", "2:4"])
def test_a_step_is_that_of_the_penalised_loss(granularity: Granularity) -> None:
    pruning = under_way(strategy(granularity, name="residual"), Path(), "residual")
    held = Penalty(pruning.units(), 0.3, 0.5, 1.3)
    how = Training(steps=10, batch_size=20, optimizer=Sgd(lr=0.1, momentum=0, weight_decay=0), schedule=Constant())
    made = Learner(
        load(network("residual")), how, how.plan(kept=60, whole=60), seed=0, place=Place(torch.device("cpu")),
        compiled=False, constraint=held,
    )  # fmt: skip
    x, y = batch()
    for name in held.dual:
        held.dual[name].uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(len(name)))
    net = load(network("residual")).train()
    loss = functional.cross_entropy(net(x), y)
    weights = {name: net.get_parameter(f"{name}.weight") for name in held.weights}
    loss = loss + sum(penalty(weights[name], held.auxiliary[name], held.dual[name], 0.5) for name in weights)
    loss.backward()
    made.take(1, x, y, count=20, weights=None)
    for name, weight in weights.items():
        assert weight.grad is not None
        torch.testing.assert_close(
            held.weights[name].detach(), weight.detach() - 0.1 * weight.grad, rtol=1e-4, atol=1e-5
        )
    told = held.figures()
    assert told["rho"] == 0.5 and told["penalty"] > 0 and 0 < told["distance"] < 1


def test_projections_come_when_they_are_due() -> None:
    pruning = under_way(strategy("weight"), Path())
    for every, expected in ((0.3, {3: 1, 6: 2, 9: 3}), (1, {3: 1, 6: 2, 9: 3}), (2, {6: 1}), (0.5, {5: 1})):
        held = Penalty(pruning.units(), every, 1e-3, 1.3)
        how = training(10)
        plan = how.plan(kept=60, whole=60)  # three steps an epoch
        held.begin(load(network()), plan)
        seen = {}
        for step in range(1, 11):
            with torch.no_grad():
                before = {name: weight.detach().clone() for name, weight in held.weights.items()}
                dual = {name: value.clone() for name, value in held.dual.items()}
            held.moved(step)
            if held.projections != len(seen):
                seen[step] = held.projections
                assert held.rho == pytest.approx(1e-3 * 1.3**held.projections)
                for name, value in held.auxiliary.items():
                    at = before[name] + dual[name]
                    assert torch.equal(value, projection(at, 0.5)[0])
                    torch.testing.assert_close(held.dual[name], at - value)
                    assert held.dual[name].grad_fn is None and not held.dual[name].requires_grad
        assert seen == expected, every


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_weights_come_nearer_to_their_projection(tmp_path: Path, name: str, granularity: Granularity) -> None:
    drawn = training(24, optimizer=Sgd(lr=0.1, momentum=0, weight_decay=0))
    pruner = Admm(regularize=drawn, retrain=robust(), every=0.5, rho=0.5)
    found = run(pruner, strategy(granularity, name=name), tmp_path, name)
    assert zeros_hold(load(found.checkpoint), found.masks)
    rows = [row for row in read_metrics(tmp_path / "admm" / "metrics.jsonl") if "distance" in row]
    assert rows[-1]["distance"] < 0.5 * rows[0]["distance"]
    assert rows[-1]["rho"] == pytest.approx(0.5 * 1.3)


def test_masks_are_those_of_the_projected_network(tmp_path: Path) -> None:
    pruner = Admm(regularize=robust(), retrain=robust())
    asked = strategy("channel", name="residual")
    pruning = under_way(asked, tmp_path / "alone", "residual")
    units = pruning.units()
    drawn = pruning.train("admm", pruner.regularize, Penalty(units, pruner.every, pruner.rho, pruner.growth))
    expected = units.masks(nearest(units, pruning.weights_of(drawn)))
    found = run(pruner, asked, tmp_path / "whole", "residual")
    assert all(np.array_equal(found.masks[one], mask.numpy()) for one, mask in expected.items())
    assert found.masks.kept < found.masks.total * 0.5


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"every": 0}, "neither a share of the training"),
        ({"every": 2.5}, "neither a share of the training"),
        ({"rho": 0}, "a ρ above 0 that does not"),
        ({"growth": 0.5}, "a ρ above 0 that does not"),
        ({"regularize": training(average=0.9)}, "the masks come from the end of this phase"),
    ],
)
def test_what_cannot_be_meant_is_refused(given_settings: dict, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        Admm(**given_settings)
