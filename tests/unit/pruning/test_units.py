"""Units of a strategy: their sums against a plain count, their masks against the groups of a network."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sparsity.networks import NARROW, narrow

from paredown.artifacts import Granularity, PruningStrategy
from paredown.errors import MethodError
from paredown.pruning.units import Units
from paredown.sparsity.apply import zeroed
from paredown.sparsity.groups import consistent_masks, group_counts, group_shares, groups_of
from paredown.sparsity.layers import fingerprint, layers_of
from paredown.sparsity.masks import kept_of, magnitude_masks, weights_of


def units_of(name: str, granularity: Granularity, share: float = 0.5, *, grouped: bool = False) -> tuple[Units, dict]:
    net = narrow(name)
    layers = layers_of(net)
    asked = PruningStrategy.uniform(layers, share, granularity=granularity)
    return Units(layers, asked, groups_of(net) if grouped else None), weights_of(net, layers)


@pytest.mark.parametrize("granularity", ["weight", "channel", "filter", "2:4"])
def test_layers_by_themselves_keep_the_largest(granularity: Granularity) -> None:
    units, weights = units_of("resnet18", granularity)
    net = narrow("resnet18")
    layers = layers_of(net)
    asked = PruningStrategy.uniform(layers, 0.5, granularity=granularity)
    expected = magnitude_masks(weights, layers, asked)
    found = units.masks(units.choose(units.magnitudes(weights, 1)))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    factors = units.factors(units.choose(units.magnitudes(weights, 1)))
    assert all(torch.equal(factors[name].expand_as(weights[name]), expected[name]) for name in expected)


@pytest.mark.parametrize(("name", "granularity"), list(product(NARROW, ["channel", "filter"])))
def test_groups_keep_the_largest_together(name: str, granularity: Granularity) -> None:
    units, weights = units_of(name, granularity, grouped=True)
    net = narrow(name)
    layers, groups = layers_of(net), groups_of(net)
    expected = consistent_masks(weights, layers, groups, PruningStrategy.uniform(layers, 0.5, granularity=granularity))
    kept = units.choose(units.magnitudes(weights, 1))
    found = units.masks(kept)
    assert all(torch.equal(found[one], expected[one]) for one in expected)
    # Masking the inputs alone gives the same logits: what is written to a channel that nobody reads does not matter.
    inputs = {one: factor.expand_as(weights[one]) for one, factor in units.factors(kept, "inputs").items()}
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        with zeroed(net, found):
            both = net(images)
        with zeroed(net, inputs):
            torch.testing.assert_close(net(images), both, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_sums_are_plain_sums(side: str) -> None:
    units, weights = units_of("resnet18", "channel", grouped=True)
    found = units.sums(weights, side)  # type: ignore[arg-type]
    assert units.groups is not None
    for name, group in units.groups.items():
        expected = torch.zeros(group.size)
        for channel in range(group.size):
            if side == "outputs":
                expected[channel] = sum(weights[writer][channel].sum() for writer in group.writers)
                continue
            for place in group.readers:
                first = place.offset + channel * place.repeat
                expected[channel] += weights[place.module][:, first : first + place.repeat].sum()
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4)


@given(st.data())
@settings(max_examples=15)
def test_budgets_are_met_by_whole_units(draw: st.DataObject) -> None:
    granularity = draw.draw(st.sampled_from(["weight", "channel", "filter"]))
    net = narrow("resnet18")
    layers = layers_of(net)
    shares = {layer.name: draw.draw(st.floats(0.01, 1.0)) for layer in layers}
    asked = PruningStrategy(shares, granularity=granularity, fingerprint=fingerprint(layers))
    weights = weights_of(net, layers)
    units = Units(layers, asked)
    masks = units.masks(units.choose(units.magnitudes(weights, 1)))
    for layer in layers:
        size = layer.weights // layer.units(granularity)
        assert int(masks[layer.name].sum()) == kept_of(layer.units(granularity), shares[layer.name]) * size
    if granularity == "weight":
        return
    groups = groups_of(net)
    together = Units(layers, asked, groups)
    kept = together.choose(together.magnitudes(weights, 1))
    counts = group_counts(groups, group_shares(groups, shares, granularity))
    assert [int(stays.sum()) for stays in kept.values()] == counts == list(together.counts.values())


def test_what_cannot_be_meant_is_refused() -> None:
    net = narrow("vgg16_bn")
    layers = layers_of(net)
    few = PruningStrategy.uniform(layers, 0.1, granularity="channel", first=0.1)
    with pytest.raises(MethodError, match=r"would keep none of its 3 channels: 0\.1 of them rounds to 0"):
        Units(layers, few, counting="hydra")
    assert all(count >= 1 for count in Units(layers, few).counts.values())
    with pytest.raises(MethodError, match="weight has no groups"):
        Units(layers, PruningStrategy.uniform(layers, 0.1, granularity="weight"), groups_of(net))
    other = layers_of(narrow("resnet18"))
    with pytest.raises(MethodError, match="another architecture"):
        Units(layers, PruningStrategy.uniform(other, 0.5, granularity="weight"))


def test_ranks_do_not_depend_on_the_memory_format() -> None:
    units, weights = units_of("resnet18", "weight", 0.3)
    moved = {
        name: weight.to(memory_format=torch.channels_last) if weight.dim() == 4 else weight
        for name, weight in weights.items()
    }
    tied = {name: weight.sign() for name, weight in weights.items()}
    again = {name: weight.sign() for name, weight in moved.items()}
    for first, second in ((weights, moved), (tied, again)):
        one, other = units.choose(first), units.choose(second)
        assert all(np.array_equal(one[name].numpy(), other[name].numpy()) for name in one)
