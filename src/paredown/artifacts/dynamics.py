"""`TrainingDynamics`: what training saw of each example, one file an epoch.

An epoch is committed by a rename, resuming is counting files, and scorers stream over the files, so that 400 epochs of
20 million examples need memory for one epoch only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from paredown.artifacts.base import HEADER, Artifact, write_json
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.errors import ArtifactError, MethodError

QUANTITIES = ("confidence", "correct", "margin", "loss", "el2n")
"""What is recorded unless others are named: the probability of the label; 1 when the label has the largest logit; the
label's logit less the largest other; the cross-entropy; the L2 norm of the error of the probabilities."""

ALL_QUANTITIES = (*QUANTITIES, "probability-margin", "divergence")
"""And on request: the label's probability less the largest other; how far the probabilities moved since the example was
presented before, `Σ_c |p_c (log p_c - log p_c before)|`, NaN where there was no presentation before."""

ADVERSARIAL_QUANTITIES = ("adversarial-confidence", "adversarial-correct")
"""And of a training by an adversarial objective: the same two of the image that the training attack reached."""

Source = Literal["presentations", "evaluation"]


class TrainingDynamics(Artifact):
    """What was seen of each example, epoch by epoch.

    Args:
        ids: the examples, in the order of the arrays.
        epochs: for each epoch a mapping from quantity to float32 of shape (N,); NaN where an example was not presented.
        quantities: which quantities each epoch holds.
        source: `presentations` (seen while training: augmented, training mode, before the step's update) or
            `evaluation` (a pass after the epoch: un-augmented, evaluation mode). They are different measurements.
        best_epoch: the last of these epochs, from 1, that does not lie after the training's best one by validation;
            none where nothing was held out.

    Raises:
        ArtifactError: an epoch of another shape, or a best epoch that is none of them.
    """

    def __init__(
        self,
        ids: ExampleIds,
        epochs: Sequence[Mapping[str, np.ndarray]],
        *,
        quantities: tuple[str, ...] = QUANTITIES,
        source: Source = "presentations",
        best_epoch: int | None = None,
    ) -> None:
        self.ids = ids
        self.quantities = check_quantities(quantities)
        self.source = source
        self.best_epoch = best_epoch
        self._epochs = epochs
        if best_epoch is not None and not 1 <= best_epoch <= len(epochs):
            raise ArtifactError(f"The dynamics hold {len(epochs)} epochs, and number {best_epoch} is named the best.")
        for number, epoch in enumerate(epochs if isinstance(epochs, list | tuple) else ()):
            _check_epoch(number, epoch, self.quantities, len(ids))

    def __len__(self) -> int:
        return len(self._epochs)

    def __getitem__(self, epoch: int) -> Mapping[str, np.ndarray]:
        return self._epochs[epoch]

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        return (self._epochs[epoch] for epoch in range(len(self._epochs)))

    def matrix(self, quantity: str) -> np.ndarray:
        """Gives one quantity of all epochs, float32 of shape (epochs, N); for small data, since it is all in memory."""
        if quantity not in self.quantities:
            raise MethodError(
                f"The dynamics hold {', '.join(self.quantities)}, not '{quantity}'. Record it: record=[…, {quantity}]."
            )
        return np.stack([epoch[quantity] for epoch in self]) if len(self) else np.zeros((0, len(self.ids)), np.float32)

    def header(self) -> dict[str, Any]:
        # Named only where there is one: dynamics without keep the digest that they always had.
        best = {} if self.best_epoch is None else {"best_epoch": self.best_epoch}
        return {
            "pool": self.ids.pool.plain(),
            "quantities": list(self.quantities),
            "source": self.source,
            "epochs": len(self),
        } | best

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "id", self.ids.keys
        for number, epoch in enumerate(self):
            for quantity in self.quantities:
                yield f"{number}/{quantity}", epoch[quantity]

    def write(self, folder: Path) -> None:
        writer = DynamicsWriter(folder, self.ids, quantities=self.quantities, source=self.source)
        for number, epoch in enumerate(self):
            writer.write(number, epoch)
        writer.write_ids()

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        ids = ExampleIds.read_keys(folder / "ids.safetensors", Pool.from_plain(header["pool"]))
        quantities = tuple(header["quantities"])
        epochs = _Files(folder, int(header["epochs"]), quantities, len(ids))
        source, best = cast(Source, header["source"]), header.get("best_epoch")
        return cls(ids, epochs, quantities=quantities, source=source, best_epoch=best)

    def describe(self) -> str:
        seen = {"presentations": "as training saw them", "evaluation": "by evaluation passes"}[self.source]
        best = "" if self.best_epoch is None else f", the best number {self.best_epoch}"
        return (
            f"{len(self)} epochs of {len(self.ids)} examples of {' + '.join(self.ids.pool.sources)}, {seen}{best}: "
            f"{', '.join(self.quantities)}"
        )


