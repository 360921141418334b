"""Magnitude pruning: at once or gradually, by the strategy's shares or by one LAMP threshold over all layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from paredown.artifacts.pruned import Pruned
from paredown.errors import MethodError
from paredown.pruning.base import AbstractPruner, Pruning, refuse_choice
from paredown.pruning.units import Units
from paredown.sparsity.apply import Masked, masked
from paredown.sparsity.masks import kept_of, lamp_scores, top
from paredown.training import Sgd, Training
from paredown.training.constraint import AbstractConstraint
from paredown.training.training import Plan

Ranking = Literal["magnitude", "lamp"]


def cubic(done: float, share: float) -> float:
    """Gives the share that is kept when a part of a gradual pruning is done: k + (1 - k) (1 - done)³.

    Zhu and Gupta 2017, To prune, or not to prune, equation 1, there in terms of what is removed.
    """
    return share + (1 - share) * (1 - done) ** 3


def ranked(units: Units, weights: Mapping[str, Tensor], done: float, ranking: Ranking, power: int) -> dict[str, Tensor]:
    """Gives the units that stay when a part of a pruning is done.

    Args:
        units: what is kept or goes as one.
        weights: of the layers, by name; what was pruned before is 0.
        done: from 0 to 1; at 1 as many stay as the strategy says.
        ranking: within each layer, or by one threshold over all.
        power: of the norm of channels and filters.
    """
    if ranking == "lamp":
        return _by_lamp(units, weights, done)
    counts = {
        name: max(count, kept_of(units.sizes[name], cubic(done, count / units.sizes[name])))
        for name, count in units.counts.items()
    }
    return units.choose(units.magnitudes(weights, power), counts)


def _by_lamp(units: Units, weights: Mapping[str, Tensor], done: float) -> dict[str, Tensor]:
    """One threshold over all layers; the largest weight of a layer has a score of 1, so that no layer is emptied."""
    scores = {name: lamp_scores(weight) for name, weight in weights.items()}
    wanted, whole = sum(units.counts.values()), sum(units.sizes.values())
    count = max(wanted, kept_of(whole, cubic(done, wanted / whole)))
    kept = top(torch.cat([score.reshape(-1) for score in scores.values()]), count)
    parts = kept.split([score.numel() for score in scores.values()])
    return {name: part.view(weights[name].shape) for name, part in zip(scores, parts, strict=True)}


@dataclass(frozen=True)
class Magnitude(AbstractPruner):
    """Magnitude pruning: the units of the smallest weights go, then the rest is trained.

    Args:
        gradual: a training in which they go little by little, the kept share falling by a cubic schedule; none lets
            them go at once.
        fine_tune: the training of the kept weights; none leaves them as they are.
        every: steps of `gradual` from one pruning to the next.
        ranking: "magnitude" keeps of each layer what the strategy says; "lamp" keeps as many weights in all, those over
            one threshold on LAMP scores (Lee et al. 2021), so that of the strategy only the sum counts.
        power: of the norm by which channels and filters are ranked, 1 or 2.
        grouped: channels that several layers share go together, so that they can be removed without changing anything;
            false takes each layer by itself.
    """

    gradual: Training | None = None
    fine_tune: Training | None = Training(optimizer=Sgd(lr=0.01))  # noqa: RUF009  (frozen)
    every: int = 100
    ranking: Ranking = "magnitude"
    power: Literal[1, 2] = 1
    grouped: bool = True

    paper: ClassVar[str] = "Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks"

    def __post_init__(self) -> None:
        if self.every < 1:
            raise MethodError(f"Magnitude(every={self.every}): a pruning comes after at least 1 step.")
        if self.gradual is not None:
            refuse_choice("Magnitude", "gradual", self.gradual)

    def prune(self, pruning: Pruning) -> Pruned:
        units, checkpoint = pruning.units(), pruning.checkpoint
        if self.ranking == "lamp" and units.granularity != "weight":
            raise MethodError(
                f"Magnitude(ranking=lamp): it ranks single weights, and the strategy is one of {units.granularity}s. "
                "Search a strategy by the searcher lamp, and prune by magnitude."
            )
        if self.gradual is not None:
            if units.granularity == "2:4":
                raise MethodError(
                    "Magnitude(gradual=…): in a pattern of 2 in 4 two of four go at once. Leave gradual out."
                )
            going = Going(units, self.every, self.ranking, self.power)
            checkpoint = pruning.train("gradual", self.gradual, going)
        kept = ranked(units, pruning.weights_of(checkpoint), 1.0, self.ranking, self.power)
        return pruning.fine_tuned(self.fine_tune, units.masks(kept), checkpoint)


class Going(AbstractConstraint):
    """Units go little by little: what is masked once stays 0.

    Args:
        units: what is kept or goes as one.
        every: steps from one pruning to the next; the last step prunes too.
        ranking: of what goes.
        power: of the norm.
    """

    def __init__(self, units: Units, every: int, ranking: Ranking, power: int) -> None:
        self.units, self.every, self.ranking, self.power = units, every, ranking, power

    def identity(self) -> dict[str, Any]:
        units = self.units
        told = [units.granularity, units.groups is not None, units.counts, self.every, self.ranking, self.power]
        return {"gradual": told}

    def begin(self, network: nn.Module, plan: Plan) -> nn.Module:
        self.network, self.plan = network, plan
        self.handle: Masked | None = None
        return network

    def moved(self, step: int) -> None:
        if step % self.every == 0 or step == self.plan.steps:
            if self.handle is not None:
                self.handle.remove()
            weights = {name: self.network.get_parameter(f"{name}.weight").detach() for name in self.units.layers}
            kept = ranked(self.units, weights, step / self.plan.steps, self.ranking, self.power)
            self._hold(self.units.masks(kept))
        elif self.handle is not None:
            self.handle.zero()  # what an optimizer remembers of earlier gradients moves masked weights too

    def tensors(self) -> dict[str, Tensor]:
        if self.handle is None:
            return {}
        return {f"mask.{name}": mask.bool() for name, mask in self.handle.masks.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        held = {name.removeprefix("mask."): mask for name, mask in tensors.items()}
        if held:
            self._hold({name: held[name] for name in self.units.layers})

    def figures(self) -> dict[str, float]:
        if self.handle is None:
            return {"kept": 1.0}
        masks = self.handle.masks.values()
        return {"kept": float(sum(mask.sum() for mask in masks)) / sum(mask.numel() for mask in masks)}

    def _hold(self, masks: Mapping[str, Tensor]) -> None:
        self.handle = masked(self.network, dict(masks))
