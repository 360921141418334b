"""Pruning a DataComp pool: seconds and memory of each step, and whether the answer depends on how it was computed.

A pool is written to disk in the published layout (a table and vectors in float16 for each shard; vectors around the
prototypes of random clusters, so that there are near neighbours to find), and then pruned as by the recipe
`coreset_selection/datacomp`: opened, scored by a column, embedded from stored vectors, connected, chosen from by D2. On
its first shards the same is done twice, with one thread and with several, from a folder that lists its files in another
order: the two files of uids must be equal, byte by byte.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from paredown.artifacts import Selection
from paredown.artifacts.uids import NATIVE, to_hex
from paredown.data import open_data
from paredown.runtime import Runtime
from paredown.training.devices import in_words
from paredown.verbs import connect, embed, score, select

RESULT = Path(__file__).with_name("results") / "datacomp.json"
CLUSTERS = 2000
SPREAD = 0.8  # length of what is added to a prototype of length 1
FRACTION = 0.3


class Clock:
    """Seconds of each step and the most memory it took: all resident, and without pages of mapped files."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        most, stop = [0, 0], threading.Event()

        def watch() -> None:
            while True:
                most[:] = [max(pair) for pair in zip(most, memory(), strict=True)]
                if stop.wait(0.05):
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        start, busy = time.perf_counter(), time.process_time()
        yield
        spent = {"seconds": time.perf_counter() - start, "processor_seconds": time.process_time() - busy}
        stop.set()
        thread.join()
        self.rows.append({"step": name, **spent, "resident_gib": most[0] / 2**30, "anonymous_gib": most[1] / 2**30})


def memory() -> list[int]:
    """Bytes in memory now: all, and those that belong to no file."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return [int(status[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon")]


def write(folder: Path, *, rows: int, shard_rows: int, width: int, arrays: list[str]) -> None:
    """Writes a pool, one shard in memory at a time."""
    folder.mkdir(parents=True)
    prototypes = unit(np.random.default_rng(0).standard_normal((CLUSTERS, width), dtype=np.float32))
    for number, start in enumerate(range(0, rows, shard_rows)):
        draw, n = np.random.default_rng([1, number]), min(shard_rows, rows - start)
        uids = draw.bit_generator.random_raw(2 * n).view(NATIVE)
        member = draw.integers(0, CLUSTERS, n)
        vectors = {
            name: unit(prototypes[member] + SPREAD / width**0.5 * draw.standard_normal((n, width), dtype=np.float32))
            for name in arrays
        }
        name = f"{draw.bytes(16).hex()}"
        table = {
            "uid": to_hex(uids),
            "url": [f"https://images.example/{number}/{row}.jpg" for row in range(n)],
            "text": ["a photograph of something that somebody wrote a caption for"] * n,
            "original_width": draw.integers(80, 1600, n),
            "original_height": draw.integers(80, 1600, n),
            "clip_l14_similarity_score": draw.normal(0.21, 0.06, n).astype(np.float32),
        }
        pq.write_table(pa.table(table), folder / f"{name}.parquet")
        halves: dict[str, Any] = {array: part.astype(np.float16) for array, part in vectors.items()}
        np.savez(folder / f"{name}.npz", **halves)


def unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def prune(folder: Path, place: Path, *, workers: int, arrays: list[str], index: Any, clock: Clock) -> Selection:
    """Goes through the steps; what is large lies in `place`."""
    runtime = Runtime(workers=workers)
    with clock.step("open"):
        data = open_data(folder, workers=workers)
    with clock.step("column score"):
        scores = score({"name": "column", "column": "clip_l14_similarity_score", "important": "high"}, data=data)
    with clock.step("stored vectors"):
        encoder = {"name": "stored", "columns": arrays}
        vectors = embed(encoder, data=data, runtime=runtime, folder=place / "vectors")
    with clock.step("connect"):
        graph = connect(vectors, index, neighbors=1, runtime=runtime, folder=place / "graph")
    with clock.step("select by D2"):
        d2 = {"name": "d2", "neighbors": 1, "gamma": 1.0}
        kept = select(d2, scores=scores, graph=graph, fraction=FRACTION, runtime=runtime)
    with clock.step("write uids"):
        kept.save(place / "kept")
    return kept


def same_answer(folder: Path, place: Path, shards: int, **how: Any) -> bool:
    """Whether neither threads nor the order in which a folder lists its files change a byte of the answer."""
    files = sorted(path.stem for path in folder.glob("*.parquet"))[:shards]
    found = []
    for workers, order in ((1, files), (2, np.random.default_rng(0).permutation(files).tolist())):
        some = place / f"listed-{workers}"
        some.mkdir(parents=True)
        for name in order:
            for ending in (".npz", ".parquet"):
                (some / f"{name}{ending}").symlink_to(folder / f"{name}{ending}")
        prune(some, place / f"made-{workers}", workers=workers, clock=Clock(), **how)
        found.append((place / f"made-{workers}" / "kept" / "uids.npy").read_bytes())
    return found[0] == found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--shard-rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--arrays", nargs="+", default=["l14_img"])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--index", type=json.loads, default={"name": "ivf"}, help="as JSON, with its fields")
    parser.add_argument("--check-rows", type=int, default=50_000, help="rows on which the answer is computed twice")
    parser.add_argument("--folder", type=Path, help="where the pool is written, and left; else a temporary one")
    asked = parser.parse_args()
    clock = Clock()
    place = Path(tempfile.mkdtemp(prefix="paredown-datacomp-"))
    pool = asked.folder or place / "pool"
    try:
        if not pool.exists():
            with clock.step("(write the pool)"):
                write(pool, rows=asked.rows, shard_rows=asked.shard_rows, width=asked.width, arrays=asked.arrays)
        how = {"arrays": asked.arrays, "index": asked.index}
        kept = prune(pool, place, workers=asked.workers, clock=clock, **how)
        same = same_answer(pool, place / "check", max(2, asked.check_rows // asked.shard_rows), **how)
    finally:
        shutil.rmtree(place)

    device = in_words(Runtime())["device"]
    table = Table(title=f"{asked.rows:,} pairs of {' + '.join(asked.arrays)}, {asked.width} wide, on {device}")
    for column in ("step", "seconds", "of a processor", "memory GiB", "without files GiB"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for row in clock.rows:
        table.add_row(row["step"], *(f"{value:.2f}" for name, value in row.items() if name != "step"))
    console = Console(width=120)
    console.print(table)
    console.print(f"{len(kept):,} kept; the answer depends on neither threads nor the order of files: {same}")
    setting = {"rows": asked.rows, "shard_rows": asked.shard_rows, "width": asked.width, "arrays": asked.arrays}
    setting |= {"index": asked.index, "device": device, "cores": os.cpu_count(), "clusters": CLUSTERS, "spread": SPREAD}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"setting": setting, "rows": clock.rows, "same_answer": same}, indent=1) + "\n")
    if not same:
        raise SystemExit("the answer depends on how it was computed")


if __name__ == "__main__":
    main()
