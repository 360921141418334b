"""The wall of a budget: how much the next layer may keep when all later ones keep their least, and whole units of it.

Three ledgers keep count of a walk. `Exact` counts whole units and never passes the budget. `Scaled` takes shares for
wishes, which it brings to the budget together when all are known. `Published` reckons as the published search does
(Zhao et al., "Non-uniform adversarially robust pruning", AutoML 2022): with real numbers, rounded to the nearest unit
after the wall, so that every rounding may add up to half a unit to the cost, and a layer whose ceiling lies below the
lower bound adds what is between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from paredown.artifacts.layers import Granularity, Layer, searched
from paredown.sparsity.budget import scaled
from paredown.sparsity.cost import readers

ROUNDING = 1e-9
"""What a product of floats may be off: 0.3 of 10 units are 3, and not a little less."""


def quantised(share: float, units: int) -> float:
    """Gives the nearest share of whole units: halves to even, and at least one."""
    return max(1, round(share * units)) / units


class Exact:
    """Counts of whole units; the budget is not passed.

    Args:
        sizes: how many units there are of each item, a layer or a group of channels.
        steps: which items each step decides; all of one step have the same share.
        lower: the least share of an item that a step decides; the others keep all.
        upper: the largest.
        spend: from one count an item to the cost; more units never cost less.
        wanted: the share of the dense cost that may be spent.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        steps: Sequence[Sequence[int]],
        *,
        lower: float,
        upper: float,
        spend: Callable[[Sequence[int]], float],
        wanted: float,
    ) -> None:
        self.sizes, self.steps, self.spend = list(sizes), steps, spend
        self.decided = {item for step in steps for item in step}
        self.floor = [
            max(1, math.ceil(lower * size - ROUNDING)) if item in self.decided else size
            for item, size in enumerate(self.sizes)
        ]
        self.most = [
            max(low, math.floor(upper * size + ROUNDING)) for low, size in zip(self.floor, self.sizes, strict=True)
        ]
        self.dense = spend(self.sizes)
        self.budget = wanted * self.dense * (1 + ROUNDING)
        self.counts = list(self.floor)
        self.taken = 0
        self._wall: int | None = None

    @property
    def least(self) -> float:
        """The smallest cost that can be reached."""
        return self.spend(self.floor)

    @property
    def cost(self) -> float:
        """What is spent when all steps to come keep their least."""
        return self.spend(self.counts)

    def removed(self) -> float:
        """Gives the share of the dense cost that the steps so far have removed, later ones keeping all."""
        decided = {item for step in self.steps[: self.taken] for item in step}
        counts = [count if item in decided else self.sizes[item] for item, count in enumerate(self.counts)]
        return 1 - self.spend(counts) / self.dense

    def ceiling(self) -> float:
        """Gives the largest share that the next step can keep."""
        first = self.steps[self.taken][0]
        return self._affordable() / self.sizes[first]

    def take(self, share: float) -> float:
        """Gives the share that the next step keeps when it wants `share`: the nearest whole count below the wall."""
        items = self.steps[self.taken]
        first = items[0]
        count = min(max(round(share * self.sizes[first]), self.floor[first]), self._affordable())
        for item in items:
            self.counts[item] = count
        self.taken += 1
        self._wall = None
        return count / self.sizes[first]

    def _affordable(self) -> int:
        """Gives the largest count of the next step within the budget, by bisection; its least always is."""
        if self._wall is not None:
            return self._wall
        items = self.steps[self.taken]
        low, high = self.floor[items[0]], self.most[items[0]]
        counts = list(self.counts)
        while low < high:
            middle = (low + high + 1) // 2
            for item in items:
                counts[item] = middle
            low, high = (middle, high) if self.spend(counts) <= self.budget else (low, middle - 1)
        self._wall = low
        return low


