"""`fit`: the one training loop.

Images lie on the device as uint8 and are augmented there in batch; nothing waits for the device inside a step; what
is recorded comes from the forward pass that trains. Every random draw is a function of the seed and the step, so a
training that was interrupted continues to the same bytes (on a CPU) without any stored generator.
"""

from __future__ import annotations

import math
import shutil
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from paredown.data.dataset import LearnableDataset
from paredown.models.build import AbstractModel, AbstractNetwork, save
from paredown.progress import bar as open_bar
from paredown.runtime import Runtime
from paredown.training.begin import Start, begin, check, choose_examples, describe
from paredown.training.devices import LARGE, place
from paredown.training.feed import Feed
from paredown.training.journal import Journal
from paredown.training.learner import Learner
from paredown.training.record import Recording
from paredown.training.resume import remove_state, write_state
from paredown.training.training import Training
from paredown.training.watch import Watch

CALIBRATION = 200
"""Batches, at most, from which averaged weights get their statistics of batch normalisation."""


def fit(
    data: LearnableDataset,
    model: AbstractModel,
    training: Training,
    *,
    positions: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    recording: Recording | None = None,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
    folder: str | Path,
) -> None:
    """Trains a network and leaves `checkpoint/`, `early/`, `dynamics/` and `metrics.jsonl` in a folder.

    Called again on the folder of an interrupted training it continues; on that of a finished one it does nothing.

    Args:
        data: the examples; all of them count for a budget of steps.
        model: the architecture.
        training: what is computed.
        positions: train on these rows only, in whatever order they are named.
        weights: how much each of those rows counts; they are scaled to a mean of 1.
        recording: what to record of each example; none records nothing.
        seed: of the initial weights, the order, the augmentation and whatever the network draws.
        runtime: how it is carried out.
        folder: where to.

    Raises:
        DataError: an empty subset, rows that are not there, weights that cannot be.
        MethodError: the loss is not a number, a checkpoint is asked for after the last step, or an attack is meant for
            what are no images, or is to be recorded and not made.
        ArtifactError: the folder holds another training.
    """
    check(data, training, recording)
    examples = choose_examples(data, positions, weights)
    plan = training.plan(kept=len(examples.positions), whole=len(data))
    header = describe(data, examples, model, training, plan, recording, seed)
    folder = Path(folder)
    with ExitStack() as stack:
        here = stack.enter_context(place(runtime, pixels=math.prod(data.shape[1:]) if data.noun == "images" else LARGE))
        stack.enter_context(torch.random.fork_rng([here.device] if here.device.type == "cuda" else []))
        plan.refuse_idle(here.processes, examples=len(examples.positions), drop_last=training.drop_last)
        start = begin(folder, header, here)
        if start.finished:
            return
        made = model.start(data, seed).to(here.device)
        learner = Learner(made, training, plan, seed=seed, place=here, compiled=runtime.compile)
        journal = Journal(learner, folder, cursor=start.cursor)
        stack.callback(journal.close)
        journal.open_trackers(runtime.trackers, folder)
        if not start.cursor:
            journal.head(header)
        watch = None
        if recording is not None:
            ids = data.ids.take(examples.positions)
            watch = Watch(recording, ids, plan, place=here, folder=folder / "dynamics")
        examined = made.inputs(data, here.device, runtime.workers)
        feed = Feed(examined, examples, training, training.augmentation_of(data), seed=seed, place=here)
        Loop(feed, learner, journal, watch, model=model, runtime=runtime, folder=folder, start=start).run()


