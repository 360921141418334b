"""From wishes to a strategy that meets a budget: all shares scaled together, then whole units until no more fits.

Uniform, ERK, LAMP and every other rule that says how layers stand to each other become a strategy for a budget here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from paredown.artifacts.layers import Granularity, Layer, fingerprint
from paredown.artifacts.strategy import Budget, CostKind, PruningStrategy
from paredown.errors import MethodError
from paredown.sparsity import cost
from paredown.sparsity.groups import Group, compacted, group_shares
from paredown.sparsity.latency import LatencyTable

HALVINGS = 60


def fitted(
    layers: Sequence[Layer],
    wishes: Mapping[str, float],
    wanted: float,
    *,
    granularity: Granularity,
    kind: CostKind = "parameters",
    groups: Sequence[Group] | None = None,
    table: LatencyTable | None = None,
    least: float = 0.0,
    measure: str = "",
) -> PruningStrategy:
    """Gives the strategy whose shares are the wishes times one number, each at most 1, and that just meets a budget.

    Shares are of whole units. The budget is met within one unit: it is not exceeded, and one unit more of any layer (or
    group) would exceed it.

    Args:
        layers: of the network, in module order.
        wishes: above 0, by layer; only how they stand to each other counts.
        wanted: the share of the dense network's cost.
        granularity: `weight`, or `channel` or `filter`.
        kind: what is counted; seconds need `table`.
        groups: of the network, for channels and filters: the shares then agree within a group, and the cost is what
            removal leaves. Without them every layer is counted by itself, as published lists are.
        table: measured seconds, for `kind="latency"`.
        least: no share is below it.
        measure: what made the wishes.

    Raises:
        MethodError: the budget is below what one unit a layer, or `least`, costs: says the smallest that can be met; or
            seconds for single weights, which make no pass faster.
    """
    if granularity == "2:4" or (granularity == "filter" and groups is None):
        raise MethodError(f"fitted(granularity={granularity!r}): it has no budget by layers. Use weight or channel.")
    if groups is not None and granularity == "weight":
        groups = None
    sizes, wish = _items(layers, wishes, granularity, groups)
    spend = spending(layers, granularity, kind, groups, table)
    floor = [max(1, math.ceil(least * size)) for size in sizes]
    if groups is None and granularity == "channel":  # the colours of an image cannot go
        floor = [low if layer.reads else layer.shape[1] for low, layer in zip(floor, layers, strict=True)]
    budget = wanted * spend([*sizes])
    if spend(floor) > budget:
        raise MethodError(
            f"A budget of {wanted:g} of the {kind} cannot be met: the smallest that can is "
            f"{spend(floor) / spend([*sizes]):.4g}, with {f'a share of {least:g}' if least else 'one unit'} in every "
            "layer. Ask for more."
        )

    found = scaled(sizes, wish, floor, sizes, spend, budget)
    return strategy_of(
        layers, found, sizes, groups, granularity, Budget(kind, wanted, spend(found) / spend(sizes)), measure
    )


def _items(
    layers: Sequence[Layer], wishes: Mapping[str, float], granularity: Granularity, groups: Sequence[Group] | None
) -> tuple[list[int], list[float]]:
    """Gives what units are counted in: how many there are of each, and its wish."""
    if groups is None:
        sizes, wish = [layer.units(granularity) for layer in layers], [wishes[layer.name] for layer in layers]
    else:
        sizes, wish = [group.size for group in groups], group_shares(groups, wishes, granularity)  # type: ignore[arg-type]
    if not wish or min(wish) <= 0:
        raise MethodError("fitted(wishes): a layer that is wished away would pass nothing on. Give numbers above 0.")
    return sizes, wish


def spending(
    layers: Sequence[Layer],
    granularity: Granularity,
    kind: CostKind,
    groups: Sequence[Group] | None,
    table: LatencyTable | None,
) -> Callable[[Sequence[int]], float]:
    """Gives the function from counts of units (of layers, or of groups where there are any) to cost.

    Raises:
        MethodError: seconds for single weights, or without groups or a table.
    """
    if kind == "latency" and (granularity == "weight" or groups is None or table is None):
        raise MethodError(
            "A budget of seconds needs groups of channels that are removed and a LatencyTable, because zeros among "
            "weights make no pass faster. Prune channels, or count parameters or macs."
        )
    if groups is not None and kind == "latency":
        assert table is not None
        return lambda counts: table.of_groups(layers, groups, counts)
    if groups is not None:
        return lambda counts: compacted(layers, groups, counts).total(kind)
    if granularity == "weight":
        each = [1 if kind == "parameters" else layer.macs // layer.weights for layer in layers]
        return lambda counts: sum(count * price for count, price in zip(counts, each, strict=True))

    def by_layer(counts: Sequence[int]) -> float:
        shares = {layer.name: count / layer.units(granularity) for layer, count in zip(layers, counts, strict=True)}
        return cost.compacted(layers, shares).total(kind)

    return by_layer


def scaled(
    sizes: Sequence[int],
    wish: Sequence[float],
    floor: Sequence[int],
    most: Sequence[int],
    spend: Callable[[Sequence[int]], float],
    budget: float,
) -> list[int]:
    """Gives the counts of units whose shares are the wishes times one number, and that just meet a budget.

    Args:
        sizes: how many units there are of each item.
        wish: shares above 0; only how they stand to each other counts.
        floor: the fewest units of each item; together they do not pass the budget.
        most: the largest number of each.
        spend: from counts to cost; more units never cost less.
        budget: what may be spent.
    """

    def counts(scale: float) -> list[int]:
        wanted = [int(scale * share * size) for size, share in zip(sizes, wish, strict=True)]
        return [max(low, min(high, count)) for low, high, count in zip(floor, most, wanted, strict=True)]

    under, over = 0.0, 1.0 / min(wish)
    for _ in range(HALVINGS):
        middle = (under + over) / 2
        under, over = (middle, over) if spend(counts(middle)) <= budget else (under, middle)
    found = counts(over) if spend(counts(over)) <= budget else counts(under)
    open_places = [place for place, high in enumerate(most) if found[place] < high]
    while open_places:  # one unit after the other where the share lies furthest below its wish, until none fits
        place = min(open_places, key=lambda at: found[at] / sizes[at] - over * wish[at])
        found[place] += 1
        if spend(found) > budget:
            found[place] -= 1
            open_places.remove(place)
        elif found[place] == most[place]:
            open_places.remove(place)
    return found


def strategy_of(
    layers: Sequence[Layer],
    counts: Sequence[int],
    sizes: Sequence[int],
    groups: Sequence[Group] | None,
    granularity: Granularity,
    budget: Budget,
    measure: str,
) -> PruningStrategy:
    """Gives the strategy that keeps so many units of each layer, or of each group where there are any."""
    kept = [count / size for count, size in zip(counts, sizes, strict=True)]
    shares = dict.fromkeys((layer.name for layer in layers), 1.0)
    if groups is None:
        shares = {layer.name: share for layer, share in zip(layers, kept, strict=True)}
    else:
        for group, share in zip(groups, kept, strict=True):
            members = [place.module for place in group.readers] if granularity == "channel" else group.writers
            shares |= dict.fromkeys(members, share)
    return PruningStrategy(
        shares, granularity=granularity, fingerprint=fingerprint(layers), measure=measure, budget=budget
    )
