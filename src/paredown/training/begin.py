"""Before the first step: which examples, what the training is, and what its folder already holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paredown.artifacts.base import HEADER, digest_of
from paredown.artifacts.dynamics import ADVERSARIAL_QUANTITIES
from paredown.data.dataset import LearnableDataset
from paredown.errors import ArtifactError, DataError, MethodError
from paredown.models.build import AbstractModel
from paredown.training.devices import Place
from paredown.training.record import Recording
from paredown.training.resume import STATE, read_state, remove_state
from paredown.training.training import Plan, Training

PARTS = ("checkpoint", "early", "dynamics")
"""The folders that a training leaves in its folder."""


@dataclass(frozen=True)
class Examples:
    """What is trained on.

    Args:
        positions: rows of the data, ascending: a training depends on which examples are chosen, not on their rank.
        weights: how much each counts, with a mean of 1; none when all count alike.
    """

    positions: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Start:
    """Where a training begins.

    Args:
        finished: there is nothing left to do.
        cursor: where it was interrupted; empty for a new one.
        tensors: what it had made by then.
    """

    finished: bool = False
    cursor: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)


def check(data: LearnableDataset, training: Training, recording: Recording | None) -> None:
    """Refuses what a training cannot do with some data.

    Raises:
        MethodError: sentences are to be attacked, or an attack is to be recorded that nobody makes.
    """
    objective = training.objective
    if objective.attacks and data.noun != "images":
        raise MethodError(
            f"Training(objective={objective.name}): {data.name} has {data.noun}, and only images are attacked. "
            "Train by cross-entropy."
        )
    asked = [] if recording is None else [name for name in recording.quantities if name in ADVERSARIAL_QUANTITIES]
    if asked and not objective.attacks:
        raise MethodError(
            f"Recording(quantities=…): {asked[0]} is of what a training attack reached, and the objective "
            f"{objective.name} makes none. Train by an adversarial objective such as trades, or do not record it."
        )


def choose_examples(data: LearnableDataset, positions: np.ndarray | None, weights: np.ndarray | None) -> Examples:
    """Gives the examples to train on, in the order of the data.

    Raises:
        DataError: none at all, rows that the data has not or that come twice, weights that cannot be.
    """
    chosen = np.arange(len(data)) if positions is None else np.asarray(positions)
    if not len(chosen):
        raise DataError("The subset to train on is empty. Keep at least one example.")
    if chosen.min() < 0 or chosen.max() >= len(data):
        wrong = chosen[(chosen < 0) | (chosen >= len(data))][0]
        raise DataError(f"Row {wrong} is to be trained on, and {data.name} has {len(data)} rows. Count rows from 0.")
    order = np.argsort(chosen, kind="stable")
    ranked = chosen[order].astype(np.int64)
    if (ranked[1:] == ranked[:-1]).any():
        twice = ranked[1:][ranked[1:] == ranked[:-1]][0]
        raise DataError(f"Row {twice} is to be trained on twice. Name each once; give it a weight to count more.")
    if weights is None:
        return Examples(ranked)
    scale = np.asarray(weights, dtype=np.float64)
    if scale.shape != ranked.shape:
        raise DataError(f"{len(ranked)} examples and weights of shape {scale.shape} do not pair up. Give one each.")
    if not np.isfinite(scale).all() or scale.min() < 0 or scale.sum() == 0:
        raise DataError("Weights are finite, at least 0 and not all 0, and these are not. Correct them.")
    return Examples(ranked, (scale[order] / scale.mean()).astype(np.float32))


def describe(
    data: LearnableDataset,
    examples: Examples,
    model: AbstractModel,
    training: Training,
    plan: Plan,
    recording: Recording | None,
    seed: int,
) -> dict[str, Any]:
    """Gives the first line of `metrics.jsonl`: the plan, and a digest by which a folder knows its training."""
    augmentation = training.augmentation_of(data)
    identity = {
        "data": data.identity(),
        "augmentation": None if augmentation is None else augmentation.identity(),
        "model": model.identity(),
        "training": training.identity(),
        "recording": None if recording is None else recording.identity(),
        "seed": seed,
    }
    arrays = [("positions", examples.positions)]
    if examples.weights is not None:
        arrays.append(("weights", examples.weights))
    line = {
        "training": digest_of("training", 1, identity, arrays)[:16],
        "examples": len(examples.positions),
        "batch_size": plan.batch,
        "steps": plan.steps,
        "steps_per_epoch": plan.per_epoch,
    }
    if plan.batch < training.batch_size:
        line["note"] = (
            f"{plan.batch} examples are fewer than a batch of {training.batch_size}, so every step takes all of them"
        )
    return line


def begin(folder: Path, header: Mapping[str, Any], place: Place) -> Start:
    """Looks at what a folder holds, and empties it of what an interruption before the first save left.

    Raises:
        ArtifactError: the folder holds another training, or parts of unknown making.
    """
    metrics = folder / "metrics.jsonl"
    first = _first_line(metrics)
    whole = (folder / "checkpoint" / HEADER).exists()
    # The metrics are begun before anything else, so parts without them are somebody else's.
    foreign = not metrics.exists() and any((folder / name).exists() for name in PARTS)
    if foreign or (first is not None and first != header) or (first is None and whole):
        raise ArtifactError(f"{folder} holds another training. Choose an empty folder, or remove that one.")
    state = read_state(folder)
    finished = whole and not (folder / STATE).exists()
    # Every process has looked before the first one changes anything.
    place.wait()
    if place.rank == 0 and state is None and not finished:
        folder.mkdir(parents=True, exist_ok=True)
        for name in PARTS:
            shutil.rmtree(folder / name, ignore_errors=True)
        metrics.unlink(missing_ok=True)
        remove_state(folder)
    place.wait()
    return Start(finished) if state is None else Start(finished, state[1], state[0])


def _first_line(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            return json.loads(file.readline())
        except ValueError:  # killed while it was written: nothing can have come after it
            return None
