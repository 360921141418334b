"""Seconds of a training step of a masked network, as a multiple of the dense one's.

Whole steps are timed as `prune` makes them: forward, backward, optimizer, and whatever masks need; by cross-entropy,
the worst case, since an attack makes many more passes under the same masks. `sorted` is what published code does:
weight and scores stand side by side, and every pass sorts the scores of every layer. On a CPU the seconds are those of
the processor, which a busy machine lengthens little; the kinds take turns, and the figure is the median of the ratios.

    python benchmarks/pruning.py --model resnet18 --batch 64
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.utils import parametrize

from paredown.artifacts import PruningStrategy
from paredown.method import build
from paredown.models import Network, network
from paredown.pruning.admm import Penalty
from paredown.pruning.base import Held
from paredown.pruning.hydra import ScoreLearning, first_scores
from paredown.pruning.units import Units
from paredown.runtime import Runtime
from paredown.sparsity.groups import groups_of
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import hydra_kept, mask_set, weights_of
from paredown.training import Sgd, Training
from paredown.training.constraint import AbstractConstraint
from paredown.training.devices import Place, in_words, place
from paredown.training.learner import Learner

RESULT = Path(__file__).with_name("results") / "pruning.json"
SHAPE = (3, 32, 32)


class Sorted(nn.Module):
    """A weight times the mask of its scores, which are sorted at every pass."""

    def __init__(self, weight: Tensor, share: float) -> None:
        super().__init__()
        self.scores, self.share = nn.Parameter(weight.detach().clone()), share

    def forward(self, weight: Tensor) -> Tensor:
        order = self.scores.detach().abs().flatten().argsort()
        mask = torch.ones_like(order, dtype=weight.dtype)
        mask[order[: len(order) - hydra_kept(len(order), self.share)]] = 0
        # The straight-through gradient: the value is the mask's, the gradient that of |scores|.
        size = self.scores.abs()
        return weight.detach() * (mask.view_as(weight) + size - size.detach())


def published(net: Network, share: float) -> Network:
    """Gives a network whose every pass sorts."""
    for layer in layers_of(net):
        module = net.get_submodule(layer.name)
        parametrize.register_parametrization(module, "weight", Sorted(module.get_parameter("weight"), share))
        module.parametrizations.weight.original.requires_grad_(False)  # type: ignore[union-attr, operator]
    return net


def constraint(kind: str, net: Network, share: float) -> AbstractConstraint | None:
    """Gives what a kind of training holds a network to; none for a plain one, and for the one whose passes sort."""
    if kind in ("dense", "sorted"):
        return None
    granularity: Any = "channel" if "channel" in kind else "weight"
    layers = layers_of(net)
    groups = groups_of(net) if granularity == "channel" else None
    units = Units(layers, PruningStrategy.uniform(layers, share, granularity=granularity), groups)
    weights = weights_of(net, layers)
    if kind.startswith("scores"):
        return ScoreLearning(units, first_scores(units, weights))
    if kind.startswith("fine-tuning"):
        return Held(mask_set(units.masks(units.choose(units.magnitudes(weights, 1))), ""))
    return Penalty(units, 0.3, 1e-3, 1.3)


def steps(kind: str, name: str, batch: int, share: float, here: Place) -> Callable[[int], None]:
    """Gives what makes a step of a kind."""
    training = Training(steps=10_000, batch_size=batch, optimizer=Sgd(lr=1e-3))
    plan = training.plan(kept=batch, whole=batch)
    net = network(build("model", name), SHAPE, 10, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0).to(here.device)
    if kind == "sorted":
        net = published(net, share)
    held = constraint(kind, net, share)
    learner = Learner(net, training, plan, seed=0, place=here, compiled=False, constraint=held)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(batch, *SHAPE, generator=draw).to(here.device).to(memory_format=torch.channels_last)
    y = torch.randint(10, (batch,), generator=draw).to(here.device)

    def step(number: int) -> None:
        learner.take(number, x, y, count=batch, weights=None)
        if here.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--model", action="append")
    parser.add_argument("--precision", action="append")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--keep", type=float, default=0.1)
    parser.add_argument("--repeats", type=int, default=7)
    asked = parser.parse_args()
    kinds = ["dense", "fine-tuning", "fine-tuning, channels", "scores", "scores, channels", "admm", "sorted"]
    clock = time.process_time if asked.device == "cpu" else time.perf_counter
    rows = []
    for precision in asked.precision or ["float32", "bfloat16"]:
        with place(Runtime(device=asked.device, precision=precision)) as here:  # type: ignore[arg-type]
            for model in asked.model or ["resnet18", "vgg16-bn"]:
                makers = {kind: steps(kind, model, asked.batch, asked.keep, here) for kind in kinds}
                seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
                for number in range(1, asked.repeats + 2):  # the first chooses kernels and does not count
                    for kind, make in makers.items():
                        begun = clock()
                        make(number)
                        seconds[kind].append(clock() - begun)
                for kind in kinds:
                    ratios = [one / dense for one, dense in zip(seconds[kind][1:], seconds["dense"][1:], strict=True)]
                    found = {"seconds": statistics.median(seconds[kind][1:]), "of_dense": statistics.median(ratios)}
                    rows.append({"model": model, "precision": precision, "step": kind} | found)
    device = in_words(Runtime(device=asked.device))["device"]
    table = Table("model", "precision", "step", "seconds", "of dense", title=f"masked steps on {device}")
    for row in rows:
        cells = (f"{row['seconds']:.3f}", f"{row['of_dense']:.2f}")
        table.add_row(str(row["model"]), str(row["precision"]), str(row["step"]), *cells)
    Console().print(table)
    about = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    about |= {"threads": torch.get_num_threads(), "batch": asked.batch, "keep": asked.keep, "image": "3×32×32"}
    about |= {"repeats": asked.repeats, "command": f"python benchmarks/pruning.py --batch {asked.batch}"}
    RESULT.write_text(json.dumps(about | {"rows": rows}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
