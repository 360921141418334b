"""The forward passes of one step: those that train, and those through which an attack looks at the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from paredown.attacks import AbstractAttack, undisturbed
from paredown.attacks.base import full

Mode = Literal["training", "evaluation"]


class InTurn(nn.Module):
    """Gives the logits of several batches, one pass after the other.

    At each call, processes that share gradients hand running statistics round and get ready for one backward pass; so
    a step makes one call, however many passes it has, and its statistics are not replaced between two of them.

    Args:
        network: what makes the passes.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *batches: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.network(batch) for batch in batches)


class Passes:
    """The network of one step, as an objective may use it.

    Args:
        network: this process's own, in training mode; an attack looks at it.
        shared: an `InTurn` of it, whose backward pass averages the gradients of all processes; none for one process.
        autocast: precision of every pass.
        seed: of what an attack draws.
        perturbation: the change that the steps before have left of the images at the places of this batch, (B, …), for
            objectives in which it persists; what is written into it is what the next step gets.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        shared: nn.Module | None = None,
        autocast: AbstractContextManager[Any] | None = None,
        seed: int = 0,
        perturbation: Tensor | None = None,
    ) -> None:
        self.network, self.seed, self.perturbation = network, seed, perturbation
        self._together = InTurn(network) if shared is None else shared
        self._autocast: AbstractContextManager[Any] = nullcontext() if autocast is None else autocast

    def logits(self, *batches: Tensor) -> tuple[Tensor, ...]:
        """Gives the logits of each batch, in float32 and with gradient; to be called once a step.

        The passes are made in this order, and each updates the running statistics of batch normalisation.
        """
        with self._autocast:
            made = self._together(*batches)
        return tuple(full(logits) for logits in made)

    @contextmanager
    def looking(self, mode: Mode = "training") -> Iterator[torch.Generator]:
        """Lets an attack look at the network, and gives the generator that it draws from.

        Weights have no gradient meanwhile and running statistics stay as they are, in either mode.

        Args:
            mode: "training" normalises by the batch; "evaluation" by the running statistics.
        """
        device = next(self.network.parameters()).device
        modes = [(module, module.training) for module in self.network.modules()] if mode == "evaluation" else []
        for module, _ in modes:
            module.training = False
        try:
            with undisturbed(self.network), self._autocast:
                yield torch.Generator(device).manual_seed(self.seed)
        finally:
            for module, training in modes:
                module.training = training

    def attacked(self, attack: AbstractAttack, x: Tensor, y: Tensor, *, mode: Mode) -> Tensor:
        """Gives the images that an attack reaches; it is not asked whether `x` lies in the box, which would wait."""
        with self.looking(mode) as generator:
            return attack.ball.project(attack.perturb(self.network, x, y, generator).detach(), x)

    def glance(self, x: Tensor) -> Tensor:
        """Gives logits as a pass that trains would, without gradient and without a trace in the statistics."""
        with self.looking(), torch.no_grad():
            return full(self.network(x))
