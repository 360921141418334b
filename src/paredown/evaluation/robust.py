"""Robust accuracy: the share of examples that a network gets right whatever attacks try, and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from paredown.attacks import AbstractAttack, Pgd, Square, quick_ensemble, worst_case
from paredown.attacks.base import Norm
from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractProbe
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
                        refuse_unfit(network, x, data)
                    first = int(rows[part[0]])
                    worst = worst_case(network, attacks, x, y, seed=key(seed, "robust", first))
                    fooled_by[part] = worst.fooled_by.cpu().numpy()
                    bar.move(int(part[-1]) + 1)
            figures = self._figures(fooled_by, data, rows, attacks)
            if self.checks:
                verdicts = masking(network, given, rows[:256], norm=self.norm, eps=self.eps, seed=seed)
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


def refuse_unfit(network: nn.Module, x: torch.Tensor, data: LearnableDataset) -> None:
    """Refuses a network whose robust accuracy would be a number without a meaning.

    Args:
        network: in inference mode.
        x: some images that it takes.
        data: what it is measured on.

    Raises:
        MethodError: it knows other classes, gives what is not finite, gives probabilities, or gives other logits each
            time.
    """
    with torch.no_grad():
        logits, again = network(x).float(), network(x).float()
    if logits.shape[1] != len(data.classes):
        raise MethodError(
            f"RobustAccuracy: the network knows {logits.shape[1]} classes and {data.name} has {len(data.classes)}. "
            "Evaluate on the data that it was trained for."
        )
    if not torch.isfinite(logits).all():
        raise MethodError(
            "RobustAccuracy: the network gives logits that are not finite, so it has no accuracy. "
            "Its training diverged: look at the loss, and lower the learning rate."
        )
    whole = (logits.sum(dim=1) - 1).abs().max() < 1e-3
    if whole and logits.min() >= 0 and logits.max() <= 1:
        raise MethodError(
            "RobustAccuracy: what the network gives lies in [0, 1] and sums to 1, so it gives probabilities, and where "
            "they are near 1 an attack finds no gradient. Leave out the softmax: attacks need logits."
        )
    if (logits - again).abs().max() > 1e-3 * logits.abs().max():
        raise MethodError(
            "RobustAccuracy: the network gives other logits for the same images, so something in it is drawn by chance "
            "(dropout that stays on?), and an attack climbs noise. Turn it off in inference mode."
        )


def share(metric: str, right: np.ndarray, threat: str = "") -> dict[str, Any]:
    """Gives a share of examples as a figure, with its binomial standard error."""
    value, n = float(right.mean()), len(right)
    spread = math.sqrt(value * (1 - value) / n) if n > 1 else None
    return {"metric": metric, "value": value, "n": n, "spread": spread, "threat": threat}


def masking(
    network: nn.Module, given: Any, rows: np.ndarray, *, norm: Norm, eps: float, seed: int
) -> list[Mapping[str, Any]]:
    """Gives what tells a robust network from one that hides its gradients (Athalye et al. 2018; Carlini et al. 2019).

    Each figure is one verdict, 1 where the check is passed and 0 where it is not:

    - `check-more-steps`: forty steps of PGD leave no more examples right than five do (but for 2 of 100).
    - `check-unbounded`: with a radius of half the box and a hundred steps, next to nothing is left (at most 5 of 100).
    - `check-black-box`: Square, which sees no gradient, leaves no fewer than PGD (but for 5 of 100).
    - `check-gradients`: for at least 95 of 100 rightly classified examples the loss has a gradient that is not zero.
    """
    x, y = given.batch(rows)

    def left(attack: AbstractAttack, number: int) -> float:
        return float(worst_case(network, [attack], x, y, seed=key(seed, "check", number)).robust.float().mean())

    wide = 0.5 if norm == "linf" else 0.5 * math.sqrt(x[0].numel())
    few = left(Pgd(norm=norm, eps=eps, step=eps / 4, steps=5), 0)
    many = left(Pgd(norm=norm, eps=eps, step=eps / 4, steps=40), 1)
    unbounded = left(Pgd(norm=norm, eps=wide, step=wide / 20, steps=100), 2)
    black = left(Square(norm=norm, eps=eps, queries=500), 3)
    flat = _without_gradient(network, x, y)
    found = {
        "check-more-steps": many <= few + 0.02,
        "check-unbounded": unbounded <= 0.05,
        "check-black-box": black >= many - 0.05,
        "check-gradients": flat <= 0.05,
    }
    return [{"metric": name, "value": float(good), "n": 1, "spread": None} for name, good in found.items()]


def _without_gradient(network: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    from paredown.attacks import climb, undisturbed
    from paredown.attacks.losses import cross_entropy

    with undisturbed(network):
        gradient, _, logits = climb(network, x, lambda z: cross_entropy(z, y))
    right = logits.argmax(dim=1) == y
    if not right.any():
        return 0.0
    return float((gradient[right].flatten(1).abs().amax(dim=1) == 0).float().mean())


def _within(attack: AbstractAttack, norm: Norm, eps: float) -> AbstractAttack:
    """Gives the attack in a threat model; a step keeps its share of the radius."""
    changed: dict[str, Any] = {"norm": norm, "eps": eps}
    step, radius = getattr(attack, "step", None), attack.eps
    if isinstance(attack, Pgd) and radius and step:
        changed["step"] = step / radius * eps
    return replace(attack, **changed)  # type: ignore[type-var]
