"""Images a second of training, and which share of the machine's measured matrix-product ceiling that is.

The whole path is timed: gathering, augmenting, forward, backward, optimizer, as `fit` does them. The ceiling is the
fastest of several large matrix products in the same precision, measured in the same run; a training step is
counted as three forward passes of multiply-adds. Wall time; on a GPU every measurement waits for the device.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.data.loader import OnDevice
from paredown.method import build
from paredown.models import network
from paredown.runtime import Runtime
from paredown.training import Training
from paredown.training.begin import choose_examples
from paredown.training.devices import Place, in_words, place
from paredown.training.feed import Feed
from paredown.training.learner import Learner

RESULT = Path(__file__).with_name("results") / "training.json"


def wait(here: Place) -> float:
    if here.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def ceiling(here: Place, dtype: torch.dtype) -> float:
    """Floating-point operations a second of the best of a few matrix products, by `@` and as 1×1 convolutions.

    On a CPU the two go through different libraries, and in float32 the second can be much the faster.
    """
    side = 8192 if here.device.type == "cuda" else 2048
    a, b = (torch.randn(side, side, device=here.device, dtype=dtype) for _ in range(2))
    image = a.view(1, side // 64, 64, side).permute(0, 3, 1, 2)  # channels_last, so that no copy is needed
    kernel = b.view(side, side, 1, 1)
    best = float("inf")
    for _ in range(5):
        for product in (lambda: a @ b, lambda: nn.functional.conv2d(image, kernel)):
            start = wait(here)
            product()
            best = min(best, wait(here) - start)
    return 2 * side**3 / best


def multiply_adds(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of convolutions and linear layers for one image."""
    total = 0

    def count(layer: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()

    hooks = [layer.register_forward_hook(count) for layer in net.modules()]
    device = next(net.parameters()).device
    with torch.no_grad():
        net.eval()(torch.zeros(1, *shape, device=device))
    for hook in hooks:
        hook.remove()
    return total


def measure(name: str, batch: int, steps: int, here: Place, *, compiled: bool) -> dict[str, float]:
    draw = np.random.default_rng(0)
    shape = (3, 32, 32)
    pixels = draw.integers(0, 256, (batch * (steps + 8), 32, 32, 3)).astype(np.uint8)
    augmentation = Augmentation(crop=4, flip=True)
    labels = draw.integers(0, 10, len(pixels))
    data = ImageDataset.from_arrays(pixels, labels, name="noise", augmentation=augmentation)
    training = Training(steps=10_000, batch_size=batch)
    plan = training.plan(kept=len(data), whole=len(data))
    made = network(build("model", name), shape, 10, mean=data.mean, std=data.std, seed=0).to(here.device)
    work = 2 * 3 * multiply_adds(made, shape)
    learner = Learner(made, training, plan, seed=0, place=here, compiled=compiled)
    inputs = OnDevice(data, here.device)
    feed = Feed(inputs, choose_examples(data, None, None), training, data.augmentation, seed=0, place=here)
    rates = []
    batches = enumerate(feed.epoch(0), start=1)
    for _ in range(4):  # the first quarter chooses kernels and does not count
        start = wait(here)
        for step, rows in islice(batches, steps // 4 or 1):
            (whole,) = feed.whole([rows], step)
            x, y, _, weights = feed.share(rows, whole)
            learner.take(step, x, y, count=len(rows), weights=weights)
        rates.append(batch * (steps // 4 or 1) / (wait(here) - start))
    dtype = torch.bfloat16 if here.bfloat16 else torch.float32
    top = ceiling(here, dtype)
    rate = statistics.median(rates[1:])
    return {"images_per_second": rate, "flops_per_image": work, "ceiling_flops": top, "share": rate * work / top}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", action="append")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    on_gpu = asked.device.startswith("cuda")
    steps, batch = asked.steps or (200 if on_gpu else 8), asked.batch or (512 if on_gpu else 128)
    rows = []
    for precision in ("bfloat16", "float32"):
        with place(Runtime(device=asked.device, precision=precision), pixels=32 * 32) as here:  # type: ignore[arg-type]
            for model in asked.model or ["resnet18", "small-resnet"]:
                found = measure(model, batch, steps, here, compiled=asked.compile)
                rows.append({"model": model, "precision": precision, "batch": batch, "compiled": asked.compile} | found)
    device = in_words(Runtime(device=asked.device))["device"]
    table = Table("model", "precision", "images/s", "share of the matrix ceiling", title=f"training on {device}")
    for row in rows:
        table.add_row(row["model"], row["precision"], f"{row['images_per_second']:,.0f}", f"{row['share']:.0%}")
    Console().print(table)
    about = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    about |= {"threads": torch.get_num_threads(), "image": "3×32×32", "command": "python benchmarks/training.py"}
    RESULT.write_text(json.dumps(about | {"rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
