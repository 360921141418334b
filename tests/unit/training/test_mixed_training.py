"""Trainings on two data sets: interrupted, killed, shared by processes, and from files that stay where they are."""

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
from tests.unit.training.conftest import make_images
from tests.unit.training.test_resume import Interruptions, files

from paredown.artifacts.checkpoint import Trained
from paredown.data.dataset import ImageDataset
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Extra, Mixing, Recording, Sgd, Training, fit

RUNTIME = Runtime(device="cpu", progress=False, save_seconds=0)


@pytest.mark.parametrize("draws", ["in-turn", "with-replacement"])
def test_many_interruptions_are_as_good_as_none(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch, draws: Any
) -> None:
    # The extra images are fewer than an epoch draws, so that a cycle ends in the middle of one.
    more = replace(make_images(23, seed=5), name="more")
    training = Training(
        epochs=3, batch_size=16, drop_last=False, optimizer=Sgd(lr=0.05), average=0.9, mixing=Mixing(0.6, draws=draws)
    )

    def job(folder: Path) -> Callable[[], None]:
        model = ConvNet(width=4, depth=1)
        extra = Extra(more, weights=np.arange(1.0, 24.0))
        return lambda: fit(
            images, model, training, extra=extra, recording=Recording(), runtime=RUNTIME, folder=folder
        )  # fmt: skip

    interruptions = Interruptions(monkeypatch)
    assert interruptions.run(job(tmp_path / "whole"), None)
    draw, attempts = np.random.default_rng(0), 1
    while not interruptions.run(job(tmp_path / "often"), int(draw.integers(6, 20))):
        attempts += 1
    assert attempts > 3
    assert files(tmp_path / "often") == files(tmp_path / "whole")


JOB = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Extra, Mixing, Recording, Training, fit
digits = load_digits()
pixels, labels = (digits.images * 15).astype(np.uint8), digits.target
data = ImageDataset.from_arrays(pixels[:600], labels[:600], augmentation=Augmentation(crop=1))
more = ImageDataset.from_arrays(pixels[600:], labels[600:], name="more")
runtime = Runtime(device="cpu", precision="float32", threads=1, save_seconds=0.0, progress=False)
training = Training(epochs=EPOCHS, batch_size=60, drop_last=False, mixing=Mixing(0.7), average=0.9)
fit(data, ConvNet(width=8, norm="group"), training, extra=Extra(more), recording=Recording(), runtime=runtime,
    folder=sys.argv[1])
"""


@pytest.mark.slow
def test_killed_and_started_again_is_the_same_as_undisturbed(tmp_path: Path) -> None:
    environment, code = os.environ | {"OMP_NUM_THREADS": "1"}, JOB.replace("EPOCHS", "16")

    def start(folder: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code, str(tmp_path / folder)], env=environment)

    assert start("whole").wait(120) == 0
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
    assert start("killed").wait(120) == 0
    assert kills > 0
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_train_and_record_what_one_does(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB.replace("EPOCHS", "3"))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, str(job), str(tmp_path / "one")], check=True, env=environment, timeout=120)
    subprocess.run([*pair, str(job), str(tmp_path / "two")], check=True, env=environment, timeout=180)
    one, two = (Trained.adopt(tmp_path / name) for name in ("one", "two"))
    for name, array in one.checkpoint.weights.items():
        np.testing.assert_allclose(two.checkpoint.weights[name], array, rtol=1e-3, atol=1e-4, err_msg=name)
    assert one.dynamics is not None and two.dynamics is not None
    for mine, theirs in zip(one.dynamics, two.dynamics, strict=True):
        assert np.array_equal(np.isnan(mine["margin"]), np.isnan(theirs["margin"]))
        assert np.isfinite(mine["margin"]).sum() == 180  # 18 of each of ten batches of 60
        np.testing.assert_allclose(theirs["margin"], mine["margin"], rtol=1e-2, atol=1e-3)
    first, second = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two"))
    assert first[0] == second[0] and len(first) == len(second)


MEMORY = """
import sys, tracemalloc
from paredown.data import open_data
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Extra, Training, fit


def held():
    # Pages of mapped files are the system's, which takes them back when it needs them.
    with open("/proc/self/status") as status:
        return 1024 * next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))


data = open_data({"name": "generated-images", "path": sys.argv[1]})
runtime = Runtime(device="cpu", precision="float32", threads=1, progress=False)
fit(data, ConvNet(width=4), Training(steps=1, batch_size=32), runtime=runtime, folder=sys.argv[3] + "/warm")
before = held()
tracemalloc.start()
more = open_data({"name": "generated-images", "path": sys.argv[2]})
fit(data, ConvNet(width=4), Training(steps=2, batch_size=32), extra=Extra(more), runtime=runtime, folder=sys.argv[3])
print(len(more), held() - before, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of memory")
def test_a_mapped_file_is_not_read_into_memory(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for name, count in (("few", 200), ("many", 40_000)):
        images = draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", image=images, label=np.arange(count) % 10)
    size = (tmp_path / "many.npz").stat().st_size
    arguments = [str(tmp_path / name) for name in ("few.npz", "many.npz", "out")]
    out = subprocess.run(
        [sys.executable, "-c", MEMORY, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    count, held, peak = map(int, out.stdout.split())
    assert count == 40_000 and size > 120e6
    # Labels, ids and positions of an image are some dozens of bytes; its pixels are 3072.
    assert peak < 0.15 * size and held < 0.3 * size
