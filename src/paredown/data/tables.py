"""Tables in files: Parquet, Arrow, JSON lines and CSV, in parts and shards, with labels and the names of classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paredown.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

PART_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class", "y", "cls")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
SUFFIXES = (".parquet", ".arrow", ".jsonl", ".json", ".csv", ".tsv")
"""Endings of the files that hold tables; in a folder the first of these that is there is read."""


IMAGE_COLUMNS = ("image", "img", "images", "picture", "jpg", "png", "bytes")
TEXT_COLUMNS = ("text", "sentence", "sentence1", "premise", "question1", "text1", "question", "review", "content")
PAIRS = {
    "sentence1": "sentence2",
    "premise": "hypothesis",
    "question1": "question2",
    "text1": "text2",
    "question": "sentence",
}
"""The column of the second sentence beside that of the first."""


def holds_text(file: Path) -> bool:
    """Says whether a Parquet file has columns of text and of labels, by their usual names, and none of images."""
    try:
        names = set(Tables(str(file)).schema(file).names)
    except DataError:
        return False  # what is wrong with the file is said when it is read
    return bool(names & set(TEXT_COLUMNS) and names & set(LABEL_COLUMNS) and not names & set(IMAGE_COLUMNS))


class Tables:
    """Reads columns of files: Parquet column by column, the other forms whole and once.

    Args:
        where: the beginning of a message.
        held: tables that are in memory already, under names that stand for files.
    """

    def __init__(self, where: str, held: Mapping[Path, pa.Table] | None = None) -> None:
        self.where = where
        self._held = dict(held or {})

    def schema(self, file: Path) -> pa.Schema:
        """Gives names and types of a file's columns."""
        if file in self._held or file.suffix.lower() != ".parquet":
            return self._whole(file).schema
        return self._opened(file).schema_arrow

    def column(self, file: Path, name: str) -> pa.ChunkedArray:
        """Gives one column of a file."""
        import pyarrow as pa

        if name not in self.schema(file).names:
            raise DataError(f"{self.where}: {file.name} has no column '{name}', which the other files have.")
        if file in self._held:
            return self._held[file].column(name)
        try:
            return self._opened(file).read(columns=[name]).column(0)
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{self.where}: {file.name} is damaged ({_first_line(error)}). Copy it again.") from error

    def values(self, files: Sequence[Path], name: str) -> list[Any]:
        """Gives a column of several files, one after the other, as Python values."""
        return [value for file in files for value in self.column(file, name).to_pylist()]

    def _opened(self, file: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.where}: {file.name} is truncated or is no Parquet file ({_first_line(error)}). Copy it again."
            ) from error

    def _whole(self, file: Path) -> pa.Table:
        import pyarrow as pa

        if file not in self._held:
            try:
                self._held[file] = _read(file)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise DataError(
                    f"{self.where}: {file.name} cannot be read as {file.suffix[1:]} ({_first_line(error)}). "
                    "Correct it, or make it again."
                ) from error
        return self._held[file]


