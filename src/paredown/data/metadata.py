"""The files of a DataComp pool: for each shard a Parquet table of metadata, and vectors in an `.npz` beside it.

    0035af….parquet     uid (32 hexadecimal digits), url, text, original_width, clip_l14_similarity_score, …
    0035af….npz         b32_img, b32_txt, l14_img, l14_txt: float16 (n, D), one row a pair, in the same order

What an `.npz` holds uncompressed is mapped into memory and read when it is looked at; what it holds compressed is read
one shard at a time.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from paredown.artifacts.uids import DIGITS, from_bytes, from_hex
from paredown.errors import ArtifactError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
R = TypeVar("R")

UID = "uid"
SIGNS = frozenset({"url", "original_width"})  # columns that no other tables with uids have
LOCAL_HEADER = 30  # bytes of a zip member's own header, before its name


@dataclass(frozen=True)
class FileShard:
    """One shard of a pool on disk.

    Args:
        table: the Parquet file.
        rows: pairs in it.
        columns: names of the table's columns.
        vectors: name → shape, of the arrays in the `.npz` beside it; empty where there is none.
        signature: sha256 of what both files say of their content: sizes, extremes and checksums of every column.
    """

    table: Path
    rows: int
    columns: tuple[str, ...]
    vectors: Mapping[str, tuple[int, ...]]
    signature: str

    @property
    def names(self) -> tuple[str, ...]:
        """What can be read: columns, then vectors."""
        return (*self.columns, *self.vectors)

    def read(self, name: str) -> Any:
        """Gives a column, (n,): numbers and truth values as numpy, all else as Arrow; or vectors, (n, D)."""
        if name in self.vectors:
            return read_member(self.table.with_suffix(".npz"), name)
        column = read_column(self.table, name)
        import pyarrow.types as kinds

        plain = kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_boolean(column.type)
        return column.to_numpy(zero_copy_only=False) if plain else column


@dataclass(frozen=True)
class MemoryShard:
    """The same in memory, for pools that are made by formula.

    Args:
        arrays: name → array or Arrow column, all of one length.
    """

    arrays: Mapping[str, Any]

    @property
    def names(self) -> tuple[str, ...]:
        """What can be read."""
        return tuple(self.arrays)

    @property
    def rows(self) -> int:
        """How many pairs there are."""
        return len(next(iter(self.arrays.values())))

    def read(self, name: str) -> Any:
        """Gives a column or vectors."""
        return self.arrays[name]


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Gives `function` of each item in the order of the items, a few of them computed ahead in threads.

    Args:
        function: called in a thread.
        items: taken as they are needed.
        workers: threads; 0 takes as many as there are processors, up to eight.
    """
    threads = workers or min(os.cpu_count() or 1, 8)
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def is_pool(folder: Path) -> bool:
    """Says whether a folder is a pool: its first table has uids, with vectors or what images come with beside."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = min(folder.glob("*.parquet"), default=None)
    if first is None:
        return False
    try:
        names = pq.read_schema(first).names
    except (pa.ArrowException, OSError):
        return False
    return UID in names and (first.with_suffix(".npz").exists() or not SIGNS.isdisjoint(names))


def find_shards(where: str, folder: Path) -> list[Path]:
    """Gives the tables of a pool in the order of their names, whatever order the folder lists them in.

    Raises:
        DataError: there are none, or an `.npz` stands without its table, or a table without its `.npz`.
    """
    if not folder.is_dir():
        raise DataError(f"{where}: there is no such folder. Give the folder of the pool's metadata.")
    tables = sorted(folder.glob("*.parquet"), key=lambda file: file.name)
    arrays = {file.stem for file in folder.glob("*.npz")}
    if not tables:
        raise DataError(f"{where}: the folder holds no .parquet file. Give the folder of the pool's metadata.")
    if orphans := sorted(arrays - {file.stem for file in tables}):
        raise DataError(f"{where}: {orphans[0]}.npz has no {orphans[0]}.parquet beside it. Add that shard's table.")
    if arrays and (bare := [file.stem for file in tables if file.stem not in arrays]):
        raise DataError(
            f"{where}: {bare[0]}.parquet has no {bare[0]}.npz beside it, and other shards have one. Add it, "
            "or take all .npz files away."
        )
    return tables


def look(where: str, table: Path) -> tuple[FileShard, np.ndarray]:
    """Gives a shard and its uids (`NATIVE`, (n,)); reads the uids and what both files say of the rest.

    Raises:
        DataError: a file is damaged, it has no uids or wrong ones, or the two differ in length.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        opened = pq.ParquetFile(table)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{where}: {table.name} is truncated or is no Parquet file. Copy it again.") from error
    rows, columns = opened.metadata.num_rows, tuple(opened.schema_arrow.names)
    if UID not in columns:
        raise DataError(f"{where}: {table.name} has no column '{UID}' among {', '.join(columns)}.")
    signature = hashlib.sha256(repr(list(_stated(opened.metadata))).encode())
    vectors: dict[str, tuple[int, ...]] = {}
    arrays = table.with_suffix(".npz")
    if arrays.exists():
        for name, shape, stated in members(where, arrays):
            vectors[name] = shape
            signature.update(repr((name, *stated)).encode())
            if not shape or shape[0] != rows:
                raise DataError(
                    f"{where}: {arrays.name} has {shape[0] if shape else 0} rows of {name}, and {table.name} has "
                    f"{rows}. One of the two belongs to another shard."
                )
    uids = _uids(where, table, read_column(table, UID))
    return FileShard(table, rows, columns, vectors, signature.hexdigest()), uids


