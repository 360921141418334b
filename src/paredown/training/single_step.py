"""Adversarial objectives whose attack is a single step: robust training at one or two times the cost of a plain one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from paredown.attacks import Ball, Fgsm, climb, losses
from paredown.errors import MethodError
from paredown.training.objectives import AbstractObjective, Seen, smoothed
from paredown.training.passes import Mode, Passes


@dataclass(frozen=True)
class Fast(AbstractObjective):
    """Fast adversarial training: cross-entropy of images moved by one step of FGSM from a random start.

    With a start inside the ball (Wong et al. 2020, algorithm 3) robustness can be lost all at once, within an epoch:
    against the one step the network withstands ever more, against many steps nothing (catastrophic overfitting, section
    5.4). What guards against it is more noise at the start, and nothing cut back (N-FGSM, de Jorge et al. 2022): x + η
    + α · sign(∇ CE(x + η)) with η from k times the ball. Images then lie up to kε + α away.

    Args:
        attack: its ball, and its step α as a share of ε: 1 in N-FGSM, 1.25 in Wong et al. 2020.
        noise: k, 2 in N-FGSM. 0 is without the guard: a start anywhere in the ball, and the answer cut back to it.
        looks: the mode in which the attack sees the network: "training" normalises by the batch, "evaluation" by
            running statistics.
    """

    attack: Fgsm = Fgsm()  # noqa: RUF009  (frozen)
    noise: float = 2.0
    looks: Mode = "training"

    paper: ClassVar[str] = (
        "Wong, Rice, Kolter 2020, Fast is Better than Free, algorithm 3; "
        "de Jorge et al. 2022, Make Some Noise: Reliable and Efficient Single-Step Adversarial Training, equation 4"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.noise < math.inf:
            raise MethodError(
                f"Fast(noise={self.noise:g}): a width of noise, in units of eps, is 0 or more; de Jorge et al. take 2."
            )
        _refuse_start("Fast", self.attack, "it begins at random by itself")

    @property
    def looks_clean(self) -> bool:
        return False

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        (adversarial,) = passes.logits(self._moved(passes, x, y))
        return Seen(smoothed(adversarial, y, label_smoothing), None, adversarial)

    def _moved(self, passes: Passes, x: Tensor, y: Tensor) -> Tensor:
        if not self.noise:
            return passes.attacked(replace(self.attack, start="random"), x, y, mode=self.looks)
        ball = self.attack.ball
        with passes.looking(self.looks) as generator:
            begun = Ball(ball.norm, self.noise * ball.eps).draw(x, generator)
            gradient, _, _ = climb(passes.network, begun, partial(losses.cross_entropy, y=y))
        return (begun + self.attack.step * ball.eps * ball.direction(gradient)).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Free(AbstractObjective):
    """Free adversarial training: the backward pass that trains also moves the images, and each batch comes m times.

    loss = CE(f(clip(x + δ)), y); δ ← Π(δ + ε · sign(∇_δ loss)) after each step, from the gradient that the step has
    computed anyway (Shafahi et al. 2019, algorithm 1). δ has one change of an image for each place in a batch and goes
    on from batch to batch, whichever images stand there; the first step of a training sees clean ones. As there is no
    attack beside the pass that trains, normalisation is that of training throughout.

    A step costs what a plain one does, and a training takes as many steps as any other of so many epochs: E epochs with
    m replays are E/m passes over the data.

    Args:
        attack: the ball of δ, and the step as a share of ε.
        replays: m, steps on each batch in a row; 8 for CIFAR-10 and 4 for ImageNet in the paper.
        persists: how long δ lasts before it begins at zero again: the "training", as in the paper, or an "epoch", which
            is a pass over the data, as in the code published with HYDRA (Sehwag et al. 2020).
    """

    attack: Fgsm = Fgsm()  # noqa: RUF009  (frozen)
    replays: int = 8
    persists: Literal["epoch", "training"] = "training"

    paper: ClassVar[str] = "Shafahi et al. 2019, Adversarial Training for Free!, algorithm 1"

    def __post_init__(self) -> None:
        if self.replays < 1:
            raise MethodError(f"Free(replays={self.replays}): no step would be taken. Give at least 1.")
        _refuse_start("Free", self.attack, "it begins where the step before ended")

    @property
    def looks_clean(self) -> bool:
        return False

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        kept = torch.zeros_like(x) if passes.perturbation is None else passes.perturbation
        ball = self.attack.ball
        change = kept.clone().requires_grad_(True)

        def onward(gradient: Tensor) -> None:
            kept.copy_(ball.shorten(change.detach() + self.attack.step * ball.eps * ball.direction(gradient)))

        change.register_hook(onward)
        (adversarial,) = passes.logits((x + change).clamp(0.0, 1.0))
        return Seen(smoothed(adversarial, y, label_smoothing), None, adversarial)


def _refuse_start(owner: str, attack: Fgsm, why: str) -> None:
    """What would be ignored is refused."""
    if attack.start != "clean":
        raise MethodError(f"{owner}(attack=…): {why}, so start={attack.start} says nothing. Leave start out.")