class Loop:
    """The steps from where a training begins to its end.

    Args:
        feed: gives batches.
        learner: takes steps on them.
        journal: keeps the course of the loss.
        watch: records the examples, if anything does.
        model: what a checkpoint says it is.
        runtime: how it is carried out.
        folder: where everything is written.
        start: where it begins.
    """

    def __init__(
        self,
        feed: Feed,
        learner: Learner,
        journal: Journal,
        watch: Watch | None,
        *,
        model: AbstractModel,
        runtime: Runtime,
        folder: Path,
        start: Start,
    ) -> None:
        self.feed, self.learner, self.journal, self.watch = feed, learner, journal, watch
        self.model, self.runtime, self.folder = model, runtime, folder
        self.place, self.plan, self.training = learner.place, learner.plan, learner.training
        self.step = int(start.cursor.get("step", 0))
        self._saved = time.monotonic()
        if start.cursor:
            for part in (learner, journal, watch):
                if part is not None:
                    part.restore(start.tensors)
        else:
            self._keep_early()

    def run(self) -> None:
        """Takes the steps that are left and writes what a training leaves."""
        shown = self.runtime.progress and self.place.rank == 0
        with open_bar(f"training {self.model.name}", self.plan.steps, done=self.step, shown=shown) as bar:
            while self.step < self.plan.steps:
                epoch, done = divmod(self.step, self.plan.per_epoch)
                parts = list(islice(self.feed.epoch(epoch), done, done + self.plan.steps - self.step))
                for rows, x in zip(parts, self.feed.whole(parts, self.step + 1, looked_at=self.feed.mine), strict=True):
                    self._take(rows, x)
                    bar.move(self.step)
                    last = self.step % self.plan.per_epoch == 0 or self.step == self.plan.steps
                    look = last or self.journal.full
                    if look:
                        bar.note(self.journal.look(self.step))
                    if last and self.watch is not None:
                        inputs, positions = self.feed.inputs, self.feed.positions
                        self.watch.end_epoch(
                            self.step, self.learner.network, inputs, positions, self.runtime.batch_size
                        )
                    self._keep_early()
                    self._save(look)
        self._finish()

    def _take(self, rows: np.ndarray, whole: Tensor) -> None:
        self.step += 1
        x, y, where, weights = self.feed.share(rows, whole)
        glance = self.watch is not None and self.watch.wants_clean(self.step)
        seen, loss = self.learner.take(self.step, x, y, count=len(rows), weights=weights, glance=glance)
        self.journal.put(loss, seen, y, len(rows))
        if self.watch is not None:
            self.watch.put(self.step, where, seen, y)

    def _keep_early(self) -> None:
        if self.step in self.training.checkpoints_at and self.place.rank == 0:
            self._checkpoint(self.learner.network, self.folder / "early" / f"step-{self.step:07d}")

    def _save(self, looked: bool) -> None:
        """Saves the unfinished training when that is due. Several processes can only agree on it when they look."""
        if self.step == self.plan.steps or (self.place.processes > 1 and not looked):
            return
        if not self.place.agree(time.monotonic() - self._saved >= self.runtime.save_seconds):
            return
        cursor = {"step": self.step} | self.journal.cursor(self.step)
        tensors = self.learner.tensors() | self.journal.tensors()
        if self.watch is not None:
            tensors |= self.watch.tensors()
        if self.place.rank == 0:
            write_state(self.folder, tensors, cursor)
        self._saved = time.monotonic()

    def _finish(self) -> None:
        if self.place.rank == 0:
            if self.watch is not None:
                self.watch.finish()
            self._checkpoint(self._result(), self.folder / "checkpoint")
            remove_state(self.folder)
        self.place.wait()

    def _result(self) -> AbstractNetwork:
        average = self.learner.average
        if average is None:
            return self.learner.network
        # One more pass over examples as they are trained on, in an order and an augmentation that no step has seen.
        epoch, step = self.plan.steps // self.plan.per_epoch + 1, self.plan.steps + 1
        parts = list(islice(self.feed.epoch(epoch), CALIBRATION))
        with self.place.autocast():
            average.recalibrate(self.feed.whole(parts, step))
        return average.network

    def _checkpoint(self, kept: AbstractNetwork, folder: Path) -> None:
        # A checkpoint that an interruption left is of the same step, but may have been made on another device.
        shutil.rmtree(folder, ignore_errors=True)
        save(kept, self.model, self.step, folder)
