"""Our attacks fool a robust network on the digits on which those of foolbox do."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from tests.robust_digits import EPS, digits, robust_network
from torch import Tensor

from paredown.attacks import AbstractAttack, CarliniWagner, DeepFool, Fgsm, Pgd

N = 250


@pytest.fixture(scope="module")
def foolbox() -> Any:
    with warnings.catch_warnings():
        # What another library imports in a way that a third one deprecates is not ours to mend.
        warnings.simplefilter("ignore")
        return pytest.importorskip("foolbox")


def ours(attack: AbstractAttack) -> Tensor:
    """Gives which rightly classified digits the attack makes wrong."""
    network, (x, y) = robust_network(), digits(N)
    with torch.no_grad():
        right = network(x).argmax(dim=1) == y
        assert 200 < right.sum() < N
        return right & (network(attack(network, x, y)).argmax(dim=1) != y)


def theirs(foolbox: Any, attack: Any, eps: float) -> Tensor:
    network, (x, y) = robust_network(), digits(N)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _, _, fooled = attack(foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu"), x, y, epsilons=[eps])
    with torch.no_grad():
        return fooled[0] & (network(x).argmax(dim=1) == y)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_without_chance_the_same_digits_fall(foolbox: Any, norm: Any) -> None:
    eps, attacks = EPS[norm], foolbox.attacks
    one = attacks.LinfFastGradientAttack if norm == "linf" else attacks.L2FastGradientAttack
    many = attacks.LinfPGD if norm == "linf" else attacks.L2PGD
    near = attacks.LinfDeepFoolAttack if norm == "linf" else attacks.L2DeepFoolAttack
    for mine, other in (
        (Fgsm(norm=norm, eps=eps), one(random_start=False)),
        (
            Pgd(norm=norm, eps=eps, step=eps / 10, steps=40, start="clean"),
            many(abs_stepsize=eps / 10, steps=40, random_start=False),
        ),
        (DeepFool(norm=norm, eps=eps), near(steps=50, candidates=None)),
    ):
        found, expected = ours(mine), theirs(foolbox, other, eps)
        assert 0.2 * N < expected.sum() < 0.8 * N, type(mine).__name__
        assert (found ^ expected).sum() <= 1, type(mine).__name__  # a digit on the edge may go either way


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_with_random_starts_as_many_fall(foolbox: Any, norm: Any) -> None:
    eps = EPS[norm]
    many = foolbox.attacks.LinfPGD if norm == "linf" else foolbox.attacks.L2PGD
    found = ours(Pgd(norm=norm, eps=eps, step=eps / 10, steps=40))
    expected = theirs(foolbox, many(abs_stepsize=eps / 10, steps=40), eps)
    assert abs(int(found.sum()) - int(expected.sum())) <= 0.01 * N


def test_carlini_and_wagner(foolbox: Any) -> None:
    eps = EPS["l2"]
    found = ours(CarliniWagner(eps=eps, steps=100, searches=5, lr=0.03))
    other = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=100, stepsize=0.03, initial_const=1.0)
    expected = theirs(foolbox, other, eps)
    assert 0.3 * N < expected.sum() < 0.9 * N
    assert abs(int(found.sum()) - int(expected.sum())) <= 0.01 * N
