"""Students: networks that a probe trains itself, by the ordinary training, to see what a set teaches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from paredown.artifacts import Checkpoint, DistilledSet, Selection
from paredown.data.dataset import LearnableDataset
from paredown.data.device import choose
from paredown.data.distilled import DistilledImages
from paredown.errors import MethodError
from paredown.evaluation.accuracy import outcomes
from paredown.models.build import AbstractModel, form_of, load
from paredown.runtime import Runtime
from paredown.training import Training, fit
from paredown.training.optimizers import Adam
from paredown.training.schedules import Cosine
from paredown.training.soft_labels import SquaredError

STUDENT = Training(
    steps=10_000,
    batch_size=500,
    drop_last=False,
    optimizer=Adam(lr=3e-4),
    schedule=Cosine(warmup=500, floor=0.01),
    objective=SquaredError(),
)
"""How the papers on distillation by feature regression train what they test (but for their augmentation)."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a student is trained on.

    Args:
        data: the examples.
        positions: rows of it, each once; none for all.
        weights: how much each of these rows counts; none when all count alike.
    """

    data: LearnableDataset
    positions: np.ndarray | None = None
    weights: np.ndarray | None = None

    @property
    def labels(self) -> np.ndarray:
        """The class of each example, int64; of a learnt label the one that stands highest."""
        return self.data.labels if self.positions is None else self.data.labels[self.positions]


def lesson(sets: Sequence[Selection | DistilledSet], against: LearnableDataset | None, probe: str) -> Lesson:
    """Gives the union of some sets.

    Args:
        sets: selections of the same data, or distilled sets of one space.
        against: what the selections were made from.
        probe: how a message begins.

    Raises:
        MethodError: selections and distilled sets are mixed, or there is nothing that the selections choose from.
        PoolMismatch: a selection was made from other data.
        DataError: the distilled sets do not join.
    """
    distilled = [one for one in sets if isinstance(one, DistilledSet)]
    selections = [one for one in sets if isinstance(one, Selection)]
    if distilled and selections:
        raise MethodError(f"{probe}: selections and distilled sets are not one training set. Evaluate them apart.")
    if distilled:
        return Lesson(DistilledImages.of(distilled[0] if len(distilled) == 1 else DistilledSet.union(distilled)))
    if against is None:
        raise MethodError(f"{probe}: a selection is no data. Give as against= the data that it was made from.")
    rows = np.concatenate([against.ids.positions_of(one.ids, "the data", "the selection") for one in selections])
    rows, first = np.unique(rows, return_index=True)
    if all(one.weight is None for one in selections):
        return Lesson(against, rows)
    # Weights compare within a selection only: each counts as much as if it stood alone.
    scaled = [np.ones(len(one)) if one.weight is None else one.weight / one.weight.mean() for one in selections]
    return Lesson(against, rows, np.concatenate(scaled)[first])


class Students:
    """Trains fresh networks and tests them.

    Args:
        model: their architecture.
        test: what they are tested on.
        runtime: device, precision.
        folder: a folder for each training; one that was finished is not trained again, an interrupted one goes on.
    """

    def __init__(self, model: AbstractModel, test: LearnableDataset, *, runtime: Runtime, folder: Path) -> None:
        self.model, self.test, self.folder = model, test, folder
        self.runtime = replace(runtime, trackers=())

    def accuracy(
        self, name: str, taught: Lesson, training: Training, *, seed: int, rows: np.ndarray | None = None
    ) -> float:
        """Gives the share of test examples that a student classifies rightly: the largest of all logits counts.

        Args:
            name: of the training's folder.
            taught: what it is trained on.
            training: how; the same call of the verb `train` gives the same network.
            seed: of the training.
            rows: test on these only; none tests on all.

        Raises:
            MethodError: the test data are of another form or have other classes.
        """
        self._refuse_other_form(taught.data)
        place = self.folder / name
        fit(
            taught.data,
            self.model,
            training,
            positions=taught.positions,
            weights=taught.weights,
            seed=seed,
            runtime=self.runtime,
            folder=place,
        )
        network = load(Checkpoint.open(place / "checkpoint"), choose(self.runtime.device))
        tested = np.arange(len(self.test)) if rows is None else rows
        found, _ = outcomes(network, self.test, tested, batch_size=self.runtime.batch_size)
        return float((found < 1).mean())

    def _refuse_other_form(self, data: LearnableDataset) -> None:
        if (data.shape, data.classes) != (self.test.shape, self.test.classes):
            raise MethodError(
                f"{data.name} has {form_of(data.shape)} in {len(data.classes)} classes, and {self.test.name} has "
                f"{form_of(self.test.shape)} in {len(self.test.classes)}, or they are called otherwise. Test on data "
                "of the same form and classes."
            )
