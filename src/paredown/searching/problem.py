"""The problem of a search: a walk over a network's layers that gives each the share it keeps, under a budget.

The walk is the same for whoever proposes: an agent that looks at each layer before it acts, a black-box optimizer that
proposes all actions at once, a person's own list. An action in [0, 1] is brought between the bounds of a share and
becomes a whole number of units; the budget is met by cutting at the wall (`wall`) or by scaling all wishes together at
the end. The reward is of the whole strategy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch import Tensor

from paredown.artifacts.layers import Granularity, Layer, fingerprint, list_order, searched
from paredown.artifacts.strategy import CostKind, PruningStrategy
from paredown.errors import MethodError
from paredown.searching.state import State, misaligned, raw_rows, scaled
from paredown.searching.wall import ROUNDING, Exact, Published, Scaled
from paredown.sparsity.budget import spending
from paredown.sparsity.cost import Accounting, dense, published_target
from paredown.sparsity.groups import Group
from paredown.sparsity.latency import LatencyTable

Fit = Literal["scale", "wall"]


@dataclass(frozen=True)
class Step:
    """One decision of a walk.

    Args:
        layer: what the agent sees; of a group the first that reads it.
        decides: the layers that keep its share.
        items: what the wall counts units of: places among layers, or of a group.
        entry: which row of the state belongs to it.
    """

    layer: Layer
    decides: tuple[str, ...]
    items: tuple[int, ...]
    entry: int


@dataclass(frozen=True, eq=False)
class Problem:
    """Layers, a budget and the bounds of a share.

    Args:
        layers: of the network, in module order.
        granularity: `weight`, `channel` or `filter`. Filters need groups.
        keep: the budget, as a share of the dense network's cost; with the published accounting the published rate, at
            which all layers together would be pruned uniformly.
        side: of an image, in pixels.
        of: what is counted; seconds need groups and `table`.
        lower: the least share of a layer.
        upper: the largest.
        groups: channels that go together: one step decides a group, and the cost is what removal leaves. Without them
            every layer is decided by itself, in the order of published lists, and projections keep what their block's
            first layer keeps.
        table: measured seconds.
        weights: of the layers by name, for searchers that rank them.
        accounting: `structural` counts whole units and never passes the budget; `published` reckons parameters as the
            published search does.
        fit: how the budget is met: `wall` cuts each share at what later ones leave when they keep their least; `scale`
            takes shares for wishes and multiplies all by one number at the end, so that the whole budget is used.
        first: channel mode also decides which colours of the image are read; published searches of some data do.
        state: `as-coded` has three faults of the published code: the costs of other layers behind a projection in
            channel mode, the first layer's row where the second is decided, and a stray summand of `reduced`.

    Raises:
        MethodError: bounds that are none, a budget below the smallest that can be reached (which is named), or a
            granularity without shares to search.
    """

    layers: tuple[Layer, ...]
    granularity: Granularity
    keep: float
    side: int
    of: CostKind = "parameters"
    lower: float = 0.1
    upper: float = 1.0
    groups: tuple[Group, ...] | None = None
    table: LatencyTable | None = None
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    accounting: Accounting = "structural"
    fit: Fit = "wall"
    first: bool = False
    state: State = "fixed"

    def __post_init__(self) -> None:
        if self.granularity == "2:4" or (self.granularity == "filter" and self.groups is None):
            raise MethodError(
                f"A search over {self.granularity} has no shares to find: two of four weights are always half of them, "
                "and filters are those of a group. Search weights, or channels or filters by groups."
            )
        if not 0 < self.keep <= 1:
            raise MethodError(
                f"keep={self.keep:g}: a share of the dense cost lies above 0 and is at most 1. Give one such as 0.5."
            )
        if not 0 < self.lower < self.upper <= 1:
            raise MethodError(
                f"A share lies between {self.lower:g} and {self.upper:g}: bounds lie above 0, the lower one below the "
                "upper one, and that is at most 1."
            )
        if self.accounting == "published" and (self.groups is not None or self.of != "parameters"):
            raise MethodError(
                f"The published accounting counts parameters of every layer by itself, and {self.of}"
                f"{' of groups' if self.groups is not None else ''} are asked for. Use the structural accounting."
            )
        if self.accounting == "published" and self.fit != "wall":
            raise MethodError(f"The published accounting meets a budget by a wall, and fit={self.fit} is asked for.")
        if not self.steps:
            raise MethodError("The network has no layer whose share could be searched. Use a deeper one.")
        ledger = self.ledger()
        if ledger.least > ledger.budget * (1 + ROUNDING):
            raise MethodError(
                f"A budget of {self.keep:g} of the {self.of} cannot be met when every layer keeps at least "
                f"{self.lower:g}: the smallest that can is {_above(self._told(ledger.least)):g}. Ask for more, or "
                "lower the lower bound."
            )

    def _told(self, cost: float) -> float:
        """Gives a cost as `keep` is given; the published rate is found by halving."""
        if self.accounting == "structural" or self.granularity != "channel":
            return cost / self.dense
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            short = published_target(self.layers, middle, self.granularity) < cost
            low, high = (middle, high) if short else (low, middle)
        return high

    @cached_property
    def dense(self) -> float:
        """What the whole network costs."""
        return self.ledger().dense

    @cached_property
    def wanted(self) -> float:
        """The budget as a share of the dense network's cost."""
        if self.accounting == "structural":
            return self.keep
        target = published_target(self.layers, self.keep, self.granularity)
        return target / dense(self.layers).total("parameters")

    @cached_property
    def listed(self) -> tuple[Layer, ...]:
        """The entries of the state: those of a published list, or of each group the first layer with its share."""
        if self.groups is not None:
            return tuple(step.layer for step in self.steps)
        return tuple(self.layers[place] for place in searched(self.layers, self.granularity))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The decisions, in order."""
        if self.groups is not None:
            return self._grouped(self.groups)
        places = {layer.name: place for place, layer in enumerate(self.layers)}
        by_channel, found = self.granularity == "channel", []
        for entry, layer in enumerate(self.listed):
            # The colours of an image stay. The published code takes the first entry for what reads it.
            reads_image = entry == 0 if self.accounting == "published" else not layer.reads
            if by_channel and reads_image and not self.first:
                continue
            beside = [other.name for other in self.layers if other.beside == layer.name] if by_channel else []
            names = (layer.name, *beside)
            found.append(Step(layer, names, tuple(places[name] for name in names), entry))
        return tuple(found)

    def _grouped(self, groups: Sequence[Group]) -> tuple[Step, ...]:
        order = {self.layers[place].name: rank for rank, place in enumerate(list_order(self.layers))}
        named = {layer.name: layer for layer in self.layers}
        found = []
        for item, group in enumerate(groups):
            readers = [place.module for place in group.readers]
            members = tuple(dict.fromkeys(readers if self.granularity == "channel" else group.writers))
            # A projection stands before its block and reads the same: the block's own layer tells more.
            shown = min(members, key=lambda name: (named[name].shortcut, order[name]))
            found.append((order[shown], named[shown], members, item))
        return tuple(
            Step(layer, members, (item,), entry)
            for entry, (_, layer, members, item) in enumerate(sorted(found, key=lambda part: (part[0], part[3])))
        )

    def ledger(self) -> Exact | Published:
        """Gives the bookkeeping of a walk that begins."""
        if self.accounting == "published":
            return Published(
                self.layers,
                self.granularity,
                lower=self.lower,
                upper=self.upper,
                budget=published_target(self.layers, self.keep, self.granularity),
                first=self.first,
                stray=self.state == "as-coded",
            )
        if self.groups is None:
            sizes = [layer.units(self.granularity) for layer in self.layers]
        else:
            sizes = [group.size for group in self.groups]
        return (Scaled if self.fit == "scale" else Exact)(
            sizes,
            [step.items for step in self.steps],
            lower=self.lower,
            upper=self.upper,
            spend=spending(self.layers, self.granularity, self.of, self.groups, self.table),
            wanted=self.keep,
        )

    @cached_property
    def rows(self) -> np.ndarray:
        """The scaled rows of the state, one an entry of `listed`, shape (entries, 11)."""
        costs: list[float] = [layer.weights for layer in self.listed]
        if self.state == "as-coded" and self.groups is None:
            costs = misaligned([self.layers[place] for place in list_order(self.layers)], len(self.listed))
        return scaled(raw_rows(self.listed, self.side, costs))

    def rest(self, entry: int) -> float:
        """Gives the share of the weights in entries behind one; as coded they are those of the misaligned list."""
        if self.state == "as-coded" and self.groups is None:
            inside: Sequence[Layer] = [self.layers[place] for place in list_order(self.layers)]
            total = sum(layer.weights for layer in inside)
        else:
            inside = self.listed
            total = sum(layer.weights for layer in inside)
        return sum(layer.weights for layer in inside[entry + 1 :]) / total

    def actions_of(self, strategy: PruningStrategy) -> np.ndarray:
        """Gives the actions that lead to a strategy where the budget allows it, float64 (steps,).

        Shares outside the bounds become the nearest bound.

        Raises:
            MethodError: the strategy is for another architecture or granularity.
        """
        strategy.refuse_other(self.layers)
        if strategy.granularity != self.granularity:
            raise MethodError(
                f"The strategy keeps shares in {strategy.granularity} mode, and the search is in {self.granularity} "
                "mode. Use a strategy of the same mode."
            )
        shares = np.array([np.mean([strategy.shares[name] for name in step.decides]) for step in self.steps])
        return ((shares - self.lower) / (self.upper - self.lower)).clip(0.0, 1.0)

    def plain(self) -> dict[str, Any]:
        """Gives what tells this problem from others, as data that JSON can hold."""
        return {
            "fingerprint": fingerprint(self.layers),
            "granularity": self.granularity,
            "keep": self.keep,
            "of": self.of,
            "bounds": [self.lower, self.upper],
            "accounting": self.accounting,
            "fit": self.fit,
            "first": self.first,
            "state": self.state,
            "steps": [list(step.decides) for step in self.steps],
        }


def _above(share: float) -> float:
    """Gives four digits of a share, rounded up, so that what is named is enough."""
    scale = 10.0 ** (3 - math.floor(math.log10(share)))
    return math.ceil(share * scale) / scale
