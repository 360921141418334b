"""What a run found, as plain values: the only thing that the page knows about.

Nothing here knows of recipes, stores or models. Whoever has numbers in this form, from this toolkit or from elsewhere,
gets the page. Positions count the examples of the data from 0; every array of examples stands in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from paredown.errors import DataError

Arm = str
FULL: Arm = "full"
CHOSEN: Arm = "chosen"
RANDOM: Arm = "random"
BALANCED: Arm = "balanced"
DISTILLED: Arm = "distilled"


@dataclass(frozen=True)
class Outcome:
    """What one training reached.

    Args:
        arm: which examples it saw: "full", "random", "balanced" (random within each class), "distilled" (learnt ones),
            or the arm of a `Selector`.
        fraction: the share of the examples that it saw, or would be if they were not learnt; 1 for "full".
        seed: of the training; outcomes with one seed are compared with each other.
        accuracy: share of the test examples that it classifies rightly, in [0, 1].
        robust: share of them that stay classified rightly under attack, or nothing.
        by_class: the accuracy for each class, or nothing.
        steps: optimiser steps that it took.
        epochs: passes over the examples that it saw.
        seconds: how long it trained, evaluation not counted.
    """

    arm: Arm
    fraction: float
    seed: int
    accuracy: float
    robust: float | None = None
    by_class: tuple[float, ...] | None = None
    steps: int | None = None
    epochs: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Selector:
    """One of the ways of choosing that the page compares.

    Args:
        arm: what its outcomes are called.
        name: what completes "chosen by …", also in the tables ("EL2N", "d2").
        words: how it chooses, its settings and its paper, in a sentence or two.
    """

    arm: Arm
    name: str
    words: str = ""


@dataclass(frozen=True)
class Kept:
    """The positions that one selector kept at one fraction, in the order chosen; of several draws, the first."""

    fraction: float
    positions: np.ndarray
    arm: Arm = CHOSEN


@dataclass(frozen=True)
class Measure:
    """A figure about what was kept.

    Args:
        arm, fraction: whose choice was measured; one that is drawn by chance has a measure for each draw.
        metric: what was measured, as the probe calls it ("coverage").
        value: the figure.
        other: the arm of the choice at the same fraction that it is compared with, for what is said of two.
    """

    arm: Arm
    fraction: float
    metric: str
    value: float
    other: Arm = ""


@dataclass(frozen=True)
class DataMap:
    """Where each example lies on the data map (Swayamdipta et al. 2020); NaN for an example that was never presented.

    Args:
        confidence: mean probability of the given label over the epochs, (N,).
        variability: its standard deviation over the epochs, (N,).
        correctness: share of the epochs in which the example was classified rightly, (N,).
        epochs: how many epochs these are taken over, in words ("30 epochs of 3 trainings"), or nothing.
    """

    confidence: np.ndarray
    variability: np.ndarray
    correctness: np.ndarray
    epochs: str = ""


@dataclass(frozen=True)
class Suspects:
    """Examples whose label is likely wrong.

    Args:
        positions: the suspects, most suspicious first.
        by: how they were found, in words ("lowest area under the margin").
        suggested: the label that the model would give, for every example of the data (N,), or nothing.
        corrupted: which labels of the data are known to be wrong (N,), because noise was injected; or nothing.
        clean: the labels before noise was injected (N,), or nothing.
    """

    positions: np.ndarray
    by: str
    suggested: np.ndarray | None = None
    corrupted: np.ndarray | None = None
    clean: np.ndarray | None = None


@dataclass(frozen=True)
class Step:
    """One step of the run and what it cost.

    Args:
        name: what the recipe calls it.
        verb: "train", "score", "select", …
        seconds: how long it took when it was made, also where it is reused.
        reused: it stood in the store already, and this run did not make it again.
        chooses: the arms to whose price it belongs: trainings that their scores come from, scoring, selecting.
        address: of what it made.
    """

    name: str
    verb: str
    seconds: float
    reused: bool = False
    chooses: tuple[Arm, ...] = ()
    address: str = ""


@dataclass(frozen=True)
class Provenance:
    """What made the run: enough to do it again.

    Args:
        command: exactly what was typed.
        versions: of paredown, Python and the libraries.
        device: in words.
        threads: of the processor.
        date: when the run ended, in words.
        fingerprint: of the data.
    """

    command: str
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    threads: int | None = None
    date: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything that the page shows. What is not given is left out of the page, with one line that says so.

    Args:
        data: the data's name ("fashion-mnist").
        labels: the label of every example, (N,) integers.
        classes: the name of every class.
        outcomes: every training's result.
        kept: what was kept at each fraction; the headline speaks of the first, and of the others at that fraction.
        scorer: its name as people say it ("EL2N"); empty where nothing was scored.
        selectors: the ways of choosing; with one, the page is about it, with several it compares them.
        budget: what every training got the same number of.
        scorer_words: what it measures, its settings and its paper, in a sentence or two.
        model: in words.
        training: in words.
        title: of the page; made from the data's name when not given.
        shape: channels, height, width of an image.
        noun: what one example is, in the plural.
        test: the name of the data that accuracy is measured on.
        test_size: how many examples it has.
        threat: what the attack may do ("linf 8/255"), where robust accuracy was measured.
        attacked: how many test examples were attacked.
        scores: the score of every example, (N,).
        important: which end of the scores the scorer holds important.
        never_learned: which examples no epoch classified rightly, (N,) booleans.
        keys: the id of every example, (N,); positions when not given.
        map: the data map.
        images: gives uint8 (n, H, W, C) for n positions; or the whole array (N, H, W, C).
        texts: gives n texts for n positions, for data that are read and not looked at.
        suspects: likely label errors.
        measures: figures about what each selector kept.
        steps: of the run, in order.
        provenance: what made it.
        why_missing: a section's id to the reason why it has nothing to show ("pictures": "Texts have no pictures.").

    Raises:
        DataError: nothing was kept, a selector kept nothing, a kept fraction has no training, or an array does not fit
            the data.
    """

    data: str
    labels: np.ndarray
    classes: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    kept: tuple[Kept, ...]
    scorer: str
    selectors: tuple[Selector, ...]
    budget: Literal["steps", "epochs"]
    scorer_words: str = ""
    model: str = ""
    training: str = ""
    title: str = ""
    shape: tuple[int, int, int] | None = None
    noun: str = "images"
    test: str = ""
    test_size: int | None = None
    threat: str = ""
    attacked: int | None = None
    scores: np.ndarray | None = None
    important: Literal["high", "low", "none"] = "high"
    never_learned: np.ndarray | None = None
    keys: np.ndarray | None = None
    map: DataMap | None = None
    images: Callable[[np.ndarray], np.ndarray] | np.ndarray | None = None
    texts: Callable[[np.ndarray], Sequence[str]] | None = None
    suspects: Suspects | None = None
    measures: tuple[Measure, ...] = ()
    steps: tuple[Step, ...] = ()
    provenance: Provenance | None = None
    why_missing: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.kept:
            raise DataError(
                "Findings(kept=()): nothing was kept, so there is nothing to report. Give one fraction at least."
            )
        known, kept_by = {selector.arm for selector in self.selectors}, {kept.arm for kept in self.kept}
        if known != kept_by:
            odd = sorted(known ^ kept_by)[0]
            raise DataError(
                f"Findings(selectors=…): '{odd}' stands among the selectors or in what was kept, and not in both."
                " Give a Selector and a Kept for every arm that chose."
            )
        for kept in self.kept:
            if not self.of(kept.arm, kept.fraction):
                raise DataError(
                    f"Findings(outcomes=…): no training on the {kept.fraction:g} kept by '{kept.arm}' is among them,"
                    " and the page is about it. Give an Outcome of that arm for every kept fraction."
                )
            if len(kept.positions) and not 0 <= np.min(kept.positions) <= np.max(kept.positions) < len(self):
                raise DataError(
                    f"Findings(kept=…): a position of the kept {kept.fraction:g} is not among the {len(self)} examples."
                    " Give positions in the data from 0, not ids."
                )
        for name, values in self._per_example().items():
            if values is not None and len(values) != len(self):
                raise DataError(
                    f"Findings({name}=…): {len(values)} values for {len(self)} examples."
                    " Give one for every example of the data."
                )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def main(self) -> Kept:
        """What was kept at the fraction that the headline speaks of, by the first selector."""
        return self.kept[0]

    @property
    def several(self) -> bool:
        """Whether the page compares selectors."""
        return len(self.selectors) > 1

    @property
    def fractions(self) -> tuple[float, ...]:
        """Every kept fraction, the main one first."""
        return tuple(dict.fromkeys(kept.fraction for kept in self.kept))

    @property
    def at_main(self) -> tuple[Kept, ...]:
        """What each selector kept at the main fraction, where it kept anything at that fraction."""
        return self.at(self.main.fraction)

    def at(self, fraction: float) -> tuple[Kept, ...]:
        """What each selector kept at one fraction, in the order of the selectors."""
        kept = {kept.arm: kept for kept in self.kept if abs(kept.fraction - fraction) < 1e-9}
        return tuple(kept[selector.arm] for selector in self.selectors if selector.arm in kept)

    def name(self, arm: Arm) -> str:
        """What completes "chosen by …" for the arm of a selector, and the arm itself for others."""
        return next((selector.name for selector in self.selectors if selector.arm == arm), arm)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Every arm that has an outcome: full, distilled, the selectors', random, balanced, then the others by name."""
        order = [FULL, DISTILLED, *(selector.arm for selector in self.selectors), RANDOM, BALANCED]
        found = {outcome.arm for outcome in self.outcomes}
        return (*(arm for arm in order if arm in found), *sorted(found.difference(order)))

    def of(self, arm: Arm, fraction: float) -> tuple[Outcome, ...]:
        """The outcomes of one arm at one fraction, by seed; the fraction of "full" does not matter."""
        found = [o for o in self.outcomes if o.arm == arm and (arm == FULL or abs(o.fraction - fraction) < 1e-9)]
        return tuple(sorted(found, key=lambda outcome: outcome.seed))

    def under_attack(self) -> Findings | None:
        """The same with robust accuracies in the place of clean ones; nothing where none, or not all, were measured."""
        if not all(outcome.robust is not None for outcome in self.outcomes):
            return None
        moved = [replace(o, accuracy=o.robust, by_class=None) for o in self.outcomes if o.robust is not None]
        return replace(self, outcomes=tuple(moved), test_size=self.attacked)

    def is_kept(self, kept: Kept) -> np.ndarray:
        """Which examples are kept, (N,) booleans."""
        mask = np.zeros(len(self), dtype=bool)
        mask[kept.positions] = True
        return mask

    def _per_example(self) -> dict[str, np.ndarray | None]:
        values = {"scores": self.scores, "never_learned": self.never_learned, "keys": self.keys}
        if self.map is not None:
            for name in ("confidence", "variability", "correctness"):
                values[f"map.{name}"] = getattr(self.map, name)
        if self.suspects is not None:
            for name in ("suggested", "corrupted", "clean"):
                values[f"suspects.{name}"] = getattr(self.suspects, name)
        return values
