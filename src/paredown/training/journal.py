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
from paredown.training.objectives import Seen

WINDOW = 100
"""Steps between two looks, each of which waits for the device."""


class Diverged(MethodError):
    """The loss is no longer a finite number."""


class Journal:
    """Keeps the losses of some steps on the device, and writes a line about them when it looks.

    Args:
        learner: whose course it is.
        folder: where `metrics.jsonl` goes.
        cursor: where an interrupted training stood; empty at the beginning.
    """

    def __init__(self, learner: Learner, folder: Path, *, cursor: Mapping[str, Any]) -> None:
        self.learner, self.place = learner, learner.place
        objective = learner.training.objective
        self._hits = ["accuracy"] * objective.looks_clean + ["adversarial_accuracy"] * objective.attacks
        self._values = torch.zeros(1 + len(self._hits), WINDOW, device=self.place.device)
        self._steps, self._examples = cursor.get("window", (0, 0))
        self._file: MetricsFile | None = None
        self._trackers: dict[str, Tracker] = {}
        if self.place.rank == 0:
            self._file = MetricsFile(folder / "metrics.jsonl", cursor=cursor.get("metrics", 0))

    def open_trackers(
        self, names: Sequence[str], folder: Path, parameters: Mapping[str, Any], *, cursor: Mapping[str, Any]
    ) -> None:
        """Lets trackers hear of the course too, and of what is trained; after an interruption where they left off."""
        if self.place.rank == 0:
            self._trackers = open_trackers(names, folder, runs=cursor.get("trackers"))
            for tracker in self._trackers.values():
                tracker.parameters(parameters)

    def head(self, header: Mapping[str, Any]) -> None:
        """Writes the first line: what is trained."""
        if self._file is not None:
            self._file.append(header)

    @property
    def full(self) -> bool:
        """Whether it must be looked at."""
        return self._steps == WINDOW

    def put(self, loss: Tensor, seen: Seen, labels: Tensor, examples: int) -> None:
        """Takes a step: the sum of the losses and what was seen, of this process's share."""
        objective = self.learner.training.objective
        self._values[0, self._steps] = loss
        for row, name in enumerate(self._hits, start=1):
            logits = seen.clean if name == "accuracy" else seen.adversarial
            if logits is None:
                missing = "clean" if name == "accuracy" else "adversarial"
                raise MethodError(
                    f"{type(objective).__name__}: it gives no {missing} logits, and its looks_clean and attacks "
                    "say that it does. Give them in Seen, or say otherwise."
                )
            self._values[row, self._steps] = (logits.argmax(1) == labels).sum()
        self._steps += 1
        self._examples += examples

    def look(self, step: int) -> str:
        """Writes a line about the steps since the last look, and gives a few words about them.

        Raises:
            Diverged: the loss of one of them was not a finite number.
        """
        losses, *hits = self._read(step)
        shares = {name: sum(right) / self._examples for name, right in zip(self._hits, hits, strict=True)}
        row = {"loss": sum(losses) / self._examples} | shares | {"lr": self.learner.rate(step)} | self.learner.figures()
        self._values.zero_()
        self._steps = self._examples = 0
        self.note(step, row)
        words = [f"{name.replace('_', ' ')} {share:.1%}" for name, share in shares.items()]
        return ", ".join([f"loss {row['loss']:.3f}", *words])

    def note(self, step: int, figures: Mapping[str, float], *, best: bool = False) -> None:
        """Writes a line of figures that were found after a step.

        Args:
            step: which.
            figures: by name.
            best: whether the network is the best so far, by validation.
        """
        if self._file is not None:
            mark = {"best": True} if best else {}
            self._file.append({"step": step, "epoch": step / self.learner.plan.per_epoch, **figures, **mark})
        for tracker in self._trackers.values():
            tracker.log(figures, step)

    def leave(self, paths: Sequence[Path]) -> None:
        """Gives the trackers what the training has made."""
        for tracker in self._trackers.values():
            tracker.artifacts(paths)

    def cursor(self, step: int) -> dict[str, Any]:
        """Gives where the journal stands; refuses, as `look` does, so that no ruined state is ever saved."""
        self._read(step)
        runs = {name: tracker.run for name, tracker in self._trackers.items() if tracker.run}
        written = self._file.cursor if self._file else 0
        return {"metrics": written, "window": [self._steps, self._examples]} | ({"trackers": runs} if runs else {})

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
        for tracker in self._trackers.values():
            tracker.close()

    def _read(self, step: int) -> list[list[float]]:
        rows = self.place.total(self._values)[:, : self._steps].tolist()
        for number, loss in enumerate(rows[0]):
            if not math.isfinite(loss):
                self._refuse(step - self._steps + 1 + number)
        return rows

    def _refuse(self, step: int) -> None:
        optimizer = self.learner.training.optimizer
        raise Diverged(
            f"Training(optimizer={optimizer.name}): the loss of step {step} is not a finite number, at a learning "
            f"rate of {self.learner.rate(step):.4g}. Lower the optimizer's lr, add a warm-up or clip the "
            "gradient; finished epochs stay."
        )
