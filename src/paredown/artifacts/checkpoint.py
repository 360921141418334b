"""`Checkpoint`, a model's specification and weights, and `Trained`, everything that one training leaves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from paredown.artifacts.base import HEADER, Artifact, canonical, digest_of, write_json
from paredown.artifacts.dynamics import TrainingDynamics
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.errors import ArtifactError

VALIDATION = "validation.safetensors"
"""The ids that a training held out, with their pool and the best epoch, in the training's folder."""


class Checkpoint(Artifact):
    """A network after some steps of training.

    Args:
        model: the model's plain data (`{"name": "resnet18", …}`).
        shape: of one example that it takes: channels, height and width of an image; how many sentences, for text.
        classes: how many logits it gives.
        weights: parameters and buffers by name.
        step: after how many optimiser steps; 0 is untrained.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        *,
        shape: tuple[int, ...],
        classes: int,
        weights: Mapping[str, np.ndarray],
        step: int,
    ) -> None:
        self.model = dict(model)
        self.shape = tuple(int(size) for size in shape)
        self.classes = int(classes)
        self.weights = weights
        self.step = int(step)

    @property
    def parameters(self) -> int:
        """How many numbers it holds, statistics of normalisation layers included."""
        return sum(int(array.size) for array in self.weights.values())

    def header(self) -> dict[str, Any]:
        return {"model": self.model, "shape": list(self.shape), "classes": self.classes, "step": self.step}

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        return sorted(self.weights.items())

    def write(self, folder: Path) -> None:
        # Not `ascontiguousarray`, which would give counters (shape ()) a dimension.
        arrays = {name: np.asarray(array, order="C") for name, array in self.weights.items()}
        save_file(arrays, folder / "weights.safetensors")

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        return cls(
            header["model"],
            shape=tuple(header["shape"]),
            classes=header["classes"],
            weights=_Stored(folder / "weights.safetensors"),
            step=header["step"],
        )

    def in_memory(self) -> Checkpoint:
        """Gives the same with its weights in memory, so that the folder is no longer needed."""
        return Checkpoint(
            self.model, shape=self.shape, classes=self.classes, weights=dict(self.weights), step=self.step
        )

    def describe(self) -> str:
        form = "×".join(str(side) for side in self.shape) + " images"
        if len(self.shape) == 1:
            form = "sentences" if self.shape[0] == 1 else "pairs of sentences"
        return f"{self.model.get('name')} for {self.classes} classes of {form}, after {self.step} steps"


class _Stored(Mapping[str, np.ndarray]):
    """Weights in a file, each read when it is asked for: a run may hold hundreds of checkpoints open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            self.names = sorted(file.keys())

    def _open(self) -> Any:
        try:
            return safe_open(self.path, framework="numpy")
        except (SafetensorError, OSError) as error:
            raise ArtifactError(
                f"{self.path} is missing, damaged or truncated. Train again to make it again."
            ) from error

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.names:
            raise KeyError(name)
        with self._open() as file:
            return file.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Trained(Artifact):
    """What one training leaves.

    Args:
        checkpoint: the network at the end, or at the best epoch where there was validation (of averaged weights, where
            averaging was asked for).
        dynamics: what was recorded, if anything.
        early: checkpoints at the chosen steps, by step.
        validation: the examples that were held out to choose the best epoch, if any were.
        best_epoch: which one it was, from 1.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        dynamics: TrainingDynamics | None = None,
        early: Iterable[Checkpoint] = (),
        *,
        validation: ExampleIds | None = None,
        best_epoch: int | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.dynamics = dynamics
        self.early = sorted(early, key=lambda part: part.step)
        if (validation is None) != (best_epoch is None):
            raise ArtifactError("Trained: held-out examples and a best epoch go together. Give both or neither.")
        self.validation = validation
        self.best_epoch = best_epoch

    @classmethod
    def adopt(cls, folder: Path) -> Self:
        """Opens what a training wrote into a folder and gives it its header, so that the folder is whole."""
        trained = cls.parts(folder)
        header = {"artifact": cls.__name__, "format": cls.format, "digest": trained.digest()} | trained.header()
        write_json(folder / HEADER, header)
        return trained

    def in_memory(self) -> Trained:
        """Gives the same with weights and every epoch of the dynamics in memory: the folder is no longer needed."""
        seen = self.dynamics
        if seen is not None:
            seen = TrainingDynamics(
                seen.ids, list(seen), quantities=seen.quantities, source=seen.source, best_epoch=seen.best_epoch
            )
        return Trained(
            self.checkpoint.in_memory(),
            seen,
            [part.in_memory() for part in self.early],
            validation=self.validation,
            best_epoch=self.best_epoch,
        )

    @classmethod
    def parts(cls, folder: Path) -> Self:
        """Opens what a training wrote into a folder, which need not be a whole artifact yet."""
        dynamics = folder / "dynamics"
        validation, best_epoch = read_validation(folder)
        return cls(
            Checkpoint.open(folder / "checkpoint"),
            TrainingDynamics.open(dynamics) if dynamics.exists() else None,
            [Checkpoint.open(path) for path in sorted((folder / "early").glob("step-*"))],
            validation=validation,
            best_epoch=best_epoch,
        )

    def header(self) -> dict[str, Any]:
        parts = {
            "checkpoint": self.checkpoint.digest(),
            "dynamics": None if self.dynamics is None else self.dynamics.digest(),
            "early": [[part.step, part.digest()] for part in self.early],
        }
        # Named only where there are any: trainings without keep the digest that they always had.
        if self.validation is None:
            return parts
        held = digest_of("ids", 1, self.validation.pool.plain(), [("id", self.validation.keys)])
        return parts | {"validation": held, "best_epoch": self.best_epoch}

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        return ()

    def write(self, folder: Path) -> None:
        self.checkpoint.save(folder / "checkpoint")
        if self.dynamics is not None:
            self.dynamics.save(folder / "dynamics")
        for part in self.early:
            part.save(folder / "early" / f"step-{part.step:07d}")
        if self.validation is not None and self.best_epoch is not None:
            write_validation(folder, self.validation, self.best_epoch)

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        trained = cls.parts(folder)
        known = ("checkpoint", "dynamics", "early", "validation", "best_epoch")
        if trained.header() != {key: header[key] for key in known if key in header}:
            raise ArtifactError(f"{folder}: its parts are not those that the training left. Train again.")
        return trained

    def describe(self) -> str:
        best = f", the best of epoch {self.best_epoch}" if self.best_epoch is not None else ""
        held = f" by {len(self.validation)} examples" if self.validation is not None else ""
        extra = f"; {self.dynamics.describe()}" if self.dynamics is not None else ""
        early = f"; {len(self.early)} early checkpoints" if self.early else ""
        return self.checkpoint.describe() + best + held + extra + early


def write_validation(folder: Path, ids: ExampleIds, best_epoch: int) -> None:
    """Writes which examples a training held out and which epoch was best by them."""
    beside = folder / (VALIDATION + ".new")
    # One entry, because the format keeps several in no fixed order.
    ids.write_keys(beside, {"validation": canonical({"pool": ids.pool.plain(), "best_epoch": best_epoch})})
    beside.replace(folder / VALIDATION)


def read_validation(folder: Path) -> tuple[ExampleIds, int] | tuple[None, None]:
    """Reads what `write_validation` wrote; nothing where nothing was held out.

    Raises:
        ArtifactError: the file is damaged.
    """
    path = folder / VALIDATION
    if not path.exists():
        return None, None
    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["validation"])
        return ExampleIds.read_keys(path, Pool.from_plain(about["pool"])), int(about["best_epoch"])
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is damaged or truncated. Train again to make it again.") from error
