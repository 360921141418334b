"""Looks between epochs on a GPU: attacked, in the precision of training, and no step of the next epoch the wiser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.gpu.test_training import quarters

from paredown.artifacts import ADVERSARIAL_QUANTITIES, Trained
from paredown.attacks import Pgd
from paredown.log import read_metrics
from paredown.models import ConvNet
from paredown.runtime import Runtime
from paredown.training import Recording, Sgd, Trades, Training, Validation, fit

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
ATTACK = Pgd(eps=8 / 255, step=2 / 255, steps=5)
TRAINING = Training(epochs=6, batch_size=64, optimizer=Sgd(lr=0.05), average=0.9, objective=Trades(attack=ATTACK))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_best_epoch_is_chosen_and_recorded_on_a_gpu(tmp_path: Path, precision: str) -> None:
    training = replace(TRAINING, validation=Validation(examples=128, attack=replace(ATTACK, steps=20)))
    recording = Recording(("confidence", *ADVERSARIAL_QUANTITIES), by="evaluation", block=100)
    runtime = Runtime(device="cuda", precision=precision, progress=False, save_seconds=0)
    fit(quarters(), ConvNet(width=16, norm="batch"), training, recording=recording, runtime=runtime, folder=tmp_path)
    trained = Trained.adopt(tmp_path)
    looks = [line for line in read_metrics(tmp_path / "metrics.jsonl") if "validation-robust-accuracy" in line]
    found = [line["validation-robust-accuracy"] for line in looks]
    assert len(looks) == 6 and trained.best_epoch == int(np.argmax(found)) + 1 and max(found) > 0.5
    for epoch in trained.dynamics:
        assert not any(np.isnan(values).any() for values in epoch.values())
    moved, clean = (trained.dynamics.matrix(name) for name in ("adversarial-confidence", "confidence"))
    assert moved[-1].mean() < clean[-1].mean()
