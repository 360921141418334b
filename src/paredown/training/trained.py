"""From data, extra data and selections of them to a training in a folder, and what it leaves there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paredown.artifacts import Selection, Trained
from paredown.data.dataset import LearnableDataset
from paredown.data.pool import of_pool, parted
from paredown.errors import PoolMismatch
from paredown.models.build import AbstractModel
from paredown.runtime import Runtime, rank
from paredown.training.loop import fit
from paredown.training.mixing import Extra
from paredown.training.record import Recording
from paredown.training.training import Training


def trained(
    data: LearnableDataset,
    model: AbstractModel,
    training: Training,
    *,
    extra: LearnableDataset | None = None,
    selections: Sequence[Selection] = (),
    recording: Recording | None = None,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
    folder: Path,
) -> Trained:
    """Trains into a folder and opens what is there then; see `paredown.verbs.train`.

    Raises:
        PoolMismatch: a selection is of neither side, or two are of one.
    """
    own, more = _sides(data, extra, selections)
    fit(
        data,
        model,
        training,
        positions=None if own is None else data.ids.positions_of(own.ids, "the data", "the selection"),
        weights=None if own is None else own.weight,
        extra=None if extra is None else _chosen(extra, more),
        recording=recording,
        seed=seed,
        runtime=runtime,
        folder=folder,
    )
    # The first process alone writes the header; the others need nothing of the folder any more.
    return Trained.parts(folder).in_memory() if rank() > 0 else Trained.adopt(folder)


def _chosen(extra: LearnableDataset, selection: Selection | None) -> Extra:
    if selection is None:
        return Extra(extra)
    return Extra(extra, extra.ids.positions_of(selection.ids, "the extra data", "the selection"), selection.weight)


def _sides(
    data: LearnableDataset, extra: LearnableDataset | None, selections: Sequence[Selection]
) -> tuple[Selection | None, Selection | None]:
    """Gives the selection of the data and that of the extra data."""
    if extra is None and len(selections) == 1:
        return selections[0], None  # whose pool is compared when its examples are looked up
    sides = [data] if extra is None else [data, extra]
    pools = [parted(one, sides) if of_pool(one, sides) else [one] for one in selections]
    selections = [one for parts in pools for one in parts]
    found: list[Selection | None] = [None, None]
    for selection in selections:
        pool = selection.ids.pool
        place = next((n for n, side in enumerate(sides) if side.ids.pool.fingerprint == pool.fingerprint), None)
        if place is None:
            both = " and the extra data ".join(str(side.ids.pool) for side in sides)
            raise PoolMismatch(
                f"The selection indexes {pool}, the data {both}. Use a selection of one of those that are trained on."
            )
        if found[place] is not None:
            raise PoolMismatch(
                f"Two selections index {pool}, and a training takes one of each. Train on each alone, or select within "
                "the other: within=."
            )
        found[place] = selection
    return found[0], found[1]
