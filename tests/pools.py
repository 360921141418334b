"""Small DataComp pools on disk, in the layout of the published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from paredown.data.datacomp import DataCompPool, SyntheticPairs

VECTORS = ("b32_img", "b32_txt", "l14_img", "l14_txt")


def columns(data: DataCompPool) -> dict[str, np.ndarray]:
    """Gives the columns of the tables by name."""
    return {name: np.asarray(data.column(name)) for name in data.names if name not in VECTORS}


def write_shard(folder: Path, name: str, table: dict[str, Any], arrays: dict[str, Any], **how: Any) -> None:
    """Writes one shard; `compressed=True` for arrays that cannot be mapped into memory."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(table), folder / f"{name}.parquet")
    save = np.savez_compressed if how.get("compressed") else np.savez
    if arrays:
        save(folder / f"{name}.npz", **arrays)


def write_pool(folder: Path, *, n: int = 60, shards: int = 4, seed: int = 0, **how: Any) -> DataCompPool:
    """Writes a pool of unequal shards, the last one first; gives it as it is in memory, in the order of the names."""
    data = SyntheticPairs(n=n, seed=seed, width=6).load()
    assert isinstance(data, DataCompPool)
    table, bounds = columns(data), [0, *np.sort(np.random.default_rng(seed).choice(n - 1, shards - 1, False)) + 1, n]
    for number in reversed(range(shards)):
        rows = slice(bounds[number], bounds[number + 1])
        arrays = {name: data.column(name)[rows] for name in VECTORS}
        write_shard(folder, f"{number:08d}", {name: part[rows] for name, part in table.items()}, arrays, **how)
    return data
