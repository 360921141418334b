"""Small trained networks, strategies for them, and prunings of a few steps."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from tests.unit.training.conftest import make_images

from paredown.artifacts import Checkpoint, Granularity, Pruned, PruningStrategy
from paredown.attacks import Pgd
from paredown.data.dataset import ImageDataset
from paredown.models import ConvNet, SmallResNet, checkpoint_of, load
from paredown.models.build import AbstractModel
from paredown.pruning.base import AbstractPruner, Pruning
from paredown.pruning.pruned import pruned
from paredown.runtime import Runtime
from paredown.sparsity.groups import groups_of
from paredown.sparsity.layers import layers_of
from paredown.training import Constant, Madry, Sgd, Training

QUIET = Runtime(device="cpu", precision="float32", progress=False)
MODELS: dict[str, AbstractModel] = {"plain": ConvNet(width=8, depth=2), "residual": SmallResNet(width=4)}


@cache
def images() -> ImageDataset:
    return make_images()


@cache
def network(name: str = "plain", seed: int = 0) -> Checkpoint:
    """An untrained network; what is asked of pruners here needs no good one."""
    return checkpoint_of(MODELS[name].start(images(), seed), MODELS[name], 0)


def training(steps: int = 4, **settings: Any) -> Training:
    """A short training with everything that could move a weight that should stand still: momentum and decay."""
    given: dict[str, Any] = {"optimizer": Sgd(lr=0.05, weight_decay=0.01), "schedule": Constant(), "batch_size": 20}
    return Training(steps=steps, **(given | settings))


def robust(steps: int = 4, **settings: Any) -> Training:
    return training(steps, objective=Madry(attack=Pgd(eps=0.1, step=0.05, steps=2)), **settings)


def strategy(granularity: Granularity, share: float = 0.5, name: str = "plain") -> PruningStrategy:
    return PruningStrategy.uniform(layers_of(load(network(name))), share, granularity=granularity)


def under_way(asked: PruningStrategy, folder: Path, name: str = "plain", *, grouped: bool = True) -> Pruning:
    """A pruning as the verb hands it to a pruner."""
    made = load(network(name))
    groups = groups_of(made) if grouped and asked.granularity in ("channel", "filter") else None
    return Pruning(network(name), asked, layers_of(made), groups, images(), None, None, 0, QUIET, folder)


def run(pruner: AbstractPruner, asked: PruningStrategy, folder: Path, name: str = "plain", **how: Any) -> Pruned:
    given: dict[str, Any] = {"selection": None, "seed": 0, "runtime": QUIET} | how
    return pruned(network(name), asked, images(), pruner, **given, folder=folder)
