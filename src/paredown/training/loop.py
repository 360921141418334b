"""`fit`: the one training loop.

Images lie on the device as uint8 and are augmented there in batch; nothing waits for the device inside a step; what
is recorded comes from the forward pass that trains. Every random draw is a function of the seed and the step, so a
training that was interrupted continues to the same bytes (on a CPU) without any stored generator.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paredown.artifacts.checkpoint import Checkpoint
from paredown.data.dataset import AbstractDataset, LearnableDataset
from paredown.data.pool import pooled
from paredown.errors import MethodError
from paredown.models.build import AbstractModel, AbstractNetwork, load, save
from paredown.progress import bar as open_bar
from paredown.runtime import Runtime
from paredown.training.begin import (
    Start,
    begin,
    check,
    check_network,
    choose_both,
    choose_examples,
    describe,
    parameters,
    recorded_attack,
    write_stopped,
)
from paredown.training.constraint import AbstractConstraint
from paredown.training.devices import LARGE, place
from paredown.training.feed import Feed
from paredown.training.journal import Diverged, Journal
from paredown.training.labels import hard
from paredown.training.learner import Learner
from paredown.training.mixing import Extra
from paredown.training.record import Recording
from paredown.training.resume import remove_state, write_state
from paredown.training.training import Training
from paredown.training.validation import Looks
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
    extra: Extra | None = None,
    recording: Recording | None = None,
    checkpoint: Checkpoint | None = None,
    constraint: AbstractConstraint | None = None,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
    folder: str | Path,
) -> None:
    """Trains a network and leaves `checkpoint/`, `early/`, `dynamics/` and `metrics.jsonl` in a folder.

    Called again on the folder of an interrupted training it continues; on that of a finished one it does nothing. Where
    the loss was no number the last saved state stays, the best network so far stands in `best/`, and called again it
    says so again; on another device or in another precision it goes on from that state.

    Args:
        data: the examples; all of them that are not held out count for a budget of steps.
        model: the architecture.
        training: what is computed.
        positions: train on these rows only, in whatever order they are named.
        weights: how much each of those rows counts; they are scaled to a mean of 1.
        extra: more data that are mixed into every batch; the number of steps stays that of the data.
        recording: what to record of each example of the data; none records nothing.
        checkpoint: the network of the model to go on from; none begins with new weights.
        constraint: what the network is held to beside the loss.
        seed: of the initial weights, the order, the augmentation and whatever the network draws.
        runtime: how it is carried out.
        folder: where to.

    Raises:
        DataError: an empty subset, rows that are not there, weights that cannot be, extra data that do not go with
            the data.
        MethodError: the loss is not a number, a checkpoint is asked for after the last step, an attack is meant for
            what are no images, or is to be recorded and not made, or the data cannot be parted for validation.
        ArtifactError: the folder holds another training.
    """
    training = training.mixed(extra is not None)
    check(data, training, recording, None if extra is None else extra.data)
    examples = choose_examples(data, positions, weights)
    if training.validation is not None:
        examples = examples.without(training.validation.rows(data))
    plan = training.plan(kept=len(examples.positions), whole=len(data) - len(examples.held))
    # The data stand first in the pool of both, so that a row of theirs is the same with and without extra data.
    together: AbstractDataset = data
    if extra is not None and training.mixing is not None:
        training.mixing.refuse_one_sided(plan.batch)
        examples, together = choose_both(data, examples, extra), pooled([data, extra.data])
    assert isinstance(together, LearnableDataset)
    more = {} if checkpoint is None else {"checkpoint": checkpoint.digest()}
    more |= {} if constraint is None else {"constraint": constraint.identity()}
    header = describe(together, examples, model, training, plan, recording, seed, more)
    folder = Path(folder)
    with ExitStack() as stack:
        here = stack.enter_context(place(runtime, pixels=math.prod(data.shape[1:]) if data.noun == "images" else LARGE))
        stack.enter_context(torch.random.fork_rng([here.device] if here.device.type == "cuda" else []))
        plan.refuse_idle(here.processes, examples=len(examples.positions), drop_last=training.drop_last)
        start = begin(folder, header, here)
        if start.finished:
            return
        made = (model.start(data, seed) if checkpoint is None else load(checkpoint)).to(here.device)
        how: dict[str, Any] = {"seed": seed, "place": here, "compiled": runtime.compile}
        learner = Learner(made, training, plan, **how, constraint=constraint)
        journal = Journal(learner, folder, cursor=start.cursor)
        stack.callback(journal.close)
        told = parameters(together, model, training, recording, seed)
        journal.open_trackers(runtime.trackers, folder, told, cursor=start.cursor)
        if not start.cursor:
            journal.head(header)
        watch = None
        if recording is not None:
            ids, attack = data.ids.take(examples.positions), recorded_attack(training, recording)
            watch = Watch(recording, ids, plan, attack=attack, seed=seed, place=here, folder=folder / "dynamics")
        examined = made.inputs(together, here.device, runtime.workers)
        if not start.cursor:
            check_network(made, examined, examples.positions, training, recording)
        looks = None
        if training.validation is not None:
            looks = Looks(
                training.validation,
                data.ids.take(examples.held),
                examined,
                examples.held,
                batch=training.batch_size,
                per_epoch=plan.per_epoch,
                steps=plan.steps,
                seed=seed,
                place=here,
            )
        feed = Feed(examined, examples, training, training.augmentation_of(data), seed=seed, place=here)
        loop = Loop(feed, learner, journal, watch, looks, model=model, runtime=runtime, folder=folder, start=start)
        loop.run()


class Loop:
    """The steps from where a training begins to its end.

    Args:
        feed: gives batches.
        learner: takes steps on them.
        journal: keeps the course of the loss.
        watch: records the examples, if anything does.
        looks: chooses the best network, if anything does.
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
        looks: Looks | None,
        *,
        model: AbstractModel,
        runtime: Runtime,
        folder: Path,
        start: Start,
    ) -> None:
        self.feed, self.learner, self.journal, self.watch, self.looks = feed, learner, journal, watch, looks
        self.model, self.runtime, self.folder = model, runtime, folder
        self.place, self.plan, self.training = learner.place, learner.plan, learner.training
        self.step = int(start.cursor.get("step", 0))
        self._saved = time.monotonic()
        if start.cursor:
            for part in (learner, journal, watch, looks):
                if part is not None:
                    part.restore(start.tensors)
        else:
            self._keep_early()

    def run(self) -> None:
        """Takes the steps that are left and writes what a training leaves."""
        shown = self.runtime.progress and self.place.rank == 0
        with open_bar(f"training {self.model.name}", self.plan.steps, done=self.step, shown=shown) as bar:
            try:
                while not self.done:
                    for rows, x in self._batches():
                        self._take(rows, x)
                        bar.move(self.step)
                        last = self.step % self.plan.per_epoch == 0 or self.step == self.plan.steps
                        look = last or self.journal.full
                        if look:
                            bar.note(self.journal.look(self.step))
                        if last:
                            self._end_epoch()
                        self._keep_early()
                        self._save(look)
            except Diverged as fault:
                raise MethodError(self._stop(str(fault))) from fault
        self._finish()

    @property
    def done(self) -> bool:
        """Whether no step is left to take."""
        return self.step == self.plan.steps or (self.looks is not None and self.looks.over)

    def _batches(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Gives the rest of the epoch, each batch as often as it is replayed."""
        epoch, done = divmod(self.step, self.plan.per_epoch)
        steps, replays = self.plan.steps - self.step, self.plan.replays
        batch, replayed = divmod(done, replays)
        parts = list(islice(self.feed.epoch(epoch), batch, batch - (-(replayed + steps) // replays)))
        made = self.feed.whole(parts, self.step + 1 - replayed, looked_at=self.feed.mine)
        replayable = (pair for pair in zip(parts, made, strict=True) for _ in range(replays))
        return islice(replayable, replayed, replayed + steps)

    def _end_epoch(self) -> None:
        if self.watch is not None:
            self.watch.end_epoch(self.step, self.learner.network, self.feed.inputs, self.feed.positions)
        if self.looks is not None and self.looks.due(self.step):
            # The first process keeps the files, so its running statistics are the ones that count.
            self.place.align(self.learner.network)
            figures = self.looks.look(self.step, self._network())
            self.journal.note(self.step, figures, best=self.looks.best_step == self.step)

    def _take(self, rows: np.ndarray, whole: Tensor) -> None:
        self.step += 1
        x, y, where, weights = self.feed.share(rows, whole)
        glance = self.watch is not None and self.watch.wants_clean(self.step)
        seen, loss = self.learner.take(self.step, x, y, count=len(rows), weights=weights, glance=glance)
        y = hard(y)
        self.journal.put(loss, seen, y, len(rows))
        if self.watch is not None:
            self.watch.put(self.step, where, seen, y, own=self.feed.own(rows))

    def _keep_early(self) -> None:
        if self.step in self.training.checkpoints_at and self.place.rank == 0:
            self._checkpoint(self.learner.network, self.folder / "early" / f"step-{self.step:07d}")

    def _save(self, looked: bool) -> None:
        """Saves the unfinished training when that is due. Several processes can only agree on it when they look."""
        if self.done or (self.place.processes > 1 and not looked):
            return
        if not self.place.agree(time.monotonic() - self._saved >= self.runtime.save_seconds):
            return
        cursor = {"step": self.step} | self.journal.cursor(self.step)
        tensors = self.learner.tensors() | self.journal.tensors()
        for part in (self.watch, self.looks):
            tensors |= {} if part is None else part.tensors()
        if self.place.rank == 0:
            write_state(self.folder, tensors, cursor)
        self._saved = time.monotonic()

    def _finish(self) -> None:
        if self.place.rank == 0:
            if self.watch is not None:
                self.watch.finish(self.step, best_epoch=None if self.looks is None else self.looks.best_epoch)
            if self.looks is not None:
                self.looks.write(self.folder)
                self._checkpoint(self._best(self.looks), self.folder / "checkpoint", step=self.looks.best_step)
            else:
                self._checkpoint(self._network(), self.folder / "checkpoint")
            self.journal.leave([self.folder / "checkpoint", self.folder / "metrics.jsonl"])
            remove_state(self.folder)
        self.place.wait()

    def _stop(self, why: str) -> str:
        """Leaves what is good of a training that cannot go on, and gives the reason with what is left."""
        best = None if self.looks is None else self.looks.best_epoch
        if self.looks is not None and best is not None:
            why = why.removesuffix(".") + f", and so does the best network so far, of epoch {best}, in best/."
            if self.place.rank == 0:
                self._checkpoint(self._best(self.looks), self.folder / "best", step=self.looks.best_step)
        if self.place.rank == 0:
            write_stopped(self.folder, why, self.place)
        return why

    def _network(self) -> AbstractNetwork:
        """Gives the network as it now stands: the average, where there is one, with statistics that fit it."""
        average = self.learner.average
        if average is None:
            return self.learner.network
        if self.training.average_statistics == "copied":
            average.copy_statistics(self.learner.network)
            return average.network
        # One more pass over examples as they are trained on, in an order and an augmentation that no step has seen.
        epoch, step = self.plan.steps // self.plan.per_epoch + 1, self.plan.steps + 1
        parts = list(islice(self.feed.epoch(epoch), CALIBRATION))
        with self.place.autocast():
            average.recalibrate(self.feed.whole(parts, step))
        return average.network

    def _best(self, looks: Looks) -> AbstractNetwork:
        """Gives the best network; the one in training is no longer needed."""
        self.learner.network.load_state_dict(looks.weights)
        return self.learner.network

    def _checkpoint(self, kept: AbstractNetwork, folder: Path, *, step: int | None = None) -> None:
        # A checkpoint that an interruption left is of the same step, but may have been made on another device.
        shutil.rmtree(folder, ignore_errors=True)
        save(kept, self.model, self.step if step is None else step, folder)
