"""An evaluation that trains networks, killed without warning and asked for again, ends in the same bytes.

`PAREDOWN_KILLS=20 pytest tests/recipes/test_kill_evaluate.py` kills as often as one likes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paredown import select

KILLS = int(os.environ.get("PAREDOWN_KILLS", "4"))
DATA = {"name": "synthetic", "n": 600, "classes": 6, "size": 16}
WORK = """
import json
import sys
from paredown import Runtime, Store
from paredown.verbs import evaluate

store, data, *sets = sys.argv[1:]
training = {"steps": 80, "batch_size": 60, "objective": "squared-error"}
model = {"name": "convnet", "width": 8, "depth": 2}
probe = {"name": "class-incremental", "model": model, "training": training, "networks": 2}
Store(store).make(
    evaluate, subject=sets, data=json.loads(data) | {"split": "test"}, against=json.loads(data), probes=[probe],
    runtime=Runtime(device="cpu", threads=1, progress=False, save_seconds=0.3),
)
"""


def start(store: Path, sets: list[Path]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WORK, str(store), json.dumps(DATA), *map(str, sets)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def content(store: Path) -> dict[str, bytes]:
    files = (path for path in sorted(store.rglob("*")) if path.is_file() and path.name != "made.json")
    return {path.relative_to(store).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_killed_at_random_moments_ends_in_the_same_bytes(tmp_path: Path) -> None:
    sets = []
    for phase in range(3):
        part = select({"name": "classes", "classes": [2 * phase, 2 * phase + 1]}, data=DATA)
        part.save(tmp_path / f"phase-{phase}")
        sets.append(tmp_path / f"phase-{phase}")
    begin = time.monotonic()
    undisturbed = start(tmp_path / "whole", sets)
    _, words = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, words.decode()
    lasted = time.monotonic() - begin

    killed, moments, kills = tmp_path / "killed", random.Random(3), 0
    while kills < KILLS:
        job = start(killed, sets)
        try:
            job.wait(moments.uniform(0.3, 0.9) * lasted)
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGKILL)
            kills += 1
        job.communicate()
        if job.returncode == 0:
            # Finished before all kills were spent: the rest falls on a fresh start.
            assert content(killed) == content(tmp_path / "whole")
            killed = tmp_path / f"killed-{kills}"
    job = start(killed, sets)
    _, words = job.communicate(timeout=600)
    assert job.returncode == 0, words.decode()
    assert content(killed) == content(tmp_path / "whole")
