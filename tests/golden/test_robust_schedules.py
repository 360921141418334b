"""Learning rates of published robust trainings: those of an independent model, and of specification 0, section 11.6."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch

from paredown.training import Cosine, OneCycle, Step
from paredown.training.schedules import AbstractSchedule

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def rates(schedule: AbstractSchedule, lr: float, total: int, count: int | None = None) -> list[float]:
    return [lr * schedule.share(step, total) for step in range(1, (count or total) + 1)]


@pytest.mark.parametrize(
    ("name", "lr", "total"),
    [("prune_cos", 0.1, 20), ("finetune_cos", 0.01, 100), ("imagenet_freeat_cos_first25_of100", 0.1, 100)],
)
def test_the_cosine_that_is_one_epoch_ahead(golden: Golden, name: str, lr: float, total: int) -> None:
    # Its epochs count from 0 and its formula from 1: the first epoch has the rate of the third, the second the whole.
    expected = golden("robust-prune", "schedules")[name]
    ours = rates(Cosine(), lr, total, len(expected) - 1)
    np.testing.assert_allclose(expected[1:], ours, rtol=1e-12)
    assert expected[0] == pytest.approx(ours[1], rel=1e-12)


def test_free_training_that_keeps_the_undivided_length(golden: Golden) -> None:
    # A quarter of the passes with the whole length of the schedule leaves 87.5 % of the rate; ours reaches the end.
    expected = golden("robust-prune", "schedules")["imagenet_freeat_cos_first25_of100"]
    assert expected[-1] / expected.max() == pytest.approx(0.8750555348152298)
    assert Cosine().share(100, 100) < 0.01


def test_drops_after_shares_of_the_training(golden: Golden) -> None:
    expected = golden("robust-prune", "schedules")["step"][:100]
    np.testing.assert_allclose(rates(Step(drops=(0.75, 0.9), factor=0.1), 0.1, 100), expected, rtol=1e-12)


def test_cosine_and_step_of_the_specification() -> None:
    np.testing.assert_allclose(rates(Cosine(), 0.4, 4), [0.4, 0.3414213562, 0.2, 0.0585786438], atol=1e-10)
    step = Step(drops=(100, 105), factor=0.1)
    found = dict(enumerate(rates(step, 0.4, 110), start=1))
    assert all(found[epoch] == pytest.approx(0.4) for epoch in range(1, 101))
    assert all(found[epoch] == pytest.approx(0.04) for epoch in range(101, 106))
    assert all(found[epoch] == pytest.approx(0.004) for epoch in range(106, 111))


def test_cyclic_is_a_one_cycle_of_a_quarter() -> None:
    # By batch, a quarter of the way up, and the momentum the other way round.
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.2, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, pct_start=0.25, steps_per_epoch=12, epochs=5)
    ours = OneCycle(warmup=0.25, cycled=(0.85, 0.95))
    for step in range(1, 61):
        group = optimizer.param_groups[0]
        assert 0.2 * ours.share(step, 60) == pytest.approx(group["lr"], abs=1e-12)
        assert ours.momentum(step, 60) == pytest.approx(group["momentum"], abs=1e-12)
        optimizer.step()
        if step < 60:
            theirs.step()
