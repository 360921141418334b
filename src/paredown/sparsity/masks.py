"""Which units are kept: exact counts, the rules of published code, patterns of 2 in 4, norms of channels and filters.

Scores are compared by magnitude. Masks are bool tensors on the device of what they are made from; ties keep the lower
index, so that a mask is a function of its scores and of nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.layers import Granularity, Layer
from paredown.artifacts.masks import MaskSet
from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import MethodError

Counting = Literal["exact", "hydra", "search"]
"""How a share becomes a count: rounded with at least one; as HYDRA's code does; as the published search does."""


def kept_of(units: int, share: float) -> int:
    """Gives how many of some units a share keeps: the nearest whole number (halves to even), and at least one."""
    return max(1, round(share * units))


def hydra_kept(units: int, share: float, granularity: Granularity = "weight") -> int:
    """Gives how many HYDRA's published code keeps; for few channels that can be none.

    Weights: n - int((1 - k)·n), whose product is one of floats, so that of 10 weights at 0.9 all stay. Channels:
    round(k·n), halves to even.
    """
    return round(share * units) if granularity == "channel" else units - int((1 - share) * units)


def search_kept(units: int, share: float) -> int:
    """Gives how many the published search keeps: floor(n·k), one at least."""
    return max(1, math.floor(units * share))


def count_of(units: int, share: float, granularity: Granularity = "weight", counting: Counting = "exact") -> int:
    """Gives how many of some units a share keeps, by one of the rules."""
    if counting == "hydra":
        return hydra_kept(units, share, granularity)
    return search_kept(units, share) if counting == "search" else kept_of(units, share)


def top(scores: Tensor, count: int) -> Tensor:
    """Gives a mask of the `count` scores of largest magnitude; of equal ones the first.

    Args:
        scores: any shape.
        count: at most their number; 0 keeps none.

    Raises:
        MethodError: a score is NaN, or there are fewer.
    """
    magnitudes = scores.detach().abs()
    if not 0 <= count <= magnitudes.numel():
        raise MethodError(f"top(count={count}): there are {magnitudes.numel()} scores.")
    _refuse_nan(magnitudes)
    if count == magnitudes.numel():
        return torch.ones_like(magnitudes, dtype=torch.bool)
    if count == 0:
        return torch.zeros_like(magnitudes, dtype=torch.bool)
    # What is new lies densely, in whatever order: as a line it needs no copy, and for its k-th value no order counts.
    least = _largest(magnitudes.as_strided((magnitudes.numel(),), (1,)), count)
    kept = magnitudes >= least
    if int(kept.count_nonzero()) > count:
        equal = magnitudes == least
        kept &= ~equal
        first = equal.reshape(-1).cumsum(0) <= count - kept.count_nonzero()
        kept |= equal & first.view(scores.shape)
    return kept


def ranks(scores: Tensor) -> Tensor:
    """Gives each score's place by magnitude, 0 for the largest; of equal ones the first comes first.

    `ranks(scores) < count` is `top(scores, count)`: sorted once, a mask for any count is one comparison.

    Args:
        scores: any shape.

    Returns:
        int32, of the same shape.

    Raises:
        MethodError: a score is NaN.
    """
    flat = scores.detach().abs().reshape(-1)
    _refuse_nan(flat)
    order = flat.argsort(descending=True, stable=True)
    places = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return torch.empty_like(places).scatter_(0, order, places).view(scores.shape)


def _refuse_nan(magnitudes: Tensor) -> None:
    if bool(magnitudes.sum().isnan()):  # magnitudes do not cancel, so that nothing else makes their sum NaN
        raise MethodError("A score is NaN, so it has no place among the others. Look for a training that diverged.")


def above_threshold(scores: Tensor, count: int) -> Tensor:
    """Gives the mask of the published search: all scores that reach the `count`-th largest, ties included."""
    flat = scores.detach().abs().reshape(-1)
    return (flat >= _largest(flat, count)).view(scores.shape)


