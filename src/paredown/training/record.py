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
from torch.nn import functional

from paredown.artifacts.dynamics import (
    QUANTITIES,
    DynamicsWriter,
    Source,
    TrainingDynamics,
    check_quantities,
)
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.errors import DataError, MethodError, PoolMismatch
from paredown.method import Method

PENDING = 1 << 20
"""Logits that wait, at most, to be observed together: 4 MB."""


@dataclass(frozen=True)
class Recording(Method):
    """What is recorded while training, from where, and how often.

    Args:
        quantities: of confidence, correct, margin, loss, el2n; each costs four bytes an example and epoch.
        by: `presentations` records the forward passes that train (augmented images, training mode, weights before the
            step's update; forgetting and AUM are defined so). `evaluation` makes a pass over the un-augmented images in
            evaluation mode after the epoch, which costs about a third of it.
        every: record each so-manyth epoch, from the first on.
    """

    kind: ClassVar[str] = "recording"
    quantities: tuple[str, ...] = QUANTITIES
    by: Literal["presentations", "evaluation"] = "presentations"
    every: int = 1

    def __post_init__(self) -> None:
        # The standard order, so that two ways of naming the same quantities are one recording.
        object.__setattr__(self, "quantities", check_quantities(tuple(self.quantities)))
        if self.by not in ("presentations", "evaluation"):
            raise MethodError(f"Recording(by={self.by!r}): not a source. Use presentations or evaluation.")
        if self.every < 1:
            raise MethodError(f"Recording(every={self.every}): every first epoch is the most. Give 1 or more.")


def observe(
    logits: torch.Tensor, labels: torch.Tensor, quantities: Iterable[str] = QUANTITIES
) -> dict[str, torch.Tensor]:
    """Gives what the logits of a batch say about its examples, in float32 whatever the logits' type.

    With `p = softmax(z)`: confidence `p_y`; correct `argmax z = y`; margin `z_y − max_{c≠y} z_c` (Pleiss et al. 2020,
    AUM, eq. 1); loss `−log p_y`; EL2N `‖p − e_y‖₂` (Paul et al. 2021, section 2).

    Args:
        logits: shape (B, C).
        labels: int64, shape (B,).
        quantities: which of them.

    Returns:
        float32 tensors of shape (B,) on the logits' device, by name.
    """
    wanted = set(quantities)
    logits, column = logits.detach().float(), labels[:, None]
    seen: dict[str, torch.Tensor] = {}
    if wanted & {"confidence", "loss", "el2n"}:
        log_p = functional.log_softmax(logits, dim=1)
        log_p_y = log_p.gather(1, column)[:, 0]
        seen["loss"] = -log_p_y
        seen["confidence"] = log_p_y.exp()
        if "el2n" in wanted:
            # At the label p_y − 1 is minus what the others have, which keeps its digits where p_y is nearly 1.
            error = log_p.exp_().scatter_(1, column, 0.0)
            error.scatter_(1, column, -error.sum(1, keepdim=True))
            seen["el2n"] = torch.linalg.vector_norm(error, dim=1)
    if "correct" in wanted:
        seen["correct"] = (logits.argmax(1) == labels).float()
    if "margin" in wanted:
        of_label = logits.gather(1, column)[:, 0]
        seen["margin"] = of_label - logits.scatter(1, column, -torch.inf).amax(1)
    return {name: seen[name] for name in QUANTITIES if name in wanted}


class Buffers:
    """One epoch of quantities on the device: N floats each, NaN until an example is seen.

    Batches wait until about `PENDING` logits have come together: a dozen small operations for many batches at once cost
    next to nothing, and after each step they would not.
    """

    def __init__(self, examples: int, quantities: tuple[str, ...], device: torch.device) -> None:
        self.quantities = quantities
        self._values = torch.full((len(quantities), examples), torch.nan, device=device)
        self._waiting: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._logits = 0

    def put(self, rows: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Takes a batch: its rows (int64, each at most once an epoch), logits that nobody changes later, and labels."""
        self._waiting.append((rows, logits, labels))
        self._logits += logits.numel()
        if self._logits >= PENDING:
            self._observe()

    def values(self) -> torch.Tensor:
        """Gives the epoch as it stands, float32 of shape (quantities, N)."""
        self._observe()
        return self._values

    def clear(self) -> None:
        """Forgets the epoch."""
        self._waiting, self._logits = [], 0
        self._values.fill_(torch.nan)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Gives what is known and what waits: saving it must not change which batches are observed together."""
        waiting = zip(("rows", "logits", "labels"), map(torch.cat, zip(*self._waiting, strict=True)), strict=True)
        return {"values": self._values} | (dict(waiting) if self._waiting else {})

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Takes back what `tensors` gave."""
        self._values.copy_(tensors["values"])
        if "logits" in tensors:
            device = self._values.device
            rows, logits, labels = (tensors[name].to(device) for name in ("rows", "logits", "labels"))
            self.put(rows, logits, labels)

    def _observe(self) -> None:
        if not self._waiting:
            return
        rows, logits, labels = map(torch.cat, zip(*self._waiting, strict=True))
        seen = observe(logits, labels, self.quantities)
        self._values[:, rows] = torch.stack([seen[name] for name in self.quantities])
        self._waiting, self._logits = [], 0


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

    def update(self, logits: torch.Tensor, labels: Any, ids: Any) -> None:
        """Takes a batch, straight after its forward pass.

        Args:
            logits: shape (B, C), any floating type and device; no gradient flows from here.
            labels: class numbers, shape (B,).
            ids: the examples' ids as the loader gave them, shape (B,): a tensor, an array, a list or `ExampleIds`. Ids
                on the CPU cost nothing; ids on a GPU make each step wait for it.

        Raises:
            DataError: shapes that do not belong together, or a label without a logit.
            PoolMismatch: an id that the recorder does not know.
        """
        labels = torch.as_tensor(labels)
        positions = self._positions(ids)
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
        # Several processes pad their last batch with copies; writing one place twice in a batch has no defined winner.
        if len(np.unique(positions)) < len(positions):
            _, first = np.unique(positions, return_index=True)
            keep = torch.from_numpy(first).to(device)
            where, labels, logits = where[keep], labels[keep], logits[keep]
        self._buffers.put(where, logits, labels)

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
