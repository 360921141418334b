"""What recording, and what loading and augmenting, cost beside the step that they accompany.

The parts of the steps of one epoch are timed in turns within one run: the batch (gathering, augmenting, to float), the
step (forward, backward, optimizer, metrics), and the recording of five quantities, by the loop itself and by `Recorder`
as other people's loops use it; what the end of the epoch costs (`fit` also writes a file then) is spread over its
steps. Process CPU time on one thread, or wall time on a GPU, where each part is waited for. The targets are for images
of 28×28 and more; beside them stand the digits, 8×8, whose steps are so short that a Python call counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.data.loader import OnDevice
from paredown.models import AbstractModel, ConvNet, ResNet18, SmallResNet, network
from paredown.runtime import Runtime
from paredown.training import Recorder, Recording, Training
from paredown.training.begin import choose_examples
from paredown.training.devices import Place, in_words, place
from paredown.training.feed import Feed
from paredown.training.journal import Journal
from paredown.training.learner import Learner
from paredown.training.watch import Watch

RESULT = Path(__file__).with_name("results") / "recording.json"
PARTS = ("batch", "step", "recording", "Recorder.update")
# Model, shape of an image, steps of the epoch.
CASES: list[tuple[AbstractModel, tuple[int, int, int], int]] = [
    (ConvNet(width=32), (1, 8, 8), 60),
    (SmallResNet(), (1, 8, 8), 60),
    (ConvNet(width=64), (1, 28, 28), 30),
    (SmallResNet(), (1, 28, 28), 30),
    (ConvNet(), (3, 32, 32), 15),
    (ResNet18(), (3, 32, 32), 6),
]


def images(shape: tuple[int, int, int], count: int) -> ImageDataset:
    draw = np.random.default_rng(0)
    channels, height, width = shape
    pixels = draw.integers(0, 256, (count, height, width, channels)).astype(np.uint8)
    augmentation = Augmentation(crop=height // 8, flip=channels == 3)
    return ImageDataset.from_arrays(pixels, draw.integers(0, 10, count), name="noise", augmentation=augmentation)


def clock(here: Place) -> float:
    if here.device.type == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def parts(model: AbstractModel, shape: tuple[int, int, int], steps: int, here: Place) -> dict[str, list[float]]:
    """Seconds of each part, step by step."""
    data, training = images(shape, steps * 128), Training(steps=10_000)
    plan = training.plan(kept=len(data), whole=len(data))
    made = network(model, shape, 10, mean=data.mean, std=data.std, seed=0).to(here.device)
    learner = Learner(made, training, plan, seed=0, place=here, compiled=False)
    inputs = OnDevice(data, here.device)
    feed = Feed(inputs, choose_examples(data, None, None), training, data.augmentation, seed=0, place=here)
    found: dict[str, list[float]] = {part: [] for part in PARTS}
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(learner, Path(folder), cursor={})
        watch = Watch(Recording(), data.ids, plan, place=here, folder=Path(folder) / "dynamics")
        recorder = Recorder(data.ids)
        for rows in islice(feed.epoch(1), 3):  # these choose kernels
            (whole,) = feed.whole([rows], 1)
            x, y, _, _ = feed.share(rows, whole)
            learner.take(1, x, y, count=len(rows), weights=None)
        for step, rows in enumerate(feed.epoch(0), start=1):
            marks = [clock(here)]
            (whole,) = feed.whole([rows], step)
            x, y, where, weights = feed.share(rows, whole)
            marks.append(clock(here))
            seen, loss = learner.take(step, x, y, count=len(rows), weights=weights)
            journal.put(loss, seen, y, len(rows))
            marks.append(clock(here))
            watch.put(step, where, seen, y)
            marks.append(clock(here))
            recorder.update(seen.clean, y, rows)
            marks.append(clock(here))
            for part, start, end in zip(PARTS, marks, marks[1:], strict=False):
                found[part].append(end - start)
        marks = [clock(here)]
        watch.end_epoch(steps, made, feed.inputs, feed.positions)
        marks.append(clock(here))
        recorder.end_epoch()
        marks.append(clock(here))
        for part, start, end in zip(PARTS[2:], marks, marks[1:], strict=False):
            found[part] = [spent + (end - start) / steps for spent in found[part]]
        journal.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    asked = parser.parse_args()
    targets = {"recording": 0.05, "batch": 0.10 if asked.device == "cuda" else 0.05}
    rows = []
    for precision in ("bfloat16", "float32"):
        with place(Runtime(device=asked.device, precision=precision, threads=1)) as here:
            for model, shape, steps in CASES:
                middle = {part: statistics.median(spent) for part, spent in parts(model, shape, steps, here).items()}
                whole = middle["batch"] + middle["step"]
                shares = {part: middle[part] / whole for part in ("batch", "recording", "Recorder.update")}
                size = "×".join(str(side) for side in shape)
                row = {"model": f"{model.name}, {size}", "pixels": shape[1] * shape[2], "precision": precision}
                row |= {"steps": steps, "milliseconds": {part: 1000 * spent for part, spent in middle.items()}}
                rows.append(row | {"images_per_second": 128 / whole, "share_of_a_step": shares})
    met = {
        part: all(row["share_of_a_step"][part] < target for row in rows if row["pixels"] >= 28 * 28)
        for part, target in targets.items()
    }
    device = in_words(Runtime(device=asked.device))["device"]
    setting = {"batch_size": 128, "device": device, "threads": 1, "torch": torch.__version__}

    table = Table(title=f"Share of a training step of 128 images, {device}, one thread")
    for column in ("model", "precision", "ms a step", "images/s", "batch", "recording", "Recorder.update"):
        table.add_column(column, justify="left" if column in ("model", "precision") else "right")
    for row in rows:
        spent, shares = row["milliseconds"], row["share_of_a_step"]
        table.add_row(
            row["model"],
            row["precision"],
            f"{spent['batch'] + spent['step']:.1f}",
            f"{row['images_per_second']:,.0f}",
            *(f"{shares[part]:.2%}" for part in ("batch", "recording", "Recorder.update")),
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"targets {targets} met: {met}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({"setting": setting, "rows": rows, "targets": targets, "met": met}, indent=1) + "\n")


if __name__ == "__main__":
    main()