def _largest(flat: Tensor, count: int) -> Tensor:
    """Gives the `count`-th largest value, by selection without sorting."""
    place = flat.numel() - count
    if flat.device.type == "cpu" and flat.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(np.partition(flat.numpy(), place)[place : place + 1])[0]
    return flat.kthvalue(place + 1).values


def input_norms(weight: Tensor, power: Literal[1, 2] = 1) -> Tensor:
    """Gives the norm of each input channel of a weight (O, I, …), shape (I,): over filters and positions."""
    return weight.detach().transpose(0, 1).flatten(1).norm(p=power, dim=1)


def reshaped_norms(weight: Tensor) -> Tensor:
    """Gives what HYDRA's published code takes for `input_norms`: it cuts the weight (O, I, …) into I equal pieces.

    Each is a filter where there are as many filters as channels, and a mixture of filters elsewhere.
    """
    return weight.detach().reshape(weight.shape[1], -1).abs().sum(1)


def output_norms(weight: Tensor, power: Literal[1, 2] = 1) -> Tensor:
    """Gives the norm of each filter of a weight (O, I, …), shape (O,)."""
    return weight.detach().flatten(1).norm(p=power, dim=1)


def unit_scores(weight: Tensor, granularity: Granularity, power: Literal[1, 2] = 1) -> Tensor:
    """Gives the importance of each unit by magnitude: of the weight's shape, (I,) for channels, (O,) for filters."""
    if granularity == "channel":
        return input_norms(weight, power)
    return output_norms(weight, power) if granularity == "filter" else weight.detach().abs()


def lamp_scores(weight: Tensor) -> Tensor:
    """Gives W_u² / Σ_{v: |W_v| ≥ |W_u|} W_v² for each weight of a layer, of its shape, float64; 0 where all are 0.

    Scores of different layers compare (Lee et al. 2021, Layer-adaptive sparsity for the magnitude-based pruning,
    equation 1). Of equal weights the first counts as the larger.
    """
    squares = weight.detach().reshape(-1).double().square()
    order = squares.argsort(descending=True, stable=True)
    ordered = squares[order]
    scores = (ordered / ordered.cumsum(0)).nan_to_num(0.0)
    return torch.empty_like(squares).scatter_(0, order, scores).view(weight.shape)


def spread(units: Tensor, shape: Sequence[int], granularity: Granularity) -> Tensor:
    """Gives the mask of a weight from the mask of its units.

    Args:
        units: of the weight's shape, (I,) for channels, (O,) for filters.
        shape: of the weight.
        granularity: what the units are.
    """
    if granularity == "channel":
        return units.view(1, -1, *(1,) * (len(shape) - 2)).expand(*shape).clone()
    if granularity == "filter":
        return units.view(-1, *(1,) * (len(shape) - 1)).expand(*shape).clone()
    return units


def two_in_four(weight: Tensor) -> Tensor:
    """Gives the mask that keeps the two largest of every four weights that follow each other along the input.

    This is the pattern of sparse matrix units (Mishra et al., "Accelerating sparse deep neural networks", 2021); a
    convolution is a matrix whose columns go by position first and by input channel within.

    Args:
        weight: (O, I, …) with I a multiple of four.

    Raises:
        MethodError: I is no multiple of four.
    """
    if weight.shape[1] % 4:
        raise MethodError(
            f"2:4 needs a multiple of four input channels, and this layer has {weight.shape[1]}. Keep it whole."
        )
    rows = weight.detach().abs().movedim(1, -1)
    fours = rows.reshape(-1, 4)
    # A stable sort, so that of equal ones the first stay.
    order = fours.argsort(dim=1, descending=True, stable=True)[:, :2]
    kept = torch.zeros_like(fours, dtype=torch.bool).scatter_(1, order, True)
    return kept.view(rows.shape).movedim(-1, 1).contiguous()