def _read(file: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.ipc

    suffix = file.suffix.lower()
    if suffix == ".arrow":
        with pa.memory_map(str(file)) as stored:
            try:
                return pa.ipc.open_stream(stored).read_all()
            except pa.ArrowInvalid:  # the other of the two forms that files of this ending have
                return pa.ipc.open_file(stored).read_all()
    if suffix in (".csv", ".tsv"):
        form = pa.csv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True)
        return pa.csv.read_csv(file, parse_options=form)
    rows = _records(file.read_text("utf-8"))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _records(text: str) -> list[dict[str, Any]]:
    """Gives the objects of JSON lines, or of one JSON list."""
    if text.lstrip()[:1] == "[":
        rows = json.loads(text)
    else:
        rows = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except ValueError as error:
                    raise ValueError(f"line {number} is no JSON: {error}") from error
    wrong = next((number for number, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise ValueError(f"row {wrong} is not an object with names and values")
    return rows


def find_parts(where: str, path: Path, suffixes: Sequence[str] = (".parquet",)) -> dict[str, list[Path]]:
    """Gives the files of each part, in the order of their names; one part "all" when no name tells a part.

    Args:
        where: the beginning of a message.
        path: a file or a folder.
        suffixes: endings of the files; those of the first ending that the folder has are read.
    """
    wants = " or ".join(suffixes)
    if path.is_file():
        return {"all": [path]}
    if not path.is_dir():
        raise DataError(f"{where}: there is no such file or folder. Give a {wants} file or a folder of them.")
    files = next((found for suffix in suffixes if (found := _files(path, suffix))), [])
    if not files:
        raise DataError(f"{where}: the folder holds no {wants} file.")
    parts: dict[str, list[Path]] = {}
    for file in files:
        words = [re.split(r"[-_.\d]", name.lower())[0] for name in (file.name, *file.relative_to(path).parts[:-1])]
        for part, known in PART_WORDS.items():
            if any(word in known for word in words):
                parts.setdefault(part, []).append(file)
                break
    return parts or {"all": files}


def _files(folder: Path, suffix: str) -> list[Path]:
    found = sorted(folder.rglob(f"*{suffix}"), key=lambda file: file.relative_to(folder).as_posix())
    # What the datasets library writes beside its tables says how they were made and holds no examples.
    about = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
    return [file for file in found if file.name not in about]


def check_shards(where: str, files: Sequence[Path]) -> None:
    """Refuses numbered shards of which one is missing."""
    numbered = [match for file in files if (match := SHARD.search(file.stem))]
    if numbered and len(numbered) == len(files):
        total = int(numbered[0][2])
        missing = sorted(set(range(total)) - {int(match[1]) for match in numbered})
        if missing:
            raise DataError(
                f"{where}: shard {missing[0]:05d} of {total} is missing, and ids count through all of them. Add it."
            )


def find_column(where: str, names: Sequence[str], asked: str | None, usual: Sequence[str], what: str) -> str:
    """Gives the column that was asked for, or the first with a usual name."""
    if asked is not None:
        if asked not in names:
            has = f" It has: {', '.join(names)}."
            raise DataError(f"{where}: there is no column '{asked}'.{did_you_mean(asked, names) or has}")
        return asked
    found = next((name for name in usual if name in names), None)
    if found is None:
        raise DataError(
            f"{where}: none of the columns ({', '.join(names)}) is called like {what}s. "
            f"Set {what}_column to the one that holds them."
        )
    return found


def read_labels(
    tables: Tables,
    parts: Mapping[str, list[Path]],
    files: Sequence[Path],
    column: str,
    classes: Sequence[str] | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Gives the labels of some files as whole numbers, and the names of the classes.

    Args:
        tables: reads the files.
        parts: every part, so that one which lacks a class numbers the rest alike.
        files: of the part that is read.
        column: where the labels are: whole numbers or text.
        classes: their names; None takes those that Hugging Face writes into the metadata, else those seen.
    """
    labels = tables.values(files, column)
    names = list(classes or _class_names(tables.schema(files[0]), column) or _seen(tables, parts, column, labels))
    return _numbers(tables.where, files, column, labels, names), names


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Gives the class names that Hugging Face writes into the metadata, if they are there."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError):
        return None


def _seen(tables: Tables, parts: Mapping[str, list[Path]], column: str, labels: list[Any]) -> list[str]:
    """Gives classes from the labels of every part, so that a part which lacks one numbers the rest alike."""
    every = [value for files in parts.values() for value in tables.values(files, column)]
    if any(isinstance(value, str) for value in labels):
        return sorted({str(value) for value in every if value is not None})
    whole = [value for value in every if isinstance(value, int)]
    return [str(number) for number in range(max(whole, default=0) + 1)]


def _numbers(where: str, files: Sequence[Path], column: str, labels: list[Any], classes: Sequence[str]) -> np.ndarray:
    if labels and all(value is None or (type(value) is int and value == -1) for value in labels):
        raise DataError(
            f"{where}: {files[0].name} has no labels (column '{column}' is empty or -1 throughout). "
            "Use a labelled split."
        )
    wrong = next((row for row, value in enumerate(labels) if not isinstance(value, int | str)), None)
    if wrong is not None:
        raise DataError(
            f"{where}: the label of row {wrong} is {labels[wrong]!r} in column '{column}', "
            "and a whole number or text is needed."
        )
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number.get(value, -1) if isinstance(value, str) else int(value) for value in labels], np.int64)
