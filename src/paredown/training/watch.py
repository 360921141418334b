"""Recording inside `fit`: the same measurements as `Recorder`, without a look at the ids or a wait for the device."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.dynamics import ADVERSARIAL_QUANTITIES, DynamicsWriter
from paredown.artifacts.ids import ExampleIds
from paredown.data.loader import AbstractInputs, batches
from paredown.training.devices import Place
from paredown.training.objectives import Seen
from paredown.training.observations import Buffers
from paredown.training.record import Recording
from paredown.training.training import Plan


class Watch:
    """Records the dynamics of a training whose order is known beforehand.

    Args:
        recording: what, from where and how often.
        ids: of the examples that are trained on.
        plan: where the epochs end.
        place: where it runs.
        folder: where the epochs are written.
    """

    def __init__(self, recording: Recording, ids: ExampleIds, plan: Plan, *, place: Place, folder: Path) -> None:
        self.recording, self.plan, self.place = recording, plan, place
        self._buffers = Buffers(len(ids), recording.quantities, place.device)
        self._writer: DynamicsWriter | None = None
        if place.rank == 0:
            self._writer = DynamicsWriter(folder, ids, quantities=recording.quantities, source=recording.by)

    def wants_clean(self, step: int) -> bool:
        """Whether a step's clean logits are recorded."""
        clean = not set(self.recording.quantities) <= set(ADVERSARIAL_QUANTITIES)
        return clean and self._presented(step)

    def put(self, step: int, rows: Tensor, seen: Seen, labels: Tensor) -> None:
        """Takes this process's share of a step's batch; `rows` are positions among the ids."""
        if self._presented(step):
            asked = not set(self.recording.quantities).isdisjoint(ADVERSARIAL_QUANTITIES)
            self._buffers.put(rows, seen.clean, labels, seen.adversarial if asked else None)

    def end_epoch(
        self, step: int, network: nn.Module, inputs: AbstractInputs, positions: np.ndarray, batch: int
    ) -> None:
        """Writes the epoch that ended with a step.

        Args:
            step: its last.
            network: for a recording by evaluation, which makes its pass now.
            inputs: what that pass looks at.
            positions: where the ids stand in it.
            batch: examples a forward pass.
        """
        if not self._recorded(step):
            return
        if self.recording.by == "evaluation":
            self._evaluate(network, inputs, positions, batch)
        values = self._gathered().cpu().numpy()
        if self._writer is not None:
            number = self._epoch(step) // self.recording.every
            self._writer.write(number, dict(zip(self.recording.quantities, values, strict=True)))
        self._buffers.clear()

    def finish(self) -> None:
        """Makes the epochs a whole artifact."""
        if self._writer is not None:
            self._writer.finish()

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

    def _presented(self, step: int) -> bool:
        return self.recording.by == "presentations" and self._recorded(step)

    def _recorded(self, step: int) -> bool:
        return self._epoch(step) % self.recording.every == 0

    @torch.no_grad()
    def _evaluate(self, network: nn.Module, inputs: AbstractInputs, positions: np.ndarray, batch: int) -> None:
        """Fills the buffers from a pass in evaluation mode and float32 over the un-augmented examples."""
        network.eval()
        parts = batches(np.arange(len(positions)), batch, drop_last=False)
        mine = list(islice(parts, self.place.rank, None, self.place.processes))
        for part, (x, y) in zip(mine, inputs.batches(positions[part] for part in mine), strict=True):
            self._buffers.put(torch.from_numpy(part).to(self.place.device), network(x), y)
        network.train()

    def _gathered(self) -> Tensor:
        values = self._buffers.values()
        if self.place.processes == 1:
            return values
        self._buffers.share(self.place.total)
        known = self.place.total((~values.isnan()).float())
        return torch.where(known > 0, self.place.total(values.nan_to_num(nan=0.0)), torch.nan)
