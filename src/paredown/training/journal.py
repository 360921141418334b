"""The course of a training: loss, accuracy and rate, read from the device every hundred steps and never in between."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from paredown.errors import MethodError
from paredown.log import MetricsFile, Tracker, open_trackers
from paredown.training.learner import Learner

WINDOW = 100
"""Steps between two looks, each of which waits for the device."""


class Journal:
    """Keeps the losses of some steps on the device, and writes a line about them when it looks.

    Args:
        learner: whose course it is.
        folder: where `metrics.jsonl` goes.
        cursor: where an interrupted training stood; empty at the beginning.
    """

    def __init__(self, learner: Learner, folder: Path, *, cursor: Mapping[str, Any]) -> None:
        self.learner, self.place = learner, learner.place
        self._values = torch.zeros(2, WINDOW, device=self.place.device)
        self._steps, self._examples = cursor.get("window", (0, 0))
        self._file: MetricsFile | None = None
        self._trackers: list[Tracker] = []
        if self.place.rank == 0:
            self._file = MetricsFile(folder / "metrics.jsonl", cursor=cursor.get("metrics", 0))

    def open_trackers(self, names: Sequence[str], folder: Path) -> None:
        """Lets trackers hear of the course too."""
        if self.place.rank == 0:
            self._trackers = open_trackers(names, folder)

    def head(self, header: Mapping[str, Any]) -> None:
        """Writes the first line: what is trained."""
        if self._file is not None:
            self._file.append(header)

    @property
    def full(self) -> bool:
        """Whether it must be looked at."""
        return self._steps == WINDOW

    def put(self, loss: Tensor, hits: Tensor, examples: int) -> None:
        """Takes a step: the sum of the losses and the number classified correctly, of this process's share."""
        self._values[0, self._steps], self._values[1, self._steps] = loss, hits
        self._steps += 1
        self._examples += examples

    def look(self, step: int) -> str:
        """Writes a line about the steps since the last look, and gives a few words about them.

        Raises:
            MethodError: the loss of one of them was not a finite number.
        """
        losses, hits = self._read(step)
        row = {
            "loss": sum(losses) / self._examples,
            "accuracy": sum(hits) / self._examples,
            "lr": self.learner.rate(step),
        }
        self._values.zero_()
        self._steps = self._examples = 0
        if self._file is not None:
            self._file.append({"step": step, "epoch": step / self.learner.plan.per_epoch} | row)
        for tracker in self._trackers:
            tracker.log(row, step)
        return f"loss {row['loss']:.3f}, accuracy {row['accuracy']:.1%}"

    def cursor(self, step: int) -> dict[str, Any]:
        """Gives where the journal stands; refuses, as `look` does, so that no ruined state is ever saved."""
        self._read(step)
        return {"metrics": self._file.cursor if self._file else 0, "window": [self._steps, self._examples]}

    def tensors(self) -> dict[str, Tensor]:
        """Gives the window."""
        return {"journal": self._values}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the window back; of several processes the first one has it all."""
        if self.place.rank == 0:
            self._values.copy_(tensors["journal"])

    def close(self) -> None:
        """Closes file and trackers."""
        if self._file is not None:
            self._file.close()
        for tracker in self._trackers:
            tracker.close()

    def _read(self, step: int) -> tuple[list[float], list[float]]:
        losses, hits = self.place.total(self._values)[:, : self._steps].tolist()
        for number, loss in enumerate(losses):
            if not math.isfinite(loss):
                self._refuse(step - self._steps + 1 + number)
        return losses, hits

    def _refuse(self, step: int) -> None:
        optimizer = self.learner.training.optimizer
        raise MethodError(
            f"Training(optimizer={optimizer.name}): the loss of step {step} is not a finite number, at a learning "
            f"rate of {self.learner.rate(step):.4g}. Lower the optimizer's lr or add a warm-up; finished epochs stay."
        )
