"""An exponential average of the weights (Polyak averaging), with statistics of its own for batch normalisation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, update_bn

from paredown.models.build import Network


def decay_at(step: int, decay: float) -> float:
    """Gives `min(decay, (1 + t)/(10 + t))`: a short training is not ruled by its first weights."""
    return min(decay, (1 + step) / (10 + step))


class Average:
    """Torch's `AveragedModel` with that warm-up.

    Args:
        network: whose weights are averaged.
        decay: how much of the average a step keeps.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self._decay = decay
        self._step = 0
        self._model = AveragedModel(network, multi_avg_fn=self._blend)

    @property
    def network(self) -> Network:
        """The network of averaged weights."""
        return cast(Network, self._model.module)

    def update(self, network: Network, step: int) -> None:
        """Takes in the weights after a step."""
        self._step = step
        self._model.update_parameters(network)

    def recalibrate(self, batches: Iterable[torch.Tensor]) -> None:
        """Computes the statistics of batch normalisation anew, since those of other weights do not fit the average."""
        update_bn(batches, self.network)

    def state(self) -> dict[str, torch.Tensor]:
        """Gives the averaged weights by name."""
        return dict(self.network.state_dict())

    def restore(self, state: Mapping[str, torch.Tensor], step: int) -> None:
        """Takes back what `state` gave after some step."""
        self.network.load_state_dict(state)
        self._model.n_averaged.fill_(step)

    def _blend(self, averaged: Any, current: Any, count: Any) -> None:
        get_ema_multi_avg_fn(decay_at(self._step, self._decay))(averaged, current, count)
