"""The contract of attacks sees what is wrong, and says which promise was broken."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from paredown.attacks import AbstractAttack, climb, losses
from paredown.attacks.base import Norm
from paredown.testing import BrokenPromise, check_attack


@dataclass(frozen=True)
class Moves(AbstractAttack):
    """One step along the gradient's sign, with one thing done wrongly."""

    way: str = "good"
    norm: Norm = "linf"
    eps: float | None = 0.05

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        gradient, _, _ = climb(network, x, lambda logits: losses.cross_entropy(logits, y))
        step = 0.05 * gradient.sign()
        if self.way == "downhill":
            return x - step
        if self.way == "not a number":
            return x + step * torch.nan
        if self.way == "draws":
            return x + step * torch.rand(len(x), 1, 1, 1)
        if self.way == "writes":
            x.copy_((x + step).clamp(0, 1))
        if self.way == "by hour":
            COUNT.append(1)
            return x + step / len(COUNT)
        if self.way == "modes":
            network.train()
        if self.way == "gradients":
            for parameter in network.parameters():
                if parameter.grad is not None:
                    parameter.grad += 1
        if self.way == "statistics":
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean += 1  # type: ignore[operator]
        return x + step


COUNT: list[int] = []


@dataclass(frozen=True)
class Bare(AbstractAttack):
    """Answers itself, without what the base does for everyone."""

    way: str = "far"
    norm: Norm = "linf"
    eps: float | None = 0.05

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError

    def __call__(self, network: nn.Module, x: Tensor, y: Tensor, *, seed: int = 0) -> Tensor:
        eps = self.eps or 0.0
        if self.way == "tracking":
            with torch.enable_grad():
                x = x.clone().requires_grad_(True)
                network(x).sum().backward(inputs=[x])
            return x
        if self.way == "weights":
            for parameter in network.parameters():
                parameter.requires_grad_(True)
        if self.way == "statistics in training":
            network(x)
        if self.way == "empty":
            return x if len(x) else torch.zeros(1)
        if self.way == "always":
            return (x + 0.01).clamp(0, 1)
        if self.way == "single":
            return x.float()
        if self.way == "out":
            return x + eps
        return (x + 2 * eps).clamp(0, 1) if self.way == "far" else x.clone()


def test_a_good_one_passes() -> None:
    check_attack(Moves())
    check_attack(Bare("good"))


@pytest.mark.parametrize(
    ("attack", "sentence"),
    [
        (Moves("downhill"), "Moves: rightly classified examples come out more surely right"),
        (Moves("not a number"), r"Moves: its images leave \[0, 1\], or are not numbers"),
        (Moves("draws"), "Moves: it draws from torch's own random numbers"),
        (Moves("writes"), "Moves: it writes into the images or labels"),
        (Moves("by hour"), "Moves: the same seed gives other images"),
        (Moves("modes"), "Moves, of a network in inference mode: it changes modes"),
        (Moves("gradients"), "Moves, of a network in inference mode: it writes into the gradients of weights"),
        (Moves("statistics"), "Moves, of a network in inference mode: it changes weights or batch statistics"),
        (Bare("far"), "Bare: it leaves its ball: 0.1 away"),
        (Bare("out"), r"Bare: its images leave \[0, 1\]"),
        (Bare("tracking"), "Bare: its images carry a gradient"),
        (Bare("single"), "Bare: of torch.float64 images it gives torch.float32"),
        (Bare("weights"), "Bare, of a network in inference mode: it changes which weights need a gradient"),
        (Bare("statistics in training"), "Bare, of a network in training mode: it changes weights or batch statistics"),
        (Bare("empty"), r"Bare: of no images it gives shape \(1,\)"),
        (Bare("always", norm="l2", eps=1.0), "Bare: with a radius of 0 it does not give the clean images"),
    ],
    ids=lambda value: f"{type(value).__name__} {value.way}" if isinstance(value, AbstractAttack) else "",
)
def test_a_broken_promise_is_named(attack: AbstractAttack, sentence: str) -> None:
    with pytest.raises(BrokenPromise, match=sentence):
        check_attack(attack)
