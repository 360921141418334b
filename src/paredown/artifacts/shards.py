"""Rows in many files: written shard by shard, so that what was written survives, and read through memory maps.

A shard holds some consecutive rows of one or several arrays, such as the neighbours and the distances of a graph. How
many rows a shard has changes nothing but the files: digests go by the rows.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from paredown.errors import ArtifactError

SHARD_ROWS = 65_536
"""Rows a shard; the last one may have fewer. What an interruption loses is less than this."""

BLOCK_BYTES = 64 * 2**20
"""How much is read at a time where rows are only passed over."""

_TYPES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U64": np.uint64}


class Rows:
    """Rows of one array, from parts that lie one after the other: it is indexed like an array, and reads when it is.

    Args:
        parts: arrays of shape (n, D) with the same D and dtype, memory maps or not.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        if not parts:
            raise ArtifactError("Rows: there are no parts. Give at least one array.")
        self.parts = list(parts)
        self.starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        self.dtype = parts[0].dtype
        self.shape = (int(self.starts[-1]), *parts[0].shape[1:])
        if any(part.shape[1:] != parts[0].shape[1:] or part.dtype != self.dtype for part in parts):
            raise ArtifactError("Rows: the parts differ in width or type. A shard belongs to something else.")

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """How many dimensions the whole has."""
        return len(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes of one number."""
        return self.dtype.itemsize

    def __getitem__(self, rows: Any) -> np.ndarray:
        """Gives rows in memory: a slice, or positions in any order."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            return self._between(start, max(start, stop))
        positions = np.asarray(rows)
        if positions.dtype == bool:
            positions = np.flatnonzero(positions)
        if positions.ndim == 0:
            return self[positions[None]][0]
        return self._at(positions.astype(np.int64, copy=False))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def _between(self, start: int, stop: int) -> np.ndarray:
        first = int(np.searchsorted(self.starts, start, side="right")) - 1
        pieces = []
        while start < stop:
            offset = int(self.starts[first])
            end = min(stop, int(self.starts[first + 1]))
            pieces.append(self.parts[first][start - offset : end - offset])
            start, first = end, first + 1
        if not pieces:
            return np.empty((0, *self.shape[1:]), self.dtype)
        found = np.array(pieces[0]) if len(pieces) == 1 else np.concatenate(pieces)
        for piece in pieces:
            let_go(piece)
        return found

    def _at(self, positions: np.ndarray) -> np.ndarray:
        if len(positions) and (positions.min() < -len(self) or positions.max() >= len(self)):
            raise IndexError(f"row {positions.max()} of {len(self)}")
        positions = np.where(positions < 0, positions + len(self), positions)
        found = np.empty((len(positions), *self.shape[1:]), self.dtype)
        # In the order of the files: a disk reads forwards.
        order = np.argsort(positions, kind="stable")
        ranked = positions[order]
        bounds = np.searchsorted(ranked, self.starts)
        for number, part in enumerate(self.parts):
            mine = slice(bounds[number], bounds[number + 1])
            found[order[mine]] = part[ranked[mine] - self.starts[number]]
        return found


class View:
    """Some rows of a larger whole, in an order of their own; they are read when they are indexed.

    Args:
        rows: the whole.
        positions: which of its rows, shape (N,).
    """

    def __init__(self, rows: Rows, positions: np.ndarray) -> None:
        self.rows, self.positions = rows, np.asarray(positions)
        self.dtype = rows.dtype
        self.shape = (len(self.positions), *rows.shape[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, rows: Any) -> np.ndarray:
        return self.rows[self.positions[rows]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = self[:]
        return whole if dtype is None else whole.astype(dtype, copy=False)


def let_go(part: np.ndarray) -> None:
    """Tells the system that what was read of a mapped file need not count as this process's memory any more.

    Otherwise whoever passes over a large file once seems to hold all of it. What is read again is mapped again.
    """
    mapping = getattr(part, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def blocks(rows: Any, *, size: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
    """Gives the first position and the rows of consecutive blocks, in memory one at a time.

    Args:
        rows: an array or `Rows`, (N, D).
        size: rows a block; by default as many as fit into `BLOCK_BYTES`.
    """
    width = int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.dtype.itemsize
    size = size or max(1, BLOCK_BYTES // max(1, width))
    for start in range(0, max(len(rows), 1), size):
        yield start, np.asarray(rows[start : start + size])


class ShardWriter:
    """Writes rows into a folder, shard by shard; after an interruption it goes on after the last whole shard.

    Args:
        folder: where to.
        total: rows in all.
        size: rows a shard; the last one may have fewer.
    """

    def __init__(self, folder: Path, *, total: int, size: int = SHARD_ROWS) -> None:
        self.folder, self.size, self.total = Path(folder), max(1, size), total
        self.folder.mkdir(parents=True, exist_ok=True)
        self._waiting: list[dict[str, np.ndarray]] = []
        self._number = 0
        while shard_file(self.folder, self._number).exists():
            self._number += 1
        self.done = min(self._number * self.size, total)
        """How many rows are on disk: the first row that is still to be written."""

    def put(self, **rows: np.ndarray) -> None:
        """Takes the next rows of each array; whole shards are written at once."""
        self._waiting.append(rows)
        while sum(self._length(part) for part in self._waiting) >= self.size:
            self._write(self.size)
        if self.done + sum(self._length(part) for part in self._waiting) == self.total and self._waiting:
            self._write(self.size)

    def _length(self, part: Mapping[str, np.ndarray]) -> int:
        return len(next(iter(part.values())))

    def _write(self, size: int) -> None:
        names = list(self._waiting[0])
        whole = {name: np.concatenate([part[name] for part in self._waiting]) for name in names}
        path = shard_file(self.folder, self._number)
        beside = path.with_name(path.name + ".new")
        save_file({name: np.ascontiguousarray(array[:size]) for name, array in whole.items()}, beside)
        beside.replace(path)
        self._number += 1
        self.done = min(self.done + size, self.total)
        rest = {name: array[size:] for name, array in whole.items()}
        self._waiting = [rest] if self._length(rest) else []


def shard_file(folder: Path, number: int) -> Path:
    """Gives the file of a shard, counted from 0."""
    return folder / f"shard-{number:05d}.safetensors"


def open_shards(folder: Path, names: Sequence[str], *, rows: int) -> dict[str, Rows]:
    """Maps the shards of a folder into memory; nothing is read but their headers.

    Args:
        folder: where they lie.
        names: the arrays that every shard holds.
        rows: how many there must be in all.

    Raises:
        ArtifactError: a shard is missing, truncated or of another kind; names the file.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    found, number = 0, 0
    while shard_file(folder, number).exists():
        arrays = _mapped(shard_file(folder, number))
        for name in names:
            if name not in arrays:
                raise ArtifactError(f"{shard_file(folder, number)} holds no '{name}'. Make the artifact again.")
            parts[name].append(arrays[name])
        found, number = found + len(arrays[names[0]]), number + 1
    if found != rows:
        raise ArtifactError(
            f"{folder}: {number} shards hold {found} rows, and there should be {rows}; "
            f"{shard_file(folder, number).name} may be missing. Make the artifact again."
        )
    return {name: Rows(arrays) for name, arrays in parts.items()}


def _mapped(path: Path) -> dict[str, np.ndarray]:
    # The format: 8 bytes with the length of a JSON header, the header, the arrays one after the other.
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length < 100_000_000:
                raise ValueError("the header is damaged")
            header = json.loads(file.read(length))
        size = path.stat().st_size
        arrays = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            if 8 + length + end > size:
                raise ValueError("it is truncated")
            shape, dtype = tuple(entry["shape"]), _TYPES[entry["dtype"]]
            if not np.prod(shape, dtype=np.int64):  # an empty stretch of a file cannot be mapped
                arrays[name] = np.empty(shape, dtype)
            else:
                arrays[name] = np.memmap(path, dtype, mode="r", offset=8 + length + begin, shape=shape)
    except (ValueError, KeyError, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({error}). Make the artifact again.") from error
    return arrays
