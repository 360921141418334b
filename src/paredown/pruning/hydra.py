"""HYDRA: scores of units are learnt by gradient descent on the robust loss while the weights stand still.

Sehwag et al., "HYDRA: Pruning adversarially robust neural networks" (NeurIPS 2020), with a share for each layer as in
Zhao et al., "Non-uniform adversarially robust pruning" (AutoML 2022).

The effective weight W ⊙ m stands in the network as its weight, so that passes cost what they cost in a dense network,
however many an attack makes; masks are computed once a step, after the scores have changed. The straight-through
gradient of the scores follows from that of the effective weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.layers import Layer
from paredown.artifacts.pruned import Pruned
from paredown.errors import MethodError
from paredown.pruning.base import AbstractPruner, Pruning, refuse_choice, with_weights
from paredown.pruning.units import Units
from paredown.sparsity.masks import reshaped_norms
from paredown.training import Cosine, Madry, Sgd, Training
from paredown.training.constraint import AbstractConstraint
from paredown.training.training import Plan

Compat = Literal["paper", "published"]
SCORES = "scores"
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def straight_through(gradient: Tensor, weight: Tensor) -> Tensor:
    """Gives ∂L/∂m as if the mask were no step: ∂L/∂(W ⊙ m) ⊙ W, in the place of the gradient.

    Added up over the weights of a unit and times sign(S) it is ∂L/∂S, since the mask looks at |S| (Sehwag et al. 2020,
    section 3; Ramanujan et al. 2020, What's hidden in a randomly weighted neural network, section 3).
    """
    return gradient.mul_(weight)


def scaled(importance: Tensor, bound: float) -> Tensor:
    """Gives the first scores: importance brought to [-bound, bound] (Sehwag et al. 2020, equation 4).

    Args:
        importance: W itself for single weights, so that signs stay; L1 norms for channels and filters.
        bound: √(6 / fan-in).
    """
    largest = importance.abs().max()
    return importance * (bound / largest) if largest > 0 else importance.clone()


def fan_in(layer: Layer) -> int:
    """Gives how many numbers a filter adds up."""
    return layer.weights // layer.outputs


@dataclass(frozen=True)
class Hydra(AbstractPruner):
    """HYDRA: scores are learnt with weights that stand still, then kept weights with masks that stand still.

    Scores begin as magnitudes, brought to ±√(6 / fan-in), so that the first masks are those of magnitude pruning. While
    they are learnt, biases stand still too; scales and shifts of normalisation are learnt, unless `freeze_bn`, and its
    running statistics follow.

    Args:
        score: the training of the scores; weight decay acts on them alone.
        fine_tune: the training of the kept weights.
        freeze_bn: leave scales and shifts of normalisation as they are while scores are learnt.
        grouped: channels that several layers share have one score and go together, so that they can be removed without
            changing anything; false masks the inputs of each layer by themselves, as the publication does.
        compat: "published" does as the published code: counts by its rules, layers by themselves, and in channel mode
            the first scores are of the wrong weights (the weight is cut up instead of transposed).
    """

    score: Training = Training(  # noqa: RUF009  (frozen)
        epochs=20,
        batch_size=256,
        optimizer=Sgd(lr=0.1, nesterov=False, weight_decay=1e-4),
        schedule=Cosine(),
        objective=Madry(),
    )
    fine_tune: Training = Training(  # noqa: RUF009  (frozen)
        epochs=100,
        batch_size=256,
        optimizer=Sgd(lr=0.01, nesterov=False, weight_decay=1e-4),
        schedule=Cosine(),
        objective=Madry(),
    )
    freeze_bn: bool = False
    grouped: bool = True
    compat: Compat = "paper"

    paper: ClassVar[str] = "Sehwag et al. 2020, HYDRA: Pruning Adversarially Robust Neural Networks, section 3"

    def __post_init__(self) -> None:
        refuse_choice("Hydra", "score", self.score)
        if self.compat == "published":
            object.__setattr__(self, "grouped", False)

    def prune(self, pruning: Pruning) -> Pruned:
        units = self.units(pruning)
        scores, checkpoint = self.learn(pruning, units)
        return pruning.fine_tuned(self.fine_tune, units.masks(units.choose(scores)), checkpoint)

    def units(self, pruning: Pruning) -> Units:
        """Gives what is scored."""
        return pruning.units("hydra" if self.compat == "published" else "exact")

    def learn(self, pruning: Pruning, units: Units) -> tuple[dict[str, Tensor], Checkpoint]:
        """Gives the learnt scores, and the network: its weights and biases are those that it had, bit by bit."""
        first = first_scores(units, pruning.weights_of(), compat=self.compat)
        left = pruning.train("scores", self.score, ScoreLearning(units, first, freeze_bn=self.freeze_bn))
        scores = {name: torch.from_numpy(np.array(left.weights[f"{name}.{SCORES}"])) for name in units.counts}
        kept = {name: array for name, array in left.weights.items() if not name.endswith(f".{SCORES}")}
        dense = {f"{layer.name}.weight": pruning.checkpoint.weights[f"{layer.name}.weight"] for layer in pruning.layers}
        return scores, with_weights(pruning.checkpoint, kept | dense)


def first_scores(units: Units, weights: Mapping[str, Tensor], *, compat: Compat = "paper") -> dict[str, Tensor]:
    """Gives the scaled first scores of all units.

    Of a group the L1 norms of all members count together, and the bound is the mean of theirs.

    Args:
        units: what is scored.
        weights: of the layers, by name.
        compat: "published" cuts the weight of channels up instead of transposing it, and takes 1 for their fan-in.
    """
    bounds = {name: math.sqrt(6 / fan_in(layer)) for name, layer in units.layers.items()}
    if units.granularity in ("weight", "2:4"):
        return {name: scaled(weight, bounds[name]) for name, weight in weights.items()}
    if compat == "published" and units.granularity == "channel":
        return {name: scaled(reshaped_norms(weight), math.sqrt(6)) for name, weight in weights.items()}
    norms = units.magnitudes(weights, 1)
    if units.groups is None:
        return {name: scaled(norm, bounds[name]) for name, norm in norms.items()}
    channels = units.granularity == "channel"
    found = {}
    for name, group in units.groups.items():
        members = [place.module for place in group.readers] if channels else group.writers
        found[name] = scaled(norms[name], sum(bounds[one] for one in members) / len(members))
    return found


class ScoreLearning(AbstractConstraint):
    """Scores are learnt in the place of weights.

    The scores lie in the network's state, as buffers `scores` of the layer that their units are named by, so that they
    are saved and given back with it. With groups the inputs of all that read a channel are masked and not the filters
    that write it: what is masked is still computed, and its score can learn that it should come back.

    Args:
        units: what is scored.
        first: the scores at the beginning, by name.
        freeze_bn: scales and shifts of normalisation stand still too.
    """

    def __init__(self, units: Units, first: Mapping[str, Tensor], *, freeze_bn: bool = False) -> None:
        self.units, self.first, self.freeze_bn = units, first, freeze_bn
        self.side = units.side if units.groups is None else "inputs"

    def identity(self) -> dict[str, Any]:
        units = self.units
        return {"scores": [units.granularity, units.groups is not None, units.counts, self.freeze_bn]}

    def begin(self, network: nn.Module, plan: Plan) -> nn.Module:
        names = list(self.units.layers)
        self.effective = {name: network.get_parameter(f"{name}.weight") for name in names}
        self.weights = {name: weight.detach().clone() for name, weight in self.effective.items()}
        for parameter in network.parameters():
            parameter.requires_grad_(False)
        for weight in self.effective.values():
            weight.requires_grad_(True)
        learnt = nn.Module()
        norms = [] if self.freeze_bn else [module for module in network.modules() if isinstance(module, NORMS)]
        for norm in norms:
            norm.requires_grad_(True)
        learnt.norms = nn.ModuleList(norms)
        for name, score in self.first.items():
            like = self.effective[name]
            held = torch.empty_like(like) if score.shape == like.shape else score.to(like).clone()
            network.get_submodule(name).register_buffer(SCORES, held.detach().copy_(score))
        buffers = {name: network.get_submodule(name).get_buffer(SCORES) for name in self.first}
        # Parameters on the memory of the buffers: the optimizer moves them, the network keeps them.
        self.scores = {name: nn.Parameter(held) for name, held in buffers.items()}
        learnt.scores = nn.ParameterList(self.scores.values())
        self._mask()
        return learnt

    def gradients(self) -> None:
        products = {}
        for name, weight in self.effective.items():
            assert weight.grad is not None
            products[name] = straight_through(weight.grad, self.weights[name])
            weight.grad = None
        for name, summed in self.units.sums(products, self.side).items():
            self.scores[name].grad = summed.mul_(self.scores[name].detach().sign())

    def moved(self, step: int) -> None:
        self._mask()

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self._mask()

    @torch.no_grad()
    def _mask(self) -> None:
        """Makes the effective weights of the scores as they are now."""
        try:
            kept = self.units.choose({name: score.detach() for name, score in self.scores.items()})
        except MethodError as fault:
            raise MethodError(f"Hydra: {fault} Lower the rate of score.") from fault
        for name, factor in self.units.factors(kept, self.side).items():
            torch.mul(self.weights[name], factor.to(self.weights[name].dtype), out=self.effective[name])
