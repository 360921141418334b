"""Accuracy under each of several attacks alone: the columns of published tables, beside the worst of all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from paredown.attacks import AbstractAttack, Fgsm, Pgd
from paredown.attacks.base import Norm
from paredown.data.dataset import LearnableDataset
from paredown.evaluation.accuracy import balanced
from paredown.evaluation.base import AbstractProbe
from paredown.evaluation.robust import RobustAccuracy, share
from paredown.models.build import inputs
from paredown.progress import bar as open_bar
from paredown.rng import key, stream
from paredown.runtime import Runtime

USUAL: tuple[AbstractAttack, ...] = (
    Fgsm(),
    Pgd(steps=10),
    Pgd(steps=20),
    Pgd(steps=50),
    Pgd(steps=20, loss="carlini-wagner"),
)
"""What papers on robust pruning report: FGSM, PGD of 10, 20 and 50 steps, PGD of 20 on Carlini and Wagner's loss."""


@dataclass(frozen=True)
class AttackedAccuracy(AbstractProbe):
    """Accuracy under each attack alone: every attack is tried on every example, also where another one has succeeded.

    Robust accuracy, the share that withstands all, is lower than each of these and is what counts
    (`robust-accuracy`); single attacks are for tables that stand beside published ones.

    Args:
        attacks: none takes FGSM, PGD-10, PGD-20, PGD-50 and PGD-20 on Carlini and Wagner's loss.
        norm: of the threat model; every attack gets it.
        eps: its radius, in units of [0, 1] pixels.
        examples: measure on so many, drawn by the seed; none measures on all.
        batch: examples that are attacked at once.
    """

    attacks: tuple[AbstractAttack, ...] = ()
    norm: Norm = "linf"
    eps: float = 8 / 255
    examples: int | None = None
    batch: int = 250

    def __post_init__(self) -> None:
        _ = self.model_of_threat

    @property
    def model_of_threat(self) -> RobustAccuracy:
        """The same attacks as one, which checks and words the threat model."""
        return RobustAccuracy(self.attacks or USUAL, self.norm, self.eps, self.examples, batch=self.batch)

    def measure(
        self, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        rows = np.arange(len(data))
        if self.examples is not None and self.examples < len(data):
            rows = np.sort(stream(seed, "robust", "examples").permutation(len(data))[: self.examples])
        attacks, threat = self.model_of_threat.tried(), self.model_of_threat.threat
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        given = inputs(network, data, workers=runtime.workers)
        right = np.empty((1 + len(attacks), len(rows)), bool)
        try:
            with open_bar("attacking", len(rows), unit="examples", shown=runtime.progress) as bar:
                parts = np.split(np.arange(len(rows)), range(self.batch, len(rows), self.batch))
                for part, (x, y) in zip(parts, given.batches(rows[part] for part in parts), strict=True):
                    first = int(rows[part[0]])
                    moved = [x, *(a(network, x, y, seed=key(seed, "attack", n, first)) for n, a in enumerate(attacks))]
                    with torch.no_grad():
                        for number, images in enumerate(moved):
                            right[number, part] = (network(images).argmax(dim=1) == y).cpu().numpy()
                    bar.move(int(part[-1]) + 1)
        finally:
            for module, training in modes:
                module.training = training
        names = [("clean-accuracy", ""), *((f"accuracy-under-{told}", threat) for told in labels(attacks))]
        figures: list[Mapping[str, Any]] = []
        for (name, model), answers in zip(names, right, strict=True):
            figures.append(share(name, answers, model))
            if even := balanced(f"balanced-{name}", answers, data.labels[rows]):
                figures.append({**even, "threat": model})
        return figures


def labels(attacks: tuple[AbstractAttack, ...]) -> list[str]:
    """Gives each attack a name of its own: `pgd-20`, `pgd-20-carlini-wagner`."""
    found: list[str] = []
    for attack in attacks:
        told = [attack.name.rpartition(":")[2]]
        steps, loss = getattr(attack, "steps", None), getattr(attack, "loss", "cross-entropy")
        told += [str(steps)] if steps is not None else []
        told += [loss] if loss != "cross-entropy" else []
        name = "-".join(told)
        alike = sum(other == name or other.startswith(f"{name}-again") for other in found)
        found.append(f"{name}-again{alike if alike > 1 else ''}" if alike else name)
    return found
