"""`Units`: what is kept or goes as one under a strategy, and how scores of units become masks of weights.

Units are single weights, patterns of 2 in 4, input channels or filters of a layer. Where layers read the same channels,
as along a residual stream, these belong to one group and have one score and one fate, so that what is masked can be
taken out of the network afterwards without changing what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from paredown.artifacts.layers import Granularity, Layer
from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import MethodError
from paredown.sparsity.groups import Group, group_masks, group_scores, group_shares
from paredown.sparsity.masks import Counting, count_of, spread, top, two_in_four

Side = Literal["inputs", "outputs"]


class Units:
    """The units of a network under a strategy, by the name of their layer, or of the first layer that writes a group.

    Args:
        layers: of the network, in module order.
        strategy: how much of each is kept.
        groups: of the same network, for channels and filters that go together; none takes each layer by itself.
        counting: the rule from share to count.

    Raises:
        MethodError: the strategy is for another architecture, its granularity has no groups, or a layer would keep
            nothing.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        strategy: PruningStrategy,
        groups: Sequence[Group] | None = None,
        *,
        counting: Counting = "exact",
    ) -> None:
        strategy.refuse_other(layers)
        self.granularity: Granularity = strategy.granularity
        self.layers = {layer.name: layer for layer in layers}
        self.groups = None if groups is None else {group.writers[0]: group for group in groups}
        if self.groups is None:
            self.sizes = {layer.name: layer.units(self.granularity) for layer in layers}
            shares: Mapping[str, float] = strategy.shares
        else:
            self.sizes = {name: group.size for name, group in self.groups.items()}
            agreed = group_shares(list(self.groups.values()), strategy.shares, self._channels())
            shares = dict(zip(self.groups, agreed, strict=True))
        self.counts = {
            name: count_of(size, shares[name], self.granularity, counting) for name, size in self.sizes.items()
        }
        if empty := [name for name, count in self.counts.items() if not count]:
            raise MethodError(
                f"'{empty[0]}' would keep none of its {self.sizes[empty[0]]} channels: {shares[empty[0]]:g} of them "
                "rounds to 0, and an empty layer passes nothing on. Give it a larger share."
            )

    @property
    def side(self) -> Side:
        """The side of a layer that the strategy counts: of channels the inputs, of filters the outputs."""
        return "outputs" if self.granularity == "filter" else "inputs"

    def sums(self, values: Mapping[str, Tensor], side: Side | None = None) -> dict[str, Tensor]:
        """Gives for each unit the sum of a quantity over its weights: magnitudes, squares, gradients.

        Args:
            values: by layer, of the shapes of the weights.
            side: of the layers, over which channels are added up; by default the one that the strategy counts.

        Returns:
            By name, of the weight's shape for single weights and of shape (units,) for channels and filters.
        """
        if self.granularity in ("weight", "2:4"):
            return dict(values)
        side = side or self.side
        ends = {name: _ends(value, side) for name, value in values.items()}
        if self.groups is None:
            return ends
        if side == "inputs":
            return dict(zip(self.groups, group_scores(list(self.groups.values()), ends), strict=True))
        return {name: torch.stack([ends[one] for one in group.writers]).sum(0) for name, group in self.groups.items()}

    def magnitudes(self, weights: Mapping[str, Tensor], power: int) -> dict[str, Tensor]:
        """Gives what ranks units by the norm of their weights: Σ |w|^power; single weights stand for themselves."""
        if self.granularity in ("weight", "2:4"):
            return dict(weights)
        return self.sums({name: weight.abs() ** power for name, weight in weights.items()})

    def choose(self, scores: Mapping[str, Tensor], counts: Mapping[str, int] | None = None) -> dict[str, Tensor]:
        """Gives which units stay: those of largest magnitude, of equal ones the first.

        Args:
            scores: of the units, by name.
            counts: how many stay; by default those of the strategy.

        Raises:
            MethodError: a score is NaN.
        """
        if self.granularity == "2:4":
            return {name: self._pattern(name, score) for name, score in scores.items()}
        counts = counts or self.counts
        return {name: top(score, counts[name]) for name, score in scores.items()}

    def factors(self, kept: Mapping[str, Tensor], side: Side | None = None) -> dict[str, Tensor]:
        """Gives what each layer's weight is multiplied by, bool and broadcastable to it, where one side is masked.

        Args:
            kept: units, by name.
            side: of the layers, for channels and filters; by default the one that the strategy counts.
        """
        if self.granularity in ("weight", "2:4"):
            return dict(kept)
        side = side or self.side
        found: dict[str, Tensor] = {}
        if self.groups is None:
            return {name: _broadcast(units, self.layers[name], side) for name, units in kept.items()}
        for name, group in self.groups.items():
            if side == "outputs":
                found |= {writer: _broadcast(kept[name], self.layers[writer], side) for writer in group.writers}
                continue
            for place in group.readers:
                layer = self.layers[place.module]
                if layer.groups > 1:  # a depthwise convolution gives the channels that it reads: others read those
                    continue
                read = found.get(layer.name, torch.ones(layer.inputs, dtype=torch.bool, device=kept[name].device))
                span = slice(place.offset, place.offset + group.size * place.repeat)
                read.view(-1)[span] &= kept[name].repeat_interleave(place.repeat)
                found[layer.name] = _broadcast(read.view(-1), layer, side)
        return found

    def masks(self, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Gives the masks of all layers, bool of their weights' shapes; of groups both sides are masked."""
        if self.groups is not None:
            ordered = [kept[name] for name in self.groups]
            return group_masks(list(self.layers.values()), list(self.groups.values()), ordered)
        return {name: spread(units, self.layers[name].shape, self.granularity) for name, units in kept.items()}

    def _channels(self) -> Literal["channel", "filter"]:
        if self.granularity not in ("channel", "filter"):
            raise MethodError(f"Single weights go one by one, and {self.granularity} has no groups. Leave groups out.")
        return self.granularity

    def _pattern(self, name: str, score: Tensor) -> Tensor:
        whole = self.counts[name] == self.sizes[name]
        return torch.ones_like(score, dtype=torch.bool) if whole else two_in_four(score)


def _ends(value: Tensor, side: Side) -> Tensor:
    """Gives the sum for each input channel, or each filter, of a tensor of a weight's shape."""
    return value.sum(dim=[axis for axis in range(value.dim()) if axis != (1 if side == "inputs" else 0)])


def _broadcast(units: Tensor, layer: Layer, side: Side) -> Tensor:
    rest = (1,) * (len(layer.shape) - 2)
    return units.view(1, -1, *rest) if side == "inputs" else units.view(-1, 1, *rest)
