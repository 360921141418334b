"""Where encoded images lie until they are read: image files, row groups of Parquet tables, or bytes in memory."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paredown.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa

HELD_GROUPS = 256 << 20  # bytes of row groups that are kept for the next reader


class AbstractEncoded(ABC):
    """Encoded images by number: write the three methods. Several threads read at once."""

    @abstractmethod
    def __len__(self) -> int:
        """How many there are."""

    @abstractmethod
    def stored(self, number: int) -> bytes:
        """Gives the bytes of one image."""

    @abstractmethod
    def called(self, number: int) -> str:
        """Names one in a message."""


@dataclass(frozen=True)
class Files(AbstractEncoded):
    """Image files below a folder.

    Args:
        where: the beginning of a message.
        root: the folder.
        names: paths below it.
    """

    where: str
    root: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def stored(self, number: int) -> bytes:
        try:
            return (self.root / self.names[number]).read_bytes()
        except OSError as error:
            raise DataError(
                f"{self.where}: {self.names[number]} cannot be read ({error.strerror or error}), though it was there "
                "when the data were opened. Bring it back, or open the data again."
            ) from error

    def called(self, number: int) -> str:
        return self.names[number]


@dataclass(frozen=True)
class Held(AbstractEncoded):
    """Encoded images in memory."""

    images: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.images)

    def stored(self, number: int) -> bytes:
        return self.images[number]

    def called(self, number: int) -> str:
        return f"image {number}"


@dataclass(frozen=True)
class TableRows(AbstractEncoded):
    """Rows of a column of Parquet files.

    Parquet is compressed and read by row groups, so one row costs its whole group (100 rows where Hugging Face wrote
    it). Groups that were read are kept up to `HELD_GROUPS` bytes: passes in order read each once, training in a
    shuffled order reads one for nearly every image.

    Args:
        where: the beginning of a message.
        files: in the order of the rows.
        column: the leaf that holds the bytes, such as `image.bytes`.
    """

    where: str
    files: tuple[Path, ...]
    column: str
    _groups: _Groups = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_groups", _Groups(self.where, self.files, self.column))

    def __len__(self) -> int:
        return self._groups.starts[-1]

    def stored(self, number: int) -> bytes:
        content = self._groups.value(number)
        if content is None:
            raise DataError(
                f"{self.where}: {self.called(number)} is missing from column '{self.column}'. Drop that row."
            )
        return content

    def called(self, number: int) -> str:
        file, row = self._groups.place(number)
        return f"the image of row {row} in {file.name}"

    def footers(self) -> list[bytes]:
        """Gives the footer of each file: the sizes, offsets and statistics of all its column chunks."""
        return [_footer(file) for file in self.files]


class _Groups:
    """Row groups, read when one of their rows is asked for, by whichever thread asks first."""

    def __init__(self, where: str, files: Sequence[Path], column: str) -> None:
        self.where, self.files, self.column = where, files, column
        self.starts = [0]
        """First row of each group, over all files; the last entry is the number of rows."""
        self._of_file: list[tuple[int, int]] = []
        self._first_of_file = [0]
        for number, file in enumerate(files):
            about = self._open(file).metadata
            for group in range(about.num_row_groups):
                self._of_file.append((number, group))
                self.starts.append(self.starts[-1] + about.row_group(group).num_rows)
            self._first_of_file.append(self.starts[-1])
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Future[pa.Array]] = OrderedDict()
        self._bytes = 0

    def place(self, number: int) -> tuple[Path, int]:
        file = bisect_right(self._first_of_file, number) - 1
        return self.files[file], number - self._first_of_file[file]

    def value(self, number: int) -> bytes | None:
        group = bisect_right(self.starts, number) - 1
        return self._group(group)[number - self.starts[group]].as_py()

    def _group(self, group: int) -> pa.Array:
        with self._lock:
            mine = group not in self._kept
            if mine:
                self._kept[group] = Future()
            self._kept.move_to_end(group)
            found = self._kept[group]
        if mine:
            try:
                values = self._read(group)
            except BaseException as error:
                with self._lock:
                    self._kept.pop(group, None)
                found.set_exception(error)
                raise
            found.set_result(values)
            with self._lock:
                self._bytes += values.nbytes
                # The newest stays whatever its size; one that is still being read has no size yet.
                while self._bytes > HELD_GROUPS and len(self._kept) > 1:
                    oldest = next((name for name, kept in self._kept.items() if kept.done() and name != group), None)
                    if oldest is None:
                        break
                    self._bytes -= self._kept.pop(oldest).result().nbytes
        return found.result()

    def _read(self, group: int) -> pa.Array:
        import pyarrow as pa

        number, inside = self._of_file[group]
        # A reader of its own for each group, because one reader does not serve several threads.
        try:
            column = self._open(self.files[number]).read_row_group(inside, columns=[self.column], use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.where}: {self.files[number].name} is damaged ({str(error).splitlines()[0]}). Copy it again."
            ) from error
        values = column.column(0).combine_chunks()
        if isinstance(values, pa.ChunkedArray):
            values = pa.concat_arrays([chunk.cast(_large(chunk.type)) for chunk in values.chunks])
        return values.field("bytes") if pa.types.is_struct(values.type) else values

    def _open(self, file: Path) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(file, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise DataError(
                f"{self.where}: {file.name} is truncated or is no Parquet file ({str(error).splitlines()[0]}). "
                "Copy it again."
            ) from error


def _large(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return pa.struct([("bytes", pa.large_binary())]) if pa.types.is_struct(kind) else pa.large_binary()


def _footer(file: Path) -> bytes:
    # The last eight bytes of a Parquet file are the length of its footer and a mark.
    with file.open("rb") as stored:
        stored.seek(-8, 2)
        length = int(np.frombuffer(stored.read(4), "<u4")[0])
        stored.seek(-8 - length, 2)
        return stored.read(length)
