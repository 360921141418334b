"""What every stored thing shares: a folder with a JSON header, a digest of its content, equality by content.

The header `meta.json` names the artifact, its format and its digest; the arrays lie beside it as Parquet or
safetensors. Nothing here is a pickle and nothing here needs torch, so that a laptop can read what a cluster made.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from paredown.errors import ArtifactError

HEADER = "meta.json"


class Artifact(ABC):
    """A noun of the library: it can be saved, opened, described and compared."""

    format: ClassVar[int] = 1

    address: str | None = None
    _digest: str | None = None

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """Gives what is small and stands in the header; data that JSON can hold."""

    @abstractmethod
    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        """Gives the arrays by name, in a fixed order: with the header they are the whole content."""

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Writes the arrays into an existing folder."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        """Opens the arrays of a folder whose header is already read."""

    @abstractmethod
    def describe(self) -> str:
        """Gives one or two lines for a person: what it is, of how many, from what."""

    def digest(self) -> str:
        """Gives the sha256 (hex) of the content: equal content is equal, wherever and however it was made."""
        if self._digest is None:
            self._digest = digest_of(type(self).__name__, self.format, self.header(), self.arrays())
        return self._digest

    def save(self, folder: str | Path) -> Path:
        """Writes the artifact into a folder, which is made when it is not there.

        Raises:
            ArtifactError: the folder already holds another artifact, which is never overwritten.
        """
        folder = Path(folder)
        if (folder / HEADER).exists():
            if read_header(folder).get("digest") == self.digest():
                return folder
            raise ArtifactError(f"{folder} already holds another artifact. Choose another folder or remove that one.")
        folder.mkdir(parents=True, exist_ok=True)
        self.write(folder)
        return self.seal(folder)

    def seal(self, folder: Path) -> Path:
        """Writes the header beside arrays that are already there: a folder with a header is a whole artifact."""
        write_json(
            folder / HEADER,
            {"artifact": type(self).__name__, "format": self.format, "digest": self.digest()} | self.header(),
        )
        return folder

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Opens a saved artifact; large arrays are read when they are asked for.

        Raises:
            ArtifactError: there is none, or it is truncated, of another kind, or of a newer format.
        """
        folder = Path(folder)
        header = read_header(folder)
        kind = header.get("artifact")
        if kind != cls.__name__:
            raise ArtifactError(f"{folder} holds a {kind}, and a {cls.__name__} is needed here.")
        if int(header.get("format", 0)) > cls.format:
            raise ArtifactError(
                f"{folder}: format {header['format']} of {kind} is newer than this version of paredown reads "
                f"({cls.format}). Update paredown."
            )
        try:
            opened = cls.read(folder, header)
        except ArtifactError:
            raise
        except Exception as error:
            raise ArtifactError(
                f"{folder}: the {kind} cannot be read ({_first_line(error)}); a file is damaged or missing. "
                "Make it again."
            ) from error
        opened._digest = header.get("digest")
        return opened

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Artifact) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return hash(self.digest())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.describe()}>"


def digest_of(kind: str, version: int, header: Mapping[str, Any], arrays: Iterable[tuple[str, np.ndarray]]) -> str:
    """Gives the sha256 of a header and named arrays; the order of the header's keys does not matter."""
    total = hashlib.sha256(canonical([kind, version, header]).encode())
    for name, array in arrays:
        block = np.ascontiguousarray(array)
        total.update(f"\x1e{name}\x1f{block.dtype.str}\x1f{block.shape}\x1f".encode())
        total.update(block.reshape(-1).view(np.uint8).data if block.size else b"")
    return total.hexdigest()


def canonical(value: Any) -> str:
    """Gives the one JSON text of plain data: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON for people to read, beside first and then renamed, so that no reader sees half of it."""
    beside = path.with_name(path.name + ".new")
    with beside.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def read_header(folder: Path) -> dict[str, Any]:
    """Reads `meta.json` of an artifact's folder.

    Raises:
        ArtifactError: no folder, no header, or a damaged one.
    """
    if not folder.exists():
        raise ArtifactError(f"There is no artifact at {folder}. `pare list` names what the store holds.")
    if folder.is_file():
        raise ArtifactError(
            f"{folder} is a file, and an artifact is a folder. Weights that others published are read by "
            "paredown.models.load_published, which runs no code of theirs."
        )
    path = folder / HEADER
    if not path.exists():
        raise ArtifactError(f"{folder} is not an artifact: it has no {HEADER}. Name the folder that a verb printed.")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({_first_line(error)}). Make the artifact again.") from error
    if not isinstance(header, dict):
        raise ArtifactError(f"{path} is damaged: it holds no names and values. Make the artifact again.")
    return header


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
