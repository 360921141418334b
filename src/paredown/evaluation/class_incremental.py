"""Class-incremental learning: classes come in phases, and what was kept of each phase is all that is left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paredown.artifacts import DistilledSet
from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractTrainingSetProbe, TrainingSet
from paredown.evaluation.comparison import summary
from paredown.evaluation.students import STUDENT, Students, lesson
from paredown.models.build import AbstractModel
from paredown.runtime import Runtime
from paredown.training.training import Training


def class_order(classes: int, seed: int) -> np.ndarray:
    """Gives the order in which classes come, int64 (classes,): numpy's `RandomState(seed).permutation`, as published.

    The published orders of CIFAR-100 are those of the seeds 0 to 4.
    """
    return np.random.RandomState(seed).permutation(classes).astype(np.int64)


def class_phases(classes: int, phases: int, seed: int) -> list[list[int]]:
    """Gives the classes of each phase: consecutive blocks of `class_order`, equally long or one shorter at the end.

    Raises:
        MethodError: more phases than classes, or none.
    """
    if not 1 <= phases <= classes:
        raise MethodError(
            f"class_phases(classes={classes}, phases={phases}): a phase has a class at least. Ask for 1 to {classes}."
        )
    return [[int(label) for label in block] for block in np.array_split(class_order(classes, seed), phases)]


@dataclass(frozen=True)
class ClassIncremental(AbstractTrainingSetProbe):
    """Class-incremental learning: what is evaluated are the phases, in their order; nothing else is remembered.

    After each phase fresh networks are trained on the union of all sets so far and tested on the test examples of all
    classes seen so far; the largest of all logits counts, those of classes to come too. So it is done with distilled
    images as the memory (Zhou et al. 2022; Zhao & Bilen 2021).

    Metrics, under the set that the phase added: `incremental-accuracy`, the mean over the networks, with their standard
    deviation as spread; `classes-seen`. Under the last set `mean-incremental-accuracy`, the mean over the phases
    (Rebuffi et al. 2017). A killed evaluation goes on in the training that it was in.

    Args:
        model: of the networks.
        training: how they are trained; its steps do not grow with the phases.
        networks: how many for each phase; the i-th is trained with the evaluation's seed + i.
    """

    model: AbstractModel
    training: Training = STUDENT
    networks: int = 5

    def __post_init__(self) -> None:
        if self.networks < 1:
            raise MethodError(f"ClassIncremental(networks={self.networks}): nothing would be trained. Give at least 1.")

    def measure(
        self,
        sets: Sequence[TrainingSet],
        data: LearnableDataset,
        *,
        against: LearnableDataset | None,
        runtime: Runtime,
        seed: int,
        folder: Path,
    ) -> list[Mapping[str, Any]]:
        lessons = [lesson(sets[: number + 1], against, type(self).__name__) for number in range(len(sets))]
        tests = _tests(sets, against, data)
        students = Students(self.model, data, runtime=runtime, folder=folder)
        figures: list[Mapping[str, Any]] = []
        reached = np.empty((len(sets), self.networks))
        for phase, (taught, rows) in enumerate(zip(lessons, tests, strict=True)):
            for number in range(self.networks):
                reached[phase, number] = students.accuracy(
                    f"{phase}-{number}", taught, self.training, seed=seed + number, rows=rows
                )
            about = {"subject": sets[phase].digest()[:16]}
            seen = len(np.unique(data.labels[rows]))
            figures.append(_mean("incremental-accuracy", reached[phase]) | about)
            figures.append({"metric": "classes-seen", "value": seen, "n": 1, "spread": None} | about)
        last = {"subject": sets[-1].digest()[:16]}
        return [*figures, _mean("mean-incremental-accuracy", reached.mean(axis=0)) | last]


def _tests(sets: Sequence[TrainingSet], against: LearnableDataset | None, data: LearnableDataset) -> list[np.ndarray]:
    """Gives the rows of the test data after each phase: those of all classes so far."""
    seen, rows = set[int](), []
    for number, one in enumerate(sets):
        new = _classes(one, against)
        missing = sorted(label for label in new if not (data.labels == label).any())
        if missing:
            raise MethodError(
                f"ClassIncremental: phase {number + 1} brings class {missing[0]}, and {data.name} has no example of it "
                "to test on. Give the test data of all classes."
            )
        seen |= new
        rows.append(np.flatnonzero(np.isin(data.labels, sorted(seen))))
    return rows


def _classes(one: TrainingSet, against: LearnableDataset | None) -> set[int]:
    """Gives the classes that a set stands for."""
    if isinstance(one, DistilledSet):
        # What was asked for, because a learnt label may have drifted to another class.
        asked = one.asked.get("classes")
        return {int(label) for label in (one.hard_labels if asked is None else asked)}
    assert against is not None  # without it there is no lesson
    return {int(label) for label in against.labels[against.ids.positions_of(one.ids, "the data", "the selection")]}


def _mean(metric: str, values: np.ndarray) -> dict[str, Any]:
    found = summary(values)
    return {"metric": metric, "value": found.mean, "n": found.n, "spread": found.spread}
