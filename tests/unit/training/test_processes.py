"""Two processes of torchrun train what one trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paredown.artifacts.checkpoint import Trained

JOB = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from paredown.artifacts import ALL_QUANTITIES
from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Recording, Sgd, Training, fit
digits = load_digits()
images, labels = (digits.images[:150] * 15).astype(np.uint8), digits.target[:150]
data = ImageDataset.from_arrays(images, labels, augmentation=Augmentation(crop=1))
runtime = Runtime(device="cpu", precision="float32", threads=1, save_seconds=0.0, progress=False)
model = ConvNet(width=8, norm="group")
training = Training(epochs=3, batch_size=32, drop_last=False, optimizer=Sgd(lr=0.05))
for by in ("presentations", "evaluation"):
    recording = Recording(ALL_QUANTITIES, by=by)
    fit(data, model, training, weights=np.arange(1.0, 151.0), recording=recording, runtime=runtime,
        folder=sys.argv[1] + "/" + by)
"""


@pytest.mark.slow
def test_two_processes_train_and_record_what_one_does(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    alone = [sys.executable, str(job), str(tmp_path / "one")]
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run(alone, check=True, env=environment, timeout=120)
    subprocess.run([*pair, str(job), str(tmp_path / "two")], check=True, env=environment, timeout=180)
    for by in ("presentations", "evaluation"):
        one, two = (Trained.adopt(tmp_path / name / by) for name in ("one", "two"))
        for name, array in one.checkpoint.weights.items():
            np.testing.assert_allclose(two.checkpoint.weights[name], array, rtol=1e-3, atol=1e-5, err_msg=name)
        for mine, theirs in zip(one.dynamics, two.dynamics, strict=True):
            np.testing.assert_allclose(theirs["divergence"], mine["divergence"], rtol=1e-2, atol=1e-3)
            assert not np.isnan(mine["margin"]).any()
            np.testing.assert_allclose(theirs["margin"], mine["margin"], rtol=1e-3, atol=1e-4)
        first, second = ((tmp_path / name / by / "metrics.jsonl").read_text().splitlines() for name in ("one", "two"))
        assert first[0] == second[0] and len(first) == len(second)
