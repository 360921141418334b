"""Budgets: met within one unit, in every currency."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.unit.sparsity.networks import NARROW, narrow

from paredown.artifacts import Layer, PruningStrategy
from paredown.errors import MethodError
from paredown.sparsity.budget import fitted
from paredown.sparsity.cost import compacted, dense, kept_weights
from paredown.sparsity.groups import Group, group_counts, group_shares, groups_of
from paredown.sparsity.groups import compacted as left_by_groups
from paredown.sparsity.latency import GRID, LatencyTable
from paredown.sparsity.layers import layers_of


@functools.cache
def network(name: str) -> tuple[tuple[Layer, ...], tuple[Group, ...]]:
    made = narrow(name)
    return layers_of(made), groups_of(made)


def counts_of(
    layers: tuple[Layer, ...], groups: tuple[Group, ...] | None, strategy: PruningStrategy
) -> tuple[list[int], list[int]]:
    """Gives how many units of each layer, or group, a strategy keeps, of how many."""
    kind = strategy.granularity
    if groups is not None:
        return group_counts(groups, group_shares(groups, strategy.shares, kind)), [group.size for group in groups]  # type: ignore[arg-type]
    sizes = [layer.units(kind) for layer in layers]
    return [round(strategy.shares[layer.name] * size) for layer, size in zip(layers, sizes, strict=True)], sizes


def spent(layers: Any, groups: Any, granularity: str, kind: Any, counts: list[int]) -> float:
    if groups is not None:
        return left_by_groups(layers, groups, counts).total(kind)
    if granularity == "weight":
        price = [1 if kind == "parameters" else layer.macs // layer.weights for layer in layers]
        return sum(count * each for count, each in zip(counts, price, strict=True))
    shares = {layer.name: count / layer.shape[1] for layer, count in zip(layers, counts, strict=True)}
    return compacted(layers, shares).total(kind)


@settings(max_examples=25)
@given(
    name=st.sampled_from(list(NARROW)),
    granularity=st.sampled_from(["weight", "channel", "filter"]),
    grouped=st.booleans(),
    kind=st.sampled_from(["parameters", "macs"]),
    wanted=st.floats(0.02, 1.0),
    seed=st.integers(0, 99),
)
def test_budgets_are_met_within_one_unit(
    name: str, granularity: Any, grouped: bool, kind: Any, wanted: float, seed: int
) -> None:
    layers, groups = network(name)
    grouped = grouped or granularity == "filter"
    together = groups if grouped and granularity != "weight" else None
    wishes = {layer.name: 0.1 + (seed * 37 + place * 53) % 97 / 97 for place, layer in enumerate(layers)}
    try:
        found = fitted(layers, wishes, wanted, granularity=granularity, kind=kind, groups=together)
    except MethodError as error:
        assert "the smallest that can is" in str(error)
        return
    counts, sizes = counts_of(layers, together, found)
    budget = wanted * dense(layers).total(kind)
    cost = spent(layers, together, granularity, kind, counts)
    assert cost <= budget * (1 + 1e-12)
    assert found.budget is not None and found.budget.got == pytest.approx(cost / dense(layers).total(kind))
    for place, size in enumerate(sizes):
        if counts[place] < size:
            more = [count + (at == place) for at, count in enumerate(counts)]
            assert spent(layers, together, granularity, kind, more) > budget


def test_a_budget_of_weights_is_met_to_the_weight() -> None:
    layers, _ = network("resnet18")
    total = dense(layers).total("parameters")
    found = fitted(layers, {layer.name: 1.0 for layer in layers}, 0.1, granularity="weight", measure="uniform")
    assert sum(kept_weights(layers, found.shares).values()) == int(0.1 * total)
    assert max(found.shares.values()) - min(found.shares.values()) < 0.01


@given(st.floats(0.05, 1.0))
def test_wishes_keep_their_proportion(wanted: float) -> None:
    layers, _ = network("vgg16_bn")
    wishes = {layer.name: 1.0 + place for place, layer in enumerate(layers)}
    shares = list(fitted(layers, wishes, wanted, granularity="weight").shares.values())
    assert all(later >= earlier - 0.02 for earlier, later in itertools.pairwise(shares))


def test_the_colours_of_an_image_stay() -> None:
    layers, groups = network("resnet18")
    wishes = {layer.name: 1.0 for layer in layers}
    for together in (None, groups):
        found = fitted(layers, wishes, 0.3, granularity="channel", groups=together)
        assert found.shares["body.stem"] == 1.0


def test_a_budget_that_cannot_be_met_names_the_smallest() -> None:
    layers, groups = network("resnet18")
    wishes = {layer.name: 1.0 for layer in layers}
    with pytest.raises(MethodError, match=r"0.0001 of the parameters cannot be met: the smallest that can is 0.00"):
        fitted(layers, wishes, 1e-4, granularity="channel", groups=groups)
    with pytest.raises(MethodError, match=r"with a share of 0.5 in every layer"):
        fitted(layers, wishes, 0.1, granularity="weight", least=0.5)
    with pytest.raises(MethodError, match=r"wished away"):
        fitted(layers, wishes | {"body.stem": 0.0}, 0.1, granularity="weight")


def test_a_budget_of_seconds() -> None:
    layers, groups = network("resnet18")
    wishes = {layer.name: 1.0 for layer in layers}
    # Seconds in proportion to inputs and outputs of every layer alike.
    flat = LatencyTable(
        {layer.name: tuple(tuple(wide * high for high in GRID) for wide in GRID) for layer in layers}, GRID, 1, 1
    )
    found = fitted(layers, wishes, 0.4, granularity="channel", kind="latency", groups=groups, table=flat)
    assert found.budget is not None and found.budget.got == pytest.approx(0.4, abs=0.02)
    assert found.budget.got <= 0.4
    with pytest.raises(MethodError, match=r"zeros among weights make no pass faster"):
        fitted(layers, wishes, 0.4, granularity="weight", kind="latency", table=flat)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_seconds_between_measured_widths(wide: float, high: float) -> None:
    layers, _ = network("vgg16_bn")
    assume(wide > 0.25 and high > 0.25)
    table = LatencyTable({layers[0].name: tuple(tuple(2 * a + 3 * b for b in GRID) for a in GRID)}, GRID, 1, 1)
    assert table.of(layers[0], wide, high) == pytest.approx(2 * wide + 3 * high)
