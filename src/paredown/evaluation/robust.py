"""Robust accuracy: the share of examples that a network gets right whatever attacks try."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from paredown.attacks import AbstractAttack, Pgd, quick_ensemble, refuse_unfit, worst_case
from paredown.attacks.base import Norm
from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractProbe
from paredown.evaluation.masking import masking
from paredown.models.build import inputs
from paredown.progress import bar as open_bar
from paredown.rng import key, stream
from paredown.runtime import Runtime


@dataclass(frozen=True)
class RobustAccuracy(AbstractProbe):
    """Robust accuracy: the share of examples that stay classified rightly under the worst of several attacks.

    `clean-accuracy` of the same examples stands beside it, and the share that is left after each attack. Only examples
    that nothing has fooled yet go on to the next attack. Networks of which the figure would mean nothing are refused:
    those that give probabilities, and those that give other logits each time.

    Args:
        attacks: in the order in which they are tried; none takes the quick ensemble (Auto-PGD, targeted Auto-PGD,
            Square). `autoattack` is the original's whole ensemble, whose number papers report.
        norm: of the threat model; every attack gets it.
        eps: its radius, in units of [0, 1] pixels.
        examples: measure on so many, drawn by the seed; none measures on all.
        by_class: also for each class.
        checks: also look for masked gradients: see `masking`.
        batch: examples that are attacked at once. What an attack draws goes with it, so it stands here and not in the
            runtime, which changes no figure.
    """

    version: ClassVar[int] = 3

    attacks: tuple[AbstractAttack, ...] = ()
    norm: Norm = "linf"
    eps: float = 8 / 255
    examples: int | None = None
    by_class: bool = False
    checks: bool = False
    batch: int = 250

    def __post_init__(self) -> None:
        if self.examples is not None and self.examples < 1:
            raise MethodError(f"RobustAccuracy(examples={self.examples}): nothing would be measured. Give at least 1.")
        if self.batch < 1:
            raise MethodError(f"RobustAccuracy(batch={self.batch}): nothing would be attacked. Give at least 1.")
        if not 0 < self.eps < math.inf:
            raise MethodError(
                f"RobustAccuracy(eps={self.eps:g}): nothing is attacked without a radius above 0. Write 8/255, or use "
                "accuracy."
            )
        if self.norm == "linf" and self.eps > 1:
            raise MethodError(
                f"RobustAccuracy(eps={self.eps:g}): pixels lie in [0, 1], so this allows any image at all. "
                f"Radii in grey levels are divided by 255: write {self.eps:g}/255."
            )
        self.tried()

    @property
    def threat(self) -> str:
        """The threat model in words: `linf 8/255`."""
        levels = self.eps * 255
        size = f"{round(levels)}/255" if abs(levels - round(levels)) < 1e-6 else f"{self.eps:g}"
        return f"{self.norm} {size}"

    def tried(self) -> tuple[AbstractAttack, ...]:
        """The attacks, all in this threat model."""
        if not self.attacks:
            return quick_ensemble(self.norm, self.eps)
        return tuple(_within(attack, self.norm, self.eps) for attack in self.attacks)

    def measure(
        self, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        rows = np.arange(len(data))
        if self.examples is not None and self.examples < len(data):
            rows = np.sort(stream(seed, "robust", "examples").permutation(len(data))[: self.examples])
        attacks = self.tried()
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        given = inputs(network, data, workers=runtime.workers)
        fooled_by = np.empty(len(rows), np.int64)
        try:
            with open_bar("attacking", len(rows), unit="examples", shown=runtime.progress) as bar:
                parts = np.split(np.arange(len(rows)), range(self.batch, len(rows), self.batch))
                for part, (x, y) in zip(parts, given.batches(rows[part] for part in parts), strict=True):
                    if not part[0]:
                        refuse_other_classes(network, x, data)
                        refuse_unfit(network, x, "RobustAccuracy")
                    first = int(rows[part[0]])
                    worst = worst_case(network, attacks, x, y, seed=key(seed, "robust", first))
                    fooled_by[part] = worst.fooled_by.cpu().numpy()
                    bar.move(int(part[-1]) + 1)
            figures = self._figures(fooled_by, data, rows, attacks)
            if self.checks:
                x, y = given.batch(rows[:256])
                verdicts = masking(network, x, y, norm=self.norm, eps=self.eps, seed=seed)
                figures += [{**verdict, "threat": self.threat} for verdict in verdicts]
        finally:
            for module, training in modes:
                module.training = training
        return figures

    def _figures(
        self, fooled_by: np.ndarray, data: LearnableDataset, rows: np.ndarray, attacks: tuple[AbstractAttack, ...]
    ) -> list[Mapping[str, Any]]:
        figures: list[Mapping[str, Any]] = [
            share("clean-accuracy", fooled_by >= 0),
            share("robust-accuracy", fooled_by == len(attacks), self.threat),
        ]
        names = [attack.name for attack in attacks]
        for place, name in enumerate(names):
            again = f"-{names[: place + 1].count(name)}" if names.index(name) < place else ""
            figures.append(share(f"accuracy-after-{name}{again}", fooled_by > place, self.threat))
        if self.by_class:
            for number, name in enumerate(data.classes):
                members = data.labels[rows] == number
                if members.any():
                    mine = share("robust-accuracy", fooled_by[members] == len(attacks), self.threat)
                    figures.append({**mine, "group": name})
        return figures


def refuse_other_classes(network: nn.Module, x: torch.Tensor, data: LearnableDataset) -> None:
    """Raises MethodError unless a network, in inference mode, has a logit for each class of some data."""
    with torch.no_grad():
        known = network(x[:1]).shape[1]
    if known != len(data.classes):
        raise MethodError(
            f"RobustAccuracy: the network knows {known} classes and {data.name} has {len(data.classes)}. "
            "Evaluate on the data that it was trained for."
        )


def share(metric: str, right: np.ndarray, threat: str = "") -> dict[str, Any]:
    """Gives a share of examples as a figure, with its binomial standard error."""
    value, n = float(right.mean()), len(right)
    spread = math.sqrt(value * (1 - value) / n) if n > 1 else None
    return {"metric": metric, "value": value, "n": n, "spread": spread, "threat": threat}


def _within(attack: AbstractAttack, norm: Norm, eps: float) -> AbstractAttack:
    """Gives the attack in a threat model; a step keeps its share of the radius."""
    changed: dict[str, Any] = {"norm": norm, "eps": eps}
    step, radius = getattr(attack, "step", None), attack.eps
    if isinstance(attack, Pgd) and radius and step:
        changed["step"] = step / radius * eps
    return replace(attack, **changed)  # type: ignore[type-var]
