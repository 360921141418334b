"""The problem of a search: what is decided, what an agent sees, strategies and back, and budgets that cannot be met."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.searching.networks import CHAIN, TOY, known, toy
from tests.unit.sparsity.networks import NARROW, described, narrow

from paredown.artifacts import PruningStrategy
from paredown.errors import MethodError
from paredown.searching import LayerWalk, Problem, Walk, rollout
from paredown.searching.walk import usual_bounds
from paredown.sparsity.budget import fitted

# The list `05_0` of VGG16-BN on CIFAR-10 in channel mode, as published.
FIRST = [1.0, 1.0, 0.984375, 1.0, 1.0, 0.9375, 0.921875, 0.9921875, 0.5175781, 0.4453125]
STORED = [*FIRST, 0.36914062, 0.23046875, 0.24414062, 0.2475586, 0.5859375, 0.6484375]


def test_rows_of_vgg() -> None:
    layers, _ = described("vgg16_bn")
    problem = Problem(layers, "weight", 0.1, 32, lower=0.01, accounting="published", state="as-coded")
    expected = [
        [0, 0, 0.10757, 1, 1, 0.5, 1, 0, 0, 0, 1],
        [0.066667, 0.029829, 0.10757, 1, 1, 0.5, 1, 0.014903, 0, 0, 1],
        [0.133333, 0.029829, 0.23506, 1, 1, 1, 1, 0.03054, 0, 0, 1],
    ]
    np.testing.assert_allclose(problem.rows[:3], expected, atol=1e-5)


def test_what_changes_along_a_walk() -> None:
    walk = Walk(toy("weight", state="fixed"))
    total = 3832
    first = walk.observe()
    np.testing.assert_allclose(first[-3:], [0, (1152 + 2304 + 160) / total, 1])
    share = walk.take(0.5)
    second = walk.observe()
    np.testing.assert_allclose(second[-3:], [216 * (1 - share) / total, (2304 + 160) / total, share])
    assert second[0] == pytest.approx(1 / 3)
    coded = Walk(toy("weight", state="as-coded"))
    coded.take(0.5)
    np.testing.assert_allclose(coded.observe()[-3], (216 + 1) * (1 - share) / total)


def test_the_published_agent_first_sees_a_layer_that_it_does_not_decide() -> None:
    assert Walk(toy("channel", state="as-coded")).observe()[0] == 0
    assert Walk(toy("channel", state="fixed")).observe()[0] == pytest.approx(1 / 3)


def test_at_the_end_the_last_row_stands_again() -> None:
    walk = rollout(toy("channel"), [1, 1, 1])
    assert walk.observe()[0] == 1
    assert walk.observe()[-1] == walk.shares[-1]


def test_a_stored_list_goes_through_the_wall_unchanged() -> None:
    layers, _ = described("vgg16_bn")
    problem = Problem(layers, "channel", 0.5, 32, lower=0.1, accounting="published")
    stored = PruningStrategy.from_list(layers, STORED, granularity="channel")
    walk = rollout(problem, problem.actions_of(stored))
    np.testing.assert_allclose(walk.strategy().to_list(layers), STORED, atol=2e-6)
    assert walk.ratio == pytest.approx(0.24178, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "granularity", "settings_"),
    [
        ("resnet18", "channel", {"accounting": "published", "keep": 0.5}),
        ("resnet18", "weight", {"accounting": "published", "keep": 0.1, "lower": 0.01, "upper": 0.8}),
        ("wrn_28_4", "channel", {"keep": 0.3, "grouped": True}),
        ("vgg16_bn", "weight", {"keep": 0.2}),
        ("vgg16_bn", "channel", {"keep": 0.2}),
    ],
)
@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_whatever_a_walk_finds_goes_through_unchanged(
    name: str, granularity: Any, settings_: dict[str, Any], seed: int
) -> None:
    layers, groups = described(name)
    given_ = dict(settings_)
    chosen = groups if given_.pop("grouped", False) else None
    problem = Problem(layers, granularity, side=32, groups=chosen, **given_)
    found = rollout(problem, np.random.default_rng(seed).random(len(problem.steps))).strategy()
    again = rollout(problem, problem.actions_of(found)).strategy()
    assert again.shares == found.shares


def test_steps_of_groups_and_of_lists() -> None:
    layers, groups = described("resnet18")
    problem = Problem(layers, "channel", 0.3, 32, groups=groups)
    assert len(problem.steps) == 12
    assert sorted(item for step in problem.steps for item in step.items) == list(range(12))
    first = problem.steps[0]
    assert first.layer.name == "blocks.0.conv1"  # reads what the stem writes
    assert "blocks.2.shortcut.0" in first.decides
    listed = Problem(layers, "channel", 0.3, 32)
    assert len(listed.steps) == 17  # 18 entries, of which the first keeps all
    assert all(not step.layer.shortcut for step in listed.steps)
    assert len(Problem(layers, "weight", 0.3, 32, lower=0.01).steps) == 21


@pytest.mark.parametrize("name", list(NARROW))
def test_the_problem_of_a_network(name: str) -> None:
    made = narrow(name)
    problem = LayerWalk().problem(made, keep=0.3)
    assert problem.groups is not None and problem.side == 16
    assert problem.lower == pytest.approx(0.3**0.5 / 5)
    assert set(problem.weights) == {layer.name for layer in problem.layers}
    published = LayerWalk(accounting="published", state="as-coded").problem(made, keep=0.5)
    assert published.groups is None and (published.lower, published.upper) == (0.1, 1.0)
    assert LayerWalk().problem(made, keep=0.3, granularity="weight").groups is None


def test_bounds_of_the_published_searches() -> None:
    assert usual_bounds(0.1, "channel", "published") == (0.05, 0.5)
    assert usual_bounds(0.1, "weight", "published") == (0.01, 0.8)
    assert usual_bounds(0.01, "weight", "published") == (0.005, 0.5)
    assert usual_bounds(0.2, "weight") == (0.02, 1.0)
    assert usual_bounds(0.25, "channel") == (0.1, 1.0)


@pytest.mark.parametrize(
    ("granularity", "keep", "lower", "accounting", "smallest"),
    [
        # One unit a layer, or the bound: 22 + 116 + 231 + 16 of 3832.
        ("weight", 0.05, 0.1, "structural", 0.1005),
        ("weight", 0.05, 0.1, "published", 0.1),
        ("channel", 0.05, 0.3, "published", 0.3),
    ],
)
def test_a_budget_that_cannot_be_met_names_the_smallest(
    granularity: Any, keep: float, lower: float, accounting: Any, smallest: float
) -> None:
    words = rf"cannot be met when every layer keeps at least {lower}: the smallest that can is {smallest:g}\."
    with pytest.raises(MethodError, match=words):
        Problem(TOY, granularity, keep, 8, lower=lower, accounting=accounting)
    # What is named can be met.
    Problem(TOY, granularity, smallest, 8, lower=lower, accounting=accounting)


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"granularity": "2:4"}, "no shares to find"),
        ({"granularity": "filter"}, "no shares to find"),
        ({"lower": 0.5, "upper": 0.4}, "bounds lie above 0"),
        ({"lower": 0.0}, "bounds lie above 0"),
        ({"keep": 1.5}, r"keep=1\.5: a share of the dense cost"),
        ({"of": "macs", "accounting": "published"}, "The published accounting counts parameters"),
        ({"of": "latency"}, "A budget of seconds needs groups"),
    ],
)
def test_what_makes_no_problem(settings_: dict[str, Any], words: str) -> None:
    given_: dict[str, Any] = {"layers": TOY, "granularity": "weight", "keep": 0.5, "side": 8} | settings_
    with pytest.raises(MethodError, match=words):
        Problem(**given_)


def test_actions_that_are_none() -> None:
    problem = known()
    with pytest.raises(MethodError, match=r"2 actions, and the walk has 6 steps"):
        rollout(problem, [0.5, 0.5])
    for action in (1.1, -0.1, float("nan")):
        with pytest.raises(MethodError, match=r"is no number in \[0, 1\]"):
            Walk(problem).take(action)
    walk = rollout(problem, [0.5] * 6)
    with pytest.raises(MethodError, match="all were taken"):
        walk.take(0.5)


def test_a_strategy_of_another_architecture_has_no_actions() -> None:
    with pytest.raises(MethodError, match="another architecture"):
        known().actions_of(PruningStrategy.uniform(TOY, 0.5, granularity="weight"))
    with pytest.raises(MethodError, match="in channel mode, and the search is in weight mode"):
        known().actions_of(PruningStrategy.uniform(CHAIN, 0.5, granularity="channel"))


def test_a_rule_is_a_walk_too() -> None:
    layers, groups = described("resnet18")
    problem = Problem(layers, "channel", 0.3, 32, groups=groups)
    uniform = fitted(layers, {layer.name: 1.0 for layer in layers}, 0.3, granularity="channel", groups=groups)
    assert rollout(problem, problem.actions_of(uniform)).strategy().shares == uniform.shares
