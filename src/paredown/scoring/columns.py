"""Scores that somebody has computed already: columns stored beside the data, and published files of scores."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paredown.artifacts.scores import Direction
from paredown.artifacts.uids import NATIVE, from_bytes, from_hex, places, ranked, repeated, told
from paredown.data.dataset import AbstractDataset, AbstractImages
from paredown.data.fingerprint import fingerprint
from paredown.errors import ArtifactError, DataError, MethodError, did_you_mean
from paredown.runtime import Runtime
from paredown.scoring.base import AbstractDataScorer

ID_COLUMNS = ("id", "uid", "path", "filename", "file", "index", "position")
"""Names that a column of ids usually has, in the order in which they are looked for."""

Table = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Column(AbstractDataScorer):
    """A number that is stored beside each example, such as DataComp's CLIP similarity.

    Args:
        column: its name; `open_data(…)` names those that are there when one is wrong.
        important: which end marks the important examples: "high", "low" or "none".
        lowest: the lowest value there can be; none when there is no end.
        highest: the highest value there can be; none when there is no end.
    """

    column: str
    important: Direction = "none"
    lowest: float | None = None
    highest: float | None = None

    @property
    def low(self) -> float:
        return -math.inf if self.lowest is None else self.lowest

    @property
    def high(self) -> float:
        return math.inf if self.highest is None else self.highest

    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        values = numbers(data, self.column, f"Column(column={self.column!r})")
        missing = np.flatnonzero(~np.isfinite(values))
        if len(missing):
            raise MethodError(
                f"Column(column={self.column!r}): {len(missing)} of {len(values)} values of {data.name} are missing or "
                f"not finite; the first is that of id {told(data.ids.keys[missing[0]])}. Fill them in, or take those "
                "examples away."
            )
        return values


@dataclass(frozen=True)
class Imported(AbstractDataScorer):
    """Scores from a file, joined to the data by id: every example has one value there, and nothing else stands there.

    Tables (`.parquet`, `.csv`, `.jsonl`, `.json` lists of objects, `.npz`) have a column of values and one of ids:
    positions in the data, uids, or paths of images below the folder of the data or of their part. A `.json` object of
    id: value is both. Without ids (always so in a `.npy`) the values stand in the order of the data, one for each
    example. In an address the file stands by its content, wherever it lies.

    Args:
        path: the file.
        column: of the values; may be left out where there is one only.
        id_column: of the ids; none takes one with a usual name (id, uid, path, filename, index, …) if there is one.
        important: which end marks the important examples: "high", "low" or "none".
        lowest: the lowest value there can be; none when there is no end.
        highest: the highest value there can be; none when there is no end.
    """

    path: str
    column: str | None = None
    id_column: str | None = None
    important: Direction = "none"
    lowest: float | None = None
    highest: float | None = None

    @property
    def low(self) -> float:
        return -math.inf if self.lowest is None else self.lowest

    @property
    def high(self) -> float:
        return math.inf if self.highest is None else self.highest

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"path": content_of(f"Imported(path={self.path!r})", self.path)}

    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        where = f"Imported(path={self.path!r})"
        table = read_table(where, Path(self.path).expanduser())
        ids, values = self._columns(where, table)
        if ids is None:
            if len(values) != len(data):
                raise DataError(
                    f"{where}: {len(values)} values without ids, and {data.name} has {len(data)} {data.noun}. "
                    "Give a file with ids, or one value for each example in the order of the data."
                )
            rows = np.arange(len(data))
        else:
            rows = _rows(where, ids, data)
        wrong = np.flatnonzero(np.isnan(values[rows]))
        if len(wrong):
            raise DataError(
                f"{where}: {len(wrong)} of {len(rows)} values are missing; the first is that of id "
                f"{told(data.ids.keys[wrong[0]])}. Fill them in."
            )
        return values[rows]

    def _columns(self, where: str, table: Table) -> tuple[np.ndarray | None, np.ndarray]:
        named = self.id_column or next((name for name in ID_COLUMNS if name in table and name != self.column), None)
        for asked in (self.column, self.id_column):
            if asked is not None and asked not in table:
                hint = did_you_mean(asked, table) or f" It has: {', '.join(table)}."
                raise DataError(f"{where}: there is no column '{asked}'.{hint}")
        others = [name for name, part in table.items() if name != named and part.dtype.kind in "biuf"]
        if self.column is None and len(others) != 1:
            raise DataError(
                f"{where}: {len(others)} columns could hold the values ({', '.join(others) or 'none holds numbers'}). "
                "Name the one that does: column=…"
            )
        values = table[self.column or others[0]]
        if values.dtype.kind not in "biuf" or values.ndim != 1:
            raise DataError(f"{where}: column '{self.column}' holds {values.dtype} and not numbers. Name another one.")
        return None if named is None else table[named], values.astype(np.float64)


def numbers(data: AbstractDataset, name: str, where: str) -> np.ndarray:
    """Gives a column of numbers as float64 (N,), NaN where one is missing.

    Raises:
        MethodError: the column holds something else.
    """
    column = data.column(name)
    if not isinstance(column, np.ndarray) or column.dtype.kind not in "biuf" or column.ndim != 1:
        what = column.dtype if isinstance(column, np.ndarray) else column.type
        raise MethodError(f"{where}: '{name}' of {data.name} is {what}, and one number an example is needed.")
    return column.astype(np.float64)


def content_of(where: str, path: str) -> str:
    """Gives the sha256 (hex) of a file, by which an address tells it from others.

    Raises:
        DataError: there is no such file.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{where}: there is no such file.")
    return fingerprint("file", "", [file])


