"""Images in Parquet tables, as Hugging Face stores them: one file or many shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractImages, ImageDataset, Whiten
from paredown.data.encoded import TableRows
from paredown.data.images import decode
from paredown.data.source import AbstractSource, choose_part, held_out
from paredown.data.squares import Square
from paredown.data.stored_images import StoredImages, refuse_no_size, stored_images
from paredown.data.tables import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    Tables,
    check_shards,
    find_column,
    find_parts,
    read_labels,
)
from paredown.errors import DataError, MethodError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Parquet(AbstractSource):
    """Encoded images (bytes, or a struct with `bytes`) and labels (whole numbers or text) from Parquet files.

    In a folder, shards belong to the part that their name or sub-folder begins with (`train-00000-of-00005.parquet`,
    `test/0000.parquet`) and are read in the order of their names. A single file is all there is. Data without a test
    part give up a fifth of each class. Images are read into memory; those that would take more than half of it are
    refused, and `stored` leaves them in their tables instead, to be decoded when they are read. A pool of stored images
    is known by the footers of its files, which hold the sizes and statistics of all columns, and by its labels.

    Args:
        path: a file or a folder.
        split: train, test, or another part of the folder; "all" for data without parts.
        image_column: where the images are; None takes the first column with a usual name.
        label_column: likewise for the labels.
        size: side of the square to which each image is brought; None wants images of one size.
        stored: leave the images in their tables; needs a size. Training in a shuffled order reads a whole row group for
            nearly every image: a folder of image files is faster.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    splits: ClassVar[tuple[str, ...]] = ()

    path: str
    split: str = "train"
    image_column: str | None = None
    label_column: str | None = None
    size: int | None = None
    stored: bool = False
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise MethodError(f"Parquet(size={self.size}): images need a side of at least one pixel.")
        refuse_no_size(self, self.size, self.stored)

    def read(self, workers: int) -> AbstractImages:
        path = Path(self.path).expanduser()
        stem = path.stem if path.is_file() else path.resolve().name
        columns = self.image_column, self.label_column
        if self.stored and self.size:
            return stored_tables(self, path, square=Square(self.size, self.size, "bicubic"), stem=stem, columns=columns)
        return read_tables(self, path, workers, stem=stem, size=self.size, columns=columns)


class Found(NamedTuple):
    """The rows of a split: where their images are, their labels, and which rows the split takes."""

    files: list[Path]
    image_column: str
    image_type: pa.DataType
    labels: np.ndarray
    classes: list[str]
    rows: np.ndarray
    part: str
    held_out: bool


def find_rows(
    source: AbstractSource,
    path: Path,
    tables: Tables,
    *,
    columns: tuple[str | None, str | None] = (None, None),
    classes: Sequence[str] | None = None,
    official: bool = False,
) -> Found:
    """Finds the rows of a split and their labels, without reading an image; see `read_tables`."""
    where = source.where
    parts = find_parts(where, path)
    part, files, share = choose_part(source, parts, official=official)
    check_shards(where, files)
    schema = tables.schema(files[0])
    image_column = find_column(where, schema.names, columns[0], IMAGE_COLUMNS, "image")
    label_column = find_column(where, schema.names, columns[1], LABEL_COLUMNS, "label")
    numbers, named = read_labels(tables, parts, files, label_column, classes)
    source.check_labels(numbers, named, part)
    if not len(numbers):
        raise DataError(f"{where}: there are no rows in {part}.")
    rows = held_out(numbers, source.split) if share else np.arange(len(numbers))
    kind = schema.field(image_column).type
    return Found(files, image_column, kind, numbers, named, rows, source.split if share else part, share)


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
    tables = Tables(where)
    found = find_rows(source, path, tables, columns=columns, classes=classes, official=official)
    files, image_column, rows = found.files, found.image_column, found.rows
    stored: list[bytes | None] = []
    origin: list[tuple[Path, int]] = []
    for file in files:
        values = _bytes(where, image_column, tables.column(file, image_column))
        stored.extend(values)
        origin.extend((file, row) for row in range(len(values)))

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
        images, found.labels[rows], found.classes,
        reader="parquet", parts=files, stem=stem, part=found.part, held_out=found.held_out,
    )  # fmt: skip


def stored_tables(
    source: AbstractSource,
    path: Path,
    *,
    square: Square,
    stem: str,
    columns: tuple[str | None, str | None] = (None, None),
    official: bool = False,
) -> StoredImages:
    """Gives the split of a source whose images stay in their tables; see `read_tables`."""
    import pyarrow as pa

    where = source.where
    found = find_rows(source, path, Tables(where), columns=columns, official=official)
    struct = pa.types.is_struct(found.image_type)
    if not struct:
        _bytes(where, found.image_column, pa.chunked_array([], found.image_type))  # refuses a column of anything else
    encoded = TableRows(where, tuple(found.files), f"{found.image_column}.bytes" if struct else found.image_column)
    return stored_images(
        source, encoded, found.labels, found.classes,
        square=square, parts=[*encoded.footers(), found.labels], stem=stem, part=found.part, rows=found.rows,
        held_out=found.held_out,
    )  # fmt: skip


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
