"""A run that is killed without warning and started again ends in the same bytes as one that nobody disturbed.

`PAREDOWN_KILLS=20 pytest tests/recipes/test_kill.py` kills as often as one likes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = {
    "data_diet/smoke": 6,
    "adversarial_data_pruning/smoke": 3,
    "distillation/smoke": 2,
    "distillation/continual.smoke": 2,
    "distillation/membership.smoke": 2,
    "robust_network_pruning/smoke": 3,
}
"""Recipes, and how often each is killed unless the environment says otherwise."""
LIBRARIES = {"robust_network_pruning/smoke": ("onnxruntime", "onnxscript")}
HOW = {"made.json", "report.html"}
"""Files that say how and when something was made: seconds differ from run to run."""


def start(recipe: str, folder: Path) -> subprocess.Popen[bytes]:
    words = ["run", f"recipes/{recipe}.yaml", "--threads", "1", "--save-seconds", "0"]
    return subprocess.Popen(
        [sys.executable, "-m", "paredown", *words],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def content(folder: Path) -> dict[str, bytes]:
    store = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "store").rglob("*"))
        if path.is_file() and path.name not in HOW
    }
    # The run's folder is called by its date, which may change between the two.
    (run,) = (folder / "runs").iterdir()
    results = {
        f"run/{path.name}": str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()
        for path in sorted(run.iterdir())
        if path.name not in HOW
    }
    return store | results


@pytest.mark.slow
@pytest.mark.parametrize("recipe", KILLS)
def test_killed_at_random_moments_ends_in_the_same_bytes(recipe: str, tmp_path: Path) -> None:
    for library in LIBRARIES.get(recipe, ()):
        pytest.importorskip(library)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    begin = time.monotonic()
    undisturbed = start(recipe, whole)
    _, words = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, words.decode()
    lasted = time.monotonic() - begin

    moments = random.Random(7)
    kills, wanted = 0, int(os.environ.get("PAREDOWN_KILLS", KILLS[recipe]))
    while kills < wanted:
        job = start(recipe, killed)
        try:
            # Importing takes about two seconds before the first work; a kill during it disturbs nothing.
            job.wait(moments.uniform(2, 2 + lasted / 3))
        except subprocess.TimeoutExpired:
            job.send_signal(signal.SIGKILL)
            kills += 1
        job.communicate()
        if job.returncode == 0:
            # Finished before all kills were spent: the rest falls on a fresh start.
            assert content(killed) == content(whole)
            killed = tmp_path / f"killed-{kills}"
            killed.mkdir()
    job = start(recipe, killed)
    _, words = job.communicate(timeout=600)
    assert job.returncode == 0, words.decode()
    assert content(killed) == content(whole)
