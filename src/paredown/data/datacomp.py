"""DataComp pools (Gadre et al. 2023): millions of image-text pairs, of which only the metadata is looked at.

The pairs keep their native uids as ids. Nothing but the uids is read when a pool is opened; columns and vectors are
read shard by shard when they are asked for, so memory holds what was asked for and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paredown import rng
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.uids import NATIVE, ranked, repeated, same, to_hex
from paredown.data.dataset import AbstractDataset
from paredown.data.fingerprint import fingerprint
from paredown.data.metadata import UID, FileShard, MemoryShard, find_shards, in_order, look
from paredown.data.source import AbstractSource
from paredown.errors import DataError, MethodError, did_you_mean


class DataCompPool(AbstractDataset):
    """Image-text pairs known by their metadata: uids, columns, and CLIP vectors where there are any.

    The fingerprint of the pool is that of its uids as a set, so it is the same however the pairs are dealt to files and
    whatever else the tables hold. What the files say of their other content enters `identity`, and so addresses.

    Args:
        name: what the pool is called in messages and reports.
        shards: in the order that the rows have.
        keys: uids, `NATIVE`, shape (N,), in that order.
        signature: what tells the content of the shards apart from any other.
        workers: threads that read; 0 takes as many as there are processors, up to eight.
    """

    noun: ClassVar[str] = "pairs"

    def __init__(
        self,
        name: str,
        shards: Sequence[FileShard | MemoryShard],
        keys: np.ndarray,
        *,
        signature: str,
        workers: int = 0,
    ) -> None:
        lined = keys[ranked(keys)]
        self.name = name
        self.shards = list(shards)
        self.ids = ExampleIds(keys, Pool((name,), len(keys), fingerprint("datacomp", "uids", [lined.view("<u8")])))
        self.labels: np.ndarray | None = None
        self.classes: tuple[str, ...] = ()
        self.workers = workers
        self._signature = signature

    def identity(self) -> dict[str, Any]:
        return {"pool": self.ids.pool.fingerprint, "content": self._signature}

    @property
    def names(self) -> list[str]:
        """The columns and vectors that every shard has."""
        first, *rest = [shard.names for shard in self.shards]
        return [name for name in first if all(name in names for names in rest)]

    def column(self, name: str) -> Any:
        """Gives a column, or vectors: numbers as numpy, (N,) or (N, D); text and lists as an Arrow chunked array.

        Raises:
            DataError: there is none of that name; the sentence names those that are there.
        """
        parts = list(self.parts(name))
        if isinstance(parts[0], np.ndarray):
            return np.concatenate(parts)
        import pyarrow as pa

        return pa.chunked_array(parts)

    def parts(self, name: str, start: int = 0) -> Iterator[Any]:
        if name not in self.names:
            some = next((shard for shard in self.shards if name in shard.names), None)
            if some is not None:
                bare = next(shard for shard in self.shards if name not in shard.names)
                raise DataError(f"{self.name}: {_file(bare)} has no '{name}', which {_file(some)} has.")
            known = self.names
            hint = did_you_mean(name, known) or f" It has: {', '.join(known)}."
            raise DataError(f"{self.name}: there is no column '{name}'.{hint}")
        begins = np.cumsum([0, *(shard.rows for shard in self.shards)])
        wanted = [number for number in range(len(self.shards)) if begins[number + 1] > start]
        read = in_order(lambda number: self.shards[number].read(name), wanted, self.workers)
        for number, part in zip(wanted, read, strict=True):
            yield part[max(0, start - int(begins[number])) :]

    def __repr__(self) -> str:
        return f"{self.name}: {len(self)} pairs in {len(self.shards)} shards"


@dataclass(frozen=True)
class DataComp(AbstractSource):
    """A DataComp pool: a folder of shards `X.parquet` with `X.npz` beside, taken in the order of their names.

    Needed in each table is the column `uid` (32 hexadecimal digits). Every other column can be a score or a filter, and
    the arrays of the `.npz` files can be embeddings; a pool without any `.npz` files has none.

    Args:
        path: the folder of the metadata.
    """

    noun: ClassVar[str] = "pairs"
    splits: ClassVar[tuple[str, ...]] = ("all",)
    split: ClassVar[str] = "all"  # type: ignore[misc]
    noise: ClassVar[None] = None  # type: ignore[misc]

    path: str

    def read(self, workers: int) -> DataCompPool:
        tables = find_shards(self.where, Path(self.path).expanduser())
        shards, parts = [], []
        for shard, uids in in_order(lambda table: look(self.where, table), tables, workers):
            shards.append(shard)
            parts.append(uids)
        keys = np.concatenate(parts)
        if not len(keys):
            raise DataError(f"{self.where}: there are no rows in its tables.")
        if len(twice := repeated(keys)):
            starts = np.cumsum([0, *map(len, parts)])
            rows = np.flatnonzero(same(keys, np.broadcast_to(twice[:1], keys.shape)))[:2]
            files = [tables[number].name for number in np.searchsorted(starts, rows, side="right") - 1]
            where = f"twice in {files[0]}" if files[0] == files[1] else f"in {files[0]} and in {files[1]}"
            raise DataError(
                f"{self.where}: uid {to_hex(twice[:1])[0]} stands {where}, so it does not say which pair is meant; "
                f"{len(twice)} uids do. Take the repeated rows or files away."
            )
        signature = hashlib.sha256("".join(shard.signature for shard in shards).encode()).hexdigest()
        return DataCompPool(self.name, shards, keys, signature=signature, workers=workers)


@dataclass(frozen=True)
class SyntheticPairs(AbstractSource):
    """A pool of pairs made by formula, with the columns and vectors of DataComp's; for dry runs and documentation.

    The vectors of a pair are unit vectors around the prototype of one of a few clusters, the text's around the image's;
    the CLIP scores are the products of the two. Sizes, captions and uids are drawn too. Nothing says anything about the
    real pools.

    Args:
        n: pairs.
        clusters: prototypes.
        width: of the vectors; `l14_*` has this one, `b32_*` two thirds of it.
        spread: length of what is added to a prototype, in units of the prototype's.
        seed: of everything.
    """

    noun: ClassVar[str] = "pairs"
    splits: ClassVar[tuple[str, ...]] = ("all",)
    split: ClassVar[str] = "all"  # type: ignore[misc]
    noise: ClassVar[None] = None  # type: ignore[misc]

    n: int = 512
    clusters: int = 16
    width: int = 24
    spread: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n", 2), ("clusters", 1), ("width", 3), ("spread", 0)):
            if getattr(self, name) < least:
                raise MethodError(f"SyntheticPairs({name}={getattr(self, name)}): at least {least} is needed.")

    def read(self, workers: int) -> DataCompPool:
        draw = rng.stream(self.seed, "synthetic-pairs")
        keys = draw.bit_generator.random_raw(2 * self.n).view(NATIVE)
        arrays: dict[str, Any] = {UID: to_hex(keys)}
        member = draw.integers(0, self.clusters, self.n)
        for model, width in (("b32", 2 * self.width // 3), ("l14", self.width)):
            prototypes = _unit(draw.standard_normal((self.clusters, width)))
            image = _unit(prototypes[member] + self.spread * draw.standard_normal((self.n, width)) / width**0.5)
            text = _unit(image + draw.random((self.n, 1)) * draw.standard_normal((self.n, width)) / width**0.5)
            arrays |= {f"{model}_img": image.astype(np.float16), f"{model}_txt": text.astype(np.float16)}
            arrays[f"clip_{model}_similarity_score"] = (image * text).sum(axis=1).astype(np.float32)
        arrays["original_width"], arrays["original_height"] = draw.integers(80, 1200, (2, self.n))
        words = draw.integers(1, 12, self.n)
        arrays["text"] = np.array([" ".join(["word"] * int(count)) for count in words])
        signature = fingerprint("synthetic-pairs", "all", [arrays[name] for name in sorted(arrays)])
        return DataCompPool(self.name, [MemoryShard(arrays)], keys, signature=signature, workers=workers)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _file(shard: FileShard | MemoryShard) -> str:
    return shard.table.stem if isinstance(shard, FileShard) else "a shard"
