"""Seconds and memory of the selectors of geometry, each size in a process of its own.

Vectors are standard normal, float32; a twentieth of those for near-duplicates stands twice. The graph is of the 20
nearest neighbours of points in three dimensions, and is given. Compiled loops are compiled before the clock starts.
Memory is the peak of the process above what it held when the choice began, so without the vectors or the graph. Beside
k-centre and herding stands their textbook form: all vectors against one for every choice, in float32. Wall time; run it
on a quiet machine. `--scale 0.1` shortens everything to try it.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.spatial import cKDTree

from paredown.method import build
from paredown.neighbors import Neighbors
from paredown.runtime import Runtime
from paredown.selection import Candidates, decide
from paredown.training.devices import in_words

RESULT = Path(__file__).with_name("results") / "selection.json"
# Selector, candidates, width of the vectors (0: a graph is given), how many are chosen (None: it decides).
CASES: list[tuple[dict[str, Any], int, int, int | None]] = [
    ({"name": "facility-location"}, 500_000, 0, 50_000),
    ({"name": "facility-location", "optimizer": "stochastic"}, 500_000, 0, 50_000),
    ({"name": "graph-cut"}, 500_000, 0, 50_000),
    ({"name": "saturated-coverage"}, 500_000, 0, 50_000),
    ({"name": "facility-location", "dense": True}, 10_000, 64, 1_000),
    ({"name": "k-center"}, 50_000, 512, 5_000),
    ({"name": "naive k-center"}, 50_000, 512, 5_000),
    ({"name": "herding"}, 50_000, 512, 5_000),
    ({"name": "naive herding"}, 50_000, 512, 5_000),
    ({"name": "moderate"}, 50_000, 512, 5_000),
    ({"name": "moderate"}, 500_000, 512, 50_000),
    ({"name": "near-duplicates"}, 50_000, 512, None),
    ({"name": "near-duplicates"}, 200_000, 64, None),
]
TARGETS = {"facility-location": 2.0, "k-center": 15.0}


def graph(size: int, path: Path) -> None:
    points = np.random.default_rng(0).standard_normal((size, 3))
    distances, positions = cKDTree(points).query(points, 21, workers=-1)
    np.savez(path, positions=positions[:, 1:].astype(np.int32), distances=distances[:, 1:].astype(np.float32))


def naive_k_center(vectors: np.ndarray, count: int) -> int:
    held = torch.from_numpy(vectors)
    squares = held.square().sum(dim=1)
    nearest, place = torch.full((len(held),), float("inf")), 0
    for _ in range(count - 1):
        nearest = torch.minimum(nearest, squares + squares[place] - 2 * (held @ held[place]))
        place = int(nearest.argmax())
    return count


def naive_herding(vectors: np.ndarray, count: int) -> int:
    held = torch.from_numpy(vectors)
    squares, mean = held.square().sum(dim=1), held.mean(dim=0)
    total = torch.zeros(held.shape[1])
    for turn in range(count):
        worth = 2 * (held @ ((turn + 1) * mean - total)) - squares
        place = int(worth.argmax())
        squares[place] = float("inf")
        total += held[place]
    return count


def resident() -> float:
    """Megabytes that the process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def run_case(number: int, scale: float, path: Path) -> dict[str, Any]:
    """Times one case in this process."""
    fields, size, width, wanted = CASES[number]
    size = int(size * scale)
    count = None if wanted is None else int(wanted * scale)
    rng = np.random.default_rng(1)
    if width:
        vectors = rng.standard_normal((size, width), np.float32)
        if fields["name"] == "near-duplicates":
            vectors[size // 2 : size // 2 + size // 20] = vectors[: size // 20]
        candidates = Candidates(np.arange(size), labels=rng.integers(0, 10, size), embeddings=vectors)
    else:
        with np.load(path) as arrays:
            candidates = Candidates(np.arange(size), graph=Neighbors(arrays["positions"], arrays["distances"]))
    naive = {"naive k-center": naive_k_center, "naive herding": naive_herding}.get(fields["name"])
    selector = None if naive else build("selector", fields)
    if selector is not None:
        decide(selector, candidates.take(np.arange(64)), 4)  # compiles
    before, start = resident(), time.perf_counter()
    if selector is None:
        kept = naive(vectors, count)
    else:
        kept = len(decide(selector, candidates, count).positions)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {
        "selector": ", ".join(str(value) if key == "name" else f"{key}={value}" for key, value in fields.items()),
        "examples": size,
        "width": width or "graph",
        "kept": kept,
        "seconds": seconds,
        "megabytes": peak - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", help="cases whose selector has this in its name")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest of so many counts")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--graph", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case is not None:
        print(json.dumps(run_case(asked.case, asked.scale, asked.graph)))
        return
    chosen = [number for number, case in enumerate(CASES) if (asked.only or "") in case[0]["name"]]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.npz"
        if any(CASES[number][2] == 0 for number in chosen):
            graph(int(500_000 * asked.scale), path)
        for number in chosen:
            command = [sys.executable, __file__, "--case", str(number), "--scale", str(asked.scale)]
            tries = []
            for _ in range(asked.rounds):
                done = subprocess.run([*command, "--graph", str(path)], capture_output=True, text=True, check=True)
                tries.append(json.loads(done.stdout))
            rows.append(min(tries, key=lambda row: row["seconds"]))
    seconds = {row["selector"]: row["seconds"] for row in rows}
    for row in rows:
        naive = seconds.get(f"naive {row['selector']}")
        row["times_naive"] = None if naive is None else naive / row["seconds"]
    met = {name: seconds[name] <= target for name, target in TARGETS.items() if name in seconds}
    table = Table(title=f"Selectors, {in_words(Runtime(device='cpu'))['device']}, {torch.get_num_threads()} threads")
    for column in ("selector", "examples", "width", "kept", "seconds", "MB beyond the input", "× naive"):
        table.add_column(column, justify="left" if column == "selector" else "right")
    for row in rows:
        table.add_row(
            row["selector"],
            f"{row['examples']:,}",
            str(row["width"]),
            f"{row['kept']:,}",
            f"{row['seconds']:.2f}",
            f"{row['megabytes']:,.0f}",
            "" if row["times_naive"] is None else f"{row['times_naive']:.1f}",
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"targets {TARGETS} s met: {met}")
    if asked.scale == 1 and asked.only is None:
        setting = {
            "device": in_words(Runtime(device="cpu"))["device"],
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
            "rounds": asked.rounds,
        }
        RESULT.parent.mkdir(exist_ok=True)
        RESULT.write_text(
            json.dumps({"setting": setting, "rows": rows, "targets": TARGETS, "met": met}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
