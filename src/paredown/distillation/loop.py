"""The loop of a distillation: from the first step, or from where it was interrupted, to the last.

Every draw is a function of the seed and the step, and the whole state is one file; so a distillation that was killed
goes on to the same bytes (on a CPU).
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from paredown.artifacts.distilled import DistilledSet
from paredown.distillation.base import Task
from paredown.distillation.course import Course, moments
from paredown.distillation.outer import Outer, Snapshot
from paredown.distillation.pool import Pool
from paredown.distillation.students import Students
from paredown.errors import MethodError
from paredown.progress import bar as open_bar
from paredown.runtime import Runtime
from paredown.training.resume import write_state

SO_FAR = "so-far"
"""The folder in which a distillation that fails leaves the last set that was fine."""


class Loop:
    """The steps of a distillation.

    Args:
        task: what is distilled.
        outer: moves the images and labels.
        pool: the networks.
        course: keeps figures and pictures.
        students: test what is learnt, if anything does.
        check_every: steps between two such tests.
        runtime: how it is carried out.
        folder: where everything is written.
        notes: what the set says of itself.
    """

    def __init__(
        self,
        task: Task,
        outer: Outer,
        pool: Pool,
        course: Course,
        students: Students | None,
        *,
        check_every: int,
        runtime: Runtime,
        folder: Path,
        notes: Mapping[str, Any],
    ) -> None:
        self.task, self.outer, self.pool, self.course, self.students = task, outer, pool, course, students
        self.prototypes, self.check_every = outer.prototypes, check_every
        self.runtime, self.folder, self.notes = runtime, folder, dict(notes)
        self.steps, self.step = self.prototypes.steps, 0
        self.moments = moments(self.steps)
        self._saved = time.monotonic()
        self._fine = self.prototypes.snapshot(0)

    def begin(self, header: Mapping[str, Any]) -> None:
        """Writes down what is distilled, and how the images look before the first step."""
        note = {"note": self.notes["warning"]} if "warning" in self.notes else {}
        if note and self.runtime.progress:
            print(note["note"], file=sys.stderr)
        self.course.head({**header, **note})
        self.course.picture(self._made(self._fine).grid(), 0)

    def run(self) -> DistilledSet:
        """Takes the steps that are left and gives the set: the best where students were tested, else the last."""
        shown = self.runtime.progress
        with open_bar(f"distilling {self.task.data.name}", self.steps, done=self.step, shown=shown) as bar:
            while self.step < self.steps:
                self._take()
                bar.move(self.step)
                due = self.step == self.steps or self.step % self.check_every == 0
                test = due and self.students is not None
                if test or self.course.full or self.step in self.moments:
                    bar.note(self._look(test))
                self._save()
        self.course.film()
        last = self._made(self.prototypes.snapshot(self.step))
        if self.students is None:
            return last
        shutil.rmtree(self.folder / "last", ignore_errors=True)
        last.save(self.folder / "last")
        return self._made(self.students.best(self._fine), {"held-out accuracy": self.students.share})

    def _take(self) -> None:
        """Takes a step: images and labels against the regression's error, then one network on what they are now."""
        self.step += 1
        number = self.pool.drawn(self.step)
        try:
            loss, parts, aims = self.outer.gradients(self.step, self.pool.bodies[number])
        except MethodError as error:
            self._fail(self.step, str(error))
        self.course.put(loss, parts, aims, self.prototypes.images, self.prototypes.labels)
        self.prototypes.move(self.step)
        self.pool.learn(number, self.step, self.prototypes.images, self.prototypes.labels)

    def _look(self, test: bool) -> str:
        """Reads the figures of the last steps, refuses those that are not finite, and tests and shows what is due."""
        self._refuse()
        images, labels = self.prototypes.images, self.prototypes.labels
        said = self.course.look(self.step, rate=self.prototypes.rate(self.step), images=images, labels=labels)
        if self.step in self.moments:
            self.course.picture(self._made(self._fine).grid(), self.step)
        if test and self.students is not None:
            share = self.students.test(self._made(self._fine), self._fine)
            self.course.tell({"eval/step_acc_mean": share}, self.step)
            said += f", held out {share:.1%}"
        return said

    def _refuse(self) -> None:
        """Stops where a figure since the last look is not finite; else remembers what is learnt as fine."""
        failed = self.course.failed(self.step)
        if failed is not None:
            self._fail(
                failed,
                "Its loss or gradient is not a finite number. Lower lr or online_lr, or give a larger ridge.",
            )
        self._fine = self.prototypes.snapshot(self.step)

    def _fail(self, step: int, what: str) -> NoReturn:
        kept = self._fine if self.students is None else self.students.best(self._fine)
        shutil.rmtree(self.folder / SO_FAR, ignore_errors=True)
        self._made(kept).save(self.folder / SO_FAR)
        raise MethodError(
            f"Distilling stopped at step {step}. {what} The set of step {kept.step} is kept as {SO_FAR} in its folder."
        )

    def _made(self, learnt: Snapshot, notes: Mapping[str, Any] | None = None) -> DistilledSet:
        images, labels = (part.cpu().numpy() for part in (learnt.images, learnt.labels))
        return self.task.made(images, labels, learnt.step, self.notes | dict(notes or {}))

    def _save(self) -> None:
        if self.step == self.steps or time.monotonic() - self._saved < self.runtime.save_seconds:
            return
        self._refuse()
        cursor = {"step": self.step} | self.course.cursor() | self.pool.cursor()
        tensors = self.prototypes.tensors() | self.pool.tensors() | self.course.tensors()
        if self.students is not None:
            cursor |= self.students.cursor()
            tensors |= self.students.tensors()
        write_state(self.folder, tensors, cursor)
        self._saved = time.monotonic()

    def restore(self, cursor: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Goes back to where an interrupted distillation stood."""
        self.step = int(cursor["step"])
        for part in (self.prototypes, self.course):
            part.restore(tensors)
        self.pool.restore(cursor, tensors)
        if self.students is not None:
            self.students.restore(cursor, tensors)
        self._fine = self.prototypes.snapshot(self.step)
