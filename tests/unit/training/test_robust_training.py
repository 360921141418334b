"""Training by an adversarial objective makes a network robust, and two processes can share it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor, nn

from paredown.artifacts import Trained
from paredown.attacks import Fgsm, Pgd
from paredown.data.digits import Digits
from paredown.evaluation.robust import RobustAccuracy
from paredown.log import read_metrics
from paredown.models.build import load
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import (
    AbstractObjective,
    CrossEntropy,
    Fast,
    Free,
    Madry,
    Mart,
    OneCycle,
    Sgd,
    Trades,
    Training,
    fit,
)

CPU = Runtime(device="cpu", precision="float32", progress=False)
EPS = 0.1
INNER = Pgd(eps=EPS, step=0.05, steps=3)
OBJECTIVES: list[AbstractObjective] = [
    Madry(attack=INNER),
    Trades(attack=INNER),
    Mart(attack=INNER),
    Fast(attack=Fgsm(eps=EPS)),
    Fast(attack=Fgsm(eps=EPS, step=1.25), noise=0),
    Free(attack=Fgsm(eps=EPS), replays=4),
]


def trained(objective: AbstractObjective, folder: Path) -> nn.Module:
    # A step of free training is a third of the price, and three of four see a batch again.
    steps = 450 if isinstance(objective, Free) else 150
    training = Training(
        steps=steps, batch_size=64, optimizer=Sgd(lr=0.1), schedule=OneCycle(), objective=objective, clip=5.0
    )
    fit(Digits().load(), ConvNet(width=16), training, runtime=CPU, folder=folder)
    return load(Trained.adopt(folder).checkpoint)


def figures(network: nn.Module, probe: RobustAccuracy) -> dict[str, float]:
    rows = probe.measure(network, Digits(split="test").load(), runtime=CPU, seed=0)
    return {row["metric"]: row["value"] for row in rows}


@pytest.fixture(scope="module")
def standard(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return trained(CrossEntropy(), tmp_path_factory.mktemp("standard"))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda objective: objective.name)
def test_a_robustly_trained_network_withstands_what_fools_a_standard_one(
    tmp_path: Path, standard: nn.Module, objective: AbstractObjective
) -> None:
    probe = RobustAccuracy(attacks=(Pgd(eps=EPS, step=EPS / 4, steps=20),), eps=EPS, examples=200)
    theirs, ours = (figures(network, probe) for network in (standard, trained(objective, tmp_path)))
    assert theirs["clean-accuracy"] > 0.9 and ours["clean-accuracy"] > 0.8
    assert ours["robust-accuracy"] > theirs["robust-accuracy"] + 0.25


class Masked(nn.Module):
    """A network whose softmax is exactly 1 nearly everywhere, so that its loss has no slope."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return 1e4 * self.network(x)


class Stepped(Masked):
    """A network that sees five grey levels, so that no loss has a slope."""

    def forward(self, x: Tensor) -> Tensor:
        return self.network((4 * x).round() / 4)


@pytest.mark.slow
def test_under_the_whole_ensemble_and_its_checks(tmp_path: Path, standard: nn.Module) -> None:
    robust = trained(Trades(attack=INNER), tmp_path)
    ensemble = RobustAccuracy(eps=EPS, examples=100, checks=True)
    networks = (standard, robust, Masked(standard), Stepped(standard))
    theirs, ours, masked, stepped = (figures(network, ensemble) for network in networks)
    assert ours["robust-accuracy"] > theirs["robust-accuracy"] + 0.25 and ours["robust-accuracy"] > 0.4
    checks = [name for name in ours if name.startswith("check-")]
    assert {name: ours[name] for name in checks} == dict.fromkeys(checks, 1.0) and len(checks) == 5
    assert masked["check-gradients"] == masked["check-unbounded"] == 0.0
    assert sum(stepped[name] for name in checks) <= 1
    # Its gradients are hidden and its accuracy is not: the targeted DLR loss does not care about the scale of logits.
    assert masked["robust-accuracy"] <= theirs["robust-accuracy"] + 0.05


JOB = """
import sys
import numpy as np
from sklearn.datasets import load_digits
from paredown.artifacts import ADVERSARIAL_QUANTITIES
from paredown.attacks import Fgsm, Pgd
from paredown.data.dataset import ImageDataset
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Free, Madry, Recording, Sgd, Trades, Training, fit
digits = load_digits()
data = ImageDataset.from_arrays((digits.images[:96] * 15).astype(np.uint8), digits.target[:96])
runtime = Runtime(device="cpu", precision="float32", threads=1, save_seconds=0.0, progress=False)
attack = Pgd(eps=0.05, step=0.02, steps=2)
free = Free(attack=Fgsm(eps=0.05), replays=2)
for objective in (Trades(attack=attack), Madry(attack=attack), free):
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
    for name in ("trades", "madry", "free"):
        one, two = (Trained.adopt(tmp_path / which / name) for which in ("one", "two"))
        for epoch in two.dynamics:
            assert not any(np.isnan(values).any() for values in epoch.values())
        # Other draws and other batch statistics, so the same course and not the same numbers.
        first, second = (read_metrics(tmp_path / which / name / "metrics.jsonl") for which in ("one", "two"))
        assert first[0] == second[0] and first[1].keys() == second[1].keys()
        assert second[-1]["loss"] == pytest.approx(first[-1]["loss"], rel=0.2)
        mine, theirs = (trained.dynamics.matrix("adversarial-confidence").mean() for trained in (one, two))
        assert theirs == pytest.approx(mine, rel=0.2)
