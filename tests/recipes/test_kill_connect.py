"""A graph whose making is killed without warning, and made again, ends in the same bytes as one that nobody disturbed.

`PAREDOWN_KILLS=20 pytest tests/recipes/test_kill_connect.py` kills as often as one likes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool

KILLS = int(os.environ.get("PAREDOWN_KILLS", "4"))
LISTS = '{"name": "ivf", "lists": 100, "probes": 3}'
WORK = """
import json
import sys
from pathlib import Path
from paredown import EmbeddingMatrix, Runtime
from paredown.method import build
from paredown.neighbors import connected

where, index, folder, shard = sys.argv[1:]
connected(
    EmbeddingMatrix.open(where), build("index", json.loads(index)), 3,
    runtime=Runtime(device="cpu", threads=1, progress=False), folder=Path(folder), shard=int(shard),
)
"""


def start(vectors: Path, index: str, folder: Path, shard: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORK, str(vectors), index, str(folder), str(shard)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".new")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("index", "size", "shard"), [('"exact"', 30_000, 4000), (LISTS, 200_000, 20_000)], ids=["exact", "ivf"]
)
def test_killed_at_random_moments_ends_in_the_same_bytes(index: str, size: int, shard: int, tmp_path: Path) -> None:
    vectors, whole, killed = tmp_path / "vectors", tmp_path / "whole", tmp_path / "killed"
    rng = np.random.default_rng(0)
    numbers = rng.standard_normal((size, 8)).astype(np.float32)
    EmbeddingMatrix(ExampleIds.of_pool(Pool(("made",), size, "0" * 64)), numbers, metric="euclidean").save(vectors)
    begin = time.monotonic()
    undisturbed = start(vectors, index, whole, shard)
    _, words = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, words.decode()
    lasted = time.monotonic() - begin

    moments, kills = random.Random(7), 0
    while kills < KILLS:
        job = start(vectors, index, killed, shard)
        try:
            job.wait(moments.uniform(0.2, 0.9) * lasted)
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGKILL)
            kills += 1
        job.communicate()
        if job.returncode == 0:
            # Finished before all kills were spent: the rest falls on a fresh start.
            assert content(killed) == content(whole)
            killed = tmp_path / f"killed-{kills}"
    job = start(vectors, index, killed, shard)
    _, words = job.communicate(timeout=600)
    assert job.returncode == 0, words.decode()
    assert content(killed) == content(whole)
