"""Groups of channels that can only be removed together: a dependency graph of channels (Fang et al., DepGraph, 2023).

What an addition adds must keep the same channels, so all layers that write to a residual stream and all that read from
it form one group; between two layers in line the group is the filters of one and the inputs of the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.layers import Layer
from paredown.artifacts.masks import MaskSet
from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import MethodError
from paredown.sparsity.cost import Cost
from paredown.sparsity.layers import described, shape_of
from paredown.sparsity.masks import input_norms, kept_of, output_norms, top
from paredown.sparsity.trace import Dim, traced


class Place(NamedTuple):
    """Where a module reads a group: from feature `offset` on, `repeat` features in a row for each channel."""

    module: str
    offset: int
    repeat: int


@dataclass(frozen=True)
class Group:
    """Channels that several layers share.

    Args:
        size: how many channels.
        writers: layers whose filters make them, in module order.
        readers: layers that read them, and where among their inputs; flattened maps stand `repeat` in a row.
        norms: normalisation layers that hold a number for each of them.
    """

    size: int
    writers: tuple[str, ...]
    readers: tuple[Place, ...]
    norms: tuple[Place, ...]


def groups_of(network: nn.Module, shape: tuple[int, ...] | None = None) -> tuple[Group, ...]:
    """Gives the groups of channels that can be removed, by their first writer in module order.

    The colours of the image and the logits cannot, nor what a normalisation over several channels sees.

    Args:
        network: takes images (B, C, H, W), gives logits.
        shape: channels, height and width of one image; None asks the network.

    Raises:
        MethodError: an operation in it moves channels in a way that is not known; names the operation.
    """
    trace = traced(network, shape_of(network, shape))
    if problem := trace.problem():
        raise MethodError(
            f"{type(getattr(network, 'body', network)).__name__}: channels cannot be followed through "
            f"'{problem}', so it is not known which of them belong together. Prune single weights, or write "
            "the network without that operation."
        )
    order = {layer.name: place for place, layer in enumerate(described(network, trace))}
    roots: dict[int, Dim] = {id(dim.root()): dim.root() for dim in trace.dims}
    found = [_group(dim, order) for dim in roots.values() if not dim.fixed and dim.readers]
    return tuple(sorted(found, key=lambda group: order[group.writers[0]]))


def _group(dim: Dim, order: Mapping[str, int]) -> Group:
    return Group(
        dim.size,
        tuple(sorted(set(dim.writers), key=order.__getitem__)),
        tuple(sorted({Place(*place) for place in dim.readers}, key=lambda place: (order[place.module], place.offset))),
        tuple(sorted({Place(*place) for place in dim.norms})),
    )


def group_shares(
    groups: Sequence[Group], shares: Mapping[str, float], granularity: Literal["channel", "filter"] = "channel"
) -> list[float]:
    """Gives one share a group: the mean over the layers that read it, or in filter mode over those that write it.

    Args:
        groups: of the network.
        shares: kept, by layer.
        granularity: whether the shares are of input channels or of filters.
    """
    members = [
        [place.module for place in group.readers] if granularity == "channel" else list(group.writers)
        for group in groups
    ]
    return [float(np.mean([shares[name] for name in names])) for names in members]


def agreed(layers: Sequence[Layer], groups: Sequence[Group], strategy: PruningStrategy) -> PruningStrategy:
    """Gives the strategy whose layers agree on every group, so that removal is exact; what reads the image keeps all.

    Args:
        layers: of the network, in module order.
        groups: of the same network.
        strategy: in channel or filter mode.

    Raises:
        MethodError: the strategy is for another architecture, or prunes single weights.
    """
    strategy.refuse_other(layers)
    kind = _by_channel(strategy)
    shares = dict.fromkeys(strategy.shares, 1.0)
    for group, share in zip(groups, group_shares(groups, strategy.shares, kind), strict=True):
        members = [place.module for place in group.readers] if kind == "channel" else group.writers
        shares |= dict.fromkeys(members, share)
    notes = (*strategy.notes, "shares of layers on the same channels became their mean")
    return PruningStrategy(
        shares,
        granularity=kind,
        fingerprint=strategy.fingerprint,
        measure=strategy.measure,
        budget=strategy.budget,
        notes=notes if shares != strategy.shares else strategy.notes,
    )


def _by_channel(strategy: PruningStrategy) -> Literal["channel", "filter"]:
    if strategy.granularity not in ("channel", "filter"):
        raise MethodError(
            f"A strategy in {strategy.granularity} mode keeps single weights, and no channel goes as a whole. "
            "Use one in channel or filter mode."
        )
    return strategy.granularity


def group_counts(groups: Sequence[Group], shares: Sequence[float]) -> list[int]:
    """Gives how many channels of each group its share keeps: the nearest whole number, one at least."""
    return [kept_of(group.size, share) for group, share in zip(groups, shares, strict=True)]


def widths(
    layers: Sequence[Layer], groups: Sequence[Group], counts: Sequence[int]
) -> tuple[dict[str, int], dict[str, int]]:
    """Gives how many inputs and outputs each layer has left when each group keeps so many channels.

    Args:
        layers: of the network, in module order.
        groups: of the same network.
        counts: channels that each group keeps.
    """
    inputs = {layer.name: layer.inputs for layer in layers}
    outputs = {layer.name: layer.outputs for layer in layers}
    for group, count in zip(groups, counts, strict=True):
        for place in group.readers:
            inputs[place.module] -= (group.size - count) * place.repeat
        outputs |= dict.fromkeys(group.writers, count)
    return inputs, outputs


def compacted(layers: Sequence[Layer], groups: Sequence[Group], counts: Sequence[int]) -> Cost:
    """Gives what is left when each group keeps so many channels: what removal by the groups really gives."""
    inputs, outputs = widths(layers, groups, counts)
    parameters, macs = {}, {}
    for layer in layers:
        wide = inputs[layer.name] if layer.groups == 1 else layer.shape[1]
        parameters[layer.name] = layer.kernel[0] * layer.kernel[1] * wide * outputs[layer.name]
        macs[layer.name] = parameters[layer.name] * (layer.macs // layer.weights)
    return Cost(parameters, macs)


def group_scores(
    groups: Sequence[Group],
    inputs: Mapping[str, Tensor],
    outputs: Mapping[str, Tensor] | None = None,
    *,
    over: Literal["sum", "mean"] = "sum",
) -> list[Tensor]:
    """Gives one importance a channel of each group: over all layers that read it, and those that write it if given.

    Args:
        groups: of the network.
        inputs: importance of the inputs of each layer, shape (I,); of flattened maps all features of a channel count.
        outputs: importance of the filters of each layer, shape (O,).
        over: whether members are added up or averaged.

    Returns:
        For each group a tensor of shape (size,).
    """
    found = []
    for group in groups:
        parts = []
        for place in group.readers:
            part = inputs[place.module]
            if len(part) == 1 < group.size:  # a depthwise convolution reads what it writes
                continue
            wide = group.size * place.repeat
            parts.append(part[place.offset : place.offset + wide].reshape(group.size, place.repeat).sum(1))
        parts += [outputs[name] for name in group.writers] if outputs is not None else []
        total = torch.stack(parts).sum(0)
        found.append(total if over == "sum" else total / len(parts))
    return found


def group_masks(layers: Sequence[Layer], groups: Sequence[Group], kept: Sequence[Tensor]) -> dict[str, Tensor]:
    """Gives the masks of all layers that take channels away on both sides, so that removing them changes nothing.

    Args:
        layers: of the network, in module order.
        groups: of the same network.
        kept: for each group which channels stay, bool of shape (size,).

    Returns:
        By layer a bool tensor of the shape of its weight.
    """
    device = kept[0].device if kept else torch.device("cpu")
    inputs = {layer.name: torch.ones(layer.inputs, dtype=torch.bool, device=device) for layer in layers}
    outputs = {layer.name: torch.ones(layer.outputs, dtype=torch.bool, device=device) for layer in layers}
    for group, stays in zip(groups, kept, strict=True):
        for place in group.readers:
            span = slice(place.offset, place.offset + group.size * place.repeat)
            inputs[place.module][span] &= stays.repeat_interleave(place.repeat)
        for name in group.writers:
            outputs[name] &= stays
    found = {}
    for layer in layers:
        rest = (1,) * (len(layer.shape) - 2)
        columns = inputs[layer.name] if layer.groups == 1 else inputs[layer.name].new_ones(layer.shape[1])
        both = outputs[layer.name].view(-1, 1, *rest) & columns.view(1, -1, *rest)
        found[layer.name] = both.expand(layer.shape).clone()
    return found


def consistent_masks(
    weights: Mapping[str, Tensor],
    layers: Sequence[Layer],
    groups: Sequence[Group],
    strategy: PruningStrategy,
    *,
    power: Literal[1, 2] = 1,
    over: Literal["sum", "mean"] = "sum",
) -> dict[str, Tensor]:
    """Gives masks by magnitude in which all layers of a group keep the same channels.

    A channel's importance is the norm of what its readers make of it, summed (or averaged) over them; in filter mode of
    what its writers put into it. A group keeps the mean of its members' shares.

    Args:
        weights: of the layers, by name.
        layers: of the network, in module order.
        groups: of the same network.
        strategy: in channel or filter mode.
        power: of the norm.
        over: how members count together.

    Raises:
        MethodError: the strategy is for another architecture, or prunes single weights; a weight is NaN.
    """
    strategy.refuse_other(layers)
    kind = _by_channel(strategy)
    if kind == "channel":
        norms = group_scores(groups, {name: input_norms(weight, power) for name, weight in weights.items()}, over=over)
    else:
        filters = {name: output_norms(weight, power) for name, weight in weights.items()}
        norms = [torch.stack([filters[name] for name in group.writers]).sum(0) for group in groups]
    counts = group_counts(groups, group_shares(groups, strategy.shares, kind))
    return group_masks(layers, groups, [top(norm, count) for norm, count in zip(norms, counts, strict=True)])


def kept_channels(masks: MaskSet, layers: Sequence[Layer], groups: Sequence[Group]) -> list[np.ndarray]:
    """Gives for each group which channels a mask set keeps, bool of shape (size,).

    A channel goes when no reader has a kept weight for it; what is written to it then reaches nothing.

    Args:
        masks: of all layers that read a group.
        layers: of the network, in module order.
        groups: of the same network.

    Raises:
        MethodError: a group would lose every channel.
    """
    grouped = {layer.name for layer in layers if layer.groups > 1}
    found = []
    for group in groups:
        stays = np.zeros(group.size, bool)
        for place in group.readers:
            if place.module in grouped:
                stays |= masks.outputs(place.module)
                continue
            span = slice(place.offset, place.offset + group.size * place.repeat)
            stays |= masks.inputs(place.module)[span].reshape(group.size, place.repeat).any(1)
        if not stays.any():
            raise MethodError(
                f"The masks keep no channel of what '{group.writers[0]}' writes, so nothing would pass. Keep one."
            )
        found.append(stays)
    return found
