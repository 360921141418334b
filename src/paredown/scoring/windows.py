"""Scores of how much training changed its mind within a few epochs: dynamic uncertainty, DUAL, TDDS.

A window holds an example's last presentations, whichever epochs they fell into. Each score streams over the epochs and
keeps one window: `window` float32 an example, whatever the number of epochs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.artifacts.dynamics import TrainingDynamics
from paredown.artifacts.scores import Direction
from paredown.errors import MethodError
from paredown.scoring.base import AbstractDynamicsScorer

ANCHORS = 10
"""Examples of the highest score whose mean probability centres the Beta distribution of DUAL."""

CONCENTRATION = 15.0
"""The sum of the two parameters of that distribution, less one."""

BLOCK = 8192
"""Examples whose windows are looked at together."""

EDGE = 1e-6
"""How near to 0 and 1 a mean probability may come before the density is taken there: at the ends it can be infinite."""


class Window:
    """The last values of each example, and sums of what was computed of each full window.

    Args:
        examples: how many there are.
        size: values a window holds.
    """

    def __init__(self, examples: int, size: int) -> None:
        self.size, self.epochs = size, 0
        self.held = np.zeros((size, examples), np.float32)
        self.count = np.zeros(examples, np.int64)
        self.total = np.zeros(examples)
        self.windows = np.zeros(examples, np.int64)
        self.sum = np.zeros(examples)
        """Of all values, for their mean."""

    def put(self, values: np.ndarray) -> np.ndarray:
        """Takes one epoch, NaN where there is no value; gives which examples now have a full window with a new end."""
        self.epochs += 1
        present = ~np.isnan(values)
        rows = np.flatnonzero(present)
        self.held[self.count[rows] % self.size, rows] = values[rows]
        self.sum[rows] += values[rows]
        self.count[rows] += 1
        return present & (self.count >= self.size)

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Gives the mean and the sum of squared deviations within each window, float64 (N,)."""
        examples = self.held.shape[1]
        mean, squares = np.empty(examples), np.empty(examples)
        for start in range(0, examples, BLOCK):  # which stay in the cache while they are looked at twice
            part = slice(start, start + BLOCK)
            held = self.held[:, part]
            mean[part] = held.mean(axis=0, dtype=np.float64)
            squares[part] = ((held - mean[part]) ** 2).sum(axis=0)
        return mean, squares

    def means(self) -> np.ndarray:
        """Gives the mean over an example's windows, NaN where it was never presented."""
        return np.where(self.count > 0, self.total / np.maximum(self.windows, 1), np.nan)


Until = Literal["end", "best"]


def epochs_until(name: str, until: Until, dynamics: TrainingDynamics) -> int:
    """Gives how many epochs there are to the end of a training, or to the one that was best by validation.

    Raises:
        MethodError: the training held nothing out by which one was the best.
    """
    if until == "end":
        return len(dynamics)
    if dynamics.best_epoch is None:
        raise MethodError(
            f"{name}(until=best): the dynamics do not say which epoch was the best, because the training held no "
            "examples out. Train with validation, or use until=end."
        )
    return dynamics.best_epoch


def _refuse_window(name: str, window: int) -> None:
    if window < 2:
        raise MethodError(f"{name}(window={window}): one presentation does not vary. Use a window of 2 or more.")


def _refuse_short(name: str, window: int, state: Window, *, last_window: bool = True, until: Until = "end") -> None:
    """Refuses dynamics of too few epochs, and examples that were presented too seldom."""
    if state.epochs < window + (not last_window):
        enough = f"a window needs {window}" if state.epochs < window else "the last window does not count"
        held = f"{state.epochs} epochs{' up to the best one' if until == 'best' else ''}"
        raise MethodError(
            f"{name}(window={window}): the dynamics hold {held}, and {enough}. Train longer or use a smaller window."
        )
    few = (state.windows == 0) & (state.count > 0)
    if few.any():
        raise MethodError(
            f"{name}(window={window}): {int(few.sum())} of {len(few)} examples were presented too seldom to fill a "
            "window. Train longer or with drop_last off, record by evaluation, or use a smaller window."
        )


