"""Auto-PGD: projected gradient ascent that halves its own step, so that there is no step to tune."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from paredown.attacks import losses
from paredown.attacks.base import AbstractAttack, Norm, climb, full
from paredown.errors import MethodError

RHO = 0.75
"""Share of the steps between two checkpoints that must have raised the loss; below it the step is halved."""


@dataclass(frozen=True)
class Apgd(AbstractAttack):
    """Auto-PGD: PGD with momentum whose step is halved per example when progress stalls (Croce and Hein 2020, alg. 1).

    Args:
        norm: of the ball.
        eps: its radius ε.
        steps: how many, N_iter.
        loss: "cross-entropy", "dlr", or "targeted-dlr": one run for each of the `targets` most likely other classes.
        restarts: random starts.
        targets: for "targeted-dlr": how many classes are aimed at, most likely first.
        best: what is given for an example that no step fooled: "clean" gives the clean image, as an evaluation needs
            it; "loss" the point of the highest loss, as a training needs it.
    """

    norm: Norm = "linf"
    eps: float | None = 8 / 255
    steps: int = 100
    loss: Literal["cross-entropy", "dlr", "targeted-dlr"] = "cross-entropy"
    restarts: int = 1
    targets: int = 9
    best: Literal["loss", "clean"] = "loss"

    paper: ClassVar[str] = (
        "Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
        "Parameter-free Attacks, algorithm 1"
    )

    def __post_init__(self) -> None:
        self.check()
        if self.steps < 1 or self.restarts < 1 or self.targets < 1:
            raise MethodError(
                f"Apgd(steps={self.steps}, restarts={self.restarts}, targets={self.targets}): at least one of each."
            )

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        answer, height = x.clone(), full(x).new_full((len(x),), -torch.inf)
        right = torch.ones(len(x), dtype=torch.bool, device=x.device)
        aims: list[int | None] = [None]
        if self.loss == "targeted-dlr":
            with torch.no_grad():
                ranked = full(network(x)).scatter(1, y[:, None], -torch.inf).argsort(dim=1, descending=True)
            aims = list(range(min(self.targets, ranked.shape[1] - 1)))
        for aim in aims:
            target = None if aim is None else ranked[:, aim]
            for _ in range(self.restarts):
                # Only those that nothing has fooled yet go on.
                rows = torch.nonzero(right)[:, 0]
                if not len(rows):
                    return answer
                aimed = None if target is None else target[rows]
                fooled, moved, highest = self._run(network, x[rows], y[rows], aimed, generator)
                better = (highest > height[rows]) | fooled
                answer[rows[better]], height[rows[better]] = moved[better], highest[better]
                right[rows[fooled]] = False
        if self.best == "clean":
            answer[right] = x[right]
        return answer

    def _climb(self, network: nn.Module, now: Tensor, y: Tensor, target: Tensor | None) -> tuple[Tensor, ...]:
        if target is not None:
            return climb(network, now, partial(losses.targeted_dlr, y=y, target=target))
        return climb(network, now, partial(losses.dlr if self.loss == "dlr" else losses.cross_entropy, y=y))

    def _run(
        self, network: nn.Module, x: Tensor, y: Tensor, target: Tensor | None, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gives which were fooled, their images (for the others those of the highest loss), and the highest loss.

        An example that is fooled is left out of the steps that follow.
        """
        ball, shape = self.ball, (-1, *[1] * (x.dim() - 1))
        now = ball.project(x + ball.eps * _outward(x, self.norm, generator), x)
        gradient, value, logits = self._climb(network, now, y, target)
        fooled, answer, peak = logits.argmax(dim=1) != y, now.clone(), value.clone()
        going = _Going(
            rows=torch.arange(len(x), device=x.device),
            x=x,
            y=y,
            target=y if target is None else target,  # without an aim it is not looked at
            now=now,
            before=now,
            gradient=gradient,
            value=value,
            best=now.clone(),
            best_gradient=gradient.clone(),
            highest=value.clone(),
            highest_at_check=value.clone(),
            step=torch.full((len(x),), 2 * ball.eps, device=x.device, dtype=x.dtype),
            rises=torch.zeros(len(x), device=x.device),
            halved=torch.zeros(len(x), dtype=torch.bool, device=x.device),
        )
        going.keep(~fooled)
        period, since, least, shrink = first_periods(self.steps)
        for number in range(self.steps):
            if not len(going.rows):
                break
            ahead = ball.project(going.now + going.step.view(shape) * ball.direction(going.gradient), going.x)
            share = 0.75 if number else 1.0
            moved = going.now + share * (ahead - going.now) + (1 - share) * (going.now - going.before)
            going.before, going.now, last = going.now, ball.project(moved, going.x), going.value
            aimed = None if target is None else going.target
            going.gradient, going.value, logits = self._climb(network, going.now, going.y, aimed)
            going.rises += going.value > last
            better = going.value > going.highest
            going.best[better], going.best_gradient[better] = going.now[better], going.gradient[better]
            going.highest = torch.where(better, going.value, going.highest)
            peak[going.rows] = going.highest
            wrong = logits.argmax(dim=1) != going.y
            answer[going.rows[wrong]], fooled[going.rows[wrong]] = going.now[wrong], True
            if wrong.any():
                going.keep(~wrong)
            since += 1
            if since == period:
                stalled = (going.rises <= RHO * period) | (~going.halved & (going.highest_at_check >= going.highest))
                going.step[stalled] /= 2
                going.now[stalled], going.gradient[stalled] = going.best[stalled], going.best_gradient[stalled]
                going.halved, going.highest_at_check = stalled, going.highest.clone()
                since, period = 0, max(period - shrink, least)
                going.rises.zero_()
        answer[going.rows] = going.best
        return fooled, answer, peak


@dataclass(eq=False)
class _Going:
    """The examples that nothing has fooled yet, in the middle of a run; the first axis of each field is theirs."""

    rows: Tensor
    x: Tensor
    y: Tensor
    target: Tensor
    now: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    best: Tensor
    best_gradient: Tensor
    highest: Tensor
    highest_at_check: Tensor
    step: Tensor
    rises: Tensor
    halved: Tensor

    def keep(self, which: Tensor) -> None:
        for name, value in list(vars(self).items()):
            setattr(self, name, value[which])


def first_periods(steps: int) -> tuple[int, int, int, int]:
    """Gives the steps to the first checkpoint, a counter at 0, the shortest period, and what each later one loses."""
    return max(int(0.22 * steps), 1), 0, max(int(0.06 * steps), 1), max(int(0.03 * steps), 1)


def checkpoints(steps: int) -> list[int]:
    """Gives the steps after which Auto-PGD looks whether to halve, from 1; for 100 steps 22, 41, 57, 70, …"""
    period, at, least, shrink = first_periods(steps)
    found = []
    while at + period <= steps:
        at += period
        found.append(at)
        period = max(period - shrink, least)
    return found


def _outward(x: Tensor, norm: Norm, generator: torch.Generator) -> Tensor:
    """Gives directions to the edge of the ball, uniformly in the cube or on the sphere."""
    if norm == "linf":
        drawn = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) * 2 - 1
        return drawn / drawn.flatten(1).abs().amax(dim=1).view(-1, *[1] * (x.dim() - 1))
    drawn = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return drawn / drawn.flatten(1).norm(dim=1).view(-1, *[1] * (x.dim() - 1))
