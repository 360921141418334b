"""Core-seconds of one step of feature regression, beside a transcription of its equations, and how near to the ceiling.

CIFAR-10's shape, ten images a class, mirror images, a widening ConvNet of width 128 and depth 3, 1024 real images a
step, ε = 0.5, 0.8 kept. Both take the same steps from the same weights on the same batches, turn by turn in one
process; process time counts, which on a machine with other work to do says more than a clock. The ceiling is the
fastest of a few matrix products and convolutions in the precision of the steps, measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from paredown.data import ImageDataset
from paredown.distillation.base import Task
from paredown.distillation.cost import image_cost, step_cost
from paredown.distillation.feature_regression import FeatureRegression
from paredown.distillation.initial import begin_as
from paredown.models.widening import WideningConvNet
from paredown.runtime import Runtime
from paredown.training.devices import in_words, place

sys.path.insert(0, str(Path(__file__).parent))
import transcribed_distillation as transcribed

RESULT = Path(__file__).with_name("results") / "distillation.json"
PER_CLASS, CLASSES, STEPS = 10, 10, 500_000
TARGETS = {"core_seconds": 2.2, "times_the_transcription": 3.0}
TOLERANCE = {"float32": 1e-3, "bfloat16": 1e-2}
"""Of the loss of each step, relative to the transcription's."""


