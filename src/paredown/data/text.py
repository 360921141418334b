"""Sentences in tables: Parquet, Arrow, JSON lines or CSV, in files of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from paredown.data.corrupt import LabelNoise
from paredown.data.sentences import SentenceDataset, Texts, stored
from paredown.data.source import AbstractSource, choose_part, held_out
from paredown.data.tables import (
    LABEL_COLUMNS,
    PAIRS,
    SUFFIXES,
    TEXT_COLUMNS,
    Tables,
    check_shards,
    find_column,
    find_parts,
    read_labels,
)
from paredown.errors import DataError


@dataclass(frozen=True)
class Sentences(AbstractSource):
    """Sentences, or pairs of them, and labels (whole numbers or text) from Parquet, Arrow, JSON lines or CSV.

    In a folder, files belong to the part that their name or sub-folder begins with (`train-00000-of-00005.parquet`,
    `test.jsonl`) and are read in the order of their names. A single file is all there is. Data without a test part give
    up a fifth of each class. The same sentences in another kind of file are the same pool.

    Args:
        path: a file or a folder.
        split: train, test, or another part of the folder; "all" for data without parts.
        text_column: where the sentences are; None takes the first column with a usual name.
        pair_column: where the second sentence of each pair is; None takes the usual partner of the first column where
            that was not named.
        label_column: where the labels are; None takes the first column with a usual name.
        noise: label noise for the training rows.
    """

    noun: ClassVar[str] = "sentences"
    splits: ClassVar[tuple[str, ...]] = ()

    path: str
    split: str = "train"
    text_column: str | None = None
    pair_column: str | None = None
    label_column: str | None = None
    noise: LabelNoise | None = None

    def read(self, workers: int) -> SentenceDataset:
        path = Path(self.path).expanduser()
        stem = path.stem if path.is_file() else path.resolve().name
        columns = (self.text_column, self.pair_column, self.label_column)
        parts = find_parts(self.where, path, SUFFIXES)
        return read_sentences(self, parts, Tables(self.where), stem=stem, columns=columns)


def read_sentences(
    source: AbstractSource,
    parts: Mapping[str, list[Path]],
    tables: Tables,
    *,
    stem: str,
    columns: tuple[str | None, str | None, str | None] = (None, None, None),
    classes: Sequence[str] | None = None,
    official: bool = False,
) -> SentenceDataset:
    """Reads the split of a source from tables.

    Args:
        source: asks, and makes the data set.
        parts: the files of each part.
        tables: reads them.
        stem: the name in reports.
        columns: names of the columns of sentences, of second sentences and of labels, or None to look for the usual.
        classes: names of the classes; None takes those in the files.
        official: as in `choose_part`.
    """
    where = source.where
    part, files, share = choose_part(source, parts, official=official)
    check_shards(where, files)
    names = tables.schema(files[0]).names
    first = find_column(where, names, columns[0], TEXT_COLUMNS, "text")
    second = columns[1]
    if second is None and columns[0] is None and PAIRS.get(first) in names:
        second = PAIRS[first]
    asked = [first] if second is None else [first, find_column(where, names, second, (), "pair")]
    label = find_column(where, names, columns[2], LABEL_COLUMNS, "label")
    labels, known = read_labels(tables, parts, files, label, classes)
    if not len(labels):
        raise DataError(f"{where}: there are no rows in {part}.")
    source.check_labels(labels, known, part)
    texts = [_texts(tables, files, column) for column in asked]
    if share:
        rows = held_out(labels, source.split)
        labels, texts = labels[rows], [[column[row] for row in rows] for column in texts]
    made, name = tuple(Texts.of(column) for column in texts), source.split if share else part
    return SentenceDataset(
        texts=made, labels=labels, classes=tuple(known),
        **source.identified(
            len(labels), reader="sentences", parts=stored(made, labels), stem=stem, part=name, held_out=share
        ),
    )  # fmt: skip


def _texts(tables: Tables, files: Sequence[Path], name: str) -> list[str]:
    found: list[str] = []
    for file in files:
        column = tables.column(file, name)
        kind = str(column.type)
        if kind not in ("string", "large_string", "string_view", "null"):
            raise DataError(
                f"{tables.where}: column '{name}' of type {kind} does not hold text. Set text_column to one that does."
            )
        values = column.to_pylist()
        if None in values:
            raise DataError(
                f"{tables.where}: the text of row {values.index(None)} in {file.name} is missing from column '{name}'. "
                "Drop that row."
            )
        found += values
    return found
