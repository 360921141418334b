"""Two processes of torchrun look at what one looks at, and decide as it does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from paredown.artifacts import Trained
from paredown.log import read_metrics
from paredown.models.build import load

JOB = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from paredown.artifacts import ADVERSARIAL_QUANTITIES
from paredown.attacks import Pgd
from paredown.data.dataset import ImageDataset
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Constant, Recording, Sgd, Training, Validation, fit
digits = load_digits()
data = ImageDataset.from_arrays((digits.images[:300] * 15).astype(np.uint8), digits.target[:300])
runtime = Runtime(device="cpu", precision="float32", threads=1, save_seconds=0.0, progress=False)
attack = Pgd(eps=0.03, step=0.01, steps=3)
for norm in ("group", "batch"):
    training = Training(epochs=12, batch_size=32, optimizer=Sgd(lr=0.02), average=0.8, average_statistics="copied",
        schedule=Constant(), validation=Validation(examples=100, attack=attack, patience=1))
    recording = Recording(("confidence", *ADVERSARIAL_QUANTITIES), by="evaluation", attack=attack, block=16)
    fit(data, ConvNet(width=8, norm=norm), training, recording=recording, runtime=runtime,
        folder=sys.argv[1] + "/" + norm)
"""


def looks(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(folder / "metrics.jsonl") if "validation-accuracy" in line]


@pytest.mark.slow
def test_two_processes_decide_as_one_does(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, str(job), str(tmp_path / "one")], check=True, env=environment, timeout=120)
    subprocess.run([*pair, str(job), str(tmp_path / "two")], check=True, env=environment, timeout=180)

    one, two = (Trained.adopt(tmp_path / name / "group") for name in ("one", "two"))
    assert looks(tmp_path / "one" / "group") == looks(tmp_path / "two" / "group")
    assert one.best_epoch == two.best_epoch and len(one.dynamics) == len(two.dynamics)
    for name, array in one.checkpoint.weights.items():
        np.testing.assert_allclose(two.checkpoint.weights[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
    for mine, theirs in zip(one.dynamics, two.dynamics, strict=True):
        np.testing.assert_allclose(theirs["confidence"], mine["confidence"], atol=1e-4)
        # A pixel whose gradient is nearly zero may move the other way.
        np.testing.assert_allclose(theirs["adversarial-confidence"], mine["adversarial-confidence"], atol=1e-2)

    # Batches of half the size have other statistics, so this is another training; but both processes looked at the
    # network that was kept.
    trained = Trained.adopt(tmp_path / "two" / "batch")
    digits = load_digits()
    held = trained.validation.keys
    x = torch.from_numpy((digits.images[held] * 15).astype(np.uint8)[:, None] / 255).float()
    with torch.no_grad():
        right = (load(trained.checkpoint)(x).argmax(1).numpy() == digits.target[held]).mean()
    best = next(line for line in looks(tmp_path / "two" / "batch") if line["epoch"] == trained.best_epoch)
    assert best["validation-accuracy"] == pytest.approx(right)
    last = trained.dynamics[len(trained.dynamics) - 1]
    assert not any(np.isnan(values).any() for values in last.values())
