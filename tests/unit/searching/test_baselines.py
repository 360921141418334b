"""Rules brought to a budget: their formulas against slow ones, and budgets met within one unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.searching.networks import CHAIN, known
from tests.unit.sparsity.networks import NARROW, narrow

from paredown.errors import MethodError
from paredown.searching import AbstractRule, Erk, GlobalMagnitude, Lamp, LayerWalk, Outcome, Problem, Uniform
from paredown.searching.baselines import erk_density, lamp_scores, shares_above, unit_sizes, unit_sums
from paredown.sparsity.budget import spending

RULES = [Uniform(), Erk(), Lamp(), GlobalMagnitude()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("name", list(NARROW))
@pytest.mark.parametrize(
    ("granularity", "kind", "keep", "grouped"),
    [
        ("weight", "parameters", 0.1, False),
        ("weight", "macs", 0.2, False),
        ("channel", "parameters", 0.3, True),
        ("channel", "macs", 0.4, True),
        ("channel", "parameters", 0.3, False),
        ("filter", "parameters", 0.3, True),
    ],
)
def test_budgets_are_met_within_one_unit(
    rule: AbstractRule, name: str, granularity: Any, kind: Any, keep: float, grouped: bool
) -> None:
    problem = LayerWalk(grouped=grouped, lower=0.001).problem(narrow(name), keep=keep, of=kind, granularity=granularity)
    found = rule.search(problem, lambda strategy: Outcome(1.0))
    assert len(found.episodes) == 1 and found.strategy.measure == rule.name
    strategy = found.strategy
    strategy.refuse_other(problem.layers)
    spend = spending(problem.layers, granularity, kind, problem.groups, None)
    if problem.groups is None:
        sizes = [layer.units(granularity) for layer in problem.layers]
        kept = [strategy.shares[layer.name] for layer in problem.layers]
    else:
        sizes = [group.size for group in problem.groups]
        members = [g.readers[0].module if granularity == "channel" else g.writers[0] for g in problem.groups]
        kept = [strategy.shares[member] for member in members]
    counts = [round(share * size) for share, size in zip(kept, sizes, strict=True)]
    budget = keep * spend(sizes)
    assert spend(counts) <= budget
    for place, size in enumerate(sizes):
        if counts[place] < size:
            more = counts.copy()
            more[place] += 1
            assert spend(more) > budget


def test_uniform_shares_are_equal_but_for_rounding() -> None:
    found = Uniform().search(known(), lambda strategy: Outcome(0.0)).strategy
    assert all(abs(share - 0.5) < 1 / 100 for share in found.shares.values())


def test_density_of_erk() -> None:
    # 3×3, 8 → 16: (8 + 16 + 3 + 3) / (8 · 16 · 9).
    assert erk_density(CHAIN[1]) == pytest.approx(30 / 1152)
    assert erk_density(CHAIN[5]) == pytest.approx((32 + 10 + 2) / 320)
    problem = Problem(CHAIN, "weight", 0.2, 16, lower=0.001)
    shares = Erk().search(problem, lambda strategy: Outcome(0.0)).strategy.shares
    free = [layer for layer in CHAIN if shares[layer.name] < 1]
    scales = [shares[layer.name] / erk_density(layer) for layer in free]
    assert max(scales) / min(scales) < 1.01 and len(free) >= 3


def test_scores_of_lamp() -> None:
    weights = np.array([3.0, -1.0, 2.0, 0.5])
    # Of each weight its square, over those that are no smaller.
    slow = sorted(w**2 / sum(v**2 for v in weights if abs(v) >= abs(w)) for w in weights)
    np.testing.assert_allclose(np.sort(lamp_scores(weights**2)), slow)
    assert lamp_scores(weights**2)[-1] == 1.0
    assert lamp_scores(np.zeros(3)).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("rule", ["lamp", "global"])
def test_one_threshold_over_all_layers(rule: str) -> None:
    problem = LayerWalk(lower=0.001).problem(narrow("resnet18"), keep=0.1, granularity="weight")
    if rule == "lamp":
        scores = [lamp_scores(squares) for squares in unit_sums(problem, 2)]
    else:
        scores = [np.sort(sums) for sums in unit_sums(problem, 1)]
    shares = shares_above(problem, scores)
    # The slow way: all scores in one list, the largest first, as many as the budget has weights.
    owners = np.concatenate([np.full(len(part), place) for place, part in enumerate(scores)])
    count = int(0.1 * len(owners))
    best = np.argsort(-np.concatenate(scores), kind="stable")[:count]
    slow = np.bincount(owners[best], minlength=len(scores)).clip(1)
    fast = [round(shares[layer.name] * layer.weights) for layer in problem.layers]
    # The largest weight of a layer always scores 1 in LAMP; elsewhere one weight a layer is forced.
    assert np.abs(np.array(fast) - slow).max() <= 2


def test_units_that_several_layers_share() -> None:
    problem = LayerWalk().problem(narrow("resnet18"), keep=0.3)
    assert problem.groups is not None
    sums, sizes = unit_sums(problem, 1), unit_sizes(problem)
    for group, values, size in zip(problem.groups, sums, sizes, strict=True):
        assert values.shape == (group.size,)
        whole = sum(float(problem.weights[place.module].abs().sum()) for place in group.readers)
        assert values.sum() == pytest.approx(whole, rel=1e-4)
        assert size * group.size == sum(problem.weights[place.module].numel() for place in group.readers)


def test_a_rule_about_weights_needs_them() -> None:
    with pytest.raises(MethodError, match="This rule ranks weights"):
        Lamp().search(known(), lambda strategy: Outcome(0.0))


def test_a_scaled_layer_changes_the_global_threshold_and_not_lamp() -> None:
    network = narrow("vgg16_bn")
    walk = LayerWalk(lower=0.001)
    before = {
        rule: rule.search(walk.problem(network, keep=0.1, granularity="weight"), lambda s: Outcome(0.0)).strategy
        for rule in (Lamp(), GlobalMagnitude())
    }
    name = walk.problem(network, keep=0.1, granularity="weight").layers[2].name
    with torch.no_grad():
        network.get_parameter(f"{name}.weight").mul_(8)
    after = walk.problem(network, keep=0.1, granularity="weight")
    lamp = Lamp().search(after, lambda s: Outcome(0.0)).strategy.shares
    assert lamp[name] == pytest.approx(before[Lamp()].shares[name], abs=0.01)
    grown = GlobalMagnitude().search(after, lambda s: Outcome(0.0)).strategy.shares
    assert grown[name] > 2 * before[GlobalMagnitude()].shares[name]