def read_table(where: str, path: Path) -> Table:
    """Gives the columns of a file of scores; ids in Arrow's 16-byte binary come as `NATIVE`.

    Raises:
        DataError: there is no such file, or it is damaged or of no known form.
    """
    if not path.is_file():
        raise DataError(f"{where}: there is no such file.")
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".parquet": _parquet, ".json": _json, ".jsonl": _json}
    if path.suffix.lower() not in readers:
        raise DataError(f"{where}: a file of type '{path.suffix}' is not read. Give one of {', '.join(readers)}.")
    import pyarrow as pa

    try:
        table = readers[path.suffix.lower()](path)
    except (pa.ArrowException, OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{where}: the file cannot be read ({reason}). Make or copy it again.") from error
    lengths = {name: len(part) for name, part in table.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{where}: its columns differ in length ({lengths}), and each example has one row.")
    return table


def _npy(path: Path) -> Table:
    with path.open("rb") as file:
        return {"value": np.load(file, allow_pickle=False)}


def _npz(path: Path) -> Table:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _csv(path: Path) -> Table:
    import pyarrow.csv

    return _arrays(pyarrow.csv.read_csv(path))


def _parquet(path: Path) -> Table:
    import pyarrow.parquet as pq

    return _arrays(pq.read_table(path))


def _json(path: Path) -> Table:
    text = path.read_text("utf-8")
    lines = path.suffix.lower() == ".jsonl"
    held = [json.loads(line) for line in text.splitlines() if line.strip()] if lines else json.loads(text)
    if isinstance(held, dict):
        return {"id": np.array([*held]), "value": np.array([*held.values()])}
    if all(isinstance(row, dict) for row in held):
        names = dict.fromkeys(name for row in held for name in row)
        if short := [(row, name) for row, entry in enumerate(held) for name in names if name not in entry]:
            raise ValueError("row {} has no '{}'".format(*short[0]))
        return {name: np.array([row[name] for row in held]) for name in names}
    return {"value": np.array(held)}


def _arrays(table: Any) -> dict[str, np.ndarray]:
    import pyarrow.types as kinds

    found = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if kinds.is_fixed_size_binary(column.type) and column.type.byte_width == 16 and not column.null_count:
            stored = b"".join(chunk.buffers()[1][16 * chunk.offset :][: 16 * len(chunk)] for chunk in column.chunks)
            found[name] = from_bytes(np.frombuffer(stored, np.uint8).reshape(-1, 16))
        elif not kinds.is_nested(column.type):
            found[name] = column.to_numpy()
    return found


def _rows(where: str, ids: np.ndarray, data: AbstractDataset) -> np.ndarray:
    """Gives the row of the file for each example of the data."""
    keys = _keys(where, ids, data)
    if len(twice := repeated(keys)):
        raise DataError(
            f"{where}: id {told(twice[0])} stands there twice; {len(twice)} ids do. Keep one value for each."
        )
    order = ranked(keys)
    found = places(keys[order], data.ids.keys)
    if (found < 0).any():
        first = told(data.ids.keys[np.argmin(found >= 0)])
        raise DataError(
            f"{where}: {int((found < 0).sum())} of {len(data)} {data.noun} of {data.name} have no value there; the "
            f"first is id {first}. Give a file that covers all of the data."
        )
    if len(keys) > len(data):
        lined = data.ids.keys[ranked(data.ids.keys)]
        extra = keys[places(lined, keys) < 0]
        raise DataError(
            f"{where}: {len(extra)} of its {len(keys)} ids are not among {data.name}; the first is {told(extra[0])}. "
            "The file may be of other data; take those rows away if it is not."
        )
    return order[found]


def _keys(where: str, ids: np.ndarray, data: AbstractDataset) -> np.ndarray:
    """Gives the ids of a file as keys of the data: as they are, from hexadecimal digits, or from paths."""
    native = data.ids.keys.dtype == NATIVE
    if ids.dtype == NATIVE and native:
        return ids
    if ids.dtype.kind in "iu" and not native:
        return ids.astype(np.int64)
    if ids.dtype.kind in "USO" and native:
        try:
            return from_hex(ids)
        except ArtifactError as error:
            raise DataError(f"{where}: {error} Correct it.") from error
    texts = ids.astype(np.str_)
    if ids.dtype.kind in "USO" and not native and np.char.isdecimal(texts).all():  # names of a JSON object
        return texts.astype(np.int64)
    paths = data.paths if isinstance(data, AbstractImages) else None
    if ids.dtype.kind in "USO" and paths is not None:
        number = {bare: key for paths in _ways(paths) for bare, key in zip(paths, data.ids.keys.tolist(), strict=True)}
        # Paths that are not the data's get numbers of their own, below 0, so that they are counted as strangers.
        return np.array([number.get(path, -1 - row) for row, path in enumerate(texts.tolist())], np.int64)
    kinds = "uids of 32 hexadecimal digits" if native else "positions" if paths is None else "positions or paths"
    raise DataError(f"{where}: its ids are {ids.dtype}, and those of {data.name} are {kinds}. Name another id_column.")


def _ways(paths: Sequence[str]) -> list[Sequence[str]]:
    """Gives the ways to write the paths of a data set: whole, and without the folder that all of them are in."""
    first = {path.partition("/")[0] for path in paths}
    return [[path.partition("/")[2] for path in paths], paths] if len(first) == 1 else [paths]
