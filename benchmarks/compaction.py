"""What removal is worth: ResNet-18 and VGG-16-BN with half of their channels, beside the dense networks.

Half of each group of channels goes by magnitude. Every variant is timed once a round, all in turns, so that what else
the machine does falls on all alike; a ratio is that of the medians. Times are process CPU time on the stated threads,
without which a busy machine would be measured and not the networks; wall time stands beside. Logits of the compacted
network are compared with those of the masked one, and onnxruntime's with those of torch.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from paredown.artifacts import Checkpoint, PruningStrategy
from paredown.artifacts.layers import fingerprint
from paredown.method import build
from paredown.models import checkpoint_of, load, network
from paredown.pruning.compact import compacted
from paredown.pruning.export import exported, onnx_session
from paredown.runtime import Runtime
from paredown.sparsity.apply import masked
from paredown.sparsity.groups import consistent_masks, groups_of
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import mask_set, weights_of
from paredown.training.devices import in_words

RESULT = Path(__file__).with_name("results") / "compaction.json"
PAGE = Path(__file__).parents[1] / "docs" / "network-pruning.md"
BEGIN, END = "<!-- compaction: begin -->", "<!-- compaction: end -->"
TARGET = {"speedup": 1.8, "batch": 64, "difference": 1e-5, "onnx": 1e-4}
SHAPE, CLASSES = (3, 32, 32), 10
Call = Callable[[], Any]


def dense(name: str) -> Checkpoint:
    """A network whose normalisations hold other statistics than those of a new one."""
    model = build("model", name)
    made = network(model, SHAPE, CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    draw = torch.Generator().manual_seed(0)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data = torch.rand(module.num_features, generator=draw) + 0.5
            module.bias.data = torch.rand(module.num_features, generator=draw) - 0.5
            module.running_mean = torch.rand(module.num_features, generator=draw) - 0.5
            module.running_var = torch.rand(module.num_features, generator=draw) + 0.5
    return checkpoint_of(made, model, 0)


def halves(checkpoint: Checkpoint, keep: float) -> tuple[nn.Module, Checkpoint]:
    """The masked network and the compacted one."""
    made = load(checkpoint)
    layers, groups = layers_of(made), groups_of(made)
    strategy = PruningStrategy.uniform(layers, keep, granularity="channel", first=1.0)
    masks = consistent_masks(weights_of(made, layers), layers, groups, strategy)
    small = compacted(checkpoint, mask_set(masks, fingerprint(layers), {"by": "magnitude"}))
    return masked(made, masks).remove(), small


def in_torch(net: nn.Module, images: np.ndarray, dtype: torch.dtype, *, last: bool) -> Call:
    form = torch.channels_last if last else torch.contiguous_format
    made = net.to(dtype).to(memory_format=form)  # type: ignore[call-overload]
    x = torch.from_numpy(images).to(dtype).to(memory_format=form)

    def run() -> Any:
        with torch.no_grad():
            return made(x)

    return run


def in_onnx(content: np.ndarray, images: np.ndarray, threads: int) -> Call:
    session = onnx_session(content, threads=threads)
    return lambda: session(images)


def seconds(calls: dict[str, Call], rounds: int) -> dict[str, dict[str, float]]:
    """Gives median CPU and wall seconds of every variant, timed in turns."""
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    wall: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start, begun = time.perf_counter(), time.process_time()
            call()
            if number:  # the first round warms up
                cpu[name].append(time.process_time() - begun)
                wall[name].append(time.perf_counter() - start)
    return {
        name: {
            "seconds": statistics.median(cpu[name]),
            "fastest": min(cpu[name]),
            "wall_seconds": statistics.median(wall[name]),
        }
        for name in calls
    }


def measure(name: str, batches: list[int], rounds: int, threads: int, keep: float) -> dict[str, Any]:
    whole = dense(name)
    zeroed, small = halves(whole, keep)
    files = {"dense": exported(whole, ["onnx"]), "compacted": exported(small, ["onnx"])}
    layers = {"dense": layers_of(load(whole)), "compacted": layers_of(load(small))}
    images = np.random.default_rng(0).random((8, *SHAPE), dtype=np.float32)
    with torch.no_grad():
        apart = float((zeroed(torch.from_numpy(images)) - load(small)(torch.from_numpy(images))).abs().max())
    found: dict[str, Any] = {
        "model": name,
        "weights": {which: sum(layer.weights for layer in held) for which, held in layers.items()},
        "macs": {which: sum(layer.macs for layer in held) for which, held in layers.items()},
        "onnx_bytes": {which: made.bytes_of("network.onnx") for which, made in files.items()},
        "difference": {
            "compacted from masked": apart,
            **{f"onnx from torch, {which}": made.about["network.onnx"]["difference"] for which, made in files.items()},
        },
        "rows": [],
    }
    for batch in batches:
        x = np.random.default_rng(1).random((batch, *SHAPE), dtype=np.float32)
        calls: dict[str, Call] = {"torch float32, masked": in_torch(zeroed, x, torch.float32, last=False)}
        for which, held in (("dense", whole), ("compacted", small)):
            calls[f"torch float32, {which}"] = in_torch(load(held), x, torch.float32, last=False)
            calls[f"torch float32 channels last, {which}"] = in_torch(load(held), x, torch.float32, last=True)
            calls[f"torch bfloat16 channels last, {which}"] = in_torch(load(held), x, torch.bfloat16, last=True)
            calls[f"onnxruntime float32, {which}"] = in_onnx(files[which].files["network.onnx"], x, threads)
        times = seconds(calls, rounds)
        for call, figures in times.items():
            how, _, which = call.rpartition(", ")
            ratio = times[f"{how}, dense"]["seconds"] / figures["seconds"]
            found["rows"].append({"batch": batch, "how": how, "network": which, "speedup": ratio} | figures)
    return found


def tables(found: list[dict[str, Any]]) -> str:
    """Gives what was measured as it stands on the page."""
    lines = [
        "| network | batch | by | dense, ms | compacted, ms | times faster |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        held = {(row["batch"], row["how"], row["network"]): row for row in one["rows"]}
        for batch, how, which in held:
            if which == "compacted":
                dense, small = (1e3 * held[batch, how, each]["seconds"] for each in ("dense", "compacted"))
                ratio = held[batch, how, which]["speedup"]
                lines.append(f"| {one['model']} | {batch} | {how} | {dense:.1f} | {small:.1f} | {ratio:.2f} |")
    lines += ["", "| network | weights | macs | ONNX file, MB | masked less compacted | ONNX less torch |"]
    lines += ["|---|---|---|---|---|---|"]
    for one in found:
        whole, small = ([one[what][which] for what in ("weights", "macs", "onnx_bytes")] for which in
                        ("dense", "compacted"))  # fmt: skip
        sizes = [f"{a / 1e6:.1f} → {b / 1e6:.1f}" for a, b in zip(whole, small, strict=True)]
        apart = [one["difference"][what] for what in ("compacted from masked", "onnx from torch, compacted")]
        cells = [one["model"], f"{sizes[0]} M", f"{sizes[1]} M", sizes[2], *(f"{value:.0e}" for value in apart)]
        lines.append(f"| {' | '.join(cells)} |")
    masked = [one["speedup"] for model in found for one in model["rows"] if one["network"] == "masked"]
    lines += ["", f"The masked networks take {1 / max(masked):.2f} to {1 / min(masked):.2f} of the dense ones' time."]
    return "\n".join(lines)


def onto_page(found: list[dict[str, Any]]) -> None:
    """Puts the tables where the page has them."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{tables(found)}\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--batch", type=int, action="append", help="default: 1 and 64")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    batches = asked.batch or [1, 64]
    found = [measure(name, batches, asked.rounds, asked.threads, asked.keep) for name in ("resnet18", "vgg16-bn")]
    table = Table("network", "batch", "how", "", "ms", "faster than dense", title=f"{asked.keep:g} of the channels")
    for one in found:
        for row in sorted(one["rows"], key=lambda row: (row["batch"], row["how"], row["network"] != "dense")):
            ms, ratio = f"{1e3 * row['seconds']:.1f}", f"{row['speedup']:.2f}x"
            table.add_row(one["model"], str(row["batch"]), row["how"], row["network"], ms, ratio)
    Console(width=120).print(table)
    for one in found:
        told = ", ".join(f"{what} {value:.1g}" for what, value in one["difference"].items())
        print(
            f"{one['model']}: {told}; ONNX {one['onnx_bytes']['dense']:,} -> {one['onnx_bytes']['compacted']:,} bytes"
        )
    about = {
        "device": in_words(Runtime(device="cpu"))["device"],
        "threads": asked.threads,
        "rounds": asked.rounds,
        "keep": asked.keep,
        "image": "x".join(map(str, SHAPE)),
        "seconds": "process CPU time, median over rounds",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name).partition("+")[0] for name in ("torch", "onnx", "onnxruntime")},
        "target": TARGET,
        "command": "python benchmarks/compaction.py",
    }
    RESULT.write_text(json.dumps(about | {"networks": found}, indent=1, ensure_ascii=False) + "\n")
    onto_page(found)


if __name__ == "__main__":
    main()
