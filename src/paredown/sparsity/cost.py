"""What a pruned network costs: weights, multiplications, by layer and whole; budgets; the published accounting.

In channel mode a share is one of a layer's *input* channels. Its filters are what its readers read, so that a layer of
n weights whose inputs are kept to s costs n · s · t, with t the share of the first layer that reads it: this is what is
left when channels are really removed. In a residual network several layers read the same channels and a strategy may
give them different shares; `groups` counts what is left when they agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from paredown.artifacts.layers import Granularity, Layer
from paredown.artifacts.strategy import CostKind
from paredown.errors import MethodError
from paredown.sparsity.masks import Counting, count_of

Accounting = Literal["structural", "published"]


@dataclass(frozen=True)
class Cost:
    """What layers cost.

    Args:
        parameters: by layer, weights without biases.
        macs: by layer, multiplications and additions for one example.
    """

    parameters: Mapping[str, float]
    macs: Mapping[str, float]

    def of(self, kind: CostKind) -> Mapping[str, float]:
        """Gives the cost by layer of one kind.

        Raises:
            MethodError: seconds, which are measured and not counted.
        """
        if kind == "latency":
            raise MethodError("Seconds are measured, not counted. Use sparsity.latency.")
        return self.parameters if kind == "parameters" else self.macs

    def total(self, kind: CostKind) -> float:
        """Gives the sum over layers of one kind."""
        return sum(self.of(kind).values())


def dense(layers: Sequence[Layer]) -> Cost:
    """Gives what the network costs that nothing was taken from."""
    return Cost({layer.name: layer.weights for layer in layers}, {layer.name: layer.macs for layer in layers})


def readers(layers: Sequence[Layer]) -> dict[str, str]:
    """Gives for each layer the first one in module order that reads it, projections aside; empty for the last.

    This is the next layer of a published list, whose input share is the layer's output share.
    """
    first: dict[str, str] = {layer.name: "" for layer in layers}
    for layer in reversed(layers):
        if not layer.shortcut:
            first |= dict.fromkeys(layer.reads, layer.name)
    return first


def output_shares(layers: Sequence[Layer], shares: Mapping[str, float]) -> dict[str, float]:
    """Gives the share of filters that each layer keeps in channel mode: what its first reader reads, or all."""
    return {name: shares[reader] if reader else 1.0 for name, reader in readers(layers).items()}


def cost_of(
    layers: Sequence[Layer],
    shares: Mapping[str, float],
    granularity: Granularity,
    *,
    accounting: Accounting = "structural",
    lower: float | None = None,
) -> Cost:
    """Gives what shares cost, as real numbers: what a search reckons with before channels are counted in whole ones.

    Args:
        layers: of the network, in module order.
        shares: kept, by name; `strategy.shares`.
        granularity: of the shares. Weights and 2:4 cost their share of storage and of multiplications that a processor
            could skip; channels and filters what removal leaves.
        accounting: `published` charges a projection lower² · n in channel mode, because the published search never
            updated its entry.
        lower: the lower bound of that search's shares.

    Raises:
        MethodError: the published accounting without its lower bound.
    """
    if granularity in ("weight", "2:4"):
        factor = {layer.name: shares[layer.name] for layer in layers}
    elif granularity == "filter":
        first = {layer.name: [shares[name] for name in layer.reads] for layer in layers}
        factor = {layer.name: shares[layer.name] * float(np.mean(first[layer.name] or 1.0)) for layer in layers}
    else:
        outputs = output_shares(layers, shares)
        factor = {
            # A depthwise convolution has one input channel a filter, so that only its filters can become fewer.
            layer.name: (shares[layer.name] if layer.shape[1] > 1 else 1.0) * outputs[layer.name]
            for layer in layers
        }
        if accounting == "published":
            if lower is None:
                raise MethodError("cost_of(accounting='published'): it charges projections by lower=, give it.")
            factor |= {layer.name: lower**2 for layer in layers if layer.shortcut}
    return Cost(
        {layer.name: layer.weights * factor[layer.name] for layer in layers},
        {layer.name: layer.macs * factor[layer.name] for layer in layers},
    )


def ratio(layers: Sequence[Layer], cost: Cost, kind: CostKind = "parameters") -> float:
    """Gives the share of the dense network's cost."""
    return cost.total(kind) / dense(layers).total(kind)


def published_target(layers: Sequence[Layer], share: float, granularity: Granularity) -> float:
    """Gives the number of weights that a published target rate allows: r·Σn, or what a uniform r costs in channel mode.

    There the first and the last layer count r·n, every other, projections too, r²·n.
    """
    if granularity != "channel":
        return share * sum(layer.weights for layer in layers)
    ends = {layers[0].name, layers[-1].name}
    return sum(layer.weights * (share if layer.name in ends else share**2) for layer in layers)


def kept_weights(layers: Sequence[Layer], shares: Mapping[str, float], counting: Counting = "exact") -> dict[str, int]:
    """Gives how many single weights each layer keeps in weight mode."""
    return {layer.name: count_of(layer.weights, shares[layer.name], "weight", counting) for layer in layers}


def masked_inputs(layers: Sequence[Layer], shares: Mapping[str, float]) -> int:
    """Gives how many weights are left when input channels are masked and every filter stays, in channel mode."""
    return sum(
        layer.weights // layer.shape[1] * count_of(layer.shape[1], shares[layer.name], "channel") for layer in layers
    )


def compacted(layers: Sequence[Layer], shares: Mapping[str, float]) -> Cost:
    """Gives the cost in whole channels after removal, in channel mode: both sides of every layer rounded by itself.

    Where layers read the same channels and their shares differ, no network has these counts; `groups.compacted` gives
    those of one that there is.
    """
    outputs = output_shares(layers, shares)
    parameters, macs = {}, {}
    for layer in layers:
        inputs = count_of(layer.shape[1], shares[layer.name], "channel")
        filters = count_of(layer.outputs, outputs[layer.name], "channel")
        parameters[layer.name] = layer.kernel[0] * layer.kernel[1] * inputs * filters
        macs[layer.name] = parameters[layer.name] * (layer.macs // layer.weights)
    return Cost(parameters, macs)
