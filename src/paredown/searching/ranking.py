"""The order in which the units of a network go, found once; from it the network of any strategy, in no time.

Units go by magnitude: single weights by theirs, channels and filters by the sum over the weights that they touch.
Where channels go together they are really taken out, so that a strategy that keeps half is evaluated in half the time
or less; the numbers are those of the masked network.
"""

from __future__ import annotations

import copy
import math
from typing import Literal

import torch
from torch import Tensor, nn

from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import MethodError
from paredown.searching.problem import Problem
from paredown.sparsity.apply import zeroed
from paredown.sparsity.groups import group_counts, group_masks, group_scores, group_shares
from paredown.sparsity.layers import shape_of
from paredown.sparsity.masks import input_norms, kept_of, output_norms, spread, unit_scores, weights_of
from paredown.sparsity.removal import take_out


class Ranking:
    """A network whose units are ranked.

    Args:
        network: left as it is.
        problem: its layers, and its groups where channels go together.

    Raises:
        MethodError: the network's own code counts channels, so that none can be taken out.
    """

    def __init__(self, network: nn.Module, problem: Problem) -> None:
        self.network, self.problem = network, problem
        weights = weights_of(network, problem.layers)
        kind = problem.granularity
        if problem.groups is None:
            self.ranks = [_ranks(unit_scores(weights[layer.name], kind)) for layer in problem.layers]
        elif kind == "channel":
            norms = group_scores(problem.groups, {name: input_norms(weight) for name, weight in weights.items()})
            self.ranks = [_ranks(norm) for norm in norms]
        else:
            filters = {name: output_norms(weight) for name, weight in weights.items()}
            written = [torch.stack([filters[name] for name in group.writers]).sum(0) for group in problem.groups]
            self.ranks = [_ranks(norm) for norm in written]
        if problem.groups is not None:
            self._check_removal()

    def network_of(self, strategy: PruningStrategy) -> tuple[nn.Module, dict[str, Tensor]]:
        """Gives a copy of the network that keeps what a strategy says, and the masks that it must go on to keep.

        There are no masks where channels were taken out.

        Raises:
            MethodError: the strategy is for another architecture.
        """
        strategy.refuse_other(self.problem.layers)
        made = copy.deepcopy(self.network)
        if self.problem.groups is None:
            masks = self._masks(strategy)
            with torch.no_grad():
                for name, mask in masks.items():
                    made.get_parameter(f"{name}.weight").mul_(mask)
            return _innermost(made), masks
        kind: Literal["channel", "filter"] = "channel" if strategy.granularity == "channel" else "filter"
        counts = group_counts(self.problem.groups, group_shares(self.problem.groups, strategy.shares, kind))
        kept = [rank < count for rank, count in zip(self.ranks, counts, strict=True)]
        take_out(made, self.problem.layers, self.problem.groups, kept)
        return _innermost(made), {}

    def _check_removal(self) -> None:
        """Compares a network without half of its channels with one whose channels are masked."""
        problem = self.problem
        assert problem.groups is not None
        kept = [rank < -(-group.size // 2) for rank, group in zip(self.ranks, problem.groups, strict=True)]
        small = copy.deepcopy(self.network).eval()
        whole = copy.deepcopy(self.network).eval()
        shape = (2, *shape_of(whole, None))
        images = torch.linspace(0, 1, math.prod(shape), device=next(whole.parameters()).device).view(shape)
        with torch.no_grad(), zeroed(whole, group_masks(problem.layers, problem.groups, kept)):
            expected = whole(images)
            try:
                take_out(small, problem.layers, problem.groups, kept)
                found = small(images)
            except (RuntimeError, ValueError) as error:
                raise MethodError(self._counting()) from error
        slack = 1e-3 * float(expected.abs().max())
        if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-2, atol=slack):
            raise MethodError(self._counting())

    def _counting(self) -> str:
        name = type(getattr(self.network, "body", self.network)).__name__
        return (
            f"{name}: without some of its channels it gives other logits than with them masked, so its code counts on "
            "their number. Search with walk: {grouped: false}, which masks them."
        )

    def _masks(self, strategy: PruningStrategy) -> dict[str, Tensor]:
        found = {}
        for layer, rank in zip(self.problem.layers, self.ranks, strict=True):
            stays = rank < kept_of(layer.units(strategy.granularity), strategy.shares[layer.name])
            found[layer.name] = spread(stays, layer.shape, strategy.granularity)
        return found


def _ranks(scores: Tensor) -> Tensor:
    """Gives the place of each score among all of its shape, the largest first; of equal ones the first stands first."""
    flat = scores.detach().reshape(-1)
    order = flat.argsort(descending=True, stable=True)
    ranks = torch.empty_like(order, dtype=torch.int32)
    ranks[order] = torch.arange(len(order), dtype=torch.int32, device=order.device)
    return ranks.view(scores.shape)


def _innermost(network: nn.Module) -> nn.Module:
    """Gives a network whose channels lie innermost in memory, as convolutions run fastest and images come."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
