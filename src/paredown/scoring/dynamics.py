"""Scores of what training saw: how often an example was learnt, forgotten, doubted.

Each streams over the epochs in float64 and needs the memory of one. Epochs in which an example was not presented (NaN)
do not count for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from paredown.artifacts.scores import Direction
from paredown.errors import MethodError
from paredown.scoring.base import AbstractDynamicsScorer

NeverLearned = Literal["hardest", "zero", "infinite"]


class ForgettingEvents:
    """Counts how often each example was classified rightly and, at its next presentation, wrongly.

    Toneva et al. 2019, algorithm 1. A loop of one's own feeds it batch by batch.

    Args:
        examples: how many there are.
    """

    def __init__(self, examples: int) -> None:
        self.count = np.zeros(examples, dtype=np.int64)
        self.presentations = np.zeros(examples, dtype=np.int64)
        self.learned = np.zeros(examples, dtype=bool)
        self._previous = np.zeros(examples, dtype=bool)

    def update(self, positions: np.ndarray, correct: np.ndarray) -> None:
        """Takes one batch.

        Args:
            positions: which examples, each at most once.
            correct: whether each was classified rightly (bool, or 0 and 1).
        """
        now = np.asarray(correct) > 0.5
        self.count[positions] += self._previous[positions] & ~now
        self.presentations[positions] += 1
        self.learned[positions] |= now
        self._previous[positions] = now

    def scores(self, never_learned: NeverLearned) -> np.ndarray:
        """Gives the counts so far, and a value for examples never classified rightly; float64, shape (N,)."""
        # Each event takes two presentations: one right, one wrong.
        most = int(self.presentations.max(initial=0)) // 2
        value = {"hardest": most + 1.0, "zero": 0.0, "infinite": math.inf}[never_learned]
        return np.where(self.learned, self.count.astype(np.float64), value)


@dataclass(frozen=True)
class Forgetting(AbstractDynamicsScorer):
    """Forgetting: how often an example was learnt and then misclassified at its next presentation.

    Toneva et al. 2019, section 3. An example that was never learnt has nothing to forget and is the hardest of all;
    what number it gets is a choice.

    Args:
        never_learned: "hardest": one more than the most events that are possible, half the presentations, so that means
            over runs stay finite. "infinite": as in the paper and the original; one run that never learnt the example
            makes its mean infinite. "zero": as in DeepCore, where it counts as never forgotten.
    """

    never_learned: NeverLearned = "hardest"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    quantities: ClassVar[tuple[str, ...]] = ("correct",)
    paper: ClassVar[str] = (
        "Toneva et al. 2019, An Empirical Study of Example Forgetting during Deep Neural Network Learning, section 3"
    )

    def __post_init__(self) -> None:
        if self.never_learned not in ("hardest", "zero", "infinite"):
            raise MethodError(
                f"Forgetting(never_learned={self.never_learned!r}): not a value for examples that were never learnt. "
                "Use hardest, zero or infinite."
            )

    @property
    def infinite(self) -> bool:
        return self.never_learned == "infinite"

    def init(self, examples: int) -> ForgettingEvents:
        return ForgettingEvents(examples)

    def update(self, state: ForgettingEvents, epoch: Mapping[str, np.ndarray]) -> ForgettingEvents:
        presented = np.flatnonzero(~np.isnan(epoch["correct"]))
        state.update(presented, epoch["correct"][presented])
        return state

    def finish(self, state: ForgettingEvents) -> np.ndarray:
        return np.where(state.presentations > 0, state.scores(self.never_learned), np.nan)


@dataclass
class Moments:
    """Mean and sum of squared deviations of each example over the epochs in which it was presented (Welford 1962)."""

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    epochs: int = field(default=0)

    @classmethod
    def zero(cls, examples: int) -> Moments:
        return cls(np.zeros(examples, np.int64), np.zeros(examples), np.zeros(examples))

    def add(self, values: np.ndarray) -> Moments:
        """Takes one epoch: float (N,), NaN where an example was not presented."""
        self.epochs += 1
        presented = ~np.isnan(values)
        new = values[presented].astype(np.float64)
        self.count[presented] += 1
        with np.errstate(invalid="ignore"):
            change = new - self.mean[presented]
            self.mean[presented] += change / self.count[presented]
            self.squares[presented] += change * (new - self.mean[presented])
        return self

    def means(self) -> np.ndarray:
        """Gives the means, NaN where nothing was presented."""
        return self._of_presented(self.mean)

    def deviations(self) -> np.ndarray:
        """Gives the standard deviations with n in the denominator, NaN where nothing was presented."""
        return np.sqrt(self._of_presented(self.squares / np.maximum(self.count, 1)))

    def _of_presented(self, moments: np.ndarray) -> np.ndarray:
        # NaN here can only come of an infinite value, such as a loss that overflowed; it must not pass for absence.
        return np.where(self.count > 0, np.nan_to_num(moments, nan=np.inf, posinf=np.inf, neginf=-np.inf), np.nan)


@dataclass(frozen=True)
class Aum(AbstractDynamicsScorer):
    """AUM: area under the margin, the mean over epochs of the label's logit less the largest other logit.

    Pleiss et al. 2020, equation 1 and section 3.1. Low values are hard examples, the lowest mostly wrong labels. CCS
    (Zheng et al. 2023) and D2 (Maharana et al. 2024) take probabilities instead, and their sum over the epochs.

    Args:
        of: the margin of the "logits", or of the "probabilities", for which `probability-margin` must be recorded.
    """

    of: Literal["logits", "probabilities"] = "logits"

    important: ClassVar[Direction] = "low"
    paper: ClassVar[str] = (
        "Pleiss et al. 2020, Identifying Mislabeled Data using the Area Under the Margin Ranking, section 3.1"
    )

    def __post_init__(self) -> None:
        if self.of not in ("logits", "probabilities"):
            raise MethodError(
                f"Aum(of={self.of!r}): a margin is between logits or between probabilities. Use one of these two words."
            )

    @property
    def low(self) -> float:
        return -math.inf if self.of == "logits" else -1.0

    @property
    def high(self) -> float:
        return math.inf if self.of == "logits" else 1.0

    @property
    def quantities(self) -> tuple[str, ...]:
        return ("margin",) if self.of == "logits" else ("probability-margin",)

    def init(self, examples: int) -> Moments:
        return Moments.zero(examples)

    def update(self, state: Moments, epoch: Mapping[str, np.ndarray]) -> Moments:
        return state.add(epoch[self.quantities[0]])

    def finish(self, state: Moments) -> np.ndarray:
        return state.means()


@dataclass(frozen=True)
class Correctness(AbstractDynamicsScorer):
    """Correctness: the share of epochs in which an example was classified rightly.

    Swayamdipta et al. 2020, section 2.1: the colour of the data map.
    """

    important: ClassVar[Direction] = "low"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    quantities: ClassVar[tuple[str, ...]] = ("correct",)
    paper: ClassVar[str] = "Swayamdipta et al. 2020, Dataset Cartography, section 2.1"

    def init(self, examples: int) -> Moments:
        return Moments.zero(examples)

    def update(self, state: Moments, epoch: Mapping[str, np.ndarray]) -> Moments:
        return state.add(epoch["correct"])

    def finish(self, state: Moments) -> np.ndarray:
        return state.means()


@dataclass(frozen=True)
class Variability(AbstractDynamicsScorer):
    """Variability: the standard deviation over epochs of the label's probability, with n in the denominator.

    Swayamdipta et al. 2020, section 2.1: the width of the data map; high values are the ambiguous examples.
    """

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 0.5
    quantities: ClassVar[tuple[str, ...]] = ("confidence",)
    paper: ClassVar[str] = "Swayamdipta et al. 2020, Dataset Cartography, section 2.1"

    def init(self, examples: int) -> Moments:
        return Moments.zero(examples)

    def update(self, state: Moments, epoch: Mapping[str, np.ndarray]) -> Moments:
        return state.add(epoch["confidence"])

    def finish(self, state: Moments) -> np.ndarray:
        return state.deviations()


Quantity = Literal["confidence", "correct", "margin", "loss", "el2n", "probability-margin", "divergence"]

_RANGES: dict[str, tuple[Direction, float, float]] = {
    "confidence": ("low", 0.0, 1.0),
    "correct": ("low", 0.0, 1.0),
    "margin": ("low", -math.inf, math.inf),
    "loss": ("high", 0.0, math.inf),
    "el2n": ("high", 0.0, math.sqrt(2.0)),
    "probability-margin": ("low", -1.0, 1.0),
    "divergence": ("high", 0.0, math.inf),
}


@dataclass(frozen=True)
class RecordedMean(AbstractDynamicsScorer):
    """Recorded mean: the mean of a recorded quantity over some epochs, such as EL2N over the first ten.

    It costs no checkpoint and no pass over the data. Recorded while training, the quantity is of augmented images and
    of a network that moves within the epoch, so it is not the EL2N of one checkpoint.

    Args:
        quantity: which of the recorded ones; its direction and range are the score's.
        first: the first epoch that counts, from 1.
        last: the last epoch that counts; none means the last recorded.
    """

    quantity: Quantity = "el2n"
    first: int = 1
    last: int | None = None

    def __post_init__(self) -> None:
        if self.quantity not in _RANGES:
            raise MethodError(
                f"RecordedMean(quantity={self.quantity!r}): not a recorded quantity. Use one of {', '.join(_RANGES)}."
            )
        if self.first < 1 or (self.last is not None and self.last < self.first):
            raise MethodError(
                f"RecordedMean(first={self.first}, last={self.last}): no epochs lie between, because epochs count "
                "from 1. Choose 1 ≤ first ≤ last."
            )

    @property
    def important(self) -> Direction:
        return _RANGES[self.quantity][0]

    @property
    def low(self) -> float:
        return _RANGES[self.quantity][1]

    @property
    def high(self) -> float:
        return _RANGES[self.quantity][2]

    @property
    def quantities(self) -> tuple[str, ...]:
        return (self.quantity,)

    def init(self, examples: int) -> Moments:
        return Moments.zero(examples)

    def update(self, state: Moments, epoch: Mapping[str, np.ndarray]) -> Moments:
        if self.first <= state.epochs + 1 <= (self.last or math.inf):
            return state.add(epoch[self.quantity])
        state.epochs += 1
        return state

    def finish(self, state: Moments) -> np.ndarray:
        if state.epochs < (self.last or self.first):
            raise MethodError(
                f"RecordedMean(first={self.first}, last={self.last}): the dynamics hold {state.epochs} epochs. "
                "Train longer or choose earlier epochs."
            )
        return state.means()
