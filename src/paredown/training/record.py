"""What a training step saw of each example, kept at next to no cost: the forward pass that trains is the one recorded.

`Recorder` serves any training loop in three lines:

    recorder = Recorder(ids=range(len(dataset)))
    recorder.update(logits, labels, ids)          # after each forward pass
    dynamics = recorder.finish()                  # a TrainingDynamics, ready to be scored
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from paredown.artifacts.dynamics import (
    ADVERSARIAL_QUANTITIES,
    QUANTITIES,
    DynamicsWriter,
    Source,
    TrainingDynamics,
    check_quantities,
)
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.attacks import AbstractAttack
from paredown.errors import DataError, MethodError, PoolMismatch
from paredown.method import Method
from paredown.training.observations import Buffers


@dataclass(frozen=True)
class Recording(Method):
    """What is recorded while training, from where, and how often.

    Args:
        quantities: of confidence, correct, margin, loss, el2n, probability-margin, divergence; each costs four bytes an
            example and epoch. For divergence the device also holds two bytes an example and class: the logarithms of
            the probabilities at the presentation before, in float16, of which it is correct to about 0.001. Of an
            adversarial training also adversarial-confidence and adversarial-correct: what its attack reached. Where the
            objective makes no clean pass (`madry`, `fast`, `free`), all others cost one forward pass more.
        by: `presentations` records the forward passes that train (augmented images, training mode, weights before the
            step's update; forgetting and AUM are defined so). `evaluation` makes a pass over the un-augmented images in
            evaluation mode after the epoch, which costs about a third of it; adversarial quantities, an attack on top.
            They are different measurements.
        every: record each so-manyth epoch, from the first on.
        attack: by evaluation: what moves the images of the adversarial quantities; none takes the attack of the
            training's objective. It looks at the network itself, not at the average.
        block: by evaluation: examples that are looked at together. What an attack draws goes with it, so it stands here
            and not in the runtime, which changes no figure.
    """

    kind: ClassVar[str] = "recording"
    quantities: tuple[str, ...] = QUANTITIES
    by: Literal["presentations", "evaluation"] = "presentations"
    every: int = 1
    attack: AbstractAttack | None = None
    block: int = 500

    def __post_init__(self) -> None:
        # The standard order, so that two ways of naming the same quantities are one recording.
        object.__setattr__(self, "quantities", check_quantities(tuple(self.quantities)))
        if self.by not in ("presentations", "evaluation"):
            raise MethodError(f"Recording(by={self.by!r}): not a source. Use presentations or evaluation.")
        if self.attack is not None and not (self.by == "evaluation" and self.attacked):
            wrong = "nothing adversarial is recorded" if not self.attacked else "by presentations, training attacks"
            raise MethodError(
                f"Recording(attack={self.attack.name}): {wrong}, so it would attack nothing. Record "
                "adversarial-confidence by evaluation, or leave the attack out."
            )
        if self.attack is not None and self.attack.eps is None:
            raise MethodError(
                f"Recording(attack={self.attack.name}): the attack has no radius. Give eps, such as 8/255."
            )
        if self.block < 1:
            raise MethodError(f"Recording(block={self.block}): nothing would be looked at. Give 1 or more.")
        if self.every < 1:
            raise MethodError(f"Recording(every={self.every}): every first epoch is the most. Give 1 or more.")

    @property
    def attacked(self) -> bool:
        """Whether anything adversarial is recorded."""
        return not set(self.quantities).isdisjoint(ADVERSARIAL_QUANTITIES)


class Recorder:
    """Records the dynamics of any training loop.

    An epoch ends when an id comes a second time, or when `end_epoch` says so. Memory: one epoch at a time, N floats a
    quantity and 4 MB of logits, on the device of the first logits.

    Args:
        ids: the examples, as `ExampleIds` or as plain whole numbers, each once.
        folder: write each epoch there as it ends; without it the epochs stay in memory.
        quantities: what to keep.
    """

    def __init__(
        self,
        ids: ExampleIds | Iterable[int],
        *,
        folder: str | Path | None = None,
        quantities: tuple[str, ...] = QUANTITIES,
        source: Source = "presentations",
    ) -> None:
        self.ids = ids if isinstance(ids, ExampleIds) else plain_ids(ids)
        self.quantities = check_quantities(quantities)
        self.source: Source = source
        self._attacked = not set(self.quantities).isdisjoint(ADVERSARIAL_QUANTITIES)
        self._writer = None
        if folder is not None:
            self._writer = DynamicsWriter(folder, self.ids, quantities=self.quantities, source=source)
        # Looked up at every batch, so sorted once here.
        self._order = None if self.ids.whole else np.argsort(self.ids.keys, kind="stable")
        self._ranked = self.ids.keys if self._order is None else self.ids.keys[self._order]
        self._epochs: list[Mapping[str, np.ndarray]] = []
        self._ended = 0
        self._buffers: Buffers | None = None
        self._seen = np.zeros(len(self.ids), dtype=bool)

    def update(self, logits: torch.Tensor, labels: Any, ids: Any, *, adversarial: torch.Tensor | None = None) -> None:
        """Takes a batch, straight after its forward pass.

        Args:
            logits: shape (B, C), any floating type and device; no gradient flows from here.
            labels: class numbers, shape (B,).
            ids: the examples' ids as the loader gave them, shape (B,): a tensor, an array, a list or `ExampleIds`. Ids
                on the CPU cost nothing; ids on a GPU make each step wait for it.
            adversarial: logits of what an attack reached, shape (B, C), where adversarial quantities are kept.

        Raises:
            DataError: shapes that do not belong together, or a label without a logit.
            PoolMismatch: an id that the recorder does not know.
        """
        labels = torch.as_tensor(labels)
        positions = self._positions(ids)
        if (adversarial is None) == self._attacked or (adversarial is not None and adversarial.shape != logits.shape):
            raise DataError(
                f"Recorder(quantities={self.quantities}): adversarial logits, in the shape of the others, are needed "
                "with every batch where adversarial quantities are kept, and only there."
            )
        if logits.ndim != 2 or labels.shape != logits.shape[:1] or positions.shape != labels.shape:
            raise DataError(
                f"Recorder: logits of shape {tuple(logits.shape)}, labels of shape {tuple(labels.shape)} and "
                f"{len(positions)} ids do not make a batch. Give (B, C) logits, B labels and B ids."
            )
        if (
            labels.device.type == "cpu"
            and len(labels)
            and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]
        ):
            raise DataError(
                f"Recorder: labels from {int(labels.min())} to {int(labels.max())} for {logits.shape[1]} logits. "
                "Labels are class numbers from 0."
            )
        if self._seen[positions].any():
            self.end_epoch()
        self._seen[positions] = True
        if self._buffers is None:
            self._buffers = Buffers(len(self.ids), self.quantities, logits.device)
            self._device = logits.device
        device = self._device
        where, labels = torch.from_numpy(positions).to(device), labels.to(device, torch.int64, copy=True)
        # A copy, since the loop may go on to change its logits in place.
        logits = logits.detach().to(device, torch.float32, copy=True)
        if adversarial is not None:
            adversarial = adversarial.detach().to(device, torch.float32, copy=True)
        # Several processes pad their last batch with copies; writing one place twice in a batch has no defined winner.
        if len(np.unique(positions)) < len(positions):
            _, first = np.unique(positions, return_index=True)
            keep = torch.from_numpy(first).to(device)
            where, labels, logits = where[keep], labels[keep], logits[keep]
            adversarial = None if adversarial is None else adversarial[keep]
        self._buffers.put(where, logits, labels, adversarial)

    def end_epoch(self) -> None:
        """Ends the epoch here; an epoch that saw nothing is none."""
        if self._buffers is None or not self._seen.any():
            return
        rows = self._buffers.values().cpu().numpy().copy()
        values = dict(zip(self.quantities, rows, strict=True))
        if self._writer is None:
            self._epochs.append(values)
        else:
            self._writer.write(self._ended, values)
        self._ended += 1
        self._buffers.clear()
        self._seen[:] = False

    def finish(self) -> TrainingDynamics:
        """Ends the last epoch and gives the dynamics, saved when there is a folder.

        Raises:
            DataError: nothing was ever recorded.
        """
        self.end_epoch()
        if not self._ended:
            raise DataError("Recorder: nothing was recorded. Call update(logits, labels, ids) after each forward pass.")
        if self._writer is not None:
            return self._writer.finish()
        return TrainingDynamics(self.ids, self._epochs, quantities=self.quantities, source=self.source)

    def _positions(self, ids: Any) -> np.ndarray:
        if isinstance(ids, ExampleIds):
            self.ids.same_pool(ids, "The recorder's ids", "the batch")
            keys = ids.keys
        else:
            keys = ids if isinstance(ids, np.ndarray) else torch.as_tensor(ids).cpu().numpy()
        found = np.minimum(np.searchsorted(self._ranked, keys), len(self._ranked) - 1)
        known = self._ranked[found] == keys
        if not known.all():
            raise PoolMismatch(
                f"Recorder: id {keys[~known][0]} is not among the {len(self.ids)} ids it was made with. "
                "Make it with the ids of all examples that the loop sees."
            )
        return found if self._order is None else self._order[found]


def plain_ids(keys: Iterable[int]) -> ExampleIds:
    """Gives whole numbers as ids of a pool of their own: the same numbers are the same pool.

    Raises:
        DataError: none at all, negative ones, or one twice.
    """
    given = np.asarray(list(keys) if not isinstance(keys, np.ndarray) else keys)
    if given.ndim != 1 or not len(given) or not np.issubdtype(given.dtype, np.integer):
        raise DataError("Recorder(ids=…): ids are whole numbers, one an example. Give range(len(dataset)) or its ids.")
    given = given.astype(np.int64)
    if given.min() < 0 or len(np.unique(given)) < len(given):
        raise DataError("Recorder(ids=…): an id is negative or stands twice. Give each example an id of its own.")
    fingerprint = hashlib.sha256(np.sort(given).tobytes()).hexdigest()
    return ExampleIds(given, Pool(("ids of one's own loop",), int(given.max()) + 1, fingerprint))
