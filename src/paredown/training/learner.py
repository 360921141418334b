"""One step down the loss, and what a step changes: network, optimizer, averaged weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from paredown.models.build import AbstractNetwork
from paredown.rng import key
from paredown.training.averaging import Average
from paredown.training.constraint import AbstractConstraint
from paredown.training.devices import Place
from paredown.training.objectives import AbstractObjective, CrossEntropy, Seen
from paredown.training.optimizers import set_rate
from paredown.training.passes import InTurn, Passes
from paredown.training.resume import optimizer_tensors, restore_optimizer
from paredown.training.training import Plan, Training


def learn(
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    *,
    count: int,
    objective: AbstractObjective = CrossEntropy(),  # noqa: B008  (frozen)
    weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    clip: float | None = None,
    seed: int = 0,
    autocast: AbstractContextManager[Any] | None = None,
    processes: int = 1,
    shared: nn.Module | None = None,
    glance: bool = False,
    perturbation: Tensor | None = None,
    constraint: AbstractConstraint | None = None,
    learnt: nn.Module | None = None,
) -> tuple[Seen, Tensor]:
    """Takes one step of the optimizer down the mean loss of a batch.

    Args:
        net: in training mode; with several processes this one's own.
        optimizer: its rate is already that of the step.
        x: what the network takes, shape (B, …).
        y: labels, int64 (B,).
        count: what the sum of the losses is divided by: the size of the whole batch, over all processes.
        objective: what is minimised.
        weights: how much each example counts, shape (B,).
        label_smoothing: ε.
        clip: the largest norm of the gradient; longer ones are shortened to it.
        seed: of what an attack draws.
        autocast: precision of the forward passes.
        processes: how many share the batch; their gradients are averaged where a sum is meant.
        shared: with several processes what averages their gradients.
        glance: where the objective looks at no clean images, look at them once more, for what is recorded.
        perturbation: see `Passes`.
        constraint: what changes the gradients before they are followed.
        learnt: whose parameters are learnt, where those are not the network's.

    Returns:
        What was seen before the step, and the sum of the losses of these examples; without gradient and on the device.
    """
    passes = Passes(net, shared=shared, autocast=autocast, seed=seed, perturbation=perturbation)
    seen = objective.losses(passes, x, y, label_smoothing=label_smoothing)
    total = (seen.losses if weights is None else seen.losses * weights).sum()
    (total * (processes / count)).backward()
    seen = seen.detached()
    if glance and seen.clean is None:
        seen = replace(seen, clean=passes.glance(x))
    if constraint is not None:
        constraint.gradients()
    if clip is not None:
        nn.utils.clip_grad_norm_((learnt or net).parameters(), clip)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return seen, total.detach()


def reseed(device: torch.device, seed: int) -> None:
    """Sets the generators that a network may draw from; `torch.manual_seed`, which sets all, takes 70 microseconds."""
    if device.type in ("cpu", "cuda"):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.manual_seed(seed)
    else:
        torch.manual_seed(seed)


class Learner:
    """A network in training.

    Args:
        network: on its device.
        training: what is computed.
        plan: how many steps there are.
        seed: of what the network draws (dropout).
        place: where it runs.
        compiled: run it through `torch.compile`.
        constraint: what the network is held to, if anything.
    """

    def __init__(
        self,
        network: AbstractNetwork,
        training: Training,
        plan: Plan,
        *,
        seed: int,
        place: Place,
        compiled: bool,
        constraint: AbstractConstraint | None = None,
    ) -> None:
        # Convolutions run fastest in this format on CPUs and GPUs alike (1.3 to 1.7 times on a CPU, in float32).
        self.network: AbstractNetwork = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.training, self.plan, self.seed, self.place = training, plan, seed, place
        self.constraint = constraint
        self.learnt = None if constraint is None else constraint.begin(self.network, plan)
        self.optimizer = training.optimizer.build(self.learnt or self.network)
        self.average = None if training.average is None else Average(self.network, training.average)
        self.net: nn.Module = torch.compile(self.network) if compiled else self.network  # type: ignore[assignment]
        self.shared = place.spread(InTurn(self.net)) if place.processes > 1 else None
        self.perturbation: Tensor | None = None
        self.network.train()

    def rate(self, step: int) -> float:
        """Gives the learning rate of a step, numbered from 1."""
        return self.training.optimizer.lr * self.training.schedule.share(step, self.plan.steps)

    def take(
        self, step: int, x: Tensor, y: Tensor, *, count: int, weights: Tensor | None, glance: bool = False
    ) -> tuple[Seen, Tensor]:
        """Takes a step, numbered from 1, on this process's share of a batch; see `learn`."""
        set_rate(self.optimizer, self.rate(step), self.training.schedule.momentum(step, self.plan.steps))
        reseed(self.place.device, key(self.seed, "network", step, self.place.rank))
        seen = learn(
            self.net,
            self.optimizer,
            x,
            y,
            count=count,
            objective=self.training.objective,
            weights=weights,
            label_smoothing=self.training.label_smoothing,
            clip=self.training.clip,
            seed=key(self.seed, "attack", step, self.place.rank),
            autocast=self.place.autocast(),
            processes=self.place.processes,
            shared=self.shared,
            glance=glance,
            perturbation=self._perturbation(step, x),
            constraint=self.constraint,
            learnt=self.learnt,
        )
        if self.constraint is not None:
            self.constraint.moved(step)
        if self.average is not None:
            self.average.update(self.network, step, warmup=self.training.average_warmup * self.plan.steps)
        return seen

    def tensors(self) -> dict[str, Tensor]:
        """Gives everything that the steps so far have made."""
        made = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.average is not None:
            made |= {f"average.{name}": value for name, value in self.average.state().items()}
        if self.perturbation is not None:
            whole = self.perturbation.new_zeros((self.plan.batch, *self.perturbation.shape[1:]))
            whole[self._share] = self.perturbation
            made["perturbation"] = self.place.total(whole)
        if self.constraint is not None:
            made |= {f"constraint.{name}": value for name, value in self.constraint.tensors().items()}
        return made | optimizer_tensors(self.optimizer)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave."""
        self.network.load_state_dict(_under("network.", tensors))
        if self.average is not None:
            self.average.restore(_under("average.", tensors))
        if "perturbation" in tensors:
            mine = tensors["perturbation"][self._share].to(self.place.device)
            self.perturbation = _blank(mine).copy_(mine)
        if self.constraint is not None:
            self.constraint.restore(_under("constraint.", tensors))
        restore_optimizer(self.optimizer, tensors)

    def figures(self) -> dict[str, float]:
        """Gives what a constraint tells of the course beside loss and accuracy."""
        return {} if self.constraint is None else self.constraint.figures()

    @property
    def _share(self) -> slice:
        """This process's share of the places of a batch."""
        return slice(self.place.rank, None, self.place.processes)

    def _perturbation(self, step: int, x: Tensor) -> Tensor | None:
        """Gives what the steps before have left at the places of this batch; an incomplete one has the first places."""
        persists = self.training.objective.persists
        if persists == "step":
            return None
        if self.perturbation is None:
            places = len(range(self.plan.batch)[self._share])
            self.perturbation = _blank(x.new_empty((places, *x.shape[1:])))
        if persists == "epoch" and (step - 1) % self.plan.per_epoch == 0:
            self.perturbation.zero_()
        return self.perturbation[: len(x)]


def _blank(like: Tensor) -> Tensor:
    """Gives zeros in the memory format of images, so that a restored change meets the kernels that it met before."""
    return torch.zeros_like(like, memory_format=torch.channels_last)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
