"""Losses of adversarial training, to the numbers of specification 0, section 11.4, and by finite differences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from paredown.training.objectives import smoothed
from paredown.training.robust_losses import mart, trades

Z = torch.tensor([[2, 0.5, -1], [0, 1, 0.25]], dtype=torch.float64)
MOVED = torch.tensor([[1, 0.8, -0.5], [0.3, 0.2, 0.9]], dtype=torch.float64)
Y = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (partial(trades, beta=5, label_smoothing=0.1), 1.5287779594),
        (partial(trades, beta=6), 1.6244124961),
        (partial(mart, beta=5), 1.9998864728),
        (partial(mart, beta=0), 1.6563672278),
        (lambda z, moved, y: smoothed(z, y, 0.0), 0.4256052758),
        (lambda z, moved, y: smoothed(z, y, 0.1), 0.5297719425),
        (lambda z, moved, y: trades(z, moved, y, beta=1) - smoothed(z, y, 0.0), 0.1998012034),
        (lambda z, moved, y: mart(z, moved, y, beta=1) - mart(z, moved, y, beta=0), 0.0687038490),
    ],
)
def test_values(loss: Callable[..., Tensor], expected: float) -> None:
    assert float(loss(Z, MOVED, Y).mean()) == pytest.approx(expected, abs=1e-9)


def test_the_gradient_of_trades_flows_through_both() -> None:
    z, moved = Z.clone().requires_grad_(True), MOVED.clone().requires_grad_(True)
    divergence = (trades(z, moved, Y, beta=1.0) - trades(z, moved, Y, beta=0.0)).mean()
    first, second = torch.autograd.grad(divergence, (z, moved))
    np.testing.assert_allclose(
        first.numpy(),
        [[0.1125549891, -0.0888243421, -0.0237306470], [-0.0507671586, 0.1608736418, -0.1101064832]],
        atol=1e-9,
    )
    np.testing.assert_allclose(
        second.numpy(),
        [[-0.1479238558, 0.1128412200, 0.0350826358], [0.0342038574, -0.1503118684, 0.1161080111]],
        atol=1e-9,
    )


@pytest.mark.parametrize("loss", [partial(trades, beta=5, label_smoothing=0.1), partial(mart, beta=5)])
def test_gradients_by_finite_differences(loss: Callable[..., Tensor]) -> None:
    z, moved = Z.clone().requires_grad_(True), MOVED.clone().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, Y).sum(), (z, moved))
