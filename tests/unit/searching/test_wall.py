"""The wall: vectors of the specification, and budgets that are never passed by more than is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.searching.networks import TOY, toy
from tests.unit.sparsity.networks import described

from paredown.artifacts import PruningStrategy
from paredown.errors import MethodError
from paredown.searching import LayerWalk, Problem, Walk, rollout
from paredown.searching.wall import Published, quantised
from paredown.sparsity.budget import spending
from paredown.sparsity.cost import cost_of, dense


def test_single_weights_of_the_toy_network() -> None:
    walk = rollout(toy("weight"), [0.9] * 4)
    np.testing.assert_allclose(walk.ceilings, [4.485185, 0.754687, 0.064931, 0.0475], atol=1e-6)
    assert walk.shares == [157 / 216, 835 / 1152, 150 / 2304, 8 / 160]
    # The last ceiling lies below the lower bound, so that the cost is a little over the budget.
    assert walk.ledger.cost == 1150 > walk.ledger.budget
    assert walk.ratio == pytest.approx(0.300104, abs=1e-6)


def test_channels_of_the_toy_network() -> None:
    problem = toy("channel")
    assert problem.wanted == pytest.approx(0.27453, abs=1e-6)
    walk = rollout(problem, [0.9, 0.5, 0.2])
    np.testing.assert_allclose(walk.ceilings, [3.058454, 0.683947, 0.203297], atol=1e-6)
    assert walk.shares == [0.875, 0.5625, 0.1875]
    assert walk.ledger.cost == 1029
    assert walk.strategy().to_list(TOY) == [1.0, 0.875, 0.5625, 0.1875]


def test_the_first_layer_too() -> None:
    walk = rollout(toy("channel", first=True), [0.1, 0.9, 0.5, 0.2])
    assert walk.shares[0] == 1 / 3  # one of three colours at least
    assert len(walk.ceilings) == 4


@pytest.mark.parametrize(("share", "units", "found"), [(0.01, 10, 0.1), (0.25, 10, 0.2), (0.35, 10, 0.4), (1.0, 7, 1)])
def test_halves_go_to_even_and_one_unit_stays(share: float, units: int, found: float) -> None:
    assert quantised(share, units) == found


def over(problem: Problem) -> float:
    """What rounding may add to the published cost: half a unit a step, or what is missing to one unit or the bound."""
    assert isinstance(problem.ledger(), Published)
    extra = 0.0
    for step in problem.steps:
        units = step.layer.units(problem.granularity)
        least = max(1, round(problem.lower * units)) / units
        own = [step.layer.weights, *(other.weights for other in problem.layers if other.name in step.decides[1:])]
        if problem.granularity == "channel":
            own += [other.weights for other in problem.layers if step.layer.name in _followers(problem, other.name)]
        extra += sum(own) * max(0.5 / units, least - problem.lower)
    return extra


def _followers(problem: Problem, name: str) -> list[str]:
    """The next entry of the list, and for a projection the first layer behind its block."""
    listed = [entry.name for entry in problem.listed]
    if name in listed:
        return listed[listed.index(name) + 1 :][:1]
    return [entry.name for entry in problem.layers if name in entry.reads and not entry.shortcut][:1]


@pytest.mark.parametrize("name", ["vgg16_bn", "resnet18", "wrn_28_4"])
@pytest.mark.parametrize(
    ("granularity", "rate", "bounds"),
    [
        ("weight", 0.1, (0.01, 0.8)),
        ("weight", 0.01, (0.005, 0.5)),
        ("channel", 0.5, (0.1, 1)),
        ("channel", 0.1, (0.05, 0.5)),
    ],
)
@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_the_published_wall_is_passed_by_rounding_alone(
    name: str, granularity: str, rate: float, bounds: tuple[float, float], seed: int
) -> None:
    layers, _ = described(name)
    problem = Problem(layers, granularity, rate, 32, lower=bounds[0], upper=bounds[1], accounting="published")  # type: ignore[arg-type]
    walk = rollout(problem, np.random.default_rng(seed).random(len(problem.steps)))
    assert walk.ledger.cost <= walk.ledger.budget + over(problem)
    # The bookkeeping is that of `cost_of`, which knows nothing of walks.
    strategy = walk.strategy()
    told = cost_of(layers, strategy.shares, strategy.granularity, accounting="published", lower=bounds[0])
    assert told.total("parameters") == pytest.approx(walk.ledger.cost)


@pytest.mark.parametrize("name", ["vgg16_bn", "resnet18", "ResNet50"])
@pytest.mark.parametrize(
    ("granularity", "kind", "keep", "grouped"),
    [
        ("weight", "parameters", 0.1, False),
        ("weight", "macs", 0.05, False),
        ("channel", "parameters", 0.25, True),
        ("channel", "macs", 0.25, True),
        ("filter", "macs", 0.4, True),
        ("channel", "parameters", 0.25, False),
    ],
)
@settings(max_examples=5)
@given(seed=st.integers(0, 10**6), greedy=st.booleans(), fit=st.sampled_from(["wall", "scale"]))
def test_the_budget_is_never_passed(
    name: str, granularity: str, kind: str, keep: float, grouped: bool, seed: int, greedy: bool, fit: Any
) -> None:
    layers, groups = described(name)
    lower = 0.01 if granularity == "weight" else 0.1
    given_groups = groups if grouped else None
    problem = Problem(layers, granularity, keep, 32, of=kind, lower=lower, groups=given_groups, fit=fit)  # type: ignore[arg-type]
    actions = np.random.default_rng(seed).random(len(problem.steps))
    walk = rollout(problem, np.ones(len(actions)) if greedy else actions)
    spend = spending(layers, problem.granularity, problem.of, problem.groups, None)
    ledger = walk.ledger
    assert not isinstance(ledger, Published)
    assert spend(ledger.counts) <= keep * spend(ledger.sizes) * (1 + 1e-8)
    assert walk.strategy().budget.got == pytest.approx(spend(ledger.counts) / spend(ledger.sizes))  # type: ignore[union-attr]
    assert all(low <= count <= high for low, count, high in zip(ledger.floor, ledger.counts, ledger.most, strict=True))
    first_of = [step.items[0] for step in problem.steps]
    assert walk.shares == [ledger.counts[item] / ledger.sizes[item] for item in first_of]
    # Whoever wants all, or has wishes scaled, gets all that the budget allows: one unit more of any item would pass it.
    if greedy or fit == "scale":
        for step in problem.steps:
            counts = list(ledger.counts)
            for item in step.items:
                counts[item] += 1
            full = ledger.counts[step.items[0]] == ledger.sizes[step.items[0]]
            assert full or spend(counts) > ledger.budget


def test_wishes_are_scaled_together() -> None:
    layers, _ = described("vgg16_bn")
    problem = Problem(layers, "weight", 0.2, 32, lower=0.01, fit="scale")
    actions = np.random.default_rng(3).uniform(0.1, 0.3, len(problem.steps))
    walk = Walk(problem)
    wishes = [walk.take(action) for action in actions]
    np.testing.assert_allclose(wishes, 0.01 + 0.99 * actions, atol=1e-3)  # whole units, and no step is cut
    scale = np.median(walk.shares / (0.01 + 0.99 * actions))
    np.testing.assert_allclose(walk.shares, scale * (0.01 + 0.99 * actions), atol=1e-3)
    # Twice the wishes are the same strategy, and so is the strategy itself.
    again = rollout(problem, (2 * (0.01 + 0.99 * actions) - 0.01) / 0.99)
    np.testing.assert_allclose(again.shares, walk.shares, atol=1e-3)
    same = rollout(problem, problem.actions_of(walk.strategy()))
    np.testing.assert_allclose(same.shares, walk.shares, atol=1e-3)
    # All as large as they may be is less than the budget.
    assert rollout(Problem(TOY, "weight", 0.9, 8, upper=0.5, fit="scale"), [0.0, 1, 1, 1]).ratio <= 0.5


def test_the_published_accounting_has_a_wall() -> None:
    assert LayerWalk(accounting="published").fit == "wall" and LayerWalk().fit == "scale"
    with pytest.raises(MethodError, match="meets a budget by a wall, and fit=scale is asked for"):
        toy("weight", fit="scale")


def test_whole_units_are_those_of_the_strategy() -> None:
    layers, groups = described("resnet18")
    problem = Problem(layers, "channel", 0.3, 32, groups=groups)
    strategy = rollout(problem, np.full(len(problem.steps), 0.6)).strategy("by hand")
    strategy.refuse_other(layers)
    assert strategy.measure == "by hand"
    for group in groups:
        assert len({strategy.shares[place.module] for place in group.readers}) == 1
        assert (strategy.shares[group.readers[0].module] * group.size) % 1 == 0
    assert strategy.shares["stem"] == 1.0


def test_a_walk_ends() -> None:
    problem = toy("weight")
    walk = Walk(problem)
    for _ in problem.steps:
        assert not walk.done
        walk.take(0.5)
    assert walk.done
    assert isinstance(walk.strategy(), PruningStrategy)
    assert walk.ratio == walk.ledger.cost / dense(TOY).total("parameters")
