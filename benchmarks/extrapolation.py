"""Predicting scores of millions of examples, and computing scores of what training saw of millions.

    python benchmarks/extrapolation.py              20,000 examples against 20,000; 60 epochs of 200,000
    python benchmarks/extrapolation.py --large      1,000,000 against 100,000; 400 epochs of 2,000,000

Vectors have 512 float32 numbers, stand in clusters of a hundred and are read from a disk, as are the epochs. Each part
runs in a process of its own; its `peak_gib` is the most that the system counted for it, mapped files included. The
obvious way to find neighbours, as it was published, subtracts 16 queries at a time from every known vector: it and ours
take turns, and the ratio is the median over the turns. Neighbours are compared with those by float64. Wall time. With
`--folder` the files stay there, and a part that is named by `--only` can be measured again. Results are added to what
`results/extrapolation.json` holds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from paredown import EmbeddingMatrix, ExampleIds, Runtime, ScoreTable, extrapolate, score
from paredown.artifacts import Pool, TrainingDynamics
from paredown.artifacts.dynamics import DynamicsWriter
from paredown.artifacts.shards import SHARD_ROWS, ShardWriter, open_shards
from paredown.neighbors import AbstractIndex, Exact, Ivf
from paredown.rng import stream
from paredown.scoring import NearestMean
from paredown.training.devices import in_words

RESULT = Path(__file__).with_name("results") / "extrapolation.json"
WIDTH, CLUSTER = 512, 100
# Known examples, unknown ones, epochs, examples of each epoch.
SIZES = {"quick": (20_000, 20_000, 60, 200_000), "large": (100_000, 1_000_000, 400, 2_000_000)}
TURNS, TOGETHER, OBVIOUS, CHECKED = 7, 4096, 16, 200
TARGETS = {"ratio": 20.0, "peak_gib of nearest-mean": 2.0, "peak_gib of dynamic-uncertainty": 1.0}
console = Console(width=120, highlight=False)


def make_vectors(folder: Path, name: str, size: int) -> None:
    """Writes vectors as an artifact, unless they are there."""
    if (folder / name).exists():
        return
    centres = stream(0, "benchmark", "centres").standard_normal((SIZES["large"][0] // CLUSTER, WIDTH), dtype=np.float32)
    place = folder / f"{name}.partial"
    writer = ShardWriter(place, total=size)
    for number, start in enumerate(range(0, size, SHARD_ROWS)):
        if start >= writer.done:
            rng, count = stream(0, "benchmark", name, number), min(SHARD_ROWS, size - start)
            block = rng.standard_normal((count, WIDTH), dtype=np.float32)
            block += centres[rng.integers(0, len(centres), count)]
            writer.put(vectors=block)
    ids = ExampleIds.of_pool(Pool((name,), size, name.ljust(64, "0")))
    ids.write_keys(place / "ids.safetensors")
    rows = open_shards(place, ["vectors"], rows=size)["vectors"]
    EmbeddingMatrix(ids, rows, metric="euclidean", encoder="benchmark").seal(place)
    place.rename(folder / name)


def make_dynamics(folder: Path, epochs: int, examples: int) -> None:
    """Writes probabilities that rise with the epochs, unless they are there."""
    ids = ExampleIds.of_pool(Pool(("dynamics",), examples, "1" * 64))
    writer = DynamicsWriter(folder / "dynamics", ids, quantities=("confidence",), source="evaluation")
    for epoch in range(writer.written(), epochs):
        values = stream(0, "benchmark", "dynamics", epoch).random(examples, dtype=np.float32)
        writer.write(epoch, {"confidence": values ** np.float32(epochs / (epoch + 1))})
    writer.finish()


def given(folder: Path) -> tuple[ScoreTable, EmbeddingMatrix, EmbeddingMatrix]:
    known, unknown = (EmbeddingMatrix.open(folder / name) for name in ("known", "unknown"))
    values = stream(0, "benchmark", "scores").random(len(known.ids))
    return ScoreTable(known.ids, values, name="score", important="high", low=0.0, high=1.0), known, unknown


def obvious(known: torch.Tensor, queries: torch.Tensor, k: int) -> torch.Tensor:
    """The published way: every difference of every pair, then the root of each sum of squares."""
    apart = (known[:, None] - queries[None]).pow(2).sum(dim=2).sqrt()
    return apart.topk(k, dim=0, largest=False).indices.T


def beside_the_obvious(folder: Path) -> dict[str, Any]:
    """Times ours and the obvious way in turns."""
    scores, known, unknown = given(folder)
    vectors, method = np.asarray(known.vectors), NearestMean()
    predict = method.learn(vectors, scores.values, metric="euclidean", device=torch.device("cpu"), block_mb=256, seed=0)
    predict(unknown.vectors[:TOGETHER])  # what is kept for all blocks is made
    held, ours, theirs = torch.from_numpy(vectors), [], []
    for turn in range(TURNS):
        start = turn * TOGETHER % (len(unknown.ids) - TOGETHER + 1)
        queries = unknown.vectors[start : start + TOGETHER]
        begin = time.perf_counter()
        near = obvious(held, torch.from_numpy(queries[:OBVIOUS]), method.neighbors)
        theirs.append(OBVIOUS / (time.perf_counter() - begin))
        begin = time.perf_counter()
        found = predict(queries)
        ours.append(TOGETHER / (time.perf_counter() - begin))
        np.testing.assert_allclose(found[:OBVIOUS], scores.values[near.numpy()].mean(axis=1))
        console.print(f"turn {turn + 1}: {theirs[-1]:.1f} and {ours[-1]:.0f} queries a second")
    ratio = statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))
    rates = {"obvious_queries_per_second": theirs, "queries_per_second": ours}
    return {"turns": TURNS, "ratio": ratio} | {name: statistics.median(rate) for name, rate in rates.items()}


def exactness(folder: Path) -> dict[str, Any]:
    """Compares neighbours, by exact search and by lists, with those by float64."""
    _, known, unknown = given(folder)
    vectors, k = np.asarray(known.vectors), NearestMean().neighbors
    rows = np.sort(stream(0, "benchmark", "checked").choice(len(unknown.ids), CHECKED, replace=False))
    queries, wide = unknown.vectors[rows], vectors.astype(np.float64)
    near, apart = np.empty((CHECKED, k), np.int64), np.empty((CHECKED, k))
    for row, query in enumerate(queries.astype(np.float64)):
        distances = np.sqrt(((wide - query) ** 2).sum(axis=1))
        near[row] = np.argsort(distances, kind="stable")[:k]
        apart[row] = distances[near[row]]
    indexes: list[AbstractIndex] = [Exact(), *([Ivf()] if find_spec("faiss") else [])]
    result: dict[str, Any] = {"queries": CHECKED, "neighbors": k}
    for index in indexes:
        begin = time.perf_counter()
        state = index.prepare(vectors, metric="euclidean", device=torch.device("cpu"), block_mb=256, folder=None)
        seconds = time.perf_counter() - begin
        positions, distances = index.nearest(state, queries, k)
        shared = [len(np.intersect1d(mine, true)) for mine, true in zip(positions, near, strict=True)]
        part: dict[str, Any] = {"seconds_to_prepare": seconds, "neighbours_of_float64": sum(shared) / (k * CHECKED)}
        part["as_near_as_those_of_float64"] = float((distances <= apart * (1 + 1e-6)).mean())
        begin = time.perf_counter()
        index.nearest(state, unknown.vectors[: 4 * TOGETHER], k)
        result[index.name] = part | {"queries_per_second": 4 * TOGETHER / (time.perf_counter() - begin)}
    return result


def by_verb(folder: Path) -> dict[str, Any]:
    """Predicts everything by the verb, from a disk to a disk."""
    scores, known, unknown = given(folder)
    with tempfile.TemporaryDirectory(dir=folder) as place, clock() as spent:
        extrapolate(scores, known, unknown, NearestMean(), held_out=0, runtime=quiet(), folder=Path(place))
    return {"known": len(known.ids), "unknown": len(unknown.ids), "width": WIDTH} | spent


def by_scorer(scorer: str) -> Callable[[Path], dict[str, Any]]:
    def run(folder: Path) -> dict[str, Any]:
        seen = TrainingDynamics.open(folder / "dynamics")
        with clock() as spent:
            score(scorer, dynamics=seen, runtime=quiet())
        return {"epochs": len(seen), "examples": len(seen.ids)} | spent

    return run


@contextmanager
def clock() -> Iterator[dict[str, float]]:
    """Gives the wall time of a block, and the processor's time, which tells more on a busy machine."""
    spent: dict[str, float] = {}
    wall, processor = time.perf_counter(), time.process_time()
    yield spent
    spent.update({"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor})


def quiet() -> Runtime:
    return Runtime(device="cpu", threads=torch.get_num_threads(), progress=False)


def peak() -> float:
    """Gives the most GiB that the system counted for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "beside the obvious": beside_the_obvious,
    "exactness": exactness,
    "nearest-mean": by_verb,
    "dynamic-uncertainty": by_scorer("dynamic-uncertainty"),
    "spectral": by_scorer("spectral"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--folder", type=Path, help="where the files stay; a temporary folder when left out")
    parser.add_argument("--only", choices=list(PARTS), action="append", help="measure these parts alone")
    parser.add_argument("--one", choices=list(PARTS), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    if asked.one:
        print(json.dumps(PARTS[asked.one](asked.folder) | {"peak_gib": peak()}))
        return
    size = "large" if asked.large else "quick"
    known, unknown, epochs, examples = SIZES[size]
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    device = {name: value for name, value in in_words(quiet()).items() if name != "fast_bfloat16"}
    libraries = ("torch", "numpy", *(["faiss-cpu"] if find_spec("faiss") else []))
    versions = {library: metadata.version(library) for library in libraries}
    command = f"python benchmarks/extrapolation.py{' --large' if asked.large else ''} --threads {asked.threads}"
    found = results.get(size, {}) | {"setting": device | {"versions": versions, "command": command}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        make_vectors(folder, "known", known)
        make_vectors(folder, "unknown", unknown)
        make_dynamics(folder, epochs, examples)
        for part in asked.only or PARTS:
            words = ["--one", part, "--folder", str(folder), "--threads", str(asked.threads)]
            done = subprocess.run([sys.executable, __file__, *words], check=True, stdout=subprocess.PIPE, text=True)
            found[part] = json.loads(done.stdout.splitlines()[-1])
            console.print(f"{part}: {json.dumps(found[part])}")
    met: dict[str, bool] = {}
    if "beside the obvious" in found:
        met["ratio"] = found["beside the obvious"]["ratio"] >= TARGETS["ratio"]
    for part in {"nearest-mean", "dynamic-uncertainty"} & found.keys():
        met[f"peak_gib of {part}"] = found[part]["peak_gib"] <= TARGETS[f"peak_gib of {part}"]
    RESULT.parent.mkdir(exist_ok=True)
    results = {"targets": TARGETS} | results | {size: found | {"met": met}}
    RESULT.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
