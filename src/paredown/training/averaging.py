"""An exponential average of the weights (Polyak averaging), with statistics of its own for batch normalisation."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, update_bn

from paredown.models.build import AbstractNetwork


def decay_at(step: int, decay: float, *, warmup: float = 0.0) -> float:
    """Gives `min(decay, (1 + t)/(10 + t))`, and 0 at the first step: first weights do not rule a short training.

    t counts from the end of a warm-up, before which the average is the network itself.
    """
    since = step - warmup
    return min(decay, (1 + since) / (10 + since)) if step > 1 and since >= 0 else 0.0


class Average:
    """The average by torch's own rule; `AveragedModel` around it would make each step wait for a GPU.

    Args:
        network: whose weights are averaged.
        decay: how much of the average a step keeps.
    """

    def __init__(self, network: AbstractNetwork, decay: float) -> None:
        self.network = copy.deepcopy(network)
        self._decay = decay

    def update(self, network: AbstractNetwork, step: int, *, warmup: float = 0.0) -> None:
        """Takes in the weights after a step, numbered from 1; before a warm-up's end they are the average."""
        blend = get_ema_multi_avg_fn(decay_at(step, self._decay, warmup=warmup))
        blend(list(self.network.parameters()), list(network.parameters()), step)

    def recalibrate(self, batches: Iterable[Tensor]) -> None:
        """Computes the statistics of batch normalisation anew, since those of other weights do not fit the average."""
        update_bn(batches, self.network)

    def copy_statistics(self, network: AbstractNetwork) -> None:
        """Takes the statistics of batch normalisation of the network whose weights are averaged: they cost nothing."""
        for mine, theirs in zip(self.network.buffers(), network.buffers(), strict=True):
            mine.copy_(theirs)

    def state(self) -> dict[str, Tensor]:
        """Gives the averaged weights by name."""
        return dict(self.network.state_dict())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Takes back what `state` gave."""
        self.network.load_state_dict(state)
