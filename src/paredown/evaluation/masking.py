"""Whether a robust accuracy can be believed: checks for networks that hide their gradients from attacks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.attacks import AbstractAttack, Ball, Pgd, Square, climb, undisturbed, worst_case
from paredown.attacks.base import Norm, full
from paredown.attacks.losses import cross_entropy
from paredown.models import ConvNet
from paredown.models import network as made
from paredown.rng import key

QUESTIONS, AT_ONCE = 100, 64
"""Steps in which the substitute learns from the network's answers, and images a step."""


def masking(network: nn.Module, x: Tensor, y: Tensor, *, norm: Norm, eps: float, seed: int) -> list[Mapping[str, Any]]:
    """Gives what tells a robust network from one that hides its gradients (Athalye et al. 2018; Carlini et al. 2019).

    Each figure is one verdict, 1 where the check is passed and 0 where it is not:

    - `check-more-steps`: forty steps of PGD leave no more examples right than five do (but for 2 of 100).
    - `check-unbounded`: with a radius of half the box and a hundred steps, next to nothing is left (at most 5 of 100).
    - `check-black-box`: Square, which sees no gradient, leaves no fewer than PGD does on the cross-entropy and on
      Carlini and Wagner's loss together (but for 5 of 100).
    - `check-transfer`: nor do images that fool a substitute, which has learnt from the network's answers.
    - `check-gradients`: for at least 95 of 100 rightly classified examples the loss has a gradient that is not zero.

    Args:
        network: in inference mode.
        x: images, shape (B, C, H, W); a few hundred.
        y: labels, int64 (B,).
        norm: of the threat model.
        eps: its radius.
        seed: of what is drawn.
    """

    def left(number: int, *attacks: AbstractAttack) -> float:
        return float(worst_case(network, attacks, x, y, seed=key(seed, "check", number)).robust.float().mean())

    wide = 0.5 if norm == "linf" else 0.5 * math.sqrt(x[0].numel())
    strong = Pgd(norm=norm, eps=eps, step=eps / 4, steps=40)
    few = left(0, Pgd(norm=norm, eps=eps, step=eps / 4, steps=5))
    many = left(1, strong)
    # One loss alone can be misled without anything being hidden: TRADES leaves networks sure of the wrong class.
    white = left(1, strong, replace(strong, loss="carlini-wagner"))
    unbounded = left(2, Pgd(norm=norm, eps=wide, step=wide / 20, steps=100))
    black = left(3, Square(norm=norm, eps=eps, queries=500))
    copied = substitute(network, x, attack=strong, seed=key(seed, "check", 4))
    transferred = _right(network, x, y) & _right(network, strong(copied, x, y, seed=key(seed, "check", 5)), y)
    flat = _without_gradient(network, x, y)
    found = {
        "check-more-steps": many <= few + 0.02,
        "check-unbounded": unbounded <= 0.05,
        "check-black-box": black >= white - 0.05,
        "check-transfer": float(transferred.float().mean()) >= white - 0.05,
        "check-gradients": flat <= 0.05,
    }
    return [{"metric": name, "value": float(good), "n": 1, "spread": None} for name, good in found.items()]


def substitute(network: nn.Module, x: Tensor, *, attack: AbstractAttack, seed: int) -> nn.Module:
    """Gives a small network that answers like another one near some images, and whose gradients are there to climb.

    It learns from answers alone, to images drawn from twice the ball around those given (Papernot et al. 2017,
    Practical Black-Box Attacks against Machine Learning, section 4).

    Args:
        network: what is asked, in inference mode.
        x: images, shape (B, C, H, W).
        attack: whose ball it is.
        seed: of its weights and of what is drawn.
    """
    with torch.no_grad():
        classes = network(x[:1]).shape[1]
    channels, high, wide = x.shape[1:]
    ball = Ball(attack.norm, 2 * attack.ball.eps)
    mean, std = (0.5,) * channels, (0.25,) * channels
    learner = made(ConvNet(width=32), (channels, high, wide), classes, mean=mean, std=std, seed=seed)
    learner = learner.to(x.device).train()
    adam = torch.optim.Adam(learner.parameters(), lr=3e-3)
    generator = torch.Generator(x.device).manual_seed(seed)
    for _ in range(QUESTIONS):
        rows = torch.randint(0, len(x), (AT_ONCE,), generator=generator, device=x.device)
        asked = ball.draw(x[rows], generator)
        with torch.no_grad():
            answers = network(asked).argmax(dim=1)
        with torch.enable_grad():
            loss = functional.cross_entropy(full(learner(asked)), answers)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return learner.eval()


def _right(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        return network(x).argmax(dim=1) == y


def _without_gradient(network: nn.Module, x: Tensor, y: Tensor) -> float:
    with undisturbed(network):
        gradient, _, logits = climb(network, x, lambda z: cross_entropy(z, y))
    right = logits.argmax(dim=1) == y
    if not right.any():
        return 0.0
    return float((gradient[right].flatten(1).abs().amax(dim=1) == 0).float().mean())
