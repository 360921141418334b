"""Before the first step: which examples, what the training is, and what its folder already holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paredown.artifacts.base import HEADER, digest_of, write_json
from paredown.artifacts.checkpoint import VALIDATION
from paredown.artifacts.dynamics import ADVERSARIAL_QUANTITIES
from paredown.attacks import AbstractAttack, refuse_unfit
from paredown.data.dataset import LearnableDataset
from paredown.data.loader import AbstractInputs
from paredown.data.pool import fingerprints
from paredown.errors import ArtifactError, DataError, MethodError
from paredown.models.build import AbstractModel, AbstractNetwork
from paredown.training.devices import Place
from paredown.training.mixing import Extra
from paredown.training.record import Recording
from paredown.training.resume import STATE, read_state, remove_state
from paredown.training.training import Plan, Training

PARTS = ("checkpoint", "early", "dynamics", "best", VALIDATION)
"""What a training leaves in its folder besides its metrics; `best` only where it could not go on."""

STOPPED = "stopped.json"
"""Why a training cannot go on, and where it ran."""

NOBODY = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Examples:
    """What is trained on.

    Args:
        positions: rows of the data, ascending: a training depends on which examples are chosen, not on their rank.
        weights: how much each counts, with a mean of 1; none when all count alike.
        held: rows of the data that validation looks at, ascending; none of them is among the positions.
        left_out: how many had been chosen that are held.
        extra: examples of more data that are mixed in; their positions are rows of the pool of both.
    """

    positions: np.ndarray
    weights: np.ndarray | None = None
    held: np.ndarray = field(default_factory=NOBODY.copy)
    left_out: int = 0
    extra: Examples | None = None

    def joined(self) -> Examples:
        """Gives the examples and after them the extra ones, as one."""
        sides = [self] if self.extra is None else [self, self.extra]
        weights = None
        if any(side.weights is not None for side in sides):
            given = (
                np.ones(len(side.positions), np.float32) if side.weights is None else side.weights for side in sides
            )
            weights = np.concatenate(list(given))
        return Examples(np.concatenate([side.positions for side in sides]), weights)

    def without(self, held: np.ndarray) -> Examples:
        """Gives what is left to train on when some rows are held out.

        Raises:
            DataError: nothing is left.
        """
        stay = ~np.isin(self.positions, held)
        if not stay.any():
            raise DataError(
                f"All {len(stay)} examples to train on are held out for validation. Keep others, or hold out fewer."
            )
        weights = None if self.weights is None else self.weights[stay]
        if weights is not None and not weights.any():
            raise DataError("Every example whose weight is above 0 is held out for validation. Hold out fewer.")
        if weights is not None:
            weights = (weights / weights.mean(dtype=np.float64)).astype(np.float32)
        left_out = int((~stay).sum())
        return replace(self, positions=self.positions[stay], weights=weights, held=held, left_out=left_out)


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


def check(
    data: LearnableDataset, training: Training, recording: Recording | None, extra: LearnableDataset | None = None
) -> None:
    """Refuses what a training cannot do with some data.

    Raises:
        MethodError: sentences or learnt images are to be attacked or mixed, or an attack that nobody makes is recorded.
        DataError: the extra data are the data, or part of them.
    """
    if extra is not None:
        refuse_extra(data, extra)
    objective, validation = training.objective, training.validation
    attackers = {
        f"Training(objective={objective.name})": (objective.attacks, "Train by cross-entropy."),
        "Validation(attack=…)": (validation is not None and validation.attack is not None, "Leave the attack out."),
        "Recording(attack=…)": (recording is not None and recording.attack is not None, "Leave the attack out."),
    }
    for where, (attacks, advice) in attackers.items():
        if attacks and data.noun != "images":
            raise MethodError(f"{where}: {data.name} has {data.noun}, and only images are attacked. {advice}")
    for method in (objective, validation, recording):
        attack = getattr(method, "attack", None)
        if isinstance(attack, AbstractAttack):
            attack.refuse_wide(data.shape)
    if objective.attacks and data.targets is not None:
        raise MethodError(
            f"Training(objective={objective.name}): {data.name} has learnt labels and pixels beyond black and white, "
            "which no attack here moves. Train by squared-error or cross-entropy."
        )
    asked = [] if recording is None else [name for name in recording.quantities if name in ADVERSARIAL_QUANTITIES]
    if recording is None or not asked:
        return
    if recording.by == "presentations" and not objective.attacks:
        raise MethodError(
            f"Recording(quantities=…): {asked[0]} is of what a training attack reached, and the objective "
            f"{objective.name} makes none. Train by an adversarial objective such as trades, name an attack and record "
            "by evaluation, or do not record it."
        )
    if recording.by == "evaluation" and recorded_attack(training, recording) is None:
        raise MethodError(
            f"Recording(by=evaluation): {asked[0]} needs an attack, and the objective {objective.name} has none to "
            "lend. Name one: attack: {name: pgd, eps: 8/255}."
        )


def check_network(
    network: AbstractNetwork,
    inputs: AbstractInputs,
    positions: np.ndarray,
    training: Training,
    recording: Recording | None,
) -> None:
    """Refuses to attack a network that no attack can climb; a few of the examples are looked at.

    Raises:
        MethodError: it gives probabilities, or other logits each time.
    """
    lent = [getattr(method, "attack", None) is not None for method in (training.validation, recording)]
    if training.objective.attacks or any(lent):
        refuse_unfit(network, inputs.batch(positions[:16])[0], f"Training(objective={training.objective.name})")


def recorded_attack(training: Training, recording: Recording) -> AbstractAttack | None:
    """Gives what moves images in a recording by evaluation: the attack named there, else the field of the objective."""
    if recording.by != "evaluation" or not recording.attacked:
        return None
    lent = getattr(training.objective, "attack", None)
    return recording.attack or (lent if isinstance(lent, AbstractAttack) else None)


def refuse_extra(data: LearnableDataset, extra: LearnableDataset) -> None:
    """Refuses extra data that cannot be mixed into some data; shapes and classes are compared when they are pooled."""
    for one in (extra, data):
        if one.noun != "images":
            raise MethodError(
                f"extra={extra.name}: {one.name} has {one.noun}, and only images are mixed. Leave it out."
            )
    if fingerprints(data) & fingerprints(extra):
        raise DataError(
            f"extra={extra.name}: these images are among the data already, and would count twice. Give other images, "
            "or leave extra out."
        )


def choose_both(data: LearnableDataset, own: Examples, extra: Extra) -> Examples:
    """Gives the examples to train on together with those of extra data.

    Raises:
        DataError: as `choose_examples`, of the extra data.
    """
    more = choose_examples(extra.data, extra.positions, extra.weights)
    return replace(own, extra=replace(more, positions=len(data) + more.positions))


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
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Gives the first line of `metrics.jsonl`: the plan, and a digest by which a folder knows its training.

    `more` is what else decides it: the network that it goes on from, what that is held to.
    """
    augmentation = training.augmentation_of(data)
    identity = {
        "data": data.identity(),
        "augmentation": None if augmentation is None else augmentation.identity(),
        "model": model.identity(),
        "training": training.identity(),
        "recording": None if recording is None else recording.identity(),
        "seed": seed,
        **(more or {}),
    }
    both = examples.joined()
    arrays = [("positions", both.positions)]
    if both.weights is not None:
        arrays.append(("weights", both.weights))
    line = {
        "training": digest_of("training", 1, identity, arrays)[:16],
        "examples": len(examples.positions),
        "batch_size": plan.batch,
        "steps": plan.steps,
        "steps_per_epoch": plan.per_epoch,
    }
    if examples.extra is not None and training.mixing is not None:
        line |= {"extra": len(examples.extra.positions), "extra_of_batch": training.mixing.extra_of(plan.batch)}
    notes = []
    if plan.batch < training.batch_size:
        notes.append(
            f"{plan.batch} examples are fewer than a batch of {training.batch_size}, so every step takes all of them"
        )
    if training.validation is not None:
        line["validation"] = len(examples.held)
    if examples.left_out and len(examples.positions) + examples.left_out < len(data):
        notes.append(f"{examples.left_out} of the chosen examples are held out for validation and not trained on")
    return line | ({"note": "; ".join(notes)} if notes else {})


