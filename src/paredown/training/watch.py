"""Recording inside `fit`: the same measurements as `Recorder`, without a look at the ids or a wait for the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.dynamics import ADVERSARIAL_QUANTITIES, DynamicsWriter
from paredown.artifacts.ids import ExampleIds
from paredown.attacks import AbstractAttack
from paredown.data.loader import AbstractInputs
from paredown.training.devices import Place
from paredown.training.objectives import Seen
from paredown.training.observations import Buffers
from paredown.training.record import Recording
from paredown.training.rounds import round_over
from paredown.training.training import Plan


class Watch:
    """Records the dynamics of a training whose order is known beforehand.

    Args:
        recording: what, from where and how often.
        ids: of the examples that are trained on.
        plan: where the epochs end.
        attack: of a recording by evaluation: what moves the images; none where nothing adversarial is recorded.
        seed: of what it draws.
        place: where it runs.
        folder: where the epochs are written.
    """

    def __init__(
        self,
        recording: Recording,
        ids: ExampleIds,
        plan: Plan,
        *,
        attack: AbstractAttack | None = None,
        seed: int = 0,
        place: Place,
        folder: Path,
    ) -> None:
        self.recording, self.plan, self.place = recording, plan, place
        self.attack, self.seed = attack, seed
        self._buffers = Buffers(len(ids), recording.quantities, place.device)
        self._writer: DynamicsWriter | None = None
        if place.rank == 0:
            self._writer = DynamicsWriter(folder, ids, quantities=recording.quantities, source=recording.by)

    def wants_clean(self, step: int) -> bool:
        """Whether a step's clean logits are recorded."""
        clean = not set(self.recording.quantities) <= set(ADVERSARIAL_QUANTITIES)
        return clean and self._presented(step)

    def put(self, step: int, rows: Tensor, seen: Seen, labels: Tensor, *, own: int | None = None) -> None:
        """Takes this process's share of a step's batch.

        Args:
            step: its number.
            rows: positions among the ids.
            seen: what the step saw.
            labels: int64 (B,).
            own: how many of them, the first, have ids; the others are of extra data. None for all.
        """
        if self._presented(step):
            clean, attacked = seen.clean, seen.adversarial if self.recording.attacked else None
            clean, attacked = (None if logits is None else logits[:own] for logits in (clean, attacked))
            self._buffers.put(rows[:own], clean, labels[:own], attacked)

    def end_epoch(self, step: int, network: nn.Module, inputs: AbstractInputs, positions: np.ndarray) -> None:
        """Writes the epoch that ended with a step.

        Args:
            step: its last.
            network: for a recording by evaluation, which makes its pass now.
            inputs: what that pass looks at.
            positions: where the ids stand in it.
        """
        if not self._recorded(step):
            return
        if self.recording.by == "evaluation":
            self._evaluate(self._epoch(step), network, inputs, positions)
        values = self._gathered().cpu().numpy()
        if self._writer is not None:
            number = self._epoch(step) // self.recording.every
            self._writer.write(number, dict(zip(self.recording.quantities, values, strict=True)))
        self._buffers.clear()

    def finish(self, step: int, *, best_epoch: int | None = None) -> None:
        """Makes the epochs a whole artifact.

        Args:
            step: the last of the training.
            best_epoch: of the training, by validation; from 1.
        """
        if self._writer is not None:
            self._writer.cut(self._count(self._epoch(step)))
            best = None if best_epoch is None else self._count(best_epoch - 1)
            self._writer.finish(best_epoch=best)

    def tensors(self) -> dict[str, Tensor]:
        """Gives the unfinished epoch."""
        whole = {"values": self._gathered()} if self.place.processes > 1 else {}
        held = self._buffers.tensors() | whole
        return {f"watch.{name}": tensor for name, tensor in held.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes the unfinished epoch back; of several processes the first one has it all, and each remembers."""
        mine = {name.removeprefix("watch."): value for name, value in tensors.items() if name.startswith("watch.")}
        if self.place.rank > 0:
            mine["values"] = torch.full_like(mine["values"], torch.nan)
        self._buffers.restore(mine)

    def _epoch(self, step: int) -> int:
        return (step - 1) // self.plan.per_epoch

    def _count(self, epoch: int) -> int:
        """Gives how many epochs are recorded up to one, itself included; from 0."""
        return epoch // self.recording.every + 1

    def _presented(self, step: int) -> bool:
        # Of replays the last one counts, in which the perturbation has been fitted to these images.
        return self.recording.by == "presentations" and self._recorded(step) and step % self.plan.replays == 0

    def _recorded(self, step: int) -> bool:
        return self._epoch(step) % self.recording.every == 0

    def _evaluate(self, epoch: int, network: nn.Module, inputs: AbstractInputs, positions: np.ndarray) -> None:
        """Fills the buffers from a pass in evaluation mode and float32 over the un-augmented examples."""
        self.place.align(network)
        seen = round_over(
            network,
            inputs,
            positions,
            block=self.recording.block,
            attack=self.attack,
            draws=(self.seed, "record", epoch),
            place=self.place,
        )
        for block in seen:
            rows = torch.from_numpy(block.rows).to(self.place.device)
            self._buffers.put(rows, block.clean, block.labels, block.adversarial)

    def _gathered(self) -> Tensor:
        values = self._buffers.values()
        if self.place.processes == 1:
            return values
        self._buffers.share(self.place.total)
        known = self.place.total((~values.isnan()).float())
        return torch.where(known > 0, self.place.total(values.nan_to_num(nan=0.0)), torch.nan)
