"""Neural feature regression with infinite semantic augmentation: what is learnt, as a method."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from paredown.artifacts.distilled import DistilledSet
from paredown.data.dataset import AbstractImages
from paredown.distillation.base import AbstractDistiller, Task
from paredown.distillation.begin import begin, describe
from paredown.distillation.course import Course
from paredown.distillation.features import Extractor
from paredown.distillation.labels import initial_labels
from paredown.distillation.loop import Loop
from paredown.distillation.outer import Outer, Prototypes
from paredown.distillation.pool import Pool
from paredown.distillation.real import RealImages
from paredown.distillation.regression import refuse_or_warn
from paredown.distillation.semantic import InfiniteSemantic
from paredown.distillation.students import Students, set_aside
from paredown.errors import MethodError
from paredown.method import settings
from paredown.models.build import AbstractModel
from paredown.models.widening import WideningConvNet
from paredown.runtime import Runtime
from paredown.training.devices import Place, place

MIRRORED = 1000
"""Images of a support, mirror images included, up to which it is mirrored by default; larger ones are no fewer than the
features of the usual networks, and the regression breaks down."""


@dataclass(frozen=True)
class FeatureRegression(AbstractDistiller):
    """Learns images on whose features a ridge regression predicts real images well, under many networks.

    Each step draws one of a pool of networks, fits a kernel ridge regression on its features of the learnt images,
    and moves images and labels against the error of its predictions for a batch of real images; then that network
    takes a step of its own on the learnt images (Zhou et al. 2022, FRePo). Of the batch the hardest count, and each
    stands for a line of virtual examples (`augmentation`; ISA). With `{epsilon: 0, keep_hardest: 1, reduction:
    half-sum}` it is FRePo.

    Args:
        model: of the networks of the pool.
        steps: how many; 500,000 in the papers.
        batch_size: real images a step.
        online_networks: networks in the pool.
        online_steps: a network that has taken more is replaced by a fresh one.
        online_lr: of their Adam.
        lr: of LAMB on images and labels, by half a cosine down to a tenth: each step moves either by this share of its
            length.
        ridge: of the regression, relative to the mean of its diagonal.
        augmentation: which real images count, and how.
        flips: let the regression see mirror images too; none does so where the data are usually flipped and at most
            1000 images result.
        learn_labels: learn the labels as well.
        margin: hold learnt labels to a margin of 1/C over the second class.
        held_out: share of the training images that is never learnt from, on which students are tested meanwhile; the
            best set is kept, in place of the last. 0 tests none.
        check_every: steps between two such tests.
        student: of those students; none takes `model` without normalisation.
    """

    model: AbstractModel = WideningConvNet()  # noqa: RUF009  (frozen)
    steps: int = 500_000
    batch_size: int = 1024
    online_networks: int = 10
    online_steps: int = 100
    online_lr: float = 3e-4
    lr: float = 3e-4
    ridge: float = 1e-6
    augmentation: InfiniteSemantic = InfiniteSemantic()  # noqa: RUF009  (frozen)
    flips: bool | None = None
    learn_labels: bool = True
    margin: bool = True
    held_out: float = 0.0
    check_every: int = 10_000
    student: AbstractModel | None = None

    paper: ClassVar[str] = "Zhou et al. 2022, Dataset Distillation using Neural Feature Regression"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "online_networks", "check_every"):
            if getattr(self, name) < 1:
                raise MethodError(f"FeatureRegression({name}={getattr(self, name)}): at least 1 is needed.")
        if self.online_steps < 0:
            raise MethodError(f"FeatureRegression(online_steps={self.online_steps}): a network takes 0 steps or more.")
        for name in ("lr", "online_lr"):
            if not getattr(self, name) > 0:
                raise MethodError(
                    f"FeatureRegression({name}={getattr(self, name):g}): nothing would be learnt. Give a rate above 0."
                )
        if not self.ridge >= 0:
            raise MethodError(f"FeatureRegression(ridge={self.ridge:g}): a ridge is 0 or more.")
        if not 0 <= self.held_out < 1:
            raise MethodError(
                f"FeatureRegression(held_out={self.held_out:g}): a share of the images lies from 0 up to below 1."
            )

    def distil(self, task: Task, *, runtime: Runtime, folder: Path) -> DistilledSet:
        _, height, width = task.data.shape
        aside = set_aside(task, self.held_out)
        header = describe(self, task, aside)
        with ExitStack() as stack:
            here = stack.enter_context(place(runtime, pixels=height * width))
            cursor, tensors = begin(folder, header)
            classes = len(task.data.classes)
            course = Course(folder, runtime.trackers, classes=classes, device=here.device, cursor=cursor)
            stack.callback(course.close)
            outer, pool = self.assembled(task, aside, runtime, here)
            students = Students(self.tested, task, aside, runtime=runtime) if len(aside) else None
            support = len(task.first) * (1 + outer.mirrored)
            warning = refuse_or_warn(support, outer.extractor.width, ridge=self.ridge)
            notes = {"mirrored": outer.mirrored, "steps": self.steps} | ({"warning": warning} if warning else {})
            loop = Loop(
                task, outer, pool, course, students,
                check_every=self.check_every, runtime=runtime, folder=folder, notes=notes,
            )  # fmt: skip
            if cursor:
                loop.restore(cursor, tensors)
            else:
                loop.begin(header)
            return loop.run()

    def assembled(self, task: Task, aside: np.ndarray, runtime: Runtime, here: Place) -> tuple[Outer, Pool]:
        """Gives what takes the steps, as it is before the first of them.

        Args:
            task: what is distilled.
            aside: rows that are never learnt from.
            runtime: how it is carried out.
            here: where.
        """
        data, classes = task.data, len(task.data.classes)
        if classes < 2:
            raise MethodError(f"distill: {data.name} has one class, and labels tell classes apart. Give two or more.")
        pool = Pool(
            self.model, data.shape, classes,
            networks=self.online_networks, lifetime=self.online_steps, lr=self.online_lr, seed=task.seed, place=here,
        )  # fmt: skip
        network = self.model.start(data, task.seed).to(here.device)
        rows = np.setdiff1d(task.rows, aside, assume_unique=True)
        real = RealImages(task, rows, network, batch_size=self.batch_size, place=here, workers=runtime.workers)
        labels = initial_labels(torch.from_numpy(data.labels[task.first]), classes).to(here.device)
        prototypes = Prototypes(
            real.enter(task.first), labels, learn_labels=self.learn_labels, lr=self.lr, steps=self.steps
        )
        outer = Outer(
            prototypes,
            Extractor(pool.bodies[0], data.shape, here, compiled=runtime.compile),
            real,
            self.augmentation,
            ridge=self.ridge,
            margin=self.margin,
            mirrored=self.mirrors(data, len(task.first)),
            hardness=None if task.hardness is None else torch.from_numpy(task.hardness).to(here.device),
        )
        return outer, pool

    def mirrors(self, data: AbstractImages, images: int) -> bool:
        """Says whether the regression sees mirror images of some learnt ones."""
        if self.flips is not None:
            return self.flips
        return data.augmentation is not None and data.augmentation.flip and 2 * images <= MIRRORED

    @property
    def tested(self) -> AbstractModel:
        """The architecture of the students that are tested meanwhile."""
        if self.student is not None:
            return self.student
        without: dict[str, Any] = {"norm": "none"} if "norm" in settings(type(self.model)) else {}
        return replace(self.model, **without)  # type: ignore[type-var]