class Scaled(Exact):
    """Wishes, brought to the budget together.

    A wall leaves late layers what early ones did not take, and nothing makes a walk use what is left at its end. Here
    no step is cut: when all wishes are known, one number multiplies them so that the budget is just met.
    """

    wishes: tuple[float, ...] = ()

    def take(self, share: float) -> float:
        """Gives the wish in whole units; with the last one the counts become those that meet the budget."""
        self.wishes += (share,)
        found = super().take(share)
        if self.taken == len(self.steps):
            self._scale()
        return found

    def shares(self) -> list[float]:
        """Gives the share of each step as it stands."""
        return [self.counts[items[0]] / self.sizes[items[0]] for items in self.steps]

    def _affordable(self) -> int:
        return self.most[self.steps[self.taken][0]]

    def _scale(self) -> None:
        firsts = [items[0] for items in self.steps]

        def whole(counts: Sequence[int]) -> list[int]:
            found = list(self.counts)
            for items, count in zip(self.steps, counts, strict=True):
                for item in items:
                    found[item] = count
            return found

        found = scaled(
            [self.sizes[item] for item in firsts],
            self.wishes,
            [self.floor[item] for item in firsts],
            [self.most[item] for item in firsts],
            lambda counts: self.spend(whole(counts)),
            self.budget,
        )
        self.counts = whole(found)


class Published:
    """The published search's bookkeeping of parameters.

    In channel mode a layer costs n · in · out with `out` the share of the next entry of the list; both are the lower
    bound until they are decided, and a projection's stay so, which is a fault of the published code.

    Args:
        layers: of the network, in module order.
        granularity: `weight` or `channel`.
        lower: the least share.
        upper: the largest.
        budget: in weights.
        first: whether channel mode also decides the inputs of the first entry, which otherwise keeps all.
        stray: whether `removed` has a stray summand of the published code in weight mode.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        granularity: Granularity,
        *,
        lower: float,
        upper: float,
        budget: float,
        first: bool,
        stray: bool,
    ) -> None:
        self.by_channel = granularity == "channel"
        self.lower, self.upper, self.budget = lower, upper, budget
        self.listed = [layers[place] for place in searched(layers, granularity)]
        self.weights = {layer.name: layer.weights for layer in layers}
        self.units = {layer.name: layer.units(granularity) for layer in layers}
        self.dense = float(sum(self.weights.values()))
        self.stray = stray and not self.by_channel
        self.taken = 0
        self.place = int(self.by_channel and not first)
        self.inputs = dict.fromkeys(self.weights, lower)
        self.outputs = dict.fromkeys(self.weights, lower if self.by_channel else 1.0)
        self.beside: dict[str, list[str]] = {}
        self.feeding: dict[str, list[str]] = {}
        if self.by_channel:
            self.outputs[self.listed[-1].name] = 1.0
            if self.place:
                self.inputs[self.listed[0].name] = 1.0
            follower = readers(layers)
            for layer in layers:
                if layer.shortcut:
                    self.beside.setdefault(layer.beside, []).append(layer.name)
                    self.feeding.setdefault(follower[layer.name], []).append(layer.name)

        self.least = self.cost
        """The smallest cost that the bookkeeping knows."""

    @property
    def cost(self) -> float:
        """What is spent when all steps to come keep the lower bound."""
        return sum(count * self.inputs[name] * self.outputs[name] for name, count in self.weights.items())

    def removed(self) -> float:
        """Gives the share of the weights that entries before the next are reckoned to have lost."""
        gone = 0.0
        for layer in self.listed[: self.place]:
            kept = self.inputs[layer.name] * self.outputs[layer.name]
            gone += layer.weights * (1 - kept) + (1 - kept if self.stray else 0.0)
        return gone / self.dense

    def ceiling(self) -> float:
        """Gives the largest share that the next step can keep; it may lie above 1 and below the lower bound."""
        own = self._own()
        rest = sum(
            count * self.inputs[name] * self.outputs[name] for name, count in self.weights.items() if name not in own
        )
        return (self.budget - rest) / sum(own.values())

    def take(self, share: float) -> float:
        """Gives the share that the next step keeps when it wants `share`."""
        name = self.listed[self.place].name
        wall = min(max(self.ceiling(), self.lower), self.upper)
        found = quantised(min(share, wall), self.units[name])
        self.inputs[name] = found
        if self.by_channel and self.place:
            self.outputs[self.listed[self.place - 1].name] = found
        self.taken += 1
        self.place += 1
        return found

    def _own(self) -> dict[str, float]:
        """Gives the layers whose cost the next step's share multiplies, and by what."""
        layer = self.listed[self.place]
        own = {layer.name: layer.weights * self.outputs[layer.name]}
        if not self.by_channel:
            return own
        if self.place:
            before = self.listed[self.place - 1].name
            own[before] = self.weights[before] * self.inputs[before]
        own |= {name: self.weights[name] * self.outputs[name] for name in self.beside.get(layer.name, ())}
        own |= {name: self.weights[name] * self.inputs[name] for name in self.feeding.get(layer.name, ())}
        return own
