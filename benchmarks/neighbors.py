"""Nearest neighbours: exact search beside faiss and plain torch, and approximate search among millions on a disk.

    python benchmarks/neighbors.py                                  exact, 10,000 to 50,000 vectors of 512 numbers
    python benchmarks/neighbors.py --million                        a million of them, float16, by `ivf`
    python benchmarks/neighbors.py --pool 12800000 --width 512      a pool of the size of DataComp's smallest

Each exact search runs in a process of its own, in turns; seconds are wall time, best of several, memory is the peak
above what the process held with its vectors. The vectors of the large runs stand in clusters of a thousand, so that
true neighbours are in the cluster; they are made block by block and stay in `--folder`, where an interrupted run goes
on.
Results are added to what `results/neighbors.json` holds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool
from paredown.artifacts.shards import SHARD_ROWS, ShardWriter, open_shards
from paredown.method import build
from paredown.neighbors import connected, graph, nearest_neighbors
from paredown.rng import stream
from paredown.runtime import Runtime
from paredown.training.devices import in_words

RESULT = Path(__file__).with_name("results") / "neighbors.json"
SIZES = (10_000, 20_000, 50_000)
WIDTH, NEIGHBORS, ROUNDS = 512, 5, 3
CLUSTER = 1000
TARGETS = {"seconds_of_20000": 1.3, "recall": 0.95, "peak_gib": 6.0}
console = Console(width=120)


def ours(vectors: np.ndarray) -> np.ndarray:
    return nearest_neighbors(vectors, NEIGHBORS).positions


def by_faiss(vectors: np.ndarray) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss.knn(vectors, vectors, NEIGHBORS + 1)[1][:, 1:]


def by_torch(vectors: np.ndarray) -> np.ndarray:
    x = torch.from_numpy(vectors)
    squares, found = x.square().sum(1), []
    for start in range(0, len(x), 1024):
        apart = squares - 2 * (x[start : start + 1024] @ x.T)
        rows = torch.arange(len(apart))
        apart[rows, start + rows] = torch.inf
        found.append(apart.topk(NEIGHBORS, largest=False).indices)
    return torch.cat(found).numpy()


METHODS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"paredown": ours, "torch": by_torch, "faiss.knn": by_faiss}


def one(method: str, size: int, place: Path) -> None:
    """Times one method in this process and leaves what it found and what it took."""
    vectors = stream(0, "benchmark").standard_normal((size, WIDTH), dtype=np.float32)
    METHODS[method](vectors[:1000])
    before, begin = _peak(), time.perf_counter()
    np.save(place.with_suffix(".npy"), METHODS[method](vectors))
    seconds = time.perf_counter() - begin
    place.write_text(json.dumps({"seconds": seconds, "mebibytes": _peak() - before}))


def exact() -> dict[str, Any]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            spent: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
            for turn in range(ROUNDS):
                for method in METHODS:
                    place = Path(folder) / f"{method}-{size}.json"
                    words = ["--one", method, "--size", str(size), "--place", str(place)]
                    subprocess.run([sys.executable, __file__, *words], check=True)
                    spent[method].append(json.loads(place.read_text()))
                    console.print(f"{size:,} by {method}, {turn + 1}: {spent[method][-1]['seconds']:.2f} s")
            found = {method: np.load(Path(folder) / f"{method}-{size}.npy") for method in METHODS}
            best = {method: min(part["seconds"] for part in parts) for method, parts in spent.items()}
            for method, parts in spent.items():
                row = {"size": size, "method": method, "seconds": best[method]}
                row |= {"ratio": best[method] / best["paredown"]}
                row |= {"mebibytes": max(part["mebibytes"] for part in parts)}
                rows.append(row | {"same": float((found[method] == found["paredown"]).mean())})
    table = Table(title=f"{NEIGHBORS} nearest neighbours of vectors of {WIDTH} float32 numbers, {processor()}")
    for column in ("vectors", "method", "seconds", "× ours", "MiB beyond the vectors", "same neighbours"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        cells = f"{row['seconds']:.2f}", f"{row['ratio']:.2f}", f"{row['mebibytes']:.0f}", f"{row['same']:.5f}"
        table.add_row(f"{row['size']:,}", row["method"], *cells)
    console.print(table)
    target = next(row["seconds"] for row in rows if row["size"] == 20_000 and row["method"] == "paredown")
    return {"rows": rows, "met": target <= TARGETS["seconds_of_20000"]}


def clustered(folder: Path, size: int, width: int) -> EmbeddingMatrix:
    """Gives float16 vectors on a disk, in clusters whose members are nearer to each other than to any other vector."""
    writer = ShardWriter(folder, total=size)
    centres = stream(0, "benchmark", "centres").standard_normal((max(1, size // CLUSTER), width), dtype=np.float32)
    for number, start in enumerate(range(0, size, SHARD_ROWS)):
        if start >= writer.done:
            rng, count = stream(0, "benchmark", "block", number), min(SHARD_ROWS, size - start)
            block = 0.5 * rng.standard_normal((count, width), dtype=np.float32)
            block += centres[rng.integers(0, len(centres), count)]
            writer.put(vectors=block.astype(np.float16))
            console.print(f"made {start + count:,} of {size:,} vectors", highlight=False)
    ids = ExampleIds.of_pool(Pool(("clusters",), size, "0" * 64))
    return EmbeddingMatrix(ids, open_shards(folder, ["vectors"], rows=size)["vectors"], metric="euclidean")


def large(size: int, width: int, index: dict[str, Any], folder: Path, device: str) -> dict[str, Any]:
    vectors = clustered(folder / f"vectors-{size}-{width}", size, width)
    method = build("index", index)
    stages: dict[str, float] = {}
    watched: list[tuple[Any, str, str]] = [
        (type(method), "_learned", "learn lists"),
        (type(method), "prepare", "learn and fill lists"),
        (type(method), "nearest", "search"),
        (graph, "_recall", "measure recall"),
    ]
    with timed(watched, stages), watch_memory() as memory:
        begin = time.perf_counter()
        where = folder / f"graph-{method.name}-{size}-{width}"
        made = connected(vectors, method, NEIGHBORS, runtime=Runtime(device=device), folder=where)
        seconds = time.perf_counter() - begin
    row = {"size": size, "width": width, "index": method.plain(), "recall": made.recall, "seconds": seconds}
    row |= {"stages": stages, "peak_gib": memory[0], "peak_gib_with_mapped_files": _peak() / 1024}
    # Lists are learnt and looked into in operations that grow as N√N.
    row |= {"hours_of_12_800_000": seconds * (12.8e6 / size) ** 1.5 / 3600}
    row |= {"met": made.recall >= TARGETS["recall"] and memory[0] <= TARGETS["peak_gib"]}
    console.print_json(json.dumps(row))
    return row


@contextmanager
def timed(watched: list[tuple[Any, str, str]], spent: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds of some functions, and says so as they end."""
    before = [getattr(owner, name) for owner, name, _ in watched]

    def watch(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            answer = function(*args, **kwargs)
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - begin
            console.print(f"{stage}: {spent[stage]:.0f} s", highlight=False)
            return answer

        return call

    for (owner, name, stage), function in zip(watched, before, strict=True):
        setattr(owner, name, watch(function, stage))
    try:
        yield
    finally:
        for (owner, name, _), function in zip(watched, before, strict=True):
            setattr(owner, name, function)


@contextmanager
def watch_memory() -> Iterator[list[float]]:
    """Gives the most GiB that this process held, without the files that it has mapped; looked at twice a second."""
    most, stop = [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.5):
            lines = Path("/proc/self/status").read_text().splitlines()
            held = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            most[0] = max(most[0], held / 2**20)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def processor() -> str:
    return f"{in_words(Runtime(device='cpu'))['device']}, {torch.get_num_threads()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--million", action="store_true", help="vectors on a disk, by ivf; --size for fewer")
    parser.add_argument("--pool", type=int, help="so many vectors on a disk")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--codes", type=int, default=0, help="bytes of a code; 0 keeps float16 numbers")
    parser.add_argument("--probes", type=int, default=16)
    parser.add_argument("--folder", type=Path, help="where vectors and graphs stay; a temporary folder when left out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--one", choices=list(METHODS), help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(asked.one, asked.size, asked.place)
        return
    if asked.million or asked.pool:
        index = {"name": "ivf", "probes": asked.probes, "codes": asked.codes}
        size = asked.pool or asked.size
        with tempfile.TemporaryDirectory() as temporary:
            found = large(size, asked.width, index, asked.folder or Path(temporary), asked.device)
        name = f"ivf, {size} × {asked.width}" + (f", {asked.codes} bytes" if asked.codes else "")
    else:
        found, name = exact(), "exact"
    device = in_words(Runtime(device=asked.device))["device"]
    versions = {library: metadata.version(library) for library in ("torch", "numpy", "faiss-cpu")}
    setting = {"device": device, "threads": torch.get_num_threads(), "versions": versions}
    setting |= {"command": " ".join(["python benchmarks/neighbors.py", *sys.argv[1:]])}
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    results = {"targets": TARGETS} | results | {name: {"setting": setting} | found}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
