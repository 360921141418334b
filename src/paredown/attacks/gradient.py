"""Attacks that climb a gradient with a fixed step: FGSM, FGM and PGD, with momentum, restarts and early stopping."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from paredown.attacks import losses
from paredown.attacks.base import AbstractAttack, Ball, Loss, Norm, climb, full
from paredown.errors import MethodError

LossName = Literal["cross-entropy", "margin", "carlini-wagner", "dlr"]

LOSSES = {
    "cross-entropy": losses.cross_entropy,
    "margin": losses.margin,
    "carlini-wagner": losses.carlini_wagner,
    "dlr": losses.dlr,
}


@dataclass(frozen=True)
class Fgsm(AbstractAttack):
    """Fast gradient sign method: one step of the whole radius along the sign of the gradient.

    x' = x + ε · sign(∇_x CE) (Goodfellow et al. 2015, section 4); in L2, along the gradient itself (FGM).

    Args:
        norm: of the ball.
        eps: its radius ε.
        start: "clean", or "random": a uniform draw from the ball first, as fast adversarial training needs it (Wong et
            al. 2020).
        step: length of the step as a share of ε; 1.25 with a random start in Wong et al. 2020.
    """

    norm: Norm = "linf"
    eps: float | None = 8 / 255
    start: Literal["clean", "random"] = "clean"
    step: float = 1.0

    paper: ClassVar[str] = "Goodfellow, Shlens, Szegedy 2015, Explaining and Harnessing Adversarial Examples, section 4"

    def __post_init__(self) -> None:
        self.check()
        if self.step <= 0:
            raise MethodError(f"Fgsm(step={self.step:g}): a step has a length above 0.")

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        begun = self.ball.draw(x, generator) if self.start == "random" else x
        gradient, _, _ = climb(network, begun, partial(losses.cross_entropy, y=y))
        return begun + self.step * self.ball.eps * self.ball.direction(gradient)


@dataclass(frozen=True)
class Pgd(AbstractAttack):
    """Projected gradient descent: steps along the gradient's direction, each projected into the ball and the box.

    x_{t+1} = Π(x_t + α · direction(∇_x loss)) (Madry et al. 2018, section 2.1).

    Args:
        norm: of the ball.
        eps: its radius ε.
        step: α, in the units of ε.
        steps: how many.
        loss: what is climbed. "carlini-wagner" leaves an example alone once it is misclassified.
        start: "random" (a uniform draw from the ball) or "clean".
        restarts: random starts; of each example the answer with the largest loss is kept, a misclassified one first.
        momentum: μ of the accumulated gradient (Dong et al. 2018, MI-FGSM); 0 is plain PGD.
        early_stop: stop moving an example once it is misclassified; the others go on alone.
    """

    norm: Norm = "linf"
    eps: float | None = 8 / 255
    step: float = 2 / 255
    steps: int = 10
    loss: LossName = "cross-entropy"
    start: Literal["random", "clean"] = "random"
    restarts: int = 1
    momentum: float = 0.0
    early_stop: bool = False

    paper: ClassVar[str] = (
        "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, section 2.1"
    )

    def __post_init__(self) -> None:
        self.check()
        if self.steps < 1 or self.restarts < 1:
            raise MethodError(f"Pgd(steps={self.steps}, restarts={self.restarts}): at least one of each is needed.")
        if self.step <= 0:
            raise MethodError(f"Pgd(step={self.step:g}): a step has a length above 0.")
        if self.norm == "linf" and self.step > 1:
            raise MethodError(f"Pgd(step={self.step:g}): pixels lie in [0, 1]. Write {self.step:g}/255.")
        if not 0 <= self.momentum < 1:
            raise MethodError(f"Pgd(momentum={self.momentum:g}): a share from 0 to below 1.")
        if self.restarts > 1 and self.start == "clean":
            raise MethodError("Pgd(restarts=…, start='clean'): every restart would be the same. Start at random.")

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        climbed = LOSSES[self.loss]
        best, height = x.clone(), full(x).new_full((len(x),), -torch.inf)
        for _ in range(self.restarts):
            begun = self.ball.draw(x, generator) if self.start == "random" else x.clone()
            if self.early_stop:
                moved = self._one_by_one(network, x, y, begun)
            else:
                moved = ascend(
                    network,
                    x,
                    begun,
                    partial(climbed, y=y),
                    ball=self.ball,
                    step=self.step,
                    steps=self.steps,
                    momentum=self.momentum,
                )
            if self.restarts == 1:
                return moved
            with torch.no_grad():
                reached = losses.margin(full(network(moved)), y)
            better = reached > height
            best[better], height[better] = moved[better], reached[better]
        return best

    def _one_by_one(self, network: nn.Module, x: Tensor, y: Tensor, begun: Tensor) -> Tensor:
        """Moves only those that are still classified rightly; the batch shrinks as they fall."""
        moved, velocity = begun.clone(), torch.zeros_like(x)
        alive = torch.arange(len(x), device=x.device)
        for _ in range(self.steps):
            labels = y[alive]
            gradient, _, logits = climb(network, moved[alive], partial(LOSSES[self.loss], y=labels))
            right = logits.argmax(dim=1) == labels
            alive, gradient = alive[right], gradient[right]
            if not len(alive):
                break
            taken, velocity[alive] = _along(gradient, velocity[alive], self.momentum)
            moved[alive] = self.ball.project(moved[alive] + self.step * self.ball.direction(taken), x[alive])
        return moved


def ascend(
    network: nn.Module,
    x: Tensor,
    begun: Tensor,
    loss: Loss,
    *,
    ball: Ball,
    step: float,
    steps: int,
    momentum: float = 0.0,
) -> Tensor:
    """Gives images after some projected steps up a loss: the inner loop of PGD, TRADES and MART.

    Args:
        network: from pixels to logits, in whichever mode it is.
        x: clean images, the centres of the balls.
        begun: where to begin.
        loss: from logits to one number an example.
        ball: where to stay.
        step: length of each step, in the ball's norm.
        steps: how many.
        momentum: of the accumulated gradient.
    """
    moved, velocity = begun, torch.zeros_like(x)
    for _ in range(steps):
        gradient, _, _ = climb(network, moved, loss)
        taken, velocity = _along(gradient, velocity, momentum)
        moved = ball.project(moved + step * ball.direction(taken), x)
    return moved


def _along(gradient: Tensor, velocity: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    if not momentum:
        return gradient, velocity
    # Dong et al. 2018, equation 6: gradients are brought to one L1 length, so that none outweighs the others.
    scaled = gradient / gradient.flatten(1).abs().mean(dim=1).clamp_min(1e-12).view(-1, *[1] * (gradient.dim() - 1))
    velocity = momentum * velocity + scaled
    return velocity, velocity
