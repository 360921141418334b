"""Pruners against vectors of an independent model of the published code: gradients, first scores, ADMM, schedules."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from paredown.artifacts import Layer
from paredown.artifacts.strategy import PruningStrategy
from paredown.pruning.admm import penalty, projected
from paredown.pruning.hydra import first_scores, straight_through
from paredown.pruning.schedules import EpochCosine, Restarts, epoch_cosine
from paredown.pruning.units import Units
from paredown.sparsity.layers import fingerprint
from paredown.sparsity.masks import admm_projection, mask_of
from paredown.training.schedules import after_drops

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def test_straight_through_gradient_of_scores() -> None:
    weight = torch.tensor([[1.0, 2.0, -1.0], [0.5, -2.0, 3.0]])
    scores = torch.tensor([[0.3, -0.8, 0.1], [-0.6, 0.2, 0.9]])
    x = torch.tensor([1.0, -1.0, 2.0])
    mask = mask_of(scores, 0.5, counting="hydra")
    assert mask.int().tolist() == [[0, 1, 0], [1, 0, 1]]
    effective = (weight * mask).requires_grad_()
    y = effective @ x
    loss = y.square().sum() / 2
    loss.backward()
    assert y.tolist() == [-2.0, 6.5] and float(loss.detach()) == 23.125
    assert effective.grad is not None
    found = straight_through(effective.grad, weight) * scores.sign()
    assert found.tolist() == [[-2.0, -4.0, 4.0], [-3.25, 13.0, 39.0]]


# A weight of four filters and three channels, by filter and channel; its norms are those of `test_prune_masks`.
WEIGHT = [
    [[1.76, 0.4, 0.98, 2.24], [1.87, -0.98, 0.95, -0.15], [-0.1, 0.41, 0.14, 1.45]],
    [[0.76, 0.12, 0.44, 0.33], [1.49, -0.21, 0.31, -0.85], [-2.55, 0.65, 0.86, -0.74]],
    [[2.27, -1.45, 0.05, -0.19], [1.53, 1.47, 0.15, 0.38], [-0.89, -1.98, -0.35, 0.16]],
    [[1.23, 1.2, -0.39, -0.3], [-1.05, -1.42, -1.71, 1.95], [-0.51, -0.44, -1.25, 0.78]],
]
LAYER = Layer("conv", "conv", (2, 2), 3, 4, 1, (4, 4), 48, 768)


def scored(granularity: str) -> Units:
    strategy = PruningStrategy({"conv": 2 / 3}, granularity=granularity, fingerprint=fingerprint([LAYER]))  # type: ignore[arg-type]
    return Units([LAYER], strategy)


def test_first_scores_are_scaled_magnitudes() -> None:
    weight = torch.tensor(WEIGHT, dtype=torch.float64).view(4, 3, 2, 2)
    bound = math.sqrt(6 / 12)
    found = first_scores(scored("weight"), {"conv": weight})["conv"]
    torch.testing.assert_close(found, bound * weight / 2.55)
    found = first_scores(scored("channel"), {"conv": weight})["conv"]
    expected = torch.tensor([14.11, 16.47, 13.26], dtype=torch.float64) * bound / 16.47
    torch.testing.assert_close(found, expected)
    assert scored("channel").choose({"conv": found})["conv"].tolist() == [True, True, False]
    found = first_scores(scored("channel"), {"conv": weight}, compat="published")["conv"]
    expected = torch.tensor([13.08, 15.15, 15.61], dtype=torch.float64) * math.sqrt(6) / 15.61
    torch.testing.assert_close(found, expected)
    assert scored("channel").choose({"conv": found})["conv"].tolist() == [False, True, True]


def test_first_scores_of_a_layer_of_zeros_are_zeros() -> None:
    found = first_scores(scored("weight"), {"conv": torch.zeros(4, 3, 2, 2)})["conv"]
    assert not found.any() and not found.isnan().any()


def test_admm_by_hand() -> None:
    weight = torch.tensor(
        [[0.9, -0.2, 0.05], [-0.4, 0.7, 0.1], [0.3, -0.6, 0.02], [-0.15, 0.8, -0.5]], dtype=torch.float64
    )
    dual = torch.zeros_like(weight)
    first, _ = projected(weight, dual, lambda at: admm_projection(at, 0.5)[0])
    assert first.tolist() == [[0.9, 0, 0], [-0.4, 0.7, 0], [0, -0.6, 0], [0, 0.8, -0.5]]
    assert float(penalty(weight, first, dual, 1e-3)) == pytest.approx(8.27e-5, rel=1e-9)
    weight = 0.9 * weight + 0.02
    second, dual = projected(weight, dual, lambda at: admm_projection(at, 0.5)[0])
    expected = [[0, -0.16, 0.065], [0, 0, 0.11], [0.29, 0, 0.038], [-0.115, 0, 0]]
    np.testing.assert_allclose(dual.numpy(), expected, atol=1e-12)
    assert float(penalty(weight, second, dual, 1.3e-3)) == pytest.approx(3.658044e-4, rel=1e-6)


def test_an_admm_run_and_the_gradient_of_published_code(golden: Golden) -> None:
    arrays = golden("robust-prune", "admm")
    share, rho = 1 - float(arrays["prune"]), 1e-3
    dual = torch.zeros(4, 3, dtype=torch.float64)
    attached: torch.Tensor | None = None
    for step, numbers in enumerate(arrays["W"]):
        weight = torch.from_numpy(numbers)
        at = dual if step else torch.zeros_like(dual)
        auxiliary, moved = projected(weight, at, lambda value: admm_projection(value, share)[0])
        dual = moved if step else dual
        assert rho == pytest.approx(float(arrays["rho"][step]), rel=1e-12)
        np.testing.assert_allclose(auxiliary.numpy(), arrays["Z"][step], atol=1e-12)
        np.testing.assert_allclose(dual.numpy(), arrays["U"][step], atol=1e-12)
        found = penalty(weight, auxiliary, dual, rho)
        assert float(found) == pytest.approx(float(arrays["penalty"][step]), rel=1e-9)
        # Detached, the gradient is ρ (W - Z + U). With U attached to W, as published, each projection adds one more.
        leaf = weight.clone().requires_grad_()
        penalty(leaf, auxiliary, dual, rho).backward()
        torch.testing.assert_close(leaf.grad, rho * (weight - auxiliary + dual))
        attached = leaf.detach().clone().requires_grad_()
        through = dual - step * weight + step * attached  # the same value, with the graph of `step` updates
        penalty(attached, auxiliary, through, rho).backward()
        multiplier = int(arrays["reference_gradient_multiplier"][step])
        assert multiplier == 1 + step
        assert leaf.grad is not None and attached.grad is not None
        torch.testing.assert_close(attached.grad, multiplier * leaf.grad)
        rho *= 1.3


def test_schedules_by_hand() -> None:
    def rates(lr: float, epochs: int, *at: int) -> list[float]:
        return [lr * EpochCosine(epochs).share(epoch + 1, epochs) for epoch in at]

    assert rates(0.1, 20, 0, 1, 10, 19) == pytest.approx([0.0993844, 0.1, 0.0578217, 0.0024472], abs=1e-7)
    assert rates(0.01, 100, 0, 50, 99) == pytest.approx([0.00999753, 0.00515705, 9.86636e-6], abs=1e-8)
    admm = [0.01 * Restarts().share(epoch + 1, 100) for epoch in (0, 9, 10, 20, 29, 30)]
    assert admm == pytest.approx([0.01, 0.01, 0.001, 0.0001, 0.0001, 0.01], rel=1e-9)
    # Free adversarial training executes a quarter of the epochs and keeps the cosine of all.
    assert epoch_cosine(24, 100) == pytest.approx(0.875056, abs=1e-6)


def test_published_schedules(golden: Golden) -> None:
    arrays = golden("robust-prune", "schedules")

    def told(name: str, lr: float, share: Callable[[int], float]) -> None:
        found = [lr * share(epoch) for epoch in range(len(arrays[name]))]
        np.testing.assert_allclose(found, arrays[name], rtol=1e-9, err_msg=name)

    told("prune_cos", 0.1, lambda epoch: EpochCosine(20).share(epoch + 1, 20))
    told("finetune_cos", 0.01, lambda epoch: EpochCosine(100).share(epoch + 1, 100))
    told("svhn_prune_cos_wu10", 0.1, lambda epoch: EpochCosine(30, warmup=10).share(epoch + 1, 30))
    told("imagenet_freeat_cos_first25_of100", 0.1, lambda epoch: epoch_cosine(epoch, 100))
    told("admm_lr", 0.01, lambda epoch: Restarts().share(epoch + 1, 100))
    # Drops at 75, 90 and 100 % of 100 epochs.
    told("step", 0.1, lambda epoch: after_drops(epoch + 1, drops=(75, 90, 100), factor=0.1))


def test_schedules_of_whole_epochs_stay_within_one() -> None:
    schedule = EpochCosine(4)
    shares = [schedule.share(step, 20) for step in range(1, 21)]
    assert len({round(share, 12) for share in shares[:5]}) == 1 and shares[4] != shares[5]
    assert [round(share, 9) for share in shares[::5]] == [round(epoch_cosine(epoch, 4), 9) for epoch in range(4)]
