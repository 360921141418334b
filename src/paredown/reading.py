"""Reads the arguments of verbs: objects stay, names and plain data and folders become what they name.

One table by the argument's name serves Python, the command line and recipes, so that a thing is read in one way only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from paredown import method
from paredown.artifacts import (
    Artifact,
    Checkpoint,
    DistilledSet,
    EmbeddingMatrix,
    Granularity,
    NeighborGraph,
    Pruned,
    PruningStrategy,
    ScoreTable,
    Selection,
    TrainingDynamics,
    open_artifact,
)
from paredown.artifacts.base import HEADER
from paredown.artifacts.exported import Format
from paredown.artifacts.stored import part_of
from paredown.artifacts.strategy import CostKind
from paredown.errors import ArtifactError, MethodError

OF_DATA = ("data", "extra", "against")
"""The arguments that take data."""


def read(name: str, value: Any) -> Any:
    """Gives the value of a verb's argument.

    Args:
        name: the argument's name, the same in every verb that has it.
        value: an object, a name, plain data, or an artifact's folder.

    Raises:
        ParedownError: it cannot be read as that argument.
    """
    if name not in READERS:
        raise MethodError(f"'{name}' is not an argument of any verb.")
    return READERS[name](value)


def as_list(value: Any) -> list[Any]:
    """Gives a list of one or of many, nested lists made flat."""
    if isinstance(value, list | tuple):
        return [part for entry in value for part in as_list(entry)]
    return [value]


def _method(kind: str) -> Callable[[Any], Any]:
    return lambda value: method.build(kind, value)


def _usual(kind: str) -> Callable[[Any], Any]:
    """Of a kind with one class, whose usual settings stand where none are given."""
    return lambda value: method.build(kind, {} if value is None else value)


def _recording(value: Any) -> Any:
    if value is None or (isinstance(value, Sequence) and not value):
        return None
    if isinstance(value, str):
        value = [value]
    if isinstance(value, Sequence):
        value = {"quantities": list(value)}
    return method.build("recording", value)


def _probes(value: Any) -> list[Any]:
    return [method.build("probe", part) for part in as_list(value)]


def _data(value: Any) -> Any:
    if value is None:
        return None
    distilled = _distilled(value)
    if distilled is not None:
        from paredown.data.distilled import DistilledImages

        return DistilledImages.of(distilled)
    from paredown.data import open_data

    return open_data(value)


def _distilled(value: Any) -> DistilledSet | None:
    """Gives the distilled set that a value is, or whose folder it names."""
    if isinstance(value, DistilledSet):
        return value
    named = isinstance(value, str | Path) and (Path(value) / HEADER).exists()
    return DistilledSet.open(Path(value)) if named else None


def _artifact(name: str, kind: type[Artifact], *others: type[Artifact]) -> Callable[[Any], Any]:
    def one(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, str | Path):
            value = open_artifact(value)
        if not isinstance(value, Artifact):
            raise ArtifactError(f"{name}={value!r}: neither a {kind.__name__} nor the folder of one.")
        if isinstance(value, others):
            return value
        try:
            return part_of(value, kind)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}") from error

    return one


def _strategy(value: Any) -> Any:
    """The folder of one, or its `strategy.json` alone."""
    if isinstance(value, str | Path) and Path(value).suffix == ".json":
        return PruningStrategy.from_json(value)
    return _artifact("strategy", PruningStrategy)(value)


def _artifacts(name: str, kind: type[Artifact], *others: type[Artifact]) -> Callable[[Any], Any]:
    one = _artifact(name, kind, *others)

    def many(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return one(value)
        if not as_list(value):
            raise ArtifactError(f"{name}: a list of {kind.__name__} is empty, and at least one is needed.")
        return [one(part) for part in as_list(value)]

    return many


def _plain(annotation: Any, name: str) -> Callable[[Any], Any]:
    return lambda value: method.read(annotation, value, f"{name}={value!r}")


READERS: Mapping[str, Callable[[Any], Any]] = {
    "data": _data,
    "extra": _data,
    "against": _data,
    "model": _method("model"),
    "training": _usual("training"),
    "record": _recording,
    "scorer": _method("scorer"),
    "encoder": _method("encoder"),
    "selector": _method("selector"),
    "index": _method("index"),
    "extrapolation": _method("extrapolation"),
    "pruner": _method("pruner"),
    "searcher": _method("searcher"),
    "walk": _usual("walk"),
    "reward": _usual("reward"),
    "probes": _probes,
    "selection": _artifacts("selection", Selection),
    "within": _artifact("within", Selection),
    "scores": _artifacts("scores", ScoreTable),
    "embeddings": _artifact("embeddings", EmbeddingMatrix),
    "known": _artifacts("known", EmbeddingMatrix),
    "unknown": _artifact("unknown", EmbeddingMatrix),
    "graph": _artifact("graph", NeighborGraph),
    "bins": _artifact("bins", ScoreTable),
    "dynamics": _artifacts("dynamics", TrainingDynamics),
    "checkpoint": _artifacts("checkpoint", Checkpoint),
    "strategy": _strategy,
    "subject": _artifacts("subject", Checkpoint, Selection, DistilledSet),
    "fraction": _plain(float | None, "fraction"),
    "count": _plain(int | None, "count"),
    "neighbors": _plain(int, "neighbors"),
    "held_out": _plain(float, "held_out"),
    "by_class": _plain(bool, "by_class"),
    "per_class": _plain(int, "per_class"),
    "classes": _plain(tuple[int, ...] | None, "classes"),
    "distiller": _method("distiller"),
    "keep": _plain(float, "keep"),
    "of": _plain(CostKind, "of"),
    "granularity": _plain(Granularity, "granularity"),
    "evaluations": _plain(int, "evaluations"),
    "pruned": _artifact("pruned", Pruned),
    "formats": _plain(tuple[Format, ...], "formats"),
    "seed": _plain(int, "seed"),
}
"""Argument → how it is read."""
