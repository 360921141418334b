from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import paredown.artifacts.checkpoint
import paredown.artifacts.dynamics
import paredown.artifacts.ids
import paredown.training.resume
from paredown.artifacts import ADVERSARIAL_QUANTITIES, ALL_QUANTITIES, Trained
from paredown.attacks import Pgd
from paredown.data.dataset import ImageDataset
from paredown.log import MetricsFile
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Adam, AdamW, Constant, Recording, Sgd, Trades, Training, Validation, fit
from paredown.training.resume import read_state, write_state

RUNTIME = Runtime(device="cpu", progress=False, save_seconds=0)
MODEL = ConvNet(width=4, depth=1)
TRAINING = Training(epochs=3, batch_size=16, optimizer=Sgd(lr=0.05), average=0.9, checkpoints_at=(0, 2, 9))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class Interrupted(Exception):
    pass


class Interruptions:
    """Stops the training before the n-th thing that it writes, renames or removes, leaving half a file where one is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.seen = 0
        artifacts = paredown.artifacts
        for module in (paredown.training.resume, artifacts.dynamics, artifacts.checkpoint, artifacts.ids):
            self._guard(monkeypatch, module, "save_file", half=True)
        self._guard(monkeypatch, Path, "replace")
        self._guard(monkeypatch, Path, "unlink")
        self._guard(monkeypatch, MetricsFile, "append")

    def _guard(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, half: bool = False) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def guarded(*arguments: Any, **options: Any) -> Any:
            self.seen += 1
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    if half:
                        Path(arguments[1]).write_bytes(b"half a file")
                    raise Interrupted
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, guarded)

    def run(self, job: Callable[[], None], after: int | None) -> bool:
        """Runs the job until so many things are done; says whether it came to its end."""
        self.left = after
        try:
            job()
        except Interrupted:
            return False
        finally:
            self.left = None
        return True


@pytest.mark.parametrize("by", ["presentations", "evaluation"])
def test_an_interruption_anywhere_leaves_the_bytes_of_none(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch, by: Any
) -> None:
    def job(folder: Path) -> Callable[[], None]:
        recording = Recording(ALL_QUANTITIES, by=by)
        return lambda: fit(images, MODEL, TRAINING, recording=recording, runtime=RUNTIME, folder=folder)

    interruptions = Interruptions(monkeypatch)
    assert interruptions.run(job(tmp_path / "whole"), None)
    expected = files(tmp_path / "whole")
    assert not any("resume" in name or ".new" in name for name in expected)
    assert interruptions.seen > 30
    for moment in range(interruptions.seen):
        folder = tmp_path / str(moment)
        assert not interruptions.run(job(folder), moment)
        assert interruptions.run(job(folder), None)
        assert files(folder) == expected, f"interrupted before write {moment}"


def test_an_interrupted_choice_of_the_best_epoch_is_the_same_choice(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack = Pgd(eps=0.1, step=0.05, steps=2)
    training = Training(
        epochs=40,
        batch_size=20,
        optimizer=Sgd(lr=0.05),
        schedule=Constant(),
        objective=Trades(attack=attack),
        average=0.7,
        average_warmup=0.02,
        validation=Validation(examples=20, attack=replace(attack, steps=4, loss="carlini-wagner"), patience=1),
    )
    model = ConvNet(width=4, depth=1, norm="batch")
    recording = Recording(("confidence", *ADVERSARIAL_QUANTITIES), by="evaluation", block=9)

    def job(folder: Path) -> Callable[[], None]:
        return lambda: fit(images, model, training, recording=recording, runtime=RUNTIME, folder=folder)

    interruptions = Interruptions(monkeypatch)
    assert interruptions.run(job(tmp_path / "whole"), None)
    expected = files(tmp_path / "whole")
    trained = Trained.parts(tmp_path / "whole")
    assert trained.best_epoch is not None and 1 < trained.best_epoch == len(trained.dynamics) - 2 < 38
    writes = interruptions.seen
    for moment in sorted({*range(0, writes, 4), *range(writes - 8, writes)}):
        folder = tmp_path / str(moment)
        assert not interruptions.run(job(folder), moment)
        assert interruptions.run(job(folder), None)
        assert files(folder) == expected, f"interrupted before write {moment}"


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.05), Adam(), AdamW()], ids=lambda optimizer: optimizer.name)
def test_many_interruptions_are_as_good_as_none(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch, optimizer: Any
) -> None:
    training = replace(TRAINING, optimizer=optimizer, drop_last=False)
    model = ConvNet(width=8, depth=2)  # two convolutions, whose optimizer state must come back in the right layout

    def job(folder: Path) -> Callable[[], None]:
        return lambda: fit(images, model, training, recording=Recording(), runtime=RUNTIME, folder=folder)

    interruptions = Interruptions(monkeypatch)
    interruptions.run(job(tmp_path / "whole"), None)
    draw = np.random.default_rng(0)
    attempts = 1
    while not interruptions.run(job(tmp_path / "often"), int(draw.integers(6, 20))):
        attempts += 1
    assert attempts > 3
    assert files(tmp_path / "often") == files(tmp_path / "whole")


def test_a_damaged_state_means_beginning_again(tmp_path: Path, images: ImageDataset, monkeypatch) -> None:
    def job(folder: Path) -> Callable[[], None]:
        return lambda: fit(images, MODEL, TRAINING, runtime=RUNTIME, folder=folder)

    interruptions = Interruptions(monkeypatch)
    interruptions.run(job(tmp_path / "whole"), None)
    interruptions.run(job(tmp_path / "torn"), 30)
    state = tmp_path / "torn" / "resume.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    interruptions.run(job(tmp_path / "torn"), None)
    assert files(tmp_path / "torn") == files(tmp_path / "whole")


def test_a_state_comes_back_with_its_cursor(tmp_path: Path) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    write_state(tmp_path, {"a": tied, "b": tied, "c": tied.T}, {"step": 7})
    tensors, cursor = read_state(tmp_path)
    assert cursor == {"step": 7} and torch.equal(tensors["c"], tied.T) and torch.equal(tensors["b"], tied)


def test_how_often_is_saved_changes_no_byte(tmp_path: Path, images: ImageDataset) -> None:
    for name, seconds in (("often", 0.0), ("never", 1e9)):
        runtime = replace(RUNTIME, save_seconds=seconds)
        fit(images, MODEL, TRAINING, recording=Recording(), runtime=runtime, folder=tmp_path / name)
    assert files(tmp_path / "often") == files(tmp_path / "never")


JOB = """
import sys
from sklearn.datasets import load_digits
import numpy as np
from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Recording, Training, fit
digits = load_digits()
images = (digits.images * 15).astype(np.uint8)
data = ImageDataset.from_arrays(images, digits.target, augmentation=Augmentation(crop=1))
runtime = Runtime(device="cpu", threads=1, save_seconds=0.0, progress=False)
training = Training(epochs=6, average=0.99)
fit(data, ConvNet(width=16), training, recording=Recording(), runtime=runtime, folder=sys.argv[1])
"""


@pytest.mark.slow
def test_killed_and_started_again_is_the_same_as_undisturbed(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def start(folder: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", JOB, str(tmp_path / folder)], env=environment)

    assert start("whole").wait(60) == 0
    kills = 0
    for pause in (0.05, 0.4, 0.25):
        job = start("killed")
        while job.poll() is None and not (tmp_path / "killed" / "resume.safetensors").exists():
            time.sleep(0.01)
        time.sleep(pause)
        if job.poll() is None:
            job.send_signal(signal.SIGKILL)
            kills += 1
        job.wait(60)
    assert start("killed").wait(60) == 0
    assert kills > 0
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
