"""Robust ADMM: weights are drawn towards their own projection on sparse ones while they are trained, then projected.

Ye et al., "Adversarial robustness vs. model compression, or both?" (ICCV 2019), with a share for each layer as in Zhao
et al., "Non-uniform adversarially robust pruning" (AutoML 2022). With Π the projection on what a strategy allows,

    minimise  loss(W) + Σ_l ρ/2 · ‖W_l - Z_l + U_l‖²,   Z = Π(W + U),   U ← U + W - Z,   ρ ← 1.3 ρ   at each projection.

Z and U are constants of the steps between. In the published code U keeps its graph to W, so that after m projections
the gradient of the penalty is (1 + m) times this one; with `rho` and `growth` one can come near, but that is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.pruned import Pruned
from paredown.errors import MethodError
from paredown.pruning.base import AbstractPruner, Pruning, refuse_choice
from paredown.pruning.schedules import Restarts
from paredown.pruning.units import Units
from paredown.training import Cosine, Madry, Sgd, Training
from paredown.training.constraint import AbstractConstraint
from paredown.training.schedules import as_step
from paredown.training.training import Plan


def projected(weight: Tensor, dual: Tensor, project: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Gives Z = Π(W + U) and U + W - Z (Ye et al. 2019, equations 8 and 9), without a graph.

    Args:
        weight: W.
        dual: U.
        project: Π.
    """
    with torch.no_grad():
        auxiliary = project(weight + dual)
        return auxiliary, dual + weight - auxiliary


def penalty(weight: Tensor, auxiliary: Tensor, dual: Tensor, rho: float) -> Tensor:
    """Gives ρ/2 · ‖W - Z + U‖²."""
    return rho / 2 * (weight - auxiliary + dual).square().sum()


@dataclass(frozen=True)
class Admm(AbstractPruner):
    """Robust ADMM: training under a penalty that draws weights to their projection; projection; training of the rest.

    Args:
        regularize: the training under the penalty. Its schedule begins again at every projection, as published.
        retrain: the training of the kept weights; published with a warm-up too, and one drop in place of the cosine.
        every: how long from one projection to the next; below 1 a share of the training, from 1 on epochs.
        rho: ρ, the weight of the penalty.
        growth: what ρ is multiplied by at each projection.
        grouped: channels that several layers share go together, so that they can be removed without changing anything;
            false takes the inputs of each layer by themselves, as the publication does.
    """

    regularize: Training = Training(  # noqa: RUF009  (frozen)
        epochs=100,
        optimizer=Sgd(lr=0.01, nesterov=False, weight_decay=1e-4),
        schedule=Restarts(),
        objective=Madry(),
    )
    retrain: Training = Training(  # noqa: RUF009  (frozen)
        epochs=100,
        optimizer=Sgd(lr=0.01, nesterov=False, weight_decay=1e-4),
        schedule=Cosine(warmup=0.15),
        objective=Madry(),
    )
    every: float = 0.3
    rho: float = 1e-3
    growth: float = 1.3
    grouped: bool = True

    paper: ClassVar[str] = "Ye et al. 2019, Adversarial Robustness vs. Model Compression, or Both?, section 4"

    def __post_init__(self) -> None:
        refuse_choice("Admm", "regularize", self.regularize)
        if self.every <= 0 or (self.every > 1 and self.every != int(self.every)):
            raise MethodError(
                f"Admm(every={self.every:g}): neither a share of the training (above 0 and below 1) nor whole epochs."
            )
        if self.rho <= 0 or self.growth < 1:
            raise MethodError(
                f"Admm(rho={self.rho:g}, growth={self.growth:g}): weights are drawn by a ρ above 0 that does not "
                "shrink. Give such as 0.001 and 1.3."
            )

    def prune(self, pruning: Pruning) -> Pruned:
        units = pruning.units()
        drawn = pruning.train("admm", self.regularize, Penalty(units, self.every, self.rho, self.growth))
        return pruning.fine_tuned(self.retrain, self.masks(pruning, units, drawn), drawn)

    def masks(self, pruning: Pruning, units: Units, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """Gives the masks of the projection of a network's weights."""
        return units.masks(nearest(units, pruning.weights_of(checkpoint)))


def nearest(units: Units, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gives the units that the nearest weights with so many units keep: those of the largest sums of squares."""
    return units.choose(units.magnitudes(weights, 2))


class Penalty(AbstractConstraint):
    """The penalty of ADMM on all layers, and its projections.

    Args:
        units: what is kept or goes as one.
        every: how long from one projection to the next; below 1 a share of the training, from 1 on epochs.
        rho: ρ at the beginning.
        growth: what it is multiplied by at each projection.
    """

    def __init__(self, units: Units, every: float, rho: float, growth: float) -> None:
        self.units, self.every, self.first_rho, self.growth = units, every, rho, growth
        self.projections = 0

    def identity(self) -> dict[str, Any]:
        units = self.units
        told = [units.granularity, units.groups is not None, units.counts, self.every, self.first_rho, self.growth]
        return {"admm": told}

    @property
    def rho(self) -> float:
        """ρ as it now is."""
        return self.first_rho * self.growth**self.projections

    def begin(self, network: nn.Module, plan: Plan) -> nn.Module:
        self.plan = plan
        self.period = max(1, as_step(self.every, plan.steps) if self.every < 1 else int(self.every) * plan.per_epoch)
        self.weights = {name: network.get_parameter(f"{name}.weight") for name in self.units.layers}
        self.dual = {name: torch.zeros_like(weight) for name, weight in self.weights.items()}
        self.auxiliary = self._project({name: weight.detach() for name, weight in self.weights.items()})
        return network

    def gradients(self) -> None:
        with torch.no_grad():
            for name, weight in self.weights.items():
                if weight.grad is not None:
                    weight.grad.add_(weight - self.auxiliary[name] + self.dual[name], alpha=self.rho)

    def moved(self, step: int) -> None:
        if step % self.period or step == self.plan.steps:
            return
        self.projections += 1
        with torch.no_grad():
            sums = {name: weight + self.dual[name] for name, weight in self.weights.items()}
            self.auxiliary = self._project(sums)
            for name, weight in self.weights.items():
                self.dual[name].add_(weight).sub_(self.auxiliary[name])

    def tensors(self) -> dict[str, Tensor]:
        parts = {"auxiliary": self.auxiliary, "dual": self.dual}
        made = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
        return made | {"projections": torch.tensor(self.projections)}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.projections = int(tensors["projections"])
        for name in self.weights:
            self.auxiliary[name].copy_(tensors[f"auxiliary.{name}"])
            self.dual[name].copy_(tensors[f"dual.{name}"])

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        total = sum(
            penalty(weight, self.auxiliary[name], self.dual[name], self.rho) for name, weight in self.weights.items()
        )
        away = sum((weight - self.auxiliary[name]).square().sum() for name, weight in self.weights.items())
        whole = sum(weight.square().sum() for weight in self.weights.values())
        return {"penalty": float(total), "distance": float((away / whole) ** 0.5), "rho": self.rho}

    def _project(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        factors = self.units.factors(nearest(self.units, weights))
        return {
            name: weight * factors[name].to(weight.dtype) if name in factors else weight.clone()
            for name, weight in weights.items()
        }
