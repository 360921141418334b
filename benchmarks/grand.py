"""GraNd of all parameters for resnet18 at 32x32, beside one ordinary forward and backward pass of the same batch.

Times are process CPU time on one thread (wall time on a GPU), taken in turns, best of several; memory is the peak above
the loaded network, each method in a process of its own. Ratios are to the training step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from paredown.models import ResNet18, network
from paredown.runtime import Runtime
from paredown.scoring import El2n, Grand, LastLayerGrand
from paredown.training.devices import in_words

RESULT = Path(__file__).with_name("results") / "grand.json"
TARGETS = {"time": 1.2, "memory": 1.2, "error": 1e-4}


def step(net: nn.Module, x: Tensor, y: Tensor, *, training: bool) -> None:
    net.train(training)
    net.zero_grad(set_to_none=True)
    functional.cross_entropy(net(x), y).backward()
    net.eval()


def vmap_norms(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    parameters = {name: parameter.detach() for name, parameter in net.named_parameters()}

    def one_loss(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        return functional.cross_entropy(torch.func.functional_call(net, values, (image[None],)), label[None])

    gradients = torch.func.vmap(torch.func.grad(one_loss), (None, 0, 0))(parameters, x, y)
    return sum(gradient.flatten(1).square().sum(1) for gradient in gradients.values()).sqrt()


def norms_one_by_one(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    rows = []
    for image, label in zip(x, y, strict=True):
        one_loss = functional.cross_entropy(net(image[None]), label[None])
        gradients = torch.autograd.grad(one_loss, list(net.parameters()))
        rows.append(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt())
    return torch.stack(rows)


def forward(scorer: El2n | LastLayerGrand) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
    def values(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return scorer.values(net, x, y)

    return values


# Name → what it does, how many of the timed rounds it takes part in.
METHODS: dict[str, tuple[Callable[[nn.Module, Tensor, Tensor], Tensor | None], int]] = {
    "training step": (lambda net, x, y: step(net, x, y, training=True), 7),
    "the same in inference mode": (lambda net, x, y: step(net, x, y, training=False), 7),
    "GraNd, closed forms": (Grand().values, 7),
    "GraNd, torch.func vmap": (vmap_norms, 2),
    "GraNd, one by one": (norms_one_by_one, 2),
    "GraNd, last layer": (forward(LastLayerGrand()), 7),
    "EL2N": (forward(El2n()), 7),
}
REFERENCE, OURS = "training step", "GraNd, closed forms"


def made(device: str, examples: int) -> tuple[nn.Module, Tensor, Tensor]:
    net = network(ResNet18(), (3, 32, 32), 10, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0).to(device).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(examples, 3, 32, 32, generator=generator).to(device)
    return net, x, torch.randint(0, 10, (examples,), generator=generator).to(device)


def clock(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def memory(name: str, device: str, examples: int) -> float:
    """Peak MB of one call above the loaded network; run in a process of its own."""
    net, x, y = made(device, examples)
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        METHODS[name][0](net, x, y)
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    # A small pass first: libraries allocate workspaces and code once, whatever the method.
    with torch.no_grad():
        net(x[:1])
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = resident("VmRSS")
    METHODS[name][0](net, x, y)
    return (resident("VmHWM") - before) / 1e3


def resident(entry: str) -> int:
    """Kilobytes of this process in memory now (VmRSS) or at the most so far (VmHWM); Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(entry))


def memory_apart(name: str, device: str, examples: int) -> float:
    command = [sys.executable, __file__, "--memory-of", name, "--device", device, "--examples", str(examples)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def times(device: str, examples: int) -> dict[str, list[float]]:
    net, x, y = made(device, examples)
    for method, _ in METHODS.values():
        method(net, x[:2], y[:2])
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    for turn in range(max(rounds for _, rounds in METHODS.values())):
        for name, (method, rounds) in METHODS.items():
            if turn < rounds:
                start = clock(device)
                method(net, x, y)
                found[name].append(clock(device) - start)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--examples", type=int, default=None, help="batch; 20 on a CPU, 256 on a GPU")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cudnn.allow_tf32 = False
    examples = asked.examples or (256 if asked.device == "cuda" else 20)
    if asked.memory_of:
        sys.stdout.write(str(memory(asked.memory_of, asked.device, examples)))
        return

    net, x, y = made(asked.device, examples)
    exact = norms_one_by_one(net, x, y)
    error = ((Grand().values(net, x, y) - exact) / exact).abs().max().item()
    seconds = times(asked.device, examples)
    megabytes = {name: memory_apart(name, asked.device, examples) for name in METHODS}
    rows = {
        name: {
            "seconds_per_1000": 1000 * min(spent) / examples,
            "time_ratio": min(spent) / min(seconds[REFERENCE]),
            "time_ratio_of_medians": statistics.median(spent) / statistics.median(seconds[REFERENCE]),
            "megabytes": megabytes[name],
            "memory_ratio": megabytes[name] / megabytes[REFERENCE],
            "rounds": len(spent),
        }
        for name, spent in seconds.items()
    }
    ours = rows[OURS]
    met = {
        "time": max(ours["time_ratio"], ours["time_ratio_of_medians"]) <= TARGETS["time"],
        "memory": ours["memory_ratio"] <= TARGETS["memory"],
        "error": error <= TARGETS["error"],
    }
    setting = {
        "network": "resnet18, 3x32x32",
        "examples": examples,
        "device": in_words(Runtime(device=asked.device))["device"],
        "threads": 1,
        "torch": torch.__version__,
    }
    table = Table(title=f"GraNd, {setting['network']}, batch of {examples}, {setting['device']}, one thread")
    for column in ("method", "s / 1000 images", "× training step", "(medians)", "peak MB", "× training step"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['seconds_per_1000']:.2f}",
            f"{row['time_ratio']:.2f}",
            f"{row['time_ratio_of_medians']:.2f}",
            f"{row['megabytes']:.0f}",
            f"{row['memory_ratio']:.2f}",
        )
    console = Console(width=110)
    console.print(table)
    console.print(f"largest relative error against one by one: {error:.1e}; targets met: {met}")
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(
        json.dumps({"setting": setting, "rows": rows, "error": error, "targets": TARGETS, "met": met}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