@dataclass(frozen=True)
class DynamicUncertainty(AbstractDynamicsScorer):
    """Dynamic uncertainty: the standard deviation of the label's probability within a few epochs, averaged over time.

    u_k = std of p over window k, with J - 1 in the denominator; the score is the mean of u_k over the windows. He et
    al. 2024, section 3. As published the last window does not count, so that the last epoch changes nothing. The
    code of the authors multiplies by 10, which changes no order.

    Args:
        window: presentations that a window holds, the paper's J.
        last_window: whether the last window counts too, as in the code that was published with DUAL.
        of: "confidence", of the image as it is; or "adversarial-confidence", of the one that the training attack
            reached, which an adversarial training records (Nieth et al. 2024).
        until: "end" of the training; or "best", the epoch that was best by validation, so that epochs in which the
            network overfits do not count (Nieth et al. 2024).
    """

    window: int = 10
    last_window: bool = False
    of: Literal["confidence", "adversarial-confidence"] = "confidence"
    until: Until = "end"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.sqrt(0.5)
    paper: ClassVar[str] = "He et al. 2024, Large-scale Dataset Pruning with Dynamic Uncertainty, section 3"

    def __post_init__(self) -> None:
        _refuse_window("DynamicUncertainty", self.window)

    @property
    def quantities(self) -> tuple[str, ...]:
        return (self.of,)

    def epochs_of(self, dynamics: TrainingDynamics) -> int:
        return epochs_until("DynamicUncertainty", self.until, dynamics)

    def init(self, examples: int) -> Window:
        return Window(examples, self.window)

    def update(self, state: Window, epoch: Mapping[str, np.ndarray]) -> Window:
        # The window before counts once another presentation follows it.
        before = (state.count >= self.window) & ~np.isnan(epoch[self.of])
        if not self.last_window:
            self._count(state, before)
        full = state.put(epoch[self.of])
        if self.last_window:
            self._count(state, full)
        return state

    def _count(self, state: Window, full: np.ndarray) -> None:
        if full.any():
            _, squares = state.moments()
            state.total += np.where(full, np.sqrt(squares / (self.window - 1)), 0.0)
            state.windows += full

    def finish(self, state: Window) -> np.ndarray:
        _refuse_short("DynamicUncertainty", self.window, state, last_window=self.last_window, until=self.until)
        return state.means()


@dataclass(frozen=True)
class Dual(AbstractDynamicsScorer):
    """DUAL: dynamic uncertainty times difficulty, from the first epochs alone.

    The mean over windows k of 10 · std(window k) · (1 - mean(window k)) of the label's probability, with J - 1 in the
    denominator. Cho et al. 2025, section 3. Highest first, it prefers hard examples, which fails where little is
    kept; the paper then draws by the score times the density of a Beta distribution at the example's mean probability
    μ, which moves towards easy examples the less is kept. With `keep` the score is that product, for the
    selector `weighted`: Beta(16 - b, b) with b = 15 (1 - a) (1 - (1 - keep)^c_d), a the mean μ of the ten examples of
    the highest score.

    Args:
        epochs: the first epochs, which are all that is looked at, the paper's T: 30 for CIFAR, 60 for ImageNet.
        window: presentations that a window holds, the paper's J.
        keep: the share that will be kept, in (0, 1); none gives the score itself.
        c_d: how soon the Beta distribution moves as less is kept: 4 for CIFAR-10 and CIFAR-100.
    """

    epochs: int = 30
    window: int = 10
    keep: float | None = None
    c_d: float = 4.0

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    quantities: ClassVar[tuple[str, ...]] = ("confidence",)
    paper: ClassVar[str] = (
        "Cho et al. 2025, Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction "
        "Uncertainty, section 3"
    )

    def __post_init__(self) -> None:
        _refuse_window("Dual", self.window)
        if self.epochs < self.window:
            raise MethodError(
                f"Dual(epochs={self.epochs}, window={self.window}): the window is longer than what it moves over. "
                "Look at more epochs or use a smaller window."
            )
        if self.keep is not None and not 0 < self.keep < 1:
            raise MethodError(
                f"Dual(keep={self.keep:g}): not a share to keep. Use a number between 0 and 1, the fraction that is "
                "selected afterwards."
            )
        if self.c_d <= 0:
            raise MethodError(f"Dual(c_d={self.c_d:g}): the exponent is above 0. The paper uses 4.")

    def init(self, examples: int) -> Window:
        return Window(examples, self.window)

    def update(self, state: Window, epoch: Mapping[str, np.ndarray]) -> Window:
        if state.epochs == self.epochs:
            return state
        full = state.put(epoch["confidence"])
        if full.any():
            mean, squares = state.moments()
            state.total += np.where(full, 10 * np.sqrt(squares / (self.window - 1)) * (1 - mean), 0.0)
            state.windows += full
        return state

    def finish(self, state: Window) -> np.ndarray:
        if state.epochs < self.epochs:
            raise MethodError(
                f"Dual(epochs={self.epochs}): the dynamics hold {state.epochs} epochs. Train longer or look at fewer."
            )
        _refuse_short("Dual", self.window, state)
        scores = state.means()
        if self.keep is None:
            return scores
        return scores * beta_density(scores, state.sum / np.maximum(state.count, 1), keep=self.keep, c_d=self.c_d)


