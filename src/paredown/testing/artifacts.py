"""The contract of an artifact, and of a source of data."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from paredown.artifacts import Artifact
from paredown.data import AbstractSource, LearnableDataset
from paredown.errors import ArtifactError
from paredown.testing.promises import check_plain, fault_of, promise


def check_artifact(artifact: Artifact) -> None:
    """Checks an artifact.

    - Saved and opened it is equal, with the same digest and description.
    - Saving it again where it is changes nothing.
    - With any of its files cut short or gone, opening it or reading its content is an `ArtifactError` and no other.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    name, kind = type(artifact).__name__, type(artifact)
    with tempfile.TemporaryDirectory(prefix="paredown-") as place:
        folder = artifact.save(Path(place) / "saved")
        opened = kind.open(folder)
        digest = kind.read(folder, json.loads((folder / "meta.json").read_text())).digest()
        promise(digest == artifact.digest(), name, "what was opened is not what was saved")
        promise(opened == artifact and opened.describe() == artifact.describe(), name, "it is described otherwise")
        promise(bool(artifact.describe().strip()), name, "it has no description")
        files = {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
        artifact.save(folder)
        promise(all(path.read_bytes() == held for path, held in files.items()), name, "saving it again changes files")
        for path, held in files.items():
            for what, spoil in (("cut short", _cut_short), ("gone", Path.unlink)):
                spoil(path)
                fault = fault_of(lambda: _contents(kind.open(folder)))
                if path.suffix not in (".md", ".png"):  # written for people, never read back
                    promise(
                        isinstance(fault, ArtifactError), name, f"{path.name} is {what}, and opening it gives {fault!r}"
                    )
                path.write_bytes(held)


def check_source(source: AbstractSource) -> None:
    """Checks a source of data, by reading it twice.

    - It is plain data: `build` gives it back from `plain()`.
    - It reads the same both times: fingerprint, ids, and labels and images where it has them.
    - Every example has an id of its own, and what tells the data apart is data that JSON can hold.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(source)
    name = type(source).__name__
    first, second = source.load(), source.load()
    promise(first.ids.pool == second.ids.pool, name, "reading it again gives another fingerprint")
    promise(np.array_equal(first.ids.keys, second.ids.keys), name, "reading it again gives other labels or ids")
    promise(len(np.unique(first.ids.keys)) == len(first) > 0, name, "two examples share an id, or there are none")
    if isinstance(first, LearnableDataset) and isinstance(second, LearnableDataset):
        promise(np.array_equal(first.labels, second.labels), name, "reading it again gives other labels or ids")
        promise(len(first.labels) == len(first), name, "examples and labels do not pair up")
        rows = np.arange(0, len(first), max(1, len(first) // 50))
        promise(np.array_equal(first.read(rows), second.read(rows)), name, "reading it again gives other images")
    fault = fault_of(lambda: json.dumps(first.identity(), allow_nan=False))
    promise(fault is None, name, f"identity() is not data that JSON can hold: {fault}")


def _contents(artifact: Artifact) -> list[Any]:
    """Reads everything, also of artifacts inside, which are opened lazily."""
    parts = [part for held in vars(artifact).values() for part in (held if isinstance(held, list) else [held])]
    return [list(artifact.arrays()), *(_contents(part) for part in parts if isinstance(part, Artifact))]


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