def parameters(
    data: LearnableDataset, model: AbstractModel, training: Training, recording: Recording | None, seed: int
) -> dict[str, Any]:
    """Gives what trackers are told of a training: every setting by name."""
    return {
        "data": data.name,
        "model": model.plain(),
        "training": training.plain(),
        "recording": None if recording is None else recording.plain(),
        "seed": seed,
    }


def begin(folder: Path, header: Mapping[str, Any], place: Place) -> Start:
    """Looks at what a folder holds, and empties it of what an interruption before the first save left.

    Raises:
        ArtifactError: the folder holds another training, or parts of unknown making.
        MethodError: it holds this training, whose loss was no number when it ran here before. Somewhere else it goes
            on from its last good state.
    """
    metrics = folder / "metrics.jsonl"
    first = _first_line(metrics)
    whole = (folder / "checkpoint" / HEADER).exists()
    # The metrics are begun before anything else, so parts without them are somebody else's.
    foreign = not metrics.exists() and any((folder / name).exists() for name in PARTS)
    if foreign or (first is not None and first != header) or (first is None and whole):
        raise ArtifactError(f"{folder} holds another training. Choose an empty folder, or remove that one.")
    if first is not None:
        _refuse_stopped(folder / STOPPED, place)
    state = read_state(folder)
    finished = whole and not (folder / STATE).exists()
    # Every process has looked before the first one changes anything.
    place.wait()
    if place.rank == 0 and not finished:
        shutil.rmtree(folder / "best", ignore_errors=True)
        (folder / STOPPED).unlink(missing_ok=True)
    if place.rank == 0 and state is None and not finished:
        folder.mkdir(parents=True, exist_ok=True)
        for name in PARTS:
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (VALIDATION, metrics.name):
            (folder / name).unlink(missing_ok=True)
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


def write_stopped(folder: Path, why: str, place: Place) -> None:
    """Writes why a training cannot go on here: what is a function of its settings would come out the same again."""
    write_json(folder / STOPPED, {"why": why, "where": _where(place)})


def _refuse_stopped(path: Path, place: Place) -> None:
    if path.exists():
        stopped = json.loads(path.read_text(encoding="utf-8"))
        if stopped["where"] == _where(place):
            raise MethodError(stopped["why"])


def _where(place: Place) -> list[Any]:
    return [place.device.type, place.bfloat16, place.processes]
