"""Before the first step: what a distillation is, and what its folder already holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from paredown.artifacts.base import digest_of
from paredown.distillation.base import AbstractDistiller, Task
from paredown.errors import ArtifactError
from paredown.training.resume import read_state, remove_state

PARTS = ("growth", "last", "so-far")
"""The folders that a distillation leaves in its folder."""


def describe(method: AbstractDistiller, task: Task, aside: np.ndarray) -> dict[str, Any]:
    """Gives the first line of `metrics.jsonl`, with a digest by which a folder knows its distillation.

    Args:
        method: what is computed.
        task: on what.
        aside: rows that are never learnt from.
    """
    identity = {"data": task.data.identity(), "distiller": method.identity(), "seed": task.seed}
    arrays = [("rows", task.rows), ("first", task.first), ("aside", aside)]
    if task.hardness is not None:
        arrays.append(("hardness", task.hardness))
    return {
        "distillation": digest_of("distillation", 1, identity, arrays)[:16],
        "images": len(task.first),
        "learnt from": len(task.rows) - len(aside),
        "held out": len(aside),
    }


def begin(folder: Path, header: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Looks at what a folder holds, and empties it of what an interruption before the first save left.

    Returns:
        Cursor and tensors of an interrupted distillation; both empty for a new one.

    Raises:
        ArtifactError: the folder holds another distillation, or parts of unknown making.
    """
    metrics = folder / "metrics.jsonl"
    first = _first_line(metrics)
    foreign = not metrics.exists() and any((folder / name).exists() for name in PARTS)
    if foreign or (first is not None and {name: first.get(name) for name in header} != header):
        raise ArtifactError(f"{folder} holds another distillation. Choose an empty folder, or remove that one.")
    state = read_state(folder)
    if state is not None:
        return state[1], state[0]
    for name in PARTS:
        shutil.rmtree(folder / name, ignore_errors=True)
    metrics.unlink(missing_ok=True)
    remove_state(folder)
    return {}, {}


def _first_line(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            return dict(json.loads(file.readline()))
        except ValueError:  # killed while it was written: nothing can have come after it
            return None
