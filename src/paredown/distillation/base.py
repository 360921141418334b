"""What a distiller is: it learns a few images, with labels, that stand for a whole data set; and the verb's work."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts.base import HEADER, canonical
from paredown.artifacts.distilled import DistilledSet
from paredown.artifacts.scores import ScoreTable
from paredown.artifacts.selection import Selection
from paredown.data.dataset import AbstractDataset, AbstractImages
from paredown.distillation.initial import begin_as, members
from paredown.errors import ArtifactError, MethodError
from paredown.method import Method
from paredown.runtime import Runtime
from paredown.training.resume import remove_state


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be distilled.

    Args:
        data: the real images.
        rows: those that are learnt from, ascending, int64.
        first: those that the learnt images begin as, class by class in the order of the classes, int64 (n,).
        hardness: how hard each row of the data is, float32 (N,), where somebody else says so; else none.
        seed: of everything that is drawn.
        asked: what was asked for, as plain data.
    """

    data: AbstractImages
    rows: np.ndarray
    first: np.ndarray
    hardness: np.ndarray | None = None
    seed: int = 0
    asked: Mapping[str, Any] = field(default_factory=dict)

    def made(
        self, images: np.ndarray, labels: np.ndarray, step: int, notes: Mapping[str, Any] | None = None
    ) -> DistilledSet:
        """Gives what was learnt after a step as an artifact; `images` and `labels` as `DistilledSet` takes them."""
        data = self.data
        return DistilledSet(
            images,
            labels,
            classes=data.classes,
            mean=data.mean,
            std=data.std,
            whitening=data.whitening,
            ids=data.ids.take(self.first),
            step=step,
            asked=self.asked,
            notes=notes,
        )


class AbstractDistiller(Method):
    """One way to learn images that stand for others: write `distil`."""

    kind: ClassVar[str] = "distiller"
    paper: ClassVar[str] = ""

    @abstractmethod
    def distil(self, task: Task, *, runtime: Runtime, folder: Path) -> DistilledSet:
        """Gives the learnt set, which `task.made` makes of images and labels.

        Args:
            task: what is to be distilled.
            runtime: device, precision, threads.
            folder: for what an interrupted work goes on from, and for what shows its course; it exists.
        """


def distilled(
    distiller: AbstractDistiller,
    data: AbstractDataset,
    *,
    per_class: int,
    classes: Sequence[int] | None = None,
    selection: Selection | None = None,
    scores: ScoreTable | None = None,
    seed: int = 0,
    runtime: Runtime,
    folder: Path,
) -> DistilledSet:
    """Distils some data and writes the set into a folder; see the verb `distill`.

    Raises:
        MethodError: the data are no images, or have too few in a class.
        PoolMismatch: selection or scores are of other data.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise MethodError("distill works in one process, and torchrun started several. Start it without torchrun.")
    images = _images(data)
    rows = members(images, classes)
    asked = {
        "distiller": distiller.plain(),
        "data": images.identity(),
        "per_class": per_class,
        "classes": None if classes is None else sorted(int(label) for label in classes),
        "selection": None if selection is None else selection.digest(),
        "scores": None if scores is None else {"name": scores.name, "digest": scores.digest()},
        "seed": seed,
    }
    if (folder / HEADER).exists():
        held = DistilledSet.open(folder)
        if held.asked != json.loads(canonical(asked)):
            raise ArtifactError(f"{folder} holds another distillation. Choose an empty folder, or remove that one.")
        remove_state(folder)
        return held
    chosen = None if selection is None else images.ids.positions_of(selection.ids, "the data", "the selection")
    hardness = None
    if scores is not None:
        hardness = np.full(len(images), -np.inf, np.float32)
        found = scores.ids.positions_of(images.ids.take(rows), "the scores", "the data")
        hardness[rows] = scores.importance()[found]
    first = begin_as(images, rows, per_class=per_class, chosen=chosen, seed=seed)
    task = Task(images, rows, first, hardness, seed, asked)
    folder.mkdir(parents=True, exist_ok=True)
    made = distiller.distil(task, runtime=runtime, folder=folder)
    made.save(folder)
    remove_state(folder)
    return made


def _images(data: AbstractDataset) -> AbstractImages:
    if not isinstance(data, AbstractImages):
        raise MethodError(f"distill learns images, and {data.name} has {data.noun}. Give images.")
    if data.targets is not None:
        raise MethodError(f"distill learns from real images with a class each, and {data.name} is distilled already.")
    return data
