"""Validation: examples held out of training, looked at after epochs; the best network is kept, and training may stop.

Looks are compared by counts of examples, so that there is no rounding between equal ones; strictly more replaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from paredown.artifacts.apportion import apportion
from paredown.artifacts.checkpoint import write_validation
from paredown.artifacts.ids import ExampleIds
from paredown.attacks import AbstractAttack
from paredown.data.dataset import LearnableDataset
from paredown.data.loader import AbstractInputs
from paredown.errors import MethodError
from paredown.method import Method
from paredown.models.build import AbstractNetwork
from paredown.rng import stream
from paredown.training.devices import Place
from paredown.training.rounds import round_over

NONE = -1
"""Stands for no epoch yet among the numbers that are saved."""


@dataclass(frozen=True)
class Validation(Method):
    """Chooses the best epoch, and perhaps the last one, by examples that are held out of the training data.

    Accuracy on them is looked at after epochs, of the averaged weights where there is an average. The checkpoint is
    that of the epoch with the highest accuracy, the first of several. These examples are then used up: their accuracy
    at the best epoch is higher than that of others.

    Args:
        examples: how many are held out; never trained on, whatever the selection, and never recorded.
        draw: "by-class" draws the same share of each class, the same rows for every seed of the training. "first" takes
            the first rows of the data, as Nieth et al. 2024 do with 1024 of CIFAR-10.
        attack: with one, robust accuracy under it decides: examples that are right before and after. Published
            trainings take the training attack with four times the steps and the loss carlini-wagner.
        every: epochs from one look to the next; the end of the training is looked at in any case.
        patience: training stops at the first look that lies more than so many epochs behind the best one; none trains
            to the end.
    """

    kind: ClassVar[str] = "validation"

    examples: int = 1024
    draw: Literal["by-class", "first"] = "by-class"
    attack: AbstractAttack | None = None
    every: int = 1
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.draw not in ("by-class", "first"):
            raise MethodError(f"Validation(draw={self.draw!r}): not a way to draw. Use by-class or first.")
        for field, needs in (("examples", "nothing would be looked at"), ("every", "epochs are counted from 1")):
            if getattr(self, field) < 1:
                raise MethodError(f"Validation({field}={getattr(self, field)}): {needs}. Give 1 or more.")
        if self.patience is not None and self.patience < 1:
            raise MethodError(
                f"Validation(patience={self.patience}): training would stop at the first look that is no better, "
                "whatever chance does to it. Give 1 or more, or none to train to the end."
            )
        if self.attack is not None and self.attack.eps is None:
            raise MethodError(
                f"Validation(attack={self.attack.name}): the attack has no radius. Give eps, such as 8/255."
            )

    def rows(self, data: LearnableDataset) -> np.ndarray:
        """Gives the rows that are held out, ascending: a function of the data and these settings alone.

        Fewer examples are, by class, a part of more.

        Returns:
            int64, shape (examples,).

        Raises:
            MethodError: nothing would be left to train on, or a class would be missing on one side.
        """
        if self.examples >= len(data):
            raise MethodError(
                f"Validation(examples={self.examples}): {data.name} has {len(data)} examples, so none would be left to "
                "train on. Hold out fewer."
            )
        sizes = np.bincount(data.labels, minlength=len(data.classes))
        if self.draw == "first":
            held = np.arange(self.examples)
        else:
            held = np.sort(np.concatenate([
                stream(0, "validation", label).permutation(np.flatnonzero(data.labels == label))[:count]
                for label, count in enumerate(apportion(sizes, self.examples))
            ]))  # fmt: skip
        self._refuse_empty(data, sizes, np.bincount(data.labels[held], minlength=len(sizes)))
        return held

    def _refuse_empty(self, data: LearnableDataset, sizes: np.ndarray, counts: np.ndarray) -> None:
        where = f"Validation(examples={self.examples}, draw={self.draw}): "
        for label in np.flatnonzero(sizes):
            which = f"class '{data.classes[label]}' of {data.name}"
            if not counts[label]:
                advice = "Hold out more examples." if self.draw == "by-class" else "Draw by-class."
                raise MethodError(f"{where}none of the {sizes[label]} examples of {which} would be looked at. {advice}")
            if counts[label] == sizes[label]:
                advice = "Hold out fewer." if self.draw == "by-class" else "Draw by-class."
                raise MethodError(f"{where}all {sizes[label]} examples of {which} would be held out. {advice}")


class Looks:
    """Looks at the held-out examples, keeps the best network, and says when training is over.

    Args:
        validation: how often, under which attack, how patiently.
        ids: of the held-out examples.
        inputs: what is looked at.
        rows: where the ids stand in it.
        batch: examples that are looked at together; what an attack draws goes with it, so it is the training's.
        per_epoch: steps of an epoch.
        steps: of the whole training.
        seed: of what an attack draws.
        place: where it runs; each process looks at its share.
    """

    def __init__(
        self,
        validation: Validation,
        ids: ExampleIds,
        inputs: AbstractInputs,
        rows: np.ndarray,
        *,
        batch: int,
        per_epoch: int,
        steps: int,
        seed: int,
        place: Place,
    ) -> None:
        self.validation, self.ids, self.inputs, self.rows = validation, ids, inputs, rows
        self.batch, self.per_epoch, self.steps, self.seed, self.place = batch, per_epoch, steps, seed, place
        self.weights: dict[str, Tensor] = {}
        """Of the best network so far, in host memory; the first process has them."""
        self._looked = self._best = self._best_step = self._most = NONE

    @property
    def best_epoch(self) -> int | None:
        """The epoch of the best network so far, from 1."""
        return None if self._best == NONE else self._best

    @property
    def best_step(self) -> int:
        """The step after which the best network so far was looked at."""
        return self._best_step

    @property
    def over(self) -> bool:
        """Whether too many epochs have passed without a better network."""
        patience = self.validation.patience
        return patience is not None and self._best != NONE and self._looked - self._best > patience

    def due(self, step: int) -> bool:
        """Whether there is a look after a step."""
        epoch, rest = divmod(step, self.per_epoch)
        return step == self.steps or (not rest and epoch % self.validation.every == 0)

    def look(self, step: int, network: AbstractNetwork) -> dict[str, float]:
        """Looks at a network and gives its accuracy; `best_step` is then this step if it is the best so far."""
        epoch = -(-step // self.per_epoch)
        clean, robust = self._hits(epoch, network)
        figures = {"validation-accuracy": clean / len(self.rows)}
        if self.validation.attack is not None:
            figures["validation-robust-accuracy"] = robust / len(self.rows)
        hits = clean if self.validation.attack is None else robust
        self._looked = epoch
        if hits > self._most:
            self._best, self._best_step, self._most = epoch, step, hits
            if self.place.rank == 0:
                self.weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return figures

    def tensors(self) -> dict[str, Tensor]:
        """Gives what a resumed training needs: the numbers, and the best network so far."""
        numbers = torch.tensor([self._looked, self._best, self._best_step, self._most])
        return {"looks": numbers} | {f"best.{name}": value for name, value in self.weights.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `tensors` gave."""
        self._looked, self._best, self._best_step, self._most = tensors["looks"].tolist()
        if self.place.rank == 0:
            self.weights = {
                name.removeprefix("best."): value for name, value in tensors.items() if name.startswith("best.")
            }

    def write(self, folder: Path) -> None:
        """Writes which examples were held out, and which epoch was best by them."""
        assert self.best_epoch is not None
        write_validation(folder, self.ids, self.best_epoch)

    def _hits(self, epoch: int, network: AbstractNetwork) -> tuple[int, int]:
        """Gives how many are right, and how many stay so under the attack; the same on every process."""
        right = torch.zeros(2, device=self.place.device)
        seen = round_over(
            network,
            self.inputs,
            self.rows,
            block=self.batch,
            attack=self.validation.attack,
            draws=(self.seed, "validation", epoch),
            place=self.place,
        )
        for block in seen:
            clean = block.clean.argmax(1) == block.labels
            right[0] += clean.sum()
            if block.adversarial is not None:
                right[1] += (clean & (block.adversarial.argmax(1) == block.labels)).sum()
        clean, robust = self.place.total(right).long().tolist()
        return clean, robust