class DynamicsWriter:
    """Writes dynamics epoch by epoch into a folder, so that what was written survives an interruption."""

    def __init__(
        self, folder: str | Path, ids: ExampleIds, *, quantities: tuple[str, ...] = QUANTITIES, source: Source
    ) -> None:
        self.folder = Path(folder)
        self.ids = ids
        self.quantities = check_quantities(quantities)
        self.source: Source = source
        self.folder.mkdir(parents=True, exist_ok=True)

    def written(self) -> int:
        """How many epochs, from the first on without a gap, are on disk."""
        number = 0
        while epoch_file(self.folder, number).exists():
            number += 1
        return number

    def write(self, epoch: int, values: Mapping[str, np.ndarray]) -> None:
        """Writes one epoch (from 0); an epoch that is already there is replaced."""
        _check_epoch(epoch, values, self.quantities, len(self.ids))
        path = epoch_file(self.folder, epoch)
        beside = path.with_name(path.name + ".new")
        save_file({name: np.ascontiguousarray(values[name], np.float32) for name in self.quantities}, beside)
        beside.replace(path)

    def cut(self, epochs: int) -> None:
        """Removes what lies behind so many epochs: an interrupted training may go on otherwise and end sooner."""
        for number in range(epochs, self.written()):
            epoch_file(self.folder, number).unlink()

    def write_ids(self) -> None:
        """Writes the ids of the examples, which all epochs share."""
        self.ids.write_keys(self.folder / "ids.safetensors")

    def finish(self, *, best_epoch: int | None = None) -> TrainingDynamics:
        """Writes ids and header, and opens what is now a whole artifact.

        Args:
            best_epoch: see `TrainingDynamics`.
        """
        self.write_ids()
        epochs = _Files(self.folder, self.written(), self.quantities, len(self.ids))
        whole = TrainingDynamics(
            self.ids, epochs, quantities=self.quantities, source=self.source, best_epoch=best_epoch
        )
        header = {"artifact": "TrainingDynamics", "format": whole.format, "digest": whole.digest()} | whole.header()
        write_json(self.folder / HEADER, header)
        return whole


class _Files(Sequence[Mapping[str, np.ndarray]]):
    """The epochs of a folder, each read when it is asked for."""

    def __init__(self, folder: Path, epochs: int, quantities: tuple[str, ...], examples: int) -> None:
        self.folder, self.epochs, self.quantities, self.examples = folder, epochs, quantities, examples
        for epoch in range(epochs):
            if not epoch_file(folder, epoch).exists():
                raise ArtifactError(f"{epoch_file(folder, epoch)} is missing: the dynamics say {epochs} epochs.")

    def __len__(self) -> int:
        return self.epochs

    def __getitem__(self, epoch: Any) -> Any:
        if isinstance(epoch, slice):
            return [self[number] for number in range(*epoch.indices(self.epochs))]
        number = range(self.epochs)[epoch]
        path = epoch_file(self.folder, number)
        try:
            values = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ArtifactError(f"{path} is damaged or truncated. Train again to make it again.") from error
        _check_epoch(number, values, self.quantities, self.examples)
        return values


def epoch_file(folder: Path, epoch: int) -> Path:
    """Gives the file of an epoch, counted from 0."""
    return folder / f"epoch-{epoch:04d}.safetensors"


def check_quantities(quantities: tuple[str, ...]) -> tuple[str, ...]:
    """Gives the quantities in their standard order.

    Raises:
        MethodError: an unknown one, or none at all.
    """
    known = (*ALL_QUANTITIES, *ADVERSARIAL_QUANTITIES)
    unknown = [name for name in quantities if name not in known]
    if unknown or not quantities:
        named = f"'{unknown[0]}' is not recorded" if unknown else "nothing was named"
        raise MethodError(f"Dynamics: {named}. There are: {', '.join(known)}.")
    return tuple(name for name in known if name in quantities)


def _check_epoch(number: int, epoch: Mapping[str, np.ndarray], quantities: tuple[str, ...], examples: int) -> None:
    for quantity in quantities:
        if quantity not in epoch:
            raise ArtifactError(f"Epoch {number} of the dynamics lacks '{quantity}'.")
        if epoch[quantity].shape != (examples,):
            raise ArtifactError(
                f"Epoch {number} of the dynamics: '{quantity}' has shape {epoch[quantity].shape}, and there are "
                f"{examples} examples."
            )
