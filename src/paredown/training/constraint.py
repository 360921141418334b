"""What a training holds a network to, beside its loss: weights that stay 0, that are not learnt, that are drawn near.

Pruning trains networks so. It says what happens before the first step, between gradient and step, and after a step;
the loop, the objective, the optimizer and the schedule are those of any training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from paredown.training.training import Plan


class AbstractConstraint(ABC):
    """One for one training: write `identity` and `begin`, and of the others what is needed.

    Everything that changes over the steps lies in the network's state or in `tensors`, so that a training that was
    interrupted goes on to the same bytes.
    """

    @abstractmethod
    def identity(self) -> Any:
        """Gives plain data that, with the network that it begins from, decides what it does."""

    @abstractmethod
    def begin(self, network: nn.Module, plan: Plan) -> nn.Module:
        """Takes hold of a network that lies on its device in its memory format, before there is an optimizer.

        Returns:
            The module whose parameters are learnt: the network, or what stands in its place.
        """

    def gradients(self) -> None:  # noqa: B027  (nothing to change is usual)
        """Changes the gradients of a step, which are those of the whole batch, before they are clipped and followed."""

    def moved(self, step: int) -> None:  # noqa: B027
        """Sets right what a step, numbered from 1, has moved."""

    def tensors(self) -> dict[str, Tensor]:
        """Gives what the steps so far have made outside the network."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Takes back what `tensors` gave; the network's state is back already."""

    def figures(self) -> dict[str, float]:
        """Gives numbers for the course of the training, looked at every hundred steps."""
        return {}
