"""Attacks and losses of robust training on a small network, to the numbers of an independent float64 model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown.attacks import Ball, Fgsm, Pgd, ascend, losses
from paredown.training import Free, Passes
from paredown.training.objectives import smoothed
from paredown.training.robust_losses import mart, trades

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


class Tanh(nn.Module):
    """Eight numbers, six hidden units, three logits."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        super().__init__()
        for name in ("A1", "c1", "A2", "c2"):
            setattr(self, name, nn.Parameter(torch.from_numpy(arrays[name])))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.A1.T + self.c1) @ self.A2.T + self.c2


@pytest.fixture
def arrays(golden: Golden) -> Mapping[str, np.ndarray]:
    return golden("robust-prune", "attacks")


def given(arrays: Mapping[str, np.ndarray]) -> tuple[Tanh, Tensor, Tensor, float, float]:
    eps, step = float(arrays["eps"]), float(arrays["step"])
    return Tanh(arrays), torch.from_numpy(arrays["X"]), torch.from_numpy(arrays["Y"]), eps, step


def test_attacks_without_a_random_start(arrays: Mapping[str, np.ndarray]) -> None:
    network, x, y, eps, step = given(arrays)
    plain = Pgd(eps=eps, step=step, steps=10, start="clean")
    moved = plain(network, x, y)
    np.testing.assert_allclose(moved.numpy(), arrays["pgd10_x"], atol=1e-9)
    np.testing.assert_allclose(network(moved).detach().numpy(), arrays["pgd10_logits"], atol=1e-9)
    margin = Pgd(eps=eps, step=step, steps=10, start="clean", loss="margin")(network, x, y)
    np.testing.assert_allclose(margin.numpy(), arrays["cw10_x"], atol=1e-9)
    np.testing.assert_allclose(Fgsm(eps=eps)(network, x, y).numpy(), arrays["fgsm_x"], atol=1e-9)


def test_losses(arrays: Mapping[str, np.ndarray]) -> None:
    network, x, y, eps, step = given(arrays)
    clean = network(x).detach()
    np.testing.assert_allclose(clean.numpy(), arrays["logits"], atol=1e-12)
    assert smoothed(clean, y, 0.0).mean().item() == pytest.approx(float(arrays["ce_clean"]), abs=1e-9)
    moved = network(torch.from_numpy(arrays["pgd10_x"])).detach()
    assert smoothed(moved, y, 0.0).mean().item() == pytest.approx(float(arrays["ce_pgd"]), abs=1e-9)
    assert mart(clean, moved, y, beta=6).mean().item() == pytest.approx(float(arrays["mart_loss_beta6"]), abs=1e-6)
    begun = x + torch.from_numpy(arrays["trades_noise"])
    climbed = partial(losses.divergence, clean=clean.softmax(1))
    found = ascend(network, x, begun, climbed, ball=Ball("linf", eps), step=step, steps=10)
    np.testing.assert_allclose(found.numpy(), arrays["trades_x"], atol=1e-9)
    lost = trades(clean, network(found), y, beta=6).mean().item()
    assert lost == pytest.approx(float(arrays["trades_loss_beta6"]), abs=1e-9)


def test_four_replays_of_free_training(arrays: Mapping[str, np.ndarray], golden: Golden) -> None:
    network, x, y, eps, _ = given(arrays)
    expected = golden("robust-prune", "freeat")
    objective, change, lost = Free(attack=Fgsm(eps=eps)), torch.zeros_like(x), []
    for _ in range(4):
        seen = objective.losses(Passes(network, perturbation=change), x, y)
        lost.append(seen.losses.mean().item())
        seen.losses.mean().backward()
    np.testing.assert_allclose(lost, expected["losses"], atol=1e-9)
    np.testing.assert_allclose(change.numpy(), expected["noise_after4"], atol=1e-12)
