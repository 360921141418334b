"""`ExampleIds`: which example a number belongs to, for good.

A pool is an ordered list of sources with a fingerprint of what they store. The keys of its examples are their positions
in the sources' own order (64-bit integers), or the sources' native 16-byte ids. Ids of different pools do not join:
that is how scores of one data set can never be read as scores of another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from paredown.artifacts.uids import NATIVE, from_bytes, places, ranked, same, to_bytes, told
from paredown.errors import ArtifactError, PoolMismatch

__all__ = ["NATIVE", "ExampleIds", "Pool"]


@dataclass(frozen=True)
class Pool:
    """An ordered list of sources of examples.

    Args:
        sources: their names, such as `cifar10:train`.
        size: how many examples they hold together.
        fingerprint: sha256 (hex) of what the sources store, in this order.
    """

    sources: tuple[str, ...]
    size: int
    fingerprint: str

    def plain(self) -> dict[str, Any]:
        """Gives the pool as data that JSON can hold."""
        return {"sources": list(self.sources), "size": self.size, "fingerprint": self.fingerprint}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Pool:
        """Reads what `plain` gave."""
        return cls(tuple(plain["sources"]), int(plain["size"]), str(plain["fingerprint"]))

    def __str__(self) -> str:
        return f"pool {self.fingerprint[:4]}… ({' + '.join(self.sources)}, {self.size} examples)"


class ExampleIds:
    """Keys of examples, with the pool they index.

    Args:
        keys: int64 positions in the pool, or 16-byte native ids (`NATIVE`); shape (N,), each at most once.
        pool: what the keys index.
    """

    def __init__(self, keys: np.ndarray, pool: Pool) -> None:
        keys = np.asarray(keys)
        if keys.ndim != 1 or not (keys.dtype == NATIVE or np.issubdtype(keys.dtype, np.integer)):
            raise ArtifactError(
                f"ExampleIds: keys are a list of whole numbers or 16-byte ids, not {keys.dtype} of shape {keys.shape}."
            )
        self.keys = keys if keys.dtype == NATIVE else keys.astype(np.int64, copy=False)
        self.pool = pool
        if self.keys.dtype == np.int64 and len(keys) and (self.keys.min() < 0 or self.keys.max() >= pool.size):
            wrong = self.keys[(self.keys < 0) | (self.keys >= pool.size)][0]
            raise PoolMismatch(f"Id {wrong} lies outside the {pool}. Use ids of the data that was scored.")

    @classmethod
    def of_pool(cls, pool: Pool) -> ExampleIds:
        """Gives the positions of a whole pool: 0, 1, …, size - 1."""
        return cls(np.arange(pool.size, dtype=np.int64), pool)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def whole(self) -> bool:
        """Whether the keys are all positions of the pool in order, so that a key is its own position."""
        return (
            self.keys.dtype == np.int64
            and len(self.keys) == self.pool.size
            and bool(np.array_equal(self.keys, np.arange(self.pool.size)))
        )

    def take(self, positions: np.ndarray) -> ExampleIds:
        """Gives the ids at some positions, in that order."""
        return ExampleIds(self.keys[positions], self.pool)

    def same_pool(self, other: ExampleIds, mine: str, others: str) -> None:
        """Checks that two artifacts index the same pool.

        Args:
            other: the ids to compare with.
            mine, others: how the message names the two, such as `the scores` and `the embeddings`.

        Raises:
            PoolMismatch: they do not.
        """
        if self.pool.fingerprint != other.pool.fingerprint:
            raise PoolMismatch(f"{mine} index {self.pool}, {others} {other.pool}. Use the same list of data for both.")

    def positions_of(self, other: ExampleIds, mine: str = "these ids", others: str = "the others") -> np.ndarray:
        """Gives where each id of `other` stands here.

        Returns:
            int64 positions into `self`, shape (len(other),).

        Raises:
            PoolMismatch: another pool, or an id that is not here.
        """
        self.same_pool(other, mine, others)
        if self.whole:
            return other.keys.astype(np.int64)
        if len(self) == len(other) and same(self.keys, other.keys).all():
            return np.arange(len(self))
        order = ranked(self.keys)
        found = places(self.keys[order], other.keys)
        here = found >= 0
        if not here.all():
            raise PoolMismatch(
                f"{int((~here).sum())} of {len(other)} ids of {others} are not among {mine}; the first is "
                f"{told(other.keys[~here][0])}. Both must cover the same examples."
            )
        return order[found].astype(np.int64)

    def holds(self, other: ExampleIds) -> np.ndarray:
        """Gives for each id of `other` whether it is here, bool of shape (len(other),)."""
        return places(self.keys[ranked(self.keys)], other.keys) >= 0

    def write(self, path: Path, columns: Mapping[str, np.ndarray] | None = None) -> None:
        """Writes the keys, and columns beside them, as one Parquet table: what other tools read."""
        # Imported where tables are written, so that training and scoring run where pyarrow is not installed.
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self.keys.dtype == NATIVE:
            keys = pa.FixedSizeBinaryArray.from_buffers(
                pa.binary(16), len(self), [None, pa.py_buffer(to_bytes(self.keys))]
            )
        else:
            keys = pa.array(self.keys)
        table = pa.table({"id": keys} | {name: pa.array(column) for name, column in (columns or {}).items()})
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def read(cls, path: Path, pool: Pool) -> tuple[ExampleIds, dict[str, np.ndarray]]:
        """Reads what `write` wrote: the ids and the columns beside them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        column = table.column("id").combine_chunks()
        if pa.types.is_fixed_size_binary(column.type):
            stored = np.frombuffer(column.buffers()[1], np.uint8)
            keys = from_bytes(stored[16 * column.offset :][: 16 * len(column)].reshape(-1, 16))
        else:
            keys = column.to_numpy()
        names: Iterable[str] = (name for name in table.column_names if name != "id")
        return cls(keys, pool), {name: table.column(name).to_numpy() for name in names}

    def write_keys(self, path: Path, about: Mapping[str, str] | None = None) -> None:
        """Writes the keys alone, as safetensors: int64 (N,), or uint64 (N, 2) for 16-byte ids.

        Args:
            path: the file.
            about: text that stands in the file's own header.
        """
        keys = self.keys.view(np.uint64).reshape(-1, 2) if self.keys.dtype == NATIVE else self.keys
        save_file({"id": np.ascontiguousarray(keys)}, path, None if about is None else dict(about))

    @classmethod
    def read_keys(cls, path: Path, pool: Pool) -> ExampleIds:
        """Reads what `write_keys` wrote."""
        keys = load_file(path)["id"]
        return cls(keys.reshape(-1).view(NATIVE) if keys.ndim == 2 else keys, pool)
