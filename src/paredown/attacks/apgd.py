"""Auto-PGD: projected gradient ascent that halves its own step, so that there is no step to tune."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from paredown.attacks import losses
from paredown.attacks.base import AbstractAttack, Loss, Norm, climb, full
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
            for _ in range(self.restarts):
                # Only those that nothing has fooled yet go on.
                rows = torch.nonzero(right)[:, 0]
                if not len(rows):
                    return answer
                labels = y[rows]
                if aim is not None:
                    loss: Loss = partial(losses.targeted_dlr, y=labels, target=ranked[rows, aim])
                else:
                    loss = partial(losses.dlr if self.loss == "dlr" else losses.cross_entropy, y=labels)
                fooled, moved, highest = self._run(network, x[rows], labels, loss, generator)
                better = (highest > height[rows]) | fooled
                answer[rows[better]], height[rows[better]] = moved[better], highest[better]
                right[rows[fooled]] = False
        if self.best == "clean":
            answer[right] = x[right]
        return answer

    def _run(
        self, network: nn.Module, x: Tensor, y: Tensor, loss: Loss, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gives which were fooled, their images (for the others those of the highest loss), and the highest loss."""
        ball, shape = self.ball, (-1, *[1] * (x.dim() - 1))
        now = ball.project(x + ball.eps * _outward(x, self.norm, generator), x)
        before = now.clone()
        gradient, value, logits = climb(network, now, loss)
        best, best_gradient, highest = now.clone(), gradient.clone(), value.clone()
        fooled = logits.argmax(dim=1) != y
        answer = now.clone()
        step = torch.full((len(x),), 2 * ball.eps, device=x.device, dtype=x.dtype)
        rises = torch.zeros(len(x), device=x.device)
        period, since, least, shrink = first_periods(self.steps)
        highest_at_check, halved = highest.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for number in range(self.steps):
            ahead = ball.project(now + step.view(shape) * ball.direction(gradient), x)
            share = 0.75 if number else 1.0
            moved = ball.project(now + share * (ahead - now) + (1 - share) * (now - before), x)
            before, now, last = now, moved, value
            gradient, value, logits = climb(network, now, loss)
            wrong = logits.argmax(dim=1) != y
            answer[wrong & ~fooled] = now[wrong & ~fooled]
            fooled |= wrong
            rises += value > last
            better = value > highest
            best[better], best_gradient[better], highest[better] = now[better], gradient[better], value[better]
            since += 1
            if since == period:
                stalled = (rises <= RHO * period) | (~halved & (highest_at_check >= highest))
                step[stalled] /= 2
                now[stalled], gradient[stalled] = best[stalled], best_gradient[stalled]
                halved, highest_at_check = stalled, highest.clone()
                since, period = 0, max(period - shrink, least)
                rises.zero_()
        answer[~fooled] = best[~fooled]
        return fooled, answer, highest


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
