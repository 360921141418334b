"""What a pruner is: from a network and a strategy to a network whose masked weights are 0, and the masks.

A pruner trains in phases, each a training of its own in a folder of its own, so that a pruning that was killed goes on
where it was, to the same bytes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.layers import Layer
from paredown.artifacts.masks import MaskSet
from paredown.artifacts.pruned import Pruned
from paredown.artifacts.strategy import PruningStrategy
from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError
from paredown.method import Method, build
from paredown.pruning.units import Units
from paredown.rng import key
from paredown.runtime import Runtime
from paredown.sparsity.apply import masked
from paredown.sparsity.groups import Group
from paredown.sparsity.masks import Counting, mask_set
from paredown.training import Training, fit
from paredown.training.constraint import AbstractConstraint
from paredown.training.training import Plan

CHOOSING = ("average", "validation")
"""Settings of a training whose network is not the last one."""


@dataclass(frozen=True)
class Pruning:
    """A pruning under way: what is pruned, how much of it, trained on what, and where its files lie.

    Args:
        checkpoint: the network, in memory.
        strategy: how much of each layer is kept.
        layers: of the network, in module order.
        groups: of its channels, where channels or filters go together; none where each layer goes by itself.
        data: what is trained on.
        positions: which rows of it; none for all.
        weights: how much each of those counts.
        seed: of every phase.
        runtime: how it is carried out.
        folder: where to.
        made: what the masks say of how they were made.
    """

    checkpoint: Checkpoint
    strategy: PruningStrategy
    layers: Sequence[Layer]
    groups: Sequence[Group] | None
    data: LearnableDataset
    positions: np.ndarray | None
    weights: np.ndarray | None
    seed: int
    runtime: Runtime
    folder: Path
    made: Mapping[str, Any] = field(default_factory=dict)

    def units(self, counting: Counting = "exact") -> Units:
        """Gives what is kept or goes as one."""
        return Units(self.layers, self.strategy, self.groups, counting=counting)

    def weights_of(self, checkpoint: Checkpoint | None = None) -> dict[str, Tensor]:
        """Gives the weights of the layers by name: those that the pruning begins from, or those of a checkpoint."""
        held = (checkpoint or self.checkpoint).weights
        return {layer.name: torch.from_numpy(np.array(held[f"{layer.name}.weight"])) for layer in self.layers}

    def train(
        self, phase: str, training: Training, constraint: AbstractConstraint, *, checkpoint: Checkpoint | None = None
    ) -> Checkpoint:
        """Trains a phase and gives the network at its end, in memory; one that is finished is only opened.

        Args:
            phase: the folder of its files; empty for the last one, whose network is the result.
            training: what is computed.
            constraint: what the network is held to.
            checkpoint: what it begins from; by default the network that is pruned.
        """
        begun = checkpoint or self.checkpoint
        fit(
            self.data,
            build("model", begun.model),
            training,
            positions=self.positions,
            weights=self.weights,
            checkpoint=begun,
            constraint=constraint,
            seed=key(self.seed, "prune", phase),
            runtime=self.runtime,
            folder=self.folder / phase,
        )
        return Checkpoint.open(self.folder / phase / "checkpoint").in_memory()

    def fine_tuned(self, training: Training | None, masks: Mapping[str, Tensor], checkpoint: Checkpoint) -> Pruned:
        """Gives a network whose masked weights are 0, after a training in which they stay 0.

        Args:
            training: what is computed; none leaves the other weights as they are.
            masks: by layer.
            checkpoint: what it begins from.
        """
        made = mask_set(masks, self.strategy.fingerprint, self.made)
        if empty := [name for name, mask in made.masks.items() if not mask.any()]:
            raise MethodError(
                f"Nothing of '{empty[0]}' would be kept, and an empty layer passes nothing on. Give it a larger share."
            )
        if training is None:
            return Pruned(without(checkpoint, made), made)
        return Pruned(self.train("", training, Held(made), checkpoint=checkpoint), made)


class Held(AbstractConstraint):
    """Masked weights are 0 and stay 0: the masks never change, and decay finds nothing to take from a 0."""

    def __init__(self, masks: MaskSet) -> None:
        self.masks = masks

    def identity(self) -> dict[str, str]:
        return {"held": self.masks.digest()}

    def begin(self, network: nn.Module, plan: Plan) -> nn.Module:
        return masked(network, self.masks).network


def without(checkpoint: Checkpoint, masks: MaskSet) -> Checkpoint:
    """Gives a checkpoint whose masked weights are 0."""
    weights = dict(checkpoint.weights)
    for name, mask in masks.masks.items():
        weights[f"{name}.weight"] = np.where(mask, weights[f"{name}.weight"], np.float32(0))
    return with_weights(checkpoint, weights)


def with_weights(checkpoint: Checkpoint, weights: Mapping[str, np.ndarray]) -> Checkpoint:
    """Gives a checkpoint of the same network with other weights."""
    return Checkpoint(
        checkpoint.model, shape=checkpoint.shape, classes=checkpoint.classes, weights=weights, step=checkpoint.step
    )


def refuse_choice(owner: str, phase: str, training: Training) -> None:
    """Raises MethodError where a phase that ends in masks would hand on another network than its last."""
    chosen = [setting for setting in CHOOSING if getattr(training, setting, None) is not None]
    if chosen or training.checkpoints_at:
        name = chosen[0] if chosen else "checkpoints_at"
        raise MethodError(
            f"{owner}({phase}.{name}=…): the masks come from the end of this phase, so that no other network of it "
            "counts. Leave it out, or set it in the last phase."
        )


class AbstractPruner(Method):
    """A way to prune: write `prune`. The field `grouped` says whether channels that layers share go together."""

    kind: ClassVar[str] = "pruner"
    paper: ClassVar[str] = ""
    grouped: bool

    @abstractmethod
    def prune(self, pruning: Pruning) -> Pruned:
        """Gives the network with its masked weights at 0, and the masks.

        Args:
            pruning: what is pruned; its `train` makes a phase, its `fine_tuned` the last one.
        """
