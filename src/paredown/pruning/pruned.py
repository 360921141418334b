"""The verb `prune`: from a checkpoint, a strategy and a pruner to a pruned network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paredown.artifacts.base import HEADER, write_json
from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.pruned import Pruned
from paredown.artifacts.selection import Selection
from paredown.artifacts.strategy import PruningStrategy
from paredown.data.dataset import LearnableDataset
from paredown.errors import ArtifactError
from paredown.models.build import load, refuse_other_form
from paredown.pruning.base import AbstractPruner, Pruning
from paredown.runtime import Runtime, rank
from paredown.sparsity.groups import groups_of
from paredown.sparsity.layers import layers_of

ASKED = "prune.json"
"""What is pruned, how: a folder with another one is not gone on with."""


def pruned(
    checkpoint: Checkpoint,
    strategy: PruningStrategy,
    data: LearnableDataset,
    pruner: AbstractPruner,
    *,
    selection: Selection | None,
    seed: int,
    runtime: Runtime,
    folder: Path,
) -> Pruned:
    """Prunes into a folder and opens what is there then; see `verbs.prune`."""
    refuse_other_form(checkpoint, data)
    network = load(checkpoint)
    layers = layers_of(network)
    strategy.refuse_other(layers)
    by_channel = strategy.granularity in ("channel", "filter")
    asked = {
        "checkpoint": checkpoint.digest(),
        "strategy": strategy.digest(),
        "data": data.identity(),
        "pruner": pruner.identity(),
        "selection": None if selection is None else selection.digest(),
        "seed": seed,
    }
    if rank() == 0:
        _begin(folder, asked)
        if (folder / HEADER).exists():
            return _finished(folder)
    made = pruner.prune(
        Pruning(
            checkpoint.in_memory(),
            strategy,
            layers,
            groups_of(network) if by_channel and pruner.grouped else None,
            data,
            None if selection is None else data.ids.positions_of(selection.ids, "the data", "the selection"),
            None if selection is None else selection.weight,
            seed,
            runtime,
            folder,
            {"pruner": pruner.plain(), "granularity": strategy.granularity, "strategy": strategy.digest()},
        )
    )
    if rank() > 0:  # the first process alone writes
        return made
    made.write(folder)
    Pruned.adopt(folder)
    return _finished(folder)


def _finished(folder: Path) -> Pruned:
    """Opens what is whole; the networks that one phase handed on to the next are no longer needed."""
    for phase in folder.glob("*/metrics.jsonl"):
        shutil.rmtree(phase.parent / "checkpoint", ignore_errors=True)
    return Pruned.open(folder)


def _begin(folder: Path, asked: Mapping[str, Any]) -> None:
    """Writes what is pruned, or compares it with what the folder was begun with."""
    path = folder / ASKED
    told = json.loads(json.dumps(asked))
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / HEADER).exists() or (folder / "checkpoint").exists():
            raise ArtifactError(f"{folder} holds something else than a pruning. Choose an empty folder.")
        write_json(path, told)
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged. Remove the folder and prune again.") from error
    if held != told:
        other = next((name for name in told if held.get(name) != told[name]), "more")
        raise ArtifactError(
            f"{folder} holds another pruning: its {other} is not the same. Choose an empty folder, or remove that one."
        )
