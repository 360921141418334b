"""Attacks on a linear network, to numbers computed by hand and by the original (specification 0, section 11.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown.attacks import losses
from paredown.attacks.apgd import checkpoints
from paredown.attacks.base import AbstractAttack
from paredown.attacks.gradient import Fgsm, Pgd
from paredown.attacks.minimal import DeepFool

X = torch.tensor([[0.6, 0.2], [0.02, 0.97]], dtype=torch.float64).view(2, 1, 1, 2)
Y = torch.tensor([0, 1])


class Linear(nn.Module):
    """f(x) = Wx + b, in float64."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3).double()
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[1, -2], [0.5, 1.5], [-1, 0.25]], dtype=torch.float64))
            self.linear.bias.copy_(torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


CASES: list[tuple[AbstractAttack, list[list[float]]]] = [
    (Fgsm(eps=0.05), [[0.55, 0.25], [0, 0.92]]),
    (Fgsm(norm="l2", eps=0.05), [[0.5854720888, 0.2478428657], [0, 0.9312491923]]),
    (Pgd(eps=0.05, step=0.02, steps=1, start="clean"), [[0.58, 0.22], [0, 0.95]]),
    (Pgd(eps=0.05, step=0.02, steps=5, start="clean"), [[0.55, 0.25], [0, 0.92]]),
    (
        Pgd(norm="l2", eps=0.05, step=0.02, steps=1, start="clean"),
        [[0.5941888355, 0.2191371463], [0.0073611716, 0.9544996769]],
    ),
    (
        Pgd(norm="l2", eps=0.05, step=0.02, steps=5, start="clean"),
        [[0.5856172218, 0.2478866964], [0.0049181574, 0.9223288555]],
    ),
    (Pgd(eps=0.05, step=0.02, steps=5, start="clean", loss="carlini-wagner"), [[0.56, 0.24], [0, 0.92]]),
]


@pytest.mark.parametrize(("attack", "expected"), CASES, ids=lambda value: repr(value)[:60])
def test_bounded_attacks(attack: AbstractAttack, expected: list[list[float]]) -> None:
    found = attack(Linear(), X, Y).view(2, 2).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("norm", "first", "second"),
    [
        ("linf", [0.57449898, 0.22550102], [0, 0.2413954440]),
        ("l2", [0.5959198558, 0.2285610097], [0, 0.2431747985]),
    ],
)
def test_deep_fool(norm: Any, first: list[float], second: list[float]) -> None:
    attack = DeepFool(norm=norm, steps=10)
    found = attack(Linear(), X, Y).view(2, 2).numpy()
    np.testing.assert_allclose(found[0], first, atol=1e-8)
    np.testing.assert_allclose(found[1], second, atol=1e-8)


def test_losses() -> None:
    z = torch.tensor([[2, 0.5, -1], [0, 1, 0.25]], dtype=torch.float64)
    moved = torch.tensor([[1, 0.8, -0.5], [0.3, 0.2, 0.9]], dtype=torch.float64)
    assert float(losses.carlini_wagner(z, Y).sum()) == pytest.approx(-2.25)
    assert float(losses.carlini_wagner(moved, Y).sum()) == pytest.approx(-0.2)
    kl = losses.divergence(moved, z.softmax(1))
    np.testing.assert_allclose(kl.numpy(), [0.1860039381, 0.2135984687], atol=1e-9)
    four = torch.tensor([[2, 0.5, -1, 0.1], [0, 1, 0.25, 3]], dtype=torch.float64)
    np.testing.assert_allclose(losses.dlr(four, Y).numpy(), [-0.7894736842, 0.7272727273], atol=1e-9)


def test_checkpoints_of_auto_pgd() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(40) == [8, 15, 21, 26, 30, 33, 35, 37, 39]
    assert checkpoints(10) == [2, 3, 4, 5, 6, 7, 8, 9, 10]
    assert checkpoints(20)[:4] == [4, 7, 9, 10]
