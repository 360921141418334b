"""The verb `search`: from a checkpoint, a budget and a searcher to a strategy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from paredown.artifacts.base import write_json
from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.layers import Granularity
from paredown.artifacts.selection import Selection
from paredown.artifacts.strategy import CostKind, PruningStrategy
from paredown.data.dataset import LearnableDataset
from paredown.errors import ArtifactError
from paredown.models.build import AbstractNetwork, load, refuse_other_form
from paredown.runtime import Runtime
from paredown.searching.base import AbstractSearcher
from paredown.searching.reward import PrunedAccuracy
from paredown.searching.walk import LayerWalk
from paredown.sparsity.latency import LatencyTable
from paredown.training.devices import place as place_of_work

LATENCY = "latency.json"
"""The seconds that a search reckons with: measured once, so that a search that was killed goes on with the same."""


def searched(
    checkpoint: Checkpoint,
    data: LearnableDataset,
    searcher: AbstractSearcher,
    *,
    keep: float,
    of: CostKind,
    granularity: Granularity,
    walk: LayerWalk,
    reward: PrunedAccuracy,
    evaluations: int,
    selection: Selection | None,
    seed: int,
    runtime: Runtime,
    folder: Path,
) -> PruningStrategy:
    """Gives the best strategy that a searcher finds; the folder keeps the table of all, see `verbs.search`."""
    refuse_other_form(checkpoint, data)
    rows = None
    if selection is not None:
        rows = data.ids.positions_of(selection.ids, "the data", "the selection")
    folder.mkdir(parents=True, exist_ok=True)
    pixels = int(np.prod(data.shape[1:]))
    with place_of_work(runtime, pixels=pixels) as place:
        network = load(checkpoint, place.device)
        table = _measured(network, folder) if of == "latency" else None
        problem = walk.problem(network, keep=keep, of=of, granularity=granularity, table=table)
        judge = reward.judge(network, problem, data, rows=rows, seed=seed, runtime=runtime, place=place)
        told = {
            "checkpoint": checkpoint.digest(),
            "data": data.identity(),
            "reward": reward.identity(),
            "selection": None if selection is None else selection.digest(),
        }
        found = searcher.search(
            problem, judge, evaluations=evaluations, seed=seed, folder=folder, told=told, shown=runtime.progress
        )
    return found.strategy


def _measured(network: AbstractNetwork, folder: Path) -> LatencyTable:
    path = folder / LATENCY
    if not path.exists():
        table = LatencyTable.measure(network)
        told: dict[str, Any] = {
            "seconds": {name: [list(row) for row in rows] for name, rows in table.seconds.items()},
            "grid": list(table.grid),
            "batch": table.batch,
            "threads": table.threads,
        }
        write_json(path, told)
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        seconds = {name: tuple(tuple(row) for row in rows) for name, rows in held["seconds"].items()}
        return LatencyTable(seconds, tuple(held["grid"]), int(held["batch"]), int(held["threads"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path} is damaged. Remove the folder and search again.") from error
