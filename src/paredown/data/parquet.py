"""Images in Parquet tables, as Hugging Face stores them: one file or many shards."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset
from paredown.data.images import decode
from paredown.data.source import PART_WORDS, AbstractSource, choose_part, held_out
from paredown.errors import DataError, MethodError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_COLUMNS = ("image", "img", "images", "picture", "jpg", "png", "bytes")
LABEL_COLUMNS = ("label", "labels", "fine_label", "target", "class", "y", "cls")
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")


@dataclass(frozen=True)
class Parquet(AbstractSource):
    """Encoded images (bytes, or a struct with `bytes`) and labels (whole numbers or text) from Parquet files.

    In a folder, shards belong to the part that their name or sub-folder begins with (`train-00000-of-00005.parquet`,
    `test/0000.parquet`) and are read in the order of their names. A single file is all there is. Data without a test
    part give up a fifth of each class.

    Args:
        path: a file or a folder.
        split: train, test, or another part of the folder; "all" for data without parts.
        image_column: where the images are; None takes the first column with a usual name.
        label_column: likewise for the labels.
        size: side of the square to which each image is brought; None wants images of one size.
        noise: label noise for the training rows.
    """

    splits: ClassVar[tuple[str, ...]] = ()

    path: str
    split: str = "train"
    image_column: str | None = None
    label_column: str | None = None
    size: int | None = None
    noise: LabelNoise | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise MethodError(f"Parquet(size={self.size}): images need a side of at least one pixel.")

    def read(self, workers: int) -> ImageDataset:
        path = Path(self.path).expanduser()
        stem = path.stem if path.is_file() else path.resolve().name
        return read_tables(
            self, path, workers, stem=stem, size=self.size, columns=(self.image_column, self.label_column)
        )


def read_tables(
    source: AbstractSource,
    path: Path,
    workers: int,
    *,
    stem: str,
    size: int | None = None,
    columns: tuple[str | None, str | None] = (None, None),
    classes: Sequence[str] | None = None,
    official: bool = False,
) -> ImageDataset:
    """Reads the split of a source from Parquet files.

    Args:
        source: asks, and makes the data set.
        path: a file or a folder.
        workers: threads that decode.
        stem: the name in reports.
        size: as in `Parquet`.
        columns: names of the image and the label column, or None to look for the usual ones.
        classes: names of the classes; None takes those in the files.
        official: as in `choose_part`.
    """
    where = source.where
    parts = find_parts(where, path)
    part, files, share = choose_part(source, parts, official=official)
    _check_shards(where, files)
    schema = _opened(where, files[0]).schema_arrow
    image_column = _column(where, schema.names, columns[0], IMAGE_COLUMNS, "image")
    label_column = _column(where, schema.names, columns[1], LABEL_COLUMNS, "label")

    labels = _column_values(where, files, label_column)
    if classes is None:
        classes = _class_names(schema, label_column) or _seen_classes(where, parts, label_column, labels)
    numbers = _numbers(where, files, label_column, labels, classes)
    source.check_labels(numbers, classes, part)
    rows = held_out(numbers, source.split) if share else np.arange(len(numbers))

    stored: list[bytes | None] = []
    origin: list[tuple[Path, int]] = []
    for file in files:
        column = _table(where, file, [image_column]).column(0)
        values = _bytes(where, image_column, column)
        stored.extend(values)
        origin.extend((file, row) for row in range(len(values)))
    if not stored:
        raise DataError(f"{where}: there are no rows in {part}.")

    def encoded(position: int) -> bytes:
        content = stored[rows[position]]
        if content is None:
            raise DataError(f"{where}: {called(position)} is missing from column '{image_column}'. Drop that row.")
        return content

    def called(position: int) -> str:
        file, row = origin[rows[position]]
        return f"the image of row {row} in {file.name}"

    images = decode(len(rows), encoded, called=called, where=where, size=size, workers=workers)
    return source.dataset(
        images, numbers[rows], classes,
        reader="parquet", parts=files, stem=stem, part=source.split if share else part, held_out=share,
    )  # fmt: skip


def find_parts(where: str, path: Path) -> dict[str, list[Path]]:
    """Gives the Parquet files of each part, in the order of their names; one part "all" when no name tells a part."""
    if path.is_file():
        return {"all": [path]}
    if not path.is_dir():
        raise DataError(f"{where}: there is no such file or folder. Give a .parquet file or a folder of them.")
    files = sorted(path.rglob("*.parquet"), key=lambda file: file.relative_to(path).as_posix())
    if not files:
        raise DataError(f"{where}: the folder holds no .parquet file.")
    parts: dict[str, list[Path]] = {}
    for file in files:
        words = [re.split(r"[-_.\d]", name.lower())[0] for name in (file.name, *file.relative_to(path).parts[:-1])]
        for part, known in PART_WORDS.items():
            if any(word in known for word in words):
                parts.setdefault(part, []).append(file)
                break
    return parts or {"all": files}


def _check_shards(where: str, files: Sequence[Path]) -> None:
    numbered = [match for file in files if (match := SHARD.search(file.stem))]
    if numbered and len(numbered) == len(files):
        total = int(numbered[0][2])
        missing = sorted(set(range(total)) - {int(match[1]) for match in numbered})
        if missing:
            raise DataError(
                f"{where}: shard {missing[0]:05d} of {total} is missing, and ids count through all of them. Add it."
            )


def _opened(where: str, file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{where}: {file.name} is truncated or is no Parquet file ({_first_line(error)}). Copy it again."
        ) from error


def _table(where: str, file: Path, columns: list[str]) -> pa.Table:
    import pyarrow as pa

    opened = _opened(where, file)
    absent = [name for name in columns if name not in opened.schema_arrow.names]
    if absent:
        raise DataError(f"{where}: {file.name} has no column '{absent[0]}', which the other files have.")
    try:
        return opened.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where}: {file.name} is damaged ({_first_line(error)}). Copy it again.") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _column(where: str, names: Sequence[str], asked: str | None, usual: Sequence[str], what: str) -> str:
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


def _column_values(where: str, files: Sequence[Path], column: str) -> list[Any]:
    return [value for file in files for value in _table(where, file, [column]).column(0).to_pylist()]


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Gives the class names that Hugging Face writes into the metadata, if they are there."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        names = features[column]["names"]
        return [str(name) for name in names]
    except (KeyError, TypeError, ValueError):
        return None


def _seen_classes(where: str, parts: dict[str, list[Path]], column: str, labels: list[Any]) -> list[str]:
    """Gives classes from the labels of every part, so that a part which lacks one numbers the rest alike."""
    every = [value for files in parts.values() for value in _column_values(where, files, column)]
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


def _bytes(where: str, name: str, column: pa.ChunkedArray) -> list[bytes | None]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        values: list[bytes | None] = pc.struct_field(column, "bytes").to_pylist()
        if values and all(value is None for value in values):
            raise DataError(
                f"{where}: column '{name}' names image files but does not hold them. Use the folder of images itself."
            )
        return values
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column.to_pylist()
    raise DataError(
        f"{where}: column '{name}' of type {column.type} does not hold encoded images. "
        "Set image_column to the one that does."
    )