def read_column(table: Path, name: str) -> pa.Array:
    """Gives one column of a table.

    Raises:
        DataError: the table is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # The shards are read in threads already.
        return pq.ParquetFile(table).read([name], use_threads=False).column(0).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{table}: column '{name}' cannot be read; the file is damaged. Copy it again.") from error


def members(where: str, path: Path) -> Iterator[tuple[str, tuple[int, ...], tuple[int, int]]]:
    """Gives name, shape, and stated size and checksum of every array in an `.npz`, without reading the arrays."""
    try:
        with zipfile.ZipFile(path) as file:
            for entry in file.infolist():
                with file.open(entry) as stored:
                    shape, _, _ = _array_header(stored)
                yield entry.filename.removesuffix(".npy"), shape, (entry.file_size, entry.CRC)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{where}: {path.name} is truncated or is no .npz. Copy it again.") from error


def read_member(path: Path, name: str) -> np.ndarray:
    """Gives an array of an `.npz`: mapped into memory where it is stored as it is, else read whole.

    Raises:
        DataError: the file is damaged.
    """
    try:
        with zipfile.ZipFile(path) as file:
            entry = file.getinfo(f"{name}.npy")
            with file.open(entry) as stored:
                if entry.compress_type != zipfile.ZIP_STORED:
                    return np.lib.format.read_array(stored, allow_pickle=False)
                shape, fortran, dtype = _array_header(stored)
                before = stored.tell()
        with path.open("rb") as plain:
            plain.seek(entry.header_offset)
            header = plain.read(LOCAL_HEADER)
        beginning = entry.header_offset + LOCAL_HEADER
        beginning += int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        if not np.prod(shape, dtype=np.int64):  # an empty stretch of a file cannot be mapped
            return np.empty(shape, dtype)
        return np.memmap(path, dtype, "r", beginning + before, shape, order="F" if fortran else "C")
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path}: array '{name}' cannot be read; the file is damaged. Copy it again.") from error


def _array_header(stored: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stored)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(stored)
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects")
    return shape, fortran, dtype


def _stated(metadata: Any) -> Iterator[tuple[Any, ...]]:
    """Gives what a Parquet file's footer says of each column: rows, sizes, extremes, missing values."""
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            part = metadata.row_group(group).column(number)
            known = part.statistics
            ends = (known.min, known.max, known.null_count) if known is not None and known.has_min_max else ()
            yield part.path_in_schema, part.num_values, part.total_uncompressed_size, *ends


def _uids(where: str, table: Path, column: pa.Array) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    begin = f"{where}: column '{UID}' of {table.name}"
    if column.null_count:
        raise DataError(f"{begin} lacks {column.null_count} of {len(column)} uids. Copy the file again.")
    if kinds.is_fixed_size_binary(column.type) and column.type.byte_width == 16:
        stored = np.frombuffer(column.buffers()[1], np.uint8)
        return from_bytes(stored[16 * column.offset :][: 16 * len(column)].reshape(-1, 16))
    if not (kinds.is_string(column.type) or kinds.is_large_string(column.type)):
        raise DataError(f"{begin} is {column.type}, and uids are text of {DIGITS} hexadecimal digits.")
    lengths = pc.binary_length(column)
    if len(column) and pc.min_max(lengths).as_py() != {"min": DIGITS, "max": DIGITS}:
        row = int(np.argmax(lengths.to_numpy(zero_copy_only=False) != DIGITS))
        raise DataError(f"{begin} has '{column[row]}' in row {row}, and a uid has {DIGITS} hexadecimal digits.")
    # All of one length: the letters lie one after the other, and the offsets say where the first begins.
    whole = column.cast(pa.large_string())
    _, offsets, letters = whole.buffers()
    first = int(np.frombuffer(offsets, np.int64)[whole.offset]) if len(whole) else 0
    stored = np.frombuffer(letters or b"", np.uint8)[first : first + DIGITS * len(whole)]
    try:
        return from_hex(stored.reshape(-1, DIGITS))
    except ArtifactError as error:
        raise DataError(f"{begin}: {error} Copy the file again.") from error