def problem(images: int) -> ImageDataset:
    """Smooth coloured noise with a pattern a class: features are neither all alike nor all apart."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % CLASSES
    patterns = rng.normal(size=(CLASSES, 8, 8, 3))
    coarse = patterns[labels] + 1.5 * rng.normal(size=(images, 8, 8, 3))
    fine = coarse.repeat(4, 1).repeat(4, 2) + 0.5 * rng.normal(size=(images, 32, 32, 3))
    pixels = np.clip(128 + 40 * fine, 0, 255).astype(np.uint8)
    return ImageDataset.from_arrays(pixels, labels, name="patterns")


def copied(ours: nn.Module, width: int) -> transcribed.Network:
    """The transcription's network with the weights of ours."""
    made = transcribed.Network(width, 3, CLASSES)
    layers = [layer for layer in ours.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    groups = (made.convs, made.norms, [made.classify])
    for kind, group in zip((nn.Conv2d, nn.BatchNorm2d, nn.Linear), groups, strict=True):
        for mine, other in zip(group, (layer for layer in layers if isinstance(layer, kind)), strict=True):
            mine.load_state_dict({name: value.contiguous() for name, value in other.state_dict().items()})
    return made


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def ceiling(dtype: torch.dtype) -> float:
    """Operations a core-second of the best of a few products and convolutions."""
    a, b = (torch.randn(2048, 2048, dtype=dtype) for _ in range(2))
    image = torch.randn(32, 128, 16, 16, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(256, 128, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
    works: list[tuple[float, Callable[[], Tensor]]] = [
        (2 * 2048**3, lambda: a @ b),
        (2 * 9 * 128 * 256 * 256 * 32, lambda: nn.functional.conv2d(image, kernel, padding=1)),
    ]
    with torch.no_grad():
        return max(operations / min(seconds(work)[0] for _ in range(6)) for operations, work in works)


def prepared(width: int, batch: int) -> tuple[FeatureRegression, Task]:
    """The method and what is distilled: ten images a class, mirrored."""
    method = FeatureRegression(
        model=WideningConvNet(width=width), steps=STEPS, batch_size=batch, online_networks=1, flips=True
    )
    data = problem(max(2048, 2 * batch))
    rows = np.arange(len(data))
    return method, Task(data, rows, begin_as(data, rows, per_class=PER_CLASS, chosen=None, seed=0))


def operations(body: nn.Module, batch: int) -> float:
    cost = step_cost(image_cost(body, (3, 32, 32)), classes=CLASSES, learnt=PER_CLASS * CLASSES, batch=batch)
    return cost.total


def by_the_clock(device: str, width: int, batch: int, steps: int, *, compiled: bool) -> dict[str, Any]:
    """Milliseconds of a step on a device, without the transcription."""
    runtime = Runtime(device=device, compile=compiled)
    method, task = prepared(width, batch)
    with place(runtime, pixels=32 * 32) as here:
        outer, pool = method.assembled(task, np.empty(0, np.int64), runtime, here)

        def taken(first: int, count: int) -> float:
            if here.device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            for step in range(first, first + count):
                outer.gradients(step, pool.bodies[0])
                outer.prototypes.move(step)
                pool.learn(0, step, outer.prototypes.images, outer.prototypes.labels)
            if here.device.type == "cuda":
                torch.cuda.synchronize()
            return (time.perf_counter() - start) / count

        warm = max(3, steps // 10)
        taken(1, warm)
        each = statistics.median(taken(1 + warm + part * (steps // 3), steps // 3 or 1) for part in range(3))
        done = operations(pool.bodies[0], batch)
    return {
        "device": in_words(runtime)["device"], "compiled": compiled, "width": width, "batch": batch,
        "milliseconds": 1000 * each, "operations_a_second": done / each,
    }  # fmt: skip


def measured(precision: str, width: int, batch: int, rounds: int) -> dict[str, Any]:
    runtime = Runtime(device="cpu", precision=precision, threads=1)  # type: ignore[arg-type]
    method, task = prepared(width, batch)
    with place(runtime, pixels=32 * 32) as here:
        outer, pool = method.assembled(task, np.empty(0, np.int64), runtime, here)
        prototypes = outer.prototypes
        learnt = [part.detach().contiguous() for part in (prototypes.images, prototypes.labels)]
        plain = transcribed.Step(copied(pool.bodies[0], width), *learnt, steps=STEPS)
        peak = ceiling(torch.bfloat16 if here.bfloat16 else torch.float32)
        times: dict[str, list[float]] = {name: [] for name in ("ours", "plain", "targets", "outer", "online")}
        worst = 0.0
        for step in range(1, rounds + 2):
            images, aims, _ = outer.real.batch(step - 1)
            exact = outer.real.enter(task.rows[outer.real.rows_of(step - 1)]).contiguous()
            a, targets = seconds(lambda exact=exact: plain.targets(exact))
            b, theirs = seconds(lambda t=targets, y=aims: plain.outer(t, y, epsilon=0.5, topk=0.8))
            c, _ = seconds(plain.online)
            d, (loss, _, _) = seconds(lambda step=step: outer.gradients(step, pool.bodies[0]))
            e, _ = seconds(lambda step=step: prototypes.move(step))
            f, _ = seconds(lambda step=step: pool.learn(0, step, prototypes.images, prototypes.labels))
            worst = max(worst, abs(float(loss) - theirs) / abs(theirs))
            g, _ = seconds(lambda images=images: outer.extractor.of(images))
            if step > 1:  # the first chooses kernels
                times["plain"].append(a + b + c)
                times["ours"].append(d + e + f)
                times["targets"].append(g)
                times["outer"].append(d + e - g)
                times["online"].append(f)
        done = operations(pool.bodies[0], batch)
    middle = {name: statistics.median(values) for name, values in times.items()}
    if worst > TOLERANCE[precision]:
        raise SystemExit(
            f"{precision}: a loss is {worst:.2e} off the transcription's, more than {TOLERANCE[precision]}"
        )
    return {
        "precision": precision, "width": width, "batch": batch, "rounds": rounds,
        "core_seconds": middle["ours"], "of_it": {name: middle[name] for name in ("targets", "outer", "online")},
        "transcription_core_seconds": middle["plain"], "times_the_transcription": middle["plain"] / middle["ours"],
        "operations": done, "ceiling_operations_a_core_second": peak,
        "share_of_the_ceiling": done / middle["ours"] / peak, "largest_difference_of_a_loss": worst,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", action="append", choices=["bfloat16", "float32"])
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--device", default="cpu", help="another one is measured by the clock alone")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=300, help="by the clock")
    asked = parser.parse_args()
    if asked.device != "cpu":
        found = by_the_clock(asked.device, asked.width, asked.batch, asked.steps, compiled=asked.compile)
        print(json.dumps(found, indent=1))
        return
    rows = [measured(p, asked.width, asked.batch, asked.rounds) for p in asked.precision or ["bfloat16", "float32"]]
    about = in_words(Runtime(device="cpu"))["device"]
    table = Table("precision", "core-s", "transcription", "times", "of the ceiling", title=f"one step on {about}")
    for row in rows:
        table.add_row(
            row["precision"], f"{row['core_seconds']:.2f}", f"{row['transcription_core_seconds']:.2f}",
            f"{row['times_the_transcription']:.1f}", f"{row['share_of_the_ceiling']:.0%}",
        )  # fmt: skip
    Console().print(table)
    setting = {
        "device": about, "threads": 1, "torch": torch.__version__, "python": platform.python_version(),
        "command": "python benchmarks/distillation.py",
        "image": "3×32×32", "images_a_class": PER_CLASS, "classes": CLASSES, "mirrored": True,
    }  # fmt: skip
    asked.out.write_text(json.dumps({"setting": setting, "targets": TARGETS, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
