"""A distillation that is killed without warning, again and again, ends in the same bytes as one that nobody disturbed.

`PAREDOWN_KILLS=10 pytest tests/recipes/test_kill_distill.py` kills as often as one likes.
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

KILLS = int(os.environ.get("PAREDOWN_KILLS", "3"))
SETTINGS = (
    "--model.name=widening-convnet --model.width=8 --model.depth=1 --steps=600 --batch_size=128 --online_networks=3 "
    "--online_steps=15 --lr=0.01 --held_out=0.1 --check_every=500"
)


def start(folder: Path) -> subprocess.Popen[bytes]:
    flags = [f"--distiller.{word[2:]}" for word in SETTINGS.split()]
    words = ["distill", "--data", "digits", "--distiller", "feature-regression", *flags, "--per-class", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "paredown", *words, "--threads", "1", "--save-seconds", "0"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "store").rglob("*"))
        if path.is_file() and path.name != "made.json"
    }


def mark(folder: Path) -> int:
    """Says when the state was saved for the last time; 0 for never."""
    return max((path.stat().st_mtime_ns for path in (folder / "store").glob("*.partial/resume.safetensors")), default=0)


@pytest.mark.slow
def test_killed_at_random_moments_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    undisturbed = start(whole)
    _, words = undisturbed.communicate(timeout=600)
    assert undisturbed.returncode == 0, words.decode()

    moments, kills = random.Random(7), 0
    while kills < KILLS:
        begun, job = mark(killed), start(killed)
        # Each life saves once at least, so that the next one comes further.
        while job.poll() is None and mark(killed) == begun:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.5))
        if job.poll() is None:
            job.send_signal(signal.SIGKILL)
            kills += 1
        job.communicate()
        if job.returncode == 0:
            break
    job = start(killed)
    _, words = job.communicate(timeout=600)
    assert job.returncode == 0, words.decode()
    assert content(killed) == content(whole)
    assert not [name for name in content(whole) if "resume" in name]
    assert kills > 0
