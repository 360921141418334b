"""`Training`: everything that decides what a training computes, and the plan of steps that follows from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from paredown.data.augment import AbstractAugmentation
from paredown.data.dataset import LearnableDataset
from paredown.errors import MethodError
from paredown.method import Method
from paredown.training.mixing import Mixing
from paredown.training.objectives import AbstractObjective, CrossEntropy
from paredown.training.optimizers import AbstractOptimizer, Sgd
from paredown.training.schedules import AbstractSchedule, Cosine
from paredown.training.validation import Validation


@dataclass(frozen=True)
class Plan:
    """How many steps a training takes.

    Args:
        steps: in all.
        per_epoch: in one pass over the examples.
        batch: examples a step; an incomplete last batch, where it is kept, has fewer.
        replays: steps on each batch in a row; all of them count.
    """

    steps: int
    per_epoch: int
    batch: int
    replays: int = 1

    @property
    def epochs(self) -> float:
        """How many passes over the examples the steps make."""
        return self.steps / self.per_epoch

    def refuse_idle(self, processes: int, *, examples: int, drop_last: bool) -> None:
        """Checks that each of several processes has something to do at every step.

        Raises:
            MethodError: a batch has fewer examples than there are processes.
        """
        rest = examples % self.batch
        smallest = self.batch if drop_last or not rest else rest
        if smallest < processes:
            raise MethodError(
                f"Training(batch_size={self.batch}): a batch of {smallest} cannot be shared by {processes} processes. "
                "Start fewer processes, or drop the incomplete last batch."
            )


@dataclass(frozen=True)
class Training(Method):
    """How a network is trained.

    Args:
        epochs: how often each example is trained on: passes over the data, or passes times `replays` where the
            objective replays each batch (`free`), so that every objective takes the same number of steps; 30 when steps
            are not given either.
        steps: optimizer steps, in place of epochs.
        budget: what `epochs` keeps when a selection is trained on. `steps`: the number of steps that the whole data
            would take, so a smaller set is seen more often (as in Paul et al. 2021). `epochs`: the number of passes, so
            a smaller set trains for less time.
        batch_size: examples a step, over all processes together.
        drop_last: leave out an epoch's incomplete last batch. Fewer examples than one batch are all taken at once.
        optimizer: the rule of a step.
        schedule: the share of the optimizer's rate at each step.
        objective: what a step minimises; the adversarial ones train on images that an attack has moved.
        label_smoothing: ε; the target is 1 − ε on the label and ε spread over all classes.
        clip: the largest L2 norm of a step's gradient, over all parameters; longer ones are shortened to it.
        augmentation: what happens to images; none takes the data's own.
        average: the decay of an exponential average of the weights, which then is the checkpoint; none for no average.
        average_warmup: the share of the training before which the average is the network itself.
        average_statistics: of batch normalisation in the averaged network. `recalibrated` computes them anew from up to
            200 batches, since those of other weights do not fit; `copied` takes the network's own, which costs nothing
            and is what robust training code usually does.
        validation: examples held out of the data; the checkpoint is that of the epoch that does best on them, and
            training may stop early. None keeps the last network.
        mixing: how extra data are mixed into the batches, where there are any.
        checkpoints_at: steps after which the network (not the average) is kept as well; 0 is the untrained one.
    """

    kind: ClassVar[str] = "training"
    instead: ClassVar[Mapping[str, str]] = {"epochs": "steps", "steps": "epochs"}
    epochs: int | None = None
    steps: int | None = None
    budget: Literal["steps", "epochs"] = "steps"
    batch_size: int = 128
    drop_last: bool = True
    optimizer: AbstractOptimizer = Sgd()  # noqa: RUF009  (frozen)
    schedule: AbstractSchedule = Cosine()  # noqa: RUF009  (frozen)
    objective: AbstractObjective = CrossEntropy()  # noqa: RUF009  (frozen)
    label_smoothing: float = 0.0
    clip: float | None = None
    augmentation: AbstractAugmentation | None = None
    average: float | None = None
    average_warmup: float = 0.0
    average_statistics: Literal["recalibrated", "copied"] = "recalibrated"
    validation: Validation | None = None
    mixing: Mixing | None = None
    checkpoints_at: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", 30)
        if self.epochs is not None and self.steps is not None:
            raise MethodError(
                f"Training(epochs={self.epochs}, steps={self.steps}): two lengths of one training. Give one of them."
            )
        if self.budget not in ("steps", "epochs"):
            raise MethodError(f"Training(budget={self.budget!r}): not a budget. Use steps or epochs.")
        for field in ("epochs", "steps", "batch_size"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise MethodError(f"Training({field}={value}): nothing would be trained. Give at least 1.")
        if not 0 <= self.label_smoothing < 1:
            raise MethodError(f"Training(label_smoothing={self.label_smoothing}): a share lies from 0 up to below 1.")
        if self.label_smoothing and not self.objective.smooths:
            raise MethodError(
                f"Training(objective={self.objective.name}, label_smoothing={self.label_smoothing}): its loss has no "
                "target that could be smoothed. Leave label_smoothing out."
            )
        if self.clip is not None and self.clip <= 0:
            raise MethodError(f"Training(clip={self.clip}): no step would be taken. Give a norm above 0, or none.")
        if self.average is not None and not 0 < self.average < 1:
            raise MethodError(f"Training(average={self.average}): a decay lies between 0 and 1, such as 0.999.")
        if not 0 <= self.average_warmup < 1 or (self.average_warmup and self.average is None):
            raise MethodError(
                f"Training(average={self.average}, average_warmup={self.average_warmup}): a share of the training lies "
                "from 0 up to below 1, and there is an average to wait for. Give average, such as 0.995, or neither."
            )
        if self.average_statistics not in ("recalibrated", "copied"):
            raise MethodError(
                f"Training(average_statistics={self.average_statistics!r}): not a kind of statistics. "
                "Use recalibrated or copied."
            )
        if self.average_statistics == "copied" and self.average is None:
            raise MethodError(
                "Training(average_statistics=copied): there is no average to copy them to. Give average, such as "
                "0.995, or leave it out."
            )
        cycled = self.schedule.momentum(1, 2) is not None
        if cycled and not getattr(self.optimizer, "momentum", 0):
            raise MethodError(
                f"Training(optimizer={self.optimizer.name}, schedule={self.schedule.name}): the schedule changes the "
                "momentum, and this optimizer has none. Take sgd with momentum, or leave cycled out."
            )
        if any(step < 0 for step in self.checkpoints_at):
            raise MethodError(f"Training(checkpoints_at={self.checkpoints_at}): steps are counted from 0.")
        object.__setattr__(self, "checkpoints_at", tuple(sorted(set(self.checkpoints_at))))

    def mixed(self, extra: bool) -> Training:
        """Gives the same with its mixing: the usual one where there are extra data and none is named.

        Raises:
            MethodError: a mixing is named and there is nothing to mix.
        """
        if self.mixing is not None and not extra:
            raise MethodError(
                "Training(mixing=…): there are no other data to mix in. Give extra=, such as generated images, or "
                "leave mixing out."
            )
        return replace(self, mixing=Mixing()) if extra and self.mixing is None else self

    def augmentation_of(self, data: LearnableDataset) -> AbstractAugmentation | None:
        """Gives what happens to the examples of some data.

        Raises:
            MethodError: an augmentation of images is asked for, and the data are none.
        """
        if self.augmentation is not None and data.noun != "images":
            raise MethodError(
                f"Training(augmentation=…): {data.name} has {data.noun}, and only images are augmented. Leave it out."
            )
        return self.augmentation or data.augmentation

    def plan(self, *, kept: int, whole: int) -> Plan:
        """Gives the steps of a training.

        Args:
            kept: how many examples are trained on.
            whole: how many the data has.

        Raises:
            MethodError: a checkpoint is asked for after the last step.
        """
        batch = min(self.batch_size, kept)
        per_epoch = self._per_epoch(kept)
        an_epoch = per_epoch if self.budget == "epochs" else self._per_epoch(whole)
        steps = self.steps or (self.epochs or 0) * an_epoch
        if self.checkpoints_at and self.checkpoints_at[-1] > steps:
            raise MethodError(
                f"Training(checkpoints_at={self.checkpoints_at}): step {self.checkpoints_at[-1]} never comes, because "
                f"the training takes {steps} steps. Ask for earlier steps or train longer."
            )
        replays = self.objective.replays
        return Plan(steps, per_epoch * replays, batch, replays)

    def _per_epoch(self, examples: int) -> int:
        batches = examples / self.batch_size
        return max(1, math.floor(batches) if self.drop_last else math.ceil(batches))