def mask_of(
    scores: Tensor,
    share: float,
    granularity: Granularity = "weight",
    *,
    counting: Counting = "exact",
    shape: Sequence[int] | None = None,
) -> Tensor:
    """Gives the mask of a layer's weight.

    Args:
        scores: of the units: of the weight's shape, (I,) for channels, (O,) for filters.
        share: of the units that is kept.
        granularity: what the units are.
        counting: the rule from share to count; `search` keeps ties too.
        shape: of the weight, where scores have another.

    Raises:
        MethodError: a score is NaN.
    """
    size = tuple(scores.shape if shape is None else shape)
    if granularity == "2:4":
        return two_in_four(scores) if share < 1 else torch.ones(size, dtype=torch.bool, device=scores.device)
    count = count_of(scores.numel(), share, granularity, counting)
    kept = above_threshold(scores, count) if counting == "search" else top(scores, count)
    return spread(kept, size, granularity)


def percentile(scores: Tensor, share: float) -> float:
    """Gives the magnitude below which a share of the scores lies, between two of them by a straight line."""
    return float(np.percentile(scores.detach().abs().double().cpu().numpy(), 100 * share))


def admm_projection(weight: Tensor, share: float, granularity: Granularity = "weight") -> tuple[Tensor, Tensor]:
    """Gives the projection of robust ADMM (Ye et al., ICCV 2019) by the rule of the published code, and its mask.

    With p the percentile of the magnitudes (of single weights, or Euclidean norms of channels or filters) at
    q = 1 - share, those below p become 0. Those above p are in the mask; those that equal p are kept and not in it.

    Args:
        weight: (O, I, …).
        share: that is kept.
        granularity: `weight`, `channel` or `filter`.

    Returns:
        The projected weight, and the mask of what trains on, bool of the weight's shape.
    """
    units = unit_scores(weight, granularity, 2)
    border = percentile(units, 1 - share)
    exact = units.double()
    zeroed = spread(exact < border, weight.shape, granularity)
    return weight.detach().masked_fill(zeroed, 0), spread(exact > border, weight.shape, granularity)


def projection(weight: Tensor, share: float, granularity: Granularity = "weight") -> tuple[Tensor, Tensor]:
    """Gives the nearest weight with so many units and its mask: exact counts, one unit at least, idempotent."""
    if granularity == "2:4":
        kept = mask_of(weight, share, granularity)
    else:
        kept = mask_of(unit_scores(weight, granularity, 2), share, granularity, shape=weight.shape)
    return weight.detach() * kept, kept


def magnitude_masks(
    weights: Mapping[str, Tensor],
    layers: Sequence[Layer],
    strategy: PruningStrategy,
    *,
    counting: Counting = "exact",
    power: Literal[1, 2] = 1,
) -> dict[str, Tensor]:
    """Gives the masks that keep the units of largest magnitude, by layer.

    Args:
        weights: of the layers, by name.
        layers: of the network, in module order.
        strategy: how much of each layer is kept.
        counting: the rule from share to count.
        power: of the norm of channels and filters.

    Raises:
        MethodError: the strategy is for another architecture, or a weight is NaN.
    """
    strategy.refuse_other(layers)
    kind = strategy.granularity
    found = {}
    for layer in layers:
        units = weights[layer.name] if kind == "2:4" else unit_scores(weights[layer.name], kind, power)
        share = strategy.shares[layer.name]
        found[layer.name] = mask_of(units, share, kind, counting=counting, shape=layer.shape)
    return found


def weights_of(network: nn.Module, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Gives the weights of a network's layers, by name; they are the network's own, not copies."""
    return {layer.name: network.get_parameter(f"{layer.name}.weight").detach() for layer in layers}


def mask_set(masks: Mapping[str, Tensor], fingerprint: str, made: Mapping[str, object] | None = None) -> MaskSet:
    """Gives masks as they are stored."""
    return MaskSet({name: mask.cpu().numpy() for name, mask in masks.items()}, fingerprint=fingerprint, made=made)
