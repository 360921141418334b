"""The first thousand steps of a distillation beside the logs of the published code: width 16, one image a class.

Both begin with the same ten whitened images. Networks, batches and draws of the pool differ, so that the curves are
compared as curves: accuracy of the regression within 0.01 and its loss within 3 % at steps 100, 500 and 1000, accuracy
of three students within 2.5 points.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from paredown import Runtime, evaluate, open_data, train
from paredown.artifacts import DistilledSet
from paredown.data.dataset import AbstractImages
from paredown.data.distilled import DistilledImages
from paredown.distillation import FeatureRegression, InfiniteSemantic
from paredown.distillation.base import Task
from paredown.distillation.course import Course
from paredown.distillation.initial import begin_as
from paredown.distillation.students import TRAINING
from paredown.models.widening import WideningConvNet
from paredown.training.devices import in_words, place

RESULT = Path(__file__).with_name("results") / "distillation_curves.json"
MARKS = (100, 500, 1000)
RUNS = {"eps0.0_topk1.0": (0.0, 1.0), "eps0.5_topk0.8": (0.5, 0.8)}
MODEL = WideningConvNet(width=16, depth=3)
STUDENT = WideningConvNet(width=16, depth=3, norm="none")


def published(golden: Path, run: str) -> tuple[dict[int, dict[str, float]], np.ndarray, np.ndarray]:
    """The figures at the marks, and the images and labels that the run began with."""
    log: dict[int, dict[str, float]] = {}
    for step, row in json.loads((golden / "reference_curves.json").read_text())[run]["log"]:
        log.setdefault(step, {}).update(row)
    with np.load(golden / f"reference_run_{run}.npz") as arrays:
        return {step: log[step] for step in MARKS}, arrays["x0"].transpose(0, 3, 1, 2), arrays["y0"]


def curve(
    data: AbstractImages, x: np.ndarray, y: np.ndarray, how: tuple[float, float], seed: int, runtime: Runtime
) -> tuple[dict[int, dict[str, float]], DistilledSet]:
    """Our figures at the marks, means over the hundred steps before each, and what was learnt."""
    method = FeatureRegression(
        model=MODEL, steps=MARKS[-1], flips=True, augmentation=InfiniteSemantic(epsilon=how[0], keep_hardest=how[1])
    )
    rows, found = np.arange(len(data)), {}
    task = Task(data, rows, begin_as(data, rows, per_class=1, chosen=None, seed=seed), seed=seed)
    with place(runtime, pixels=32 * 32) as here, TemporaryDirectory() as folder:
        outer, pool = method.assembled(task, np.empty(0, np.int64), runtime, here)
        learnt = outer.prototypes
        with torch.no_grad():
            learnt.images.copy_(torch.from_numpy(x))
            learnt.labels.copy_(torch.from_numpy(y))
        course = Course(Path(folder), (), classes=10, device=here.device, cursor={})
        for step in range(1, method.steps + 1):
            number = pool.drawn(step)
            course.put(*outer.gradients(step, pool.bodies[number]), learnt.images, learnt.labels)
            learnt.move(step)
            pool.learn(number, step, learnt.images, learnt.labels)
            if step % 100 == 0:
                course.look(step, rate=learnt.rate(step), images=learnt.images, labels=learnt.labels)
        course.close()
        for line in (Path(folder) / "metrics.jsonl").read_text().splitlines():
            row = json.loads(line)
            if row["step"] in MARKS:
                found[row["step"]] = row
        last = learnt.snapshot(method.steps)
    return found, task.made(last.images.numpy(), last.labels.numpy(), method.steps)


def students(learnt: DistilledSet, test: AbstractImages, count: int, runtime: Runtime) -> list[float]:
    made = [train(DistilledImages.of(learnt), STUDENT, TRAINING, seed=seed, runtime=runtime) for seed in range(count)]
    rows = [evaluate(one, test, runtime=runtime).rows[0] for one in made]
    return [100 * row.value for row in rows]


def compared(run: str, asked: argparse.Namespace, data: Any, test: Any, runtime: Runtime) -> dict[str, Any]:
    theirs, x, y = published(asked.golden, run)
    found = [curve(data, x, y, RUNS[run], seed, runtime) for seed in range(asked.seeds)]
    reached = [share for _, learnt in found for share in students(learnt, test, asked.students, runtime)]
    marks: dict[str, Any] = {}
    for step in MARKS:
        ours = {
            key: float(np.mean([row[step][f"train/{key}"] for row, _ in found])) for key in ("accuracy", "kernel_loss")
        }
        other = {key: theirs[step][f"train/{key}"] for key in ours}
        fits = abs(ours["accuracy"] - other["accuracy"]) <= 0.01
        fits &= abs(ours["kernel_loss"] / other["kernel_loss"] - 1) <= 0.03
        marks[str(step)] = {"ours": ours, "published": other, "fits": bool(fits)}
    mean, other = float(np.mean(reached)), theirs[MARKS[-1]]["eval/step_acc_mean"]
    return {
        "run": run, "seeds": asked.seeds, "marks": marks,
        "students": {"ours": mean, "spread": float(np.std(reached)), "n": len(reached), "published": other,
                     "fits": abs(mean - other) <= 2.5},
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--golden", type=Path, required=True, help="folder of reference_curves.json")
    parser.add_argument("--data", required=True, help="CIFAR-10: a folder, or a name")
    parser.add_argument("--run", action="append", choices=list(RUNS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--students", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    runtime = Runtime(device="cpu", threads=asked.threads, progress=False)
    data = open_data(asked.data, split="train", whiten="zca")
    test = open_data(asked.data, split="test")
    rows = [compared(run, asked, data, test, runtime) for run in asked.run or RUNS]
    table = Table("run", "step", "accuracy", "published", "loss", "published", title="regression on real batches")
    for row in rows:
        for step, mark in row["marks"].items():
            figures = [f"{mark[who][key]:.4f}" for key in ("accuracy", "kernel_loss") for who in ("ours", "published")]
            table.add_row(row["run"], step, *figures)
    Console().print(table)
    for row in rows:
        print(row["run"], "students", row["students"])
    setting = {
        "device": in_words(runtime)["device"], "torch": torch.__version__, "python": platform.python_version(),
        "command": "python benchmarks/distillation_curves.py --data CIFAR-10 --golden ARRAYS",
    }  # fmt: skip
    asked.out.write_text(json.dumps({"setting": setting, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
