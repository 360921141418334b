"""The inner loops of TRADES and MART on the linear network of specification 0, section 11.5."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from tests.golden.test_robust_attack_vectors import Linear, X, Y

from paredown.attacks import Ball, ascend, losses
from paredown.training.robust_losses import mart, trades

NOISE = torch.tensor([[1, -2], [-1, 0.5]], dtype=torch.float64).view_as(X) * 0.001
OFFSET = torch.tensor([[0.01, -0.01], [-0.01, 0.005]], dtype=torch.float64).view_as(X)


def found(moved: torch.Tensor) -> np.ndarray:
    return moved.view(2, 2).detach().numpy()


def test_trades_in_linf() -> None:
    network, ball = Linear(), Ball("linf", 0.05)
    clean = network(X).detach().softmax(1)
    climbed = partial(losses.divergence, clean=clean)
    begun = ball.project(X + OFFSET, X)
    one = ascend(network, X, begun, climbed, ball=ball, step=0.02, steps=1)
    np.testing.assert_allclose(found(one), [[0.63, 0.17], [0, 0.995]], atol=1e-9)
    two = ascend(network, X, begun, climbed, ball=ball, step=0.02, steps=2)
    np.testing.assert_allclose(found(two), [[0.65, 0.15], [0, 1]], atol=1e-9)
    loss = [trades(network(X), network(m), Y, beta=5, label_smoothing=0.1).mean().item() for m in (one, two)]
    np.testing.assert_allclose(loss, [0.6851913737, 0.6935997967], atol=1e-9)
    trades(network(X), network(two), Y, beta=5, label_smoothing=0.1).mean().backward()
    np.testing.assert_allclose(
        network.linear.weight.grad,
        [[-0.1417844275, -0.0529924121], [0.1008496395, -0.0770009629], [0.0409347880, 0.1299933750]],
        atol=1e-9,
    )
    np.testing.assert_allclose(network.linear.bias.grad, [-0.2441023507, 0.0584461569, 0.1856561938], atol=1e-9)


def test_trades_in_l2_with_the_originals_step() -> None:
    network, ball = Linear(), Ball("l2", 0.05)
    climbed = partial(losses.divergence, clean=network(X).detach().softmax(1))
    for steps, expected, loss in (
        (1, [[0.6130088, 0.1517220], [0, 0.9932450]], 0.688993),
        (2, [[0.6124417, 0.1515728], [0, 1]], 0.689204),
    ):
        moved = ascend(network, X, X + NOISE, climbed, ball=ball, step=2 * 0.05 / steps, steps=steps)
        np.testing.assert_allclose(found(moved), expected, atol=1e-6)
        reached = trades(network(X), network(moved), Y, beta=5, label_smoothing=0.1).mean().item()
        np.testing.assert_allclose(reached, loss, atol=1e-6)


def test_mart() -> None:
    network, ball = Linear(), Ball("linf", 0.05)
    moved = ascend(network, X, X + NOISE, partial(losses.cross_entropy, y=Y), ball=ball, step=0.02, steps=3)
    np.testing.assert_allclose(found(moved), [[0.55, 0.25], [0, 0.92]], atol=1e-9)
    assert abs(mart(network(X), network(moved), Y, beta=5).mean().item() - 1.1306807368) < 1e-9
