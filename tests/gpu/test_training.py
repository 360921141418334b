"""Training on a GPU: it learns, records what it saw, and no step waits for the device."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paredown.artifacts.checkpoint import Trained
from paredown.artifacts.dynamics import ADVERSARIAL_QUANTITIES
from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.data.loader import OnDevice
from paredown.models import ConvNet, network
from paredown.runtime import Runtime
from paredown.training import (
    AbstractObjective,
    CrossEntropy,
    Fast,
    Free,
    Madry,
    Mart,
    Recording,
    Sgd,
    Trades,
    Training,
    fit,
)
from paredown.training.begin import choose_examples
from paredown.training.devices import place
from paredown.training.feed import Feed
from paredown.training.journal import Journal
from paredown.training.learner import Learner
from paredown.training.watch import Watch

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
TRAINING = Training(epochs=15, batch_size=64, optimizer=Sgd(lr=0.05), average=0.9)


def quarters(count: int = 512, side: int = 16) -> ImageDataset:
    """Noise with a bright quarter, whose place is the class."""
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 4, count)
    images = draw.integers(0, 100, (count, side, side, 3)).astype(np.uint8)
    half = side // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 100
    return ImageDataset.from_arrays(images, labels, augmentation=Augmentation(crop=1, cutout=2))


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_training_on_a_gpu_learns_and_records(tmp_path: Path, precision: str) -> None:
    runtime = Runtime(device="cuda", precision=precision, progress=False, save_seconds=0)
    fit(quarters(), ConvNet(width=16), TRAINING, recording=Recording(), runtime=runtime, folder=tmp_path)
    dynamics = Trained.adopt(tmp_path).dynamics
    assert len(dynamics) == 15 and not any(np.isnan(epoch["margin"]).any() for epoch in dynamics)
    assert dynamics[14]["correct"].mean() > 0.95 > dynamics[0]["correct"].mean()


@pytest.mark.parametrize(
    "objective", [CrossEntropy(), Fast(), Free(), Madry(), Mart(), Trades()], ids=lambda objective: objective.name
)
def test_no_step_waits_for_the_device(tmp_path: Path, objective: AbstractObjective) -> None:
    data, training = quarters(), replace(TRAINING, objective=objective)
    plan = training.plan(kept=len(data), whole=len(data))
    with place(Runtime(device="cuda")) as here:
        made = network(ConvNet(width=16), data.shape, 4, mean=data.mean, std=data.std, seed=0).to(here.device)
        learner = Learner(made, training, plan, seed=0, place=here, compiled=False)
        inputs = OnDevice(data, here.device)
        feed = Feed(inputs, choose_examples(data, None, None), training, data.augmentation, seed=0, place=here)
        journal = Journal(learner, tmp_path, cursor={})
        recording = Recording(ADVERSARIAL_QUANTITIES) if objective.attacks else Recording()
        watch = Watch(recording, data.ids, plan, place=here, folder=tmp_path / "dynamics")
        try:
            for step, rows in enumerate(feed.epoch(0), start=1):
                if step == 3:  # the first steps choose kernels and make the optimizer's state
                    torch.cuda.set_sync_debug_mode("error")
                (whole,) = feed.whole([rows], step)
                x, y, where, weights = feed.share(rows, whole)
                seen, loss = learner.take(step, x, y, count=len(rows), weights=weights)
                journal.put(loss, seen, y, len(rows))
                watch.put(step, where, seen, y)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            journal.close()
