"""`Layer`: what a pruning strategy names, as plain data; fingerprints of architectures and orders of layers.

A strategy is read where torch is not installed, so that a layer is described here and found in `sparsity.layers`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from paredown.artifacts.base import canonical

Granularity = Literal["weight", "channel", "filter", "2:4"]
GRANULARITIES: tuple[Granularity, ...] = ("weight", "channel", "filter", "2:4")


@dataclass(frozen=True)
class Layer:
    """A layer that can be pruned: a convolution or a linear layer.

    Args:
        name: of the module inside the network; its weight is `name.weight`.
        kind: `conv` or `linear`.
        kernel: height and width, (1, 1) for a linear layer.
        inputs: input channels, or features.
        outputs: output channels (filters), or features.
        groups: of a convolution; each filter sees inputs / groups channels.
        side: height and width of what it gives; (1, 1) for a linear layer.
        weights: how many numbers the weight holds; biases are not counted.
        macs: multiplications and additions for one example.
        reads: the layers whose outputs it reads, with nothing but elementwise work between, in module order; none for
            the first. Behind an addition there are several.
        beside: for a convolution that is the only one on a residual block's shortcut, the block's first layer, which
            reads the same; empty for every other layer.
    """

    name: str
    kind: Literal["conv", "linear"]
    kernel: tuple[int, int]
    inputs: int
    outputs: int
    groups: int
    side: tuple[int, int]
    weights: int
    macs: int
    reads: tuple[str, ...] = ()
    beside: str = ""

    @property
    def shortcut(self) -> bool:
        """Whether it is the projection of a residual block."""
        return bool(self.beside)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its weight."""
        return (self.outputs, self.inputs // self.groups, *(self.kernel if self.kind == "conv" else ()))

    def units(self, granularity: Granularity) -> int:
        """Gives how many units of a granularity it has: weights, input channels or filters.

        A pattern of 2 in 4 is one of weights.
        """
        return {"weight": self.weights, "2:4": self.weights, "channel": self.shape[1], "filter": self.outputs}[
            granularity
        ]


def fingerprint(layers: Sequence[Layer]) -> str:
    """Gives 16 hex digits of the names and shapes of an architecture's layers: another architecture has others."""
    told = [[layer.name, layer.kind, list(layer.shape), layer.groups] for layer in layers]
    return hashlib.sha256(canonical(told).encode()).hexdigest()[:16]


def list_order(layers: Sequence[Layer]) -> tuple[int, ...]:
    """Gives positions among `layers` (module order) in the order of published lists of shares.

    There a block's projection stands before the block's other layers (the search created it first), while modules
    register it after them: Zhao et al., "Non-uniform adversarially robust pruning" (AutoML 2022).
    """
    before: dict[str, list[int]] = {}
    for position, layer in enumerate(layers):
        if layer.shortcut:
            before.setdefault(layer.beside, []).append(position)
    order: list[int] = []
    for position, layer in enumerate(layers):
        if not layer.shortcut:
            order += [*before.get(layer.name, ()), position]
    return tuple(order)


def searched(layers: Sequence[Layer], granularity: Granularity) -> tuple[int, ...]:
    """Gives the positions that a published list has entries for, in its order: without projections in channel mode."""
    order = list_order(layers)
    return order if granularity != "channel" else tuple(place for place in order if not layers[place].shortcut)
