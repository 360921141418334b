"""Learning-rate schedules: pure functions of the step, so that a resumed training needs no scheduler state.

A schedule gives the *share* of the optimizer's rate that a step uses. Steps are numbered from 1 to `total`, and the
rate changes at every step, never once an epoch only.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from paredown.errors import MethodError
from paredown.method import Method


def after_drops(step: int, *, drops: tuple[int, ...], factor: float) -> float:
    """Gives `factor` to the power of how many drops lie behind.

    The comparison is strict: step 23400 of the drop at 23400 still has the rate from before it, step 23401 the next.
    """
    return float(factor ** sum(step > drop for drop in drops))


def half_cosine(step: int, *, warmup: int, total: int, floor: float) -> float:
    """Gives a linear rise to 1 over `warmup` steps, then half a cosine from 1 towards `floor`.

    `floor + (1 − floor)/2 · (1 + cos(π (t − 1 − w)/(T − w)))` (Loshchilov and Hutter 2017, SGDR, eq. 5), so that the
    first step after the warm-up has the whole rate and the last one is not wasted on a rate of zero.
    """
    if step <= warmup:
        return step / warmup
    done = (step - 1 - warmup) / max(total - warmup, 1)
    return floor + (1 - floor) / 2 * (1 + math.cos(math.pi * min(done, 1.0)))


def rise_and_fall(step: int, *, warmup: int, total: int) -> float:
    """Gives a linear rise to 1 over `warmup` steps, then `(T + 1 − t)/(T − w)`: no step has a rate of zero.

    The first step after the warm-up has the whole rate, the last one `1/(T − w)` of it.
    """
    if step <= warmup:
        return step / warmup
    return (total + 1 - step) / max(total - warmup, 1)


def one_cycle(step: int, *, peak: float, total: int, begin: float, end: float) -> float:
    """Gives half a cosine from `begin` up to 1, then half a cosine down to `end` at the last step.

    With i = t − 1, s₁ = `peak` and s₂ = T − 1: `ci(begin, 1, i/s₁)` up to s₁, then `ci(1, end, (i − s₁)/(s₂ − s₁))`,
    where `ci(a, b, u) = b + (a − b)/2 · (1 + cos(πu))` (Smith and Topin 2018, in the form of torch's `OneCycleLR`).
    """
    done = step - 1
    if done <= peak:
        return _between(begin, 1.0, done / peak)
    return _between(1.0, end, min((done - peak) / (total - 1 - peak), 1.0))


def _between(first: float, last: float, done: float) -> float:
    return last + (first - last) / 2 * (1 + math.cos(math.pi * done))


def triangle(step: int, *, peak: int, total: int) -> float:
    """Gives a linear rise from 0 to 1 at step `peak`, then a linear fall to 0 at step `total`."""
    if step <= peak:
        return step / peak if peak else 1.0
    return max(total - step, 0) / (total - peak)


def as_step(moment: float, total: int) -> int:
    """Gives the step that a moment means: below 1 a share of the whole training, from 1 on the step itself."""
    return round(moment * total) if moment < 1 else int(moment)


class AbstractSchedule(Method):
    """How the learning rate changes over the steps."""

    kind: ClassVar[str] = "schedule"

    @abstractmethod
    def share(self, step: int, total: int) -> float:
        """Gives the share of the optimizer's rate that a step uses.

        Args:
            step: numbered from 1.
            total: the number of steps of the whole training.
        """

    def momentum(self, step: int, total: int) -> float | None:
        """Gives the optimizer's momentum at a step; none leaves it as it is."""
        return None


@dataclass(frozen=True)
class Constant(AbstractSchedule):
    """The same rate at every step."""

    def share(self, step: int, total: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Step(AbstractSchedule):
    """The rate times `factor` after each of some moments (Paul et al. 2021: 0.2, at 30, 60 and 80 % of 200 epochs).

    Args:
        drops: the last step of each stretch; below 1 a share of the training, from 1 on the step's number.
        factor: what the rate is multiplied by.
    """

    drops: tuple[float, ...] = (0.3, 0.6, 0.8)
    factor: float = 0.2

    def __post_init__(self) -> None:
        for drop in self.drops:
            _check_moment("Step", "drops", drop)
        if self.factor <= 0:
            raise MethodError(f"Step(factor={self.factor}): the rate would vanish. Give a factor above 0.")

    def share(self, step: int, total: int) -> float:
        return after_drops(step, drops=tuple(as_step(drop, total) for drop in self.drops), factor=self.factor)


@dataclass(frozen=True)
class Cosine(AbstractSchedule):
    """Half a cosine from the whole rate towards `floor`, after a linear warm-up (Loshchilov and Hutter 2017).

    Args:
        warmup: how long the rate rises from nothing; below 1 a share of the training, from 1 on a number of steps.
        floor: the share of the rate that the cosine ends on.
    """

    warmup: float = 0.0
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check_moment("Cosine", "warmup", self.warmup)
        if not 0 <= self.floor <= 1:
            raise MethodError(f"Cosine(floor={self.floor}): a share of the rate lies between 0 and 1.")

    def share(self, step: int, total: int) -> float:
        return half_cosine(step, warmup=as_step(self.warmup, total), total=total, floor=self.floor)


@dataclass(frozen=True)
class Linear(AbstractSchedule):
    """A linear warm-up to the whole rate, then a linear fall that the end of the training would bring to zero.

    The usual schedule for fine-tuning transformers (Devlin et al. 2019, BERT, appendix A.2).

    Args:
        warmup: how long the rate rises from nothing; below 1 a share of the training, from 1 on a number of steps.
    """

    warmup: float = 0.05

    def __post_init__(self) -> None:
        _check_moment("Linear", "warmup", self.warmup)

    def share(self, step: int, total: int) -> float:
        return rise_and_fall(step, warmup=as_step(self.warmup, total), total=total)


@dataclass(frozen=True)
class Triangular(AbstractSchedule):
    """A linear rise to the whole rate, then a linear fall to zero (`lr_vitaly` of the data-diet code).

    Args:
        peak: when the rate is whole; below 1 a share of the training, from 1 on the step's number.
    """

    peak: float = 0.15

    def __post_init__(self) -> None:
        _check_moment("Triangular", "peak", self.peak)

    def share(self, step: int, total: int) -> float:
        return triangle(step, peak=min(as_step(self.peak, total), total - 1), total=total)


@dataclass(frozen=True)
class OneCycle(AbstractSchedule):
    """Half a cosine up to the whole rate and half a cosine down to almost nothing (Smith and Topin 2018).

    The usual schedule of adversarial training with much data (Wang et al. 2023), where it changes once an epoch; here
    it changes at every step. The warm-up takes at least one step.

    Args:
        warmup: how long the rate rises; below 1 a share of the training, from 1 on a number of steps.
        begin: the share of the rate at the first step.
        end: the share of the rate at the last step.
        cycled: the momentum at the highest rate and at both ends, 0.85 and 0.95 in torch; none leaves the optimizer's.
    """

    warmup: float = 0.025
    begin: float = 1 / 25
    end: float = 1 / 250_000
    cycled: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _check_moment("OneCycle", "warmup", self.warmup)
        for field in ("begin", "end"):
            share = getattr(self, field)
            if not 0 <= share <= 1:
                raise MethodError(f"OneCycle({field}={share}): a share of the rate lies between 0 and 1.")
        if self.cycled is not None and not all(0 < momentum < 1 for momentum in self.cycled):
            raise MethodError(f"OneCycle(cycled={self.cycled}): a momentum lies between 0 and 1.")

    def share(self, step: int, total: int) -> float:
        return one_cycle(step, peak=self._peak(total), total=total, begin=self.begin, end=self.end)

    def momentum(self, step: int, total: int) -> float | None:
        if self.cycled is None:
            return None
        low, high = self.cycled
        # The same curve, upside down and down to its ends.
        return high - (high - low) * one_cycle(step, peak=self._peak(total), total=total, begin=0.0, end=0.0)

    def _peak(self, total: int) -> float:
        """How many steps lie before the highest rate; not rounded, as in torch."""
        return max((self.warmup * total if self.warmup < 1 else self.warmup) - 1, 1.0)


def _check_moment(owner: str, field: str, moment: float) -> None:
    if moment < 0 or (moment > 1 and moment != int(moment)):
        raise MethodError(
            f"{owner}({field}={moment}): neither a share of the training (below 1) nor a step (a whole number from 1)."
        )
