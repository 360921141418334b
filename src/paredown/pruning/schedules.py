"""Learning rates of the published prunings: restarts at every projection of ADMM, HYDRA's cosine of whole epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paredown.errors import MethodError
from paredown.training.schedules import AbstractSchedule, Step, as_step


def epoch_cosine(epoch: int, epochs: int, warmup: int = 0) -> float:
    """Gives the share of the rate that HYDRA's code has in an epoch: ½ (1 + cos(π (e - 1) / E)), 1 in a warm-up.

    e counts from 0 after the warm-up, so that the first epoch lies slightly below the whole rate and the second has it.

    Args:
        epoch: counted from 0.
        epochs: E, without the warm-up.
        warmup: epochs before the cosine, at a rate of their own.
    """
    if epoch < warmup:
        return 1.0
    return (1 + math.cos(math.pi * (epoch - warmup - 1) / epochs)) / 2


@dataclass(frozen=True)
class EpochCosine(AbstractSchedule):
    """Half a cosine in whole epochs, as HYDRA's published code has it; `cosine` falls at every step.

    Args:
        epochs: of the training, warm-up included.
        warmup: epochs at the whole rate before it falls.
    """

    epochs: int
    warmup: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < self.epochs:
            raise MethodError(
                f"EpochCosine(epochs={self.epochs}, warmup={self.warmup}): no epoch is left to fall in. "
                "Give more epochs than the warm-up takes."
            )

    def share(self, step: int, total: int) -> float:
        return epoch_cosine((step - 1) * self.epochs // total, self.epochs - self.warmup, self.warmup)


@dataclass(frozen=True)
class Restarts(AbstractSchedule):
    """A schedule that begins again and again, as that of robust ADMM does at every projection.

    Args:
        period: how long one run of it takes; below 1 a share of the training, from 1 on a number of steps.
        schedule: what is run; its moments are those of one period.
    """

    period: float = 0.3
    schedule: AbstractSchedule = Step(drops=(1 / 3, 2 / 3), factor=0.1)  # noqa: RUF009  (frozen)

    def __post_init__(self) -> None:
        if self.period <= 0 or (self.period > 1 and self.period != int(self.period)):
            raise MethodError(
                f"Restarts(period={self.period}): neither a share of the training (above 0 and below 1) nor a number "
                "of steps (a whole one from 1)."
            )

    def share(self, step: int, total: int) -> float:
        period = max(as_step(self.period, total), 1)
        return self.schedule.share((step - 1) % period + 1, period)

    def momentum(self, step: int, total: int) -> float | None:
        period = max(as_step(self.period, total), 1)
        return self.schedule.momentum((step - 1) % period + 1, period)
