"""Students that are trained on what is learnt so far and tested on images set aside; the best set is remembered."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.distilled import DistilledSet
from paredown.data.device import choose
from paredown.data.differentiable import SingleOperation
from paredown.data.distilled import DistilledImages
from paredown.data.loader import runs
from paredown.distillation.base import Task
from paredown.distillation.outer import Snapshot
from paredown.errors import MethodError
from paredown.models.build import AbstractModel, inputs, load
from paredown.rng import key, stream
from paredown.runtime import Runtime
from paredown.training.loop import fit
from paredown.training.optimizers import Adam
from paredown.training.schedules import Constant
from paredown.training.soft_labels import SquaredError
from paredown.training.training import Training

TRAINING = Training(
    steps=1000,
    batch_size=500,
    drop_last=False,
    optimizer=Adam(lr=3e-4),
    schedule=Constant(),
    objective=SquaredError(),
    augmentation=SingleOperation(),
)
"""How the published code trains those that it tests during a distillation."""


def set_aside(task: Task, share: float) -> np.ndarray:
    """Gives the rows on which students are tested, ascending: of each class this share, none that an image begins as.

    Raises:
        MethodError: nothing would be left to learn from, or to test on.
    """
    if not share:
        return np.empty(0, np.int64)
    labels, parts = task.data.labels, []
    free = np.setdiff1d(task.rows, task.first, assume_unique=True)
    order = stream(task.seed, "held-out").permutation(free)
    for label in np.unique(labels[task.rows]):
        count = int(share * (labels[task.rows] == label).sum())
        parts.append(order[labels[order] == label][:count])
    aside = np.sort(np.concatenate(parts))
    if not len(aside):
        raise MethodError(
            f"FeatureRegression(held_out={share:g}): that share of {len(task.rows)} images is less than one in every "
            "class. Hold out more, or 0 to test none."
        )
    return aside.astype(np.int64)


class Students:
    """Tests what is learnt.

    Args:
        model: of the students.
        task: what is distilled.
        aside: rows of its data on which students are tested.
        runtime: device and precision.
    """

    def __init__(self, model: AbstractModel, task: Task, aside: np.ndarray, *, runtime: Runtime) -> None:
        self.model, self.task, self.aside = model, task, aside
        self.runtime = replace(runtime, progress=False, trackers=())
        self.share = -1.0
        self._best: Snapshot | None = None

    def test(self, made: DistilledSet, learnt: Snapshot) -> float:
        """Gives the accuracy on the images set aside of a student trained on a set, and remembers the best set.

        Args:
            made: the set.
            learnt: the same set as it is learnt.
        """
        with tempfile.TemporaryDirectory(prefix="paredown-") as place:
            seed = key(self.task.seed, "student", learnt.step)
            fit(DistilledImages.of(made), self.model, TRAINING, seed=seed, runtime=self.runtime, folder=place)
            share = self._accuracy(Checkpoint.open(f"{place}/checkpoint"))
        if share > self.share:
            self.share, self._best = share, learnt
        return share

    def best(self, otherwise: Snapshot) -> Snapshot:
        """Gives the set whose student did best; where none was tested, the other one."""
        return otherwise if self._best is None else self._best

    def cursor(self) -> dict[str, Any]:
        """Gives how good the best is, and after how many steps it was."""
        return {"best": [self.share, 0 if self._best is None else self._best.step]}

    def tensors(self) -> dict[str, Tensor]:
        """Gives the best set."""
        best = self._best
        return {} if best is None else {"best.images": best.images, "best.labels": best.labels}

    def restore(self, cursor: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `cursor` and `tensors` gave."""
        self.share = float(cursor["best"][0])
        if "best.images" in tensors:
            self._best = Snapshot(tensors["best.images"], tensors["best.labels"], int(cursor["best"][1]))

    @torch.no_grad()
    def _accuracy(self, checkpoint: Checkpoint) -> float:
        network = load(checkpoint, choose(self.runtime.device))
        examples = inputs(network, self.task.data, workers=self.runtime.workers)
        parts = [self.aside[part] for part in runs(len(self.aside), self.runtime.batch_size)]
        right = sum(int((network(x).argmax(dim=1) == y).sum()) for x, y in examples.batches(parts))
        return right / len(self.aside)