def beta_density(scores: np.ndarray, probabilities: np.ndarray, *, keep: float, c_d: float) -> np.ndarray:
    """Gives the density of DUAL's Beta distribution at each example's mean probability.

    Cho et al. 2025, section 3; see `Dual`.

    Args:
        scores: DUAL, shape (N,); they say which examples anchor the distribution.
        probabilities: mean probability of the label, μ, shape (N,).
        keep: the share that will be kept, in (0, 1).
        c_d: the exponent.

    Returns:
        float64, shape (N,), finite.
    """
    # Of equal scores all anchor, so that the order of the examples decides nothing.
    top = scores >= np.sort(scores)[-min(ANCHORS, len(scores))]
    anchor = probabilities[top].mean()
    b = max(CONCENTRATION * (1 - anchor) * (1 - (1 - keep) ** c_d), EDGE)
    a = CONCENTRATION + 1 - b
    inside = np.clip(probabilities, EDGE, 1 - EDGE)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    return np.exp((a - 1) * np.log(inside) + (b - 1) * np.log1p(-inside) - log_beta)


@dataclass(frozen=True)
class Tdds(AbstractDynamicsScorer):
    """TDDS: how unevenly the probabilities moved within a window, the latest windows counting most.

    The divergence d between two consecutive presentations is recorded (`divergence`). For each window of J
    presentations R = ‖d - mean d‖₂ over its J - 1 steps; the score is the moving average S ← 0.9 R + 0.1 S over the
    windows, so that window k of T presentations weighs 0.9 · 0.1^(T - J - k). Zhang et al. 2024, section 3. The
    published code computes the first window over and over; here it moves on.

    Args:
        epochs: the first epochs, which are all that is looked at, the paper's T; none looks at all that were recorded.
            The paper has values from 10 to 90, fewer the less is kept.
        window: presentations that a window holds, the paper's J.
    """

    epochs: int | None = None
    window: int = 10

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    quantities: ClassVar[tuple[str, ...]] = ("divergence",)
    paper: ClassVar[str] = (
        "Zhang et al. 2024, Spanning Training Progress: Temporal Dual-Depth Scoring for Enhanced Dataset Pruning, "
        "section 3"
    )

    def __post_init__(self) -> None:
        if self.window < 3:
            raise MethodError(
                f"Tdds(window={self.window}): one step between presentations does not vary. Use a window of 3 or more."
            )
        if self.epochs is not None and self.epochs < self.window:
            raise MethodError(
                f"Tdds(epochs={self.epochs}, window={self.window}): the window is longer than what it moves over. "
                "Look at more epochs or use a smaller window."
            )

    def init(self, examples: int) -> Window:
        return Window(examples, self.window - 1)

    def update(self, state: Window, epoch: Mapping[str, np.ndarray]) -> Window:
        if state.epochs == self.epochs:
            return state
        full = state.put(epoch["divergence"])
        if full.any():
            _, squares = state.moments()
            state.total = np.where(full, 0.9 * np.sqrt(squares) + 0.1 * state.total, state.total)
            state.windows += full
        return state

    def finish(self, state: Window) -> np.ndarray:
        if self.epochs is not None and state.epochs < self.epochs:
            raise MethodError(
                f"Tdds(epochs={self.epochs}): the dynamics hold {state.epochs} epochs. Train longer or look at fewer."
            )
        _refuse_short("Tdds", self.window, state)
        return np.where(state.count > 0, state.total, np.nan)
