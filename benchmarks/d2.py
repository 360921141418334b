"""D2, end to end, beside the published sampler as `tests/oracles/d2.py` rebuilds it: seconds and peak memory.

Each measurement runs in a process of its own, on float32 Gaussian vectors, k = 5, a tenth kept, both in one run. Ours
finds exact neighbours and chooses; `compat="published"`, so that both choose the same. The choice alone is measured on
a random graph. Compilation is not counted: each process first does the work once on 200 examples.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from paredown.neighbors import Neighbors
from paredown.runtime import Runtime
from paredown.selection import Candidates, choose
from paredown.selection.message_passing import D2
from paredown.training.devices import in_words

ROOT = Path(__file__).resolve().parents[1]
RESULT = Path(__file__).with_name("results") / "d2.json"
WIDTH, NEIGHBORS, GAMMA, KEPT = 512, 5, 0.1, 0.1
TARGETS = {"choice_alone_seconds_at_1000000": 5.0}
PUBLISHED = D2(neighbors=NEIGHBORS, gamma=GAMMA, compat="published")


def problem(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(size)
    return rng.standard_normal((size, WIDTH), dtype=np.float32), rng.integers(0, 20, size).astype(np.float64)


def reference(size: int) -> Callable[[], np.ndarray]:
    from tests.oracles import d2 as oracle

    vectors, importance = problem(size)
    return lambda: oracle.published(vectors, importance, int(KEPT * size), k=NEIGHBORS, gamma=GAMMA)


def ours(size: int) -> Callable[[], np.ndarray]:
    vectors, importance = problem(size)
    candidates = Candidates(np.arange(size), importance=importance, embeddings=vectors)
    return lambda: choose(PUBLISHED, candidates, int(KEPT * size))


def chosen_alone(size: int) -> Callable[[], np.ndarray]:
    """From a graph that is there: union of the edges, forward pass, and the choice of 30 %."""
    rng = np.random.default_rng(size)
    near = rng.integers(0, size - 1, (size, NEIGHBORS), dtype=np.int32)
    near += near >= np.arange(size, dtype=np.int32)[:, None]  # never itself
    graph = Neighbors(near, rng.random((size, NEIGHBORS), dtype=np.float32))
    candidates = Candidates(np.arange(size), importance=rng.random(size), graph=graph)
    selector = D2(neighbors=NEIGHBORS)
    return lambda: choose(selector, candidates, int(0.3 * size))


WORK = {"reference": reference, "ours": ours, "choice alone": chosen_alone}


def measure(what: str, size: int, threads: int) -> None:
    """Measures one, and says so on standard output; run in a process of its own."""
    torch.set_num_threads(threads)
    WORK[what](200)()
    work = WORK[what](size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    chosen = work()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = {"seconds": seconds, "peak_mb": peak / 1024, "before_mb": before / 1024}
    sys.stdout.write(json.dumps(found | {"chosen": chosen.tolist() if what != "choice alone" else []}))


def apart(what: str, size: int, threads: int) -> dict[str, object]:
    command = [sys.executable, __file__, "--measure", what, "--size", str(size), "--threads", str(threads)]
    # Libraries read the number of threads when they are loaded.
    counts = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    environment = os.environ | counts | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    measured: dict[str, object] = json.loads(done.stdout)
    return {"what": what, "size": size, **measured}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2_000, 5_000, 10_000, 20_000], help="both are measured"
    )
    parser.add_argument("--alone", type=int, nargs="+", default=[1_000_000], help="nodes of the choice alone")
    parser.add_argument("--more", type=int, nargs="*", default=[50_000], help="sizes of ours only")
    parser.add_argument("--large", action="store_true", help="ours at 100,000, and the choice alone at 12,800,000")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--measure", choices=list(WORK), help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        measure(asked.measure, asked.size, asked.threads)
        return

    plan = [(what, size) for size in asked.sizes for what in ("reference", "ours")]
    plan += [("ours", size) for size in [*asked.more, *([100_000] if asked.large else [])]]
    plan += [("choice alone", size) for size in [*asked.alone, *([12_800_000] if asked.large else [])]]
    console, rows = Console(width=120), []
    table = Table(title=f"D2, k = {NEIGHBORS}, {WIDTH} dimensions, {asked.threads} threads")
    for column in ("what", "examples", "seconds", "peak MB", "of them before", "reference / ours", "same choice"):
        table.add_column(column, justify="left" if column == "what" else "right")
    slow: dict[str, object] = {}
    for what, size in plan:
        row = apart(what, size, asked.threads)
        if what == "reference":
            slow = row
        if what == "ours" and slow.get("size") == size:
            row["ratio"] = slow["seconds"] / row["seconds"]  # type: ignore[operator]
            both = np.intersect1d(slow["chosen"], row["chosen"])  # type: ignore[call-overload]
            row["same_choice"] = len(both) / int(KEPT * size)
        rows.append(row)
        table.add_row(
            what,
            f"{size:,}",
            f"{row['seconds']:.2f}",
            f"{row['peak_mb']:,.0f}",
            f"{row['before_mb']:,.0f}",
            f"{row['ratio']:.1f}" if "ratio" in row else "",
            f"{row['same_choice']:.2%}" if "ratio" in row else "",
        )
    console.print(table)
    for row in rows:
        del row["chosen"]
    mine = [(row["size"], row["seconds"]) for row in rows if row["what"] == "ours"]
    slope = float(np.polyfit(*np.log(np.array(mine[-3:], dtype=float).T), 1)[0]) if len(mine) > 2 else None
    alone = [row["seconds"] for row in rows if (row["what"], row["size"]) == ("choice alone", 1_000_000)]
    met = {name: bool(alone) and alone[0] < limit for name, limit in TARGETS.items()}  # type: ignore[operator]
    console.print(f"slope of our seconds over the last sizes: {slope}; targets {TARGETS} met: {met}")
    setting = {
        "device": in_words(Runtime(device="cpu"))["device"],
        "cores": os.cpu_count(),
        "threads": asked.threads,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__},
        "command": " ".join(["python", "benchmarks/d2.py", *sys.argv[1:]]),
        "width": WIDTH,
        "neighbors": NEIGHBORS,
        "gamma": GAMMA,
        "kept": {"end to end": KEPT, "choice alone": 0.3},
    }
    RESULT.parent.mkdir(exist_ok=True)
    result = {"setting": setting, "rows": rows, "slope": slope, "targets": TARGETS, "met": met}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
