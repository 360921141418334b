"""Training by an adversarial objective makes a network robust, and two processes can share it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paredown.artifacts import Trained
from paredown.attacks import Fgsm, Pgd
from paredown.data.digits import Digits
from paredown.evaluation.robust import RobustAccuracy
from paredown.log import read_metrics
from paredown.models.build import load
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import AbstractObjective, CrossEntropy, Fast, Madry, Mart, OneCycle, Sgd, Trades, Training, fit

CPU = Runtime(device="cpu", precision="float32", progress=False)
EPS = 0.1
INNER = Pgd(eps=EPS, step=0.05, steps=3)
OBJECTIVES: list[AbstractObjective] = [
    Madry(attack=INNER),
    Trades(attack=INNER),
    Mart(attack=INNER),
    Fast(attack=Fgsm(eps=EPS, start="random", step=1.25)),
]


def robust(objective: AbstractObjective, folder: Path) -> dict[str, float]:
    training = Training(
        steps=150, batch_size=64, optimizer=Sgd(lr=0.1), schedule=OneCycle(), objective=objective, clip=5.0
    )
    fit(Digits().load(), ConvNet(width=16), training, runtime=CPU, folder=folder)
    probe = RobustAccuracy(attacks=(Pgd(eps=EPS, step=EPS / 4, steps=20),), eps=EPS, examples=200)
    network = load(Trained.adopt(folder).checkpoint)
    rows = probe.measure(network, Digits(split="test").load(), runtime=CPU, seed=0)
    return {row["metric"]: row["value"] for row in rows}


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    return robust(CrossEntropy(), tmp_path_factory.mktemp("standard"))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_a_robustly_trained_network_withstands_what_fools_a_standard_one(
    tmp_path: Path, standard: dict[str, float], objective: AbstractObjective
) -> None:
    ours = robust(objective, tmp_path)
    assert standard["clean-accuracy"] > 0.9 and ours["clean-accuracy"] > 0.8
    assert ours["robust-accuracy"] > standard["robust-accuracy"] + 0.25


JOB = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from paredown.artifacts import ADVERSARIAL_QUANTITIES
from paredown.attacks import Pgd
from paredown.data.dataset import ImageDataset
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Madry, Recording, Sgd, Trades, Training, fit
digits = load_digits()
data = ImageDataset.from_arrays((digits.images[:96] * 15).astype(np.uint8), digits.target[:96])
runtime = Runtime(device="cpu", precision="float32", threads=1, save_seconds=0.0, progress=False)
attack = Pgd(eps=0.05, step=0.02, steps=2)
for objective in (Trades(attack=attack), Madry(attack=attack)):
    training = Training(epochs=2, batch_size=32, optimizer=Sgd(lr=0.05), objective=objective, clip=1.0)
    fit(data, ConvNet(width=8, norm="batch"), training, recording=Recording(("confidence", *ADVERSARIAL_QUANTITIES)),
        runtime=runtime, folder=sys.argv[1] + "/" + objective.name)
"""


@pytest.mark.slow
def test_two_processes_share_an_adversarial_training(tmp_path: Path) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pair = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([sys.executable, str(job), str(tmp_path / "one")], check=True, env=environment, timeout=120)
    subprocess.run([*pair, str(job), str(tmp_path / "two")], check=True, env=environment, timeout=180)
    for name in ("trades", "madry"):
        one, two = (Trained.adopt(tmp_path / which / name) for which in ("one", "two"))
        for epoch in two.dynamics:
            assert not any(np.isnan(values).any() for values in epoch.values())
        # Other draws and other batch statistics, so the same course and not the same numbers.
        first, second = (read_metrics(tmp_path / which / name / "metrics.jsonl") for which in ("one", "two"))
        assert first[0] == second[0] and first[1].keys() == second[1].keys()
        assert second[-1]["loss"] == pytest.approx(first[-1]["loss"], rel=0.2)
        mine, theirs = (trained.dynamics.matrix("adversarial-confidence").mean() for trained in (one, two))
        assert theirs == pytest.approx(mine, rel=0.2)
