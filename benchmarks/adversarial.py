"""One step of adversarial training against the obvious implementation, and what the ensemble of attacks saves.

Steps: PreAct-ResNet-18-Swish on images of CIFAR-10's shape and the small ResNet on images of Fashion-MNIST's, by TRADES
and by Madry's objective with ten steps of PGD. Ours is the path of `fit`: gathering and augmenting on the device,
attack and passes in the precision that the machine is fast at; then in float32 as well. The obvious one is what papers
publish: images augmented one by one on the host, float32, channels first, gradients of weights computed inside the
attack and thrown away. Both take turns, so that a busy machine is busy for both, and the median of the rounds counts.
Beside the seconds stand forward-equivalents: operations of a step, counted, in units of one forward pass. Before the
clock starts both take a step from the same weights on the same batch from the same start; their losses must agree.

Ensemble: a small network trained by `fast` on a part of the digits, 1000 other digits, three radii. What each attack
costs in full on every example is measured with logits that nothing can fool. The share that the ensemble costs is not
far from the robust accuracy: what survives goes through everything.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from paredown.artifacts import Trained
from paredown.attacks import Fgsm, Pgd, quick_ensemble, worst_case
from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.data.digits import Digits
from paredown.data.loader import OnDevice
from paredown.method import build
from paredown.models import load, network
from paredown.runtime import Runtime
from paredown.training import Fast, Madry, OneCycle, Passes, Sgd, Trades, Training, fit
from paredown.training.begin import choose_examples
from paredown.training.devices import Place, in_words, place
from paredown.training.feed import Feed
from paredown.training.learner import Learner

RESULT = Path(__file__).with_name("results") / "adversarial.json"
ATTACK = Pgd(eps=8 / 255, step=2 / 255, steps=10)
# In units of a forward pass, of which a gradient of images or of weights is one more. A step of an attack needs the
# images' alone; the obvious one computes both. TRADES looks once at the clean images first and trains on two passes.
THEORY = {"trades": (1 + 10 * 2 + 2 * 3, 1 + 10 * 3 + 2 * 3), "madry": (10 * 2 + 3, 10 * 3 + 3)}
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}
WORKLOADS = [("preact-swish", (3, 32, 32), 32, 3), ("small-resnet", (1, 28, 28), 128, 5)]


def on_the_host(images: np.ndarray, draw: np.random.Generator) -> Tensor:
    """What a loader's workers do, image by image: pad by four, cut out, mirror, to [0, 1], channels first."""
    made = []
    for image in images:
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        top, left = draw.integers(0, 9, 2)
        cut = padded[top : top + image.shape[0], left : left + image.shape[1]]
        cut = cut[:, ::-1] if draw.random() < 0.5 else cut
        made.append(torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1))).float().div(255))
    return torch.stack(made)


def climbed(net: nn.Module, x: Tensor, loss: Callable[[Tensor], Tensor], drawn: torch.Generator) -> Tensor:
    """Ten steps of PGD in the obvious way: `backward`, so that weights get gradients too."""
    noise = torch.rand(x.shape, generator=drawn, device=x.device) * 2 - 1
    moved = (x + ATTACK.ball.eps * noise).clamp(0, 1)
    for _ in range(ATTACK.steps):
        moved = moved.detach().requires_grad_(True)
        loss(net(moved)).backward()
        assert moved.grad is not None
        stepped = moved.detach() + ATTACK.step * moved.grad.sign()
        moved = torch.min(torch.max(stepped, x - ATTACK.ball.eps), x + ATTACK.ball.eps).clamp(0, 1)
    return moved.detach()


def obvious(name: str, net: nn.Module, optimizer: Any, x: Tensor, y: Tensor, drawn: torch.Generator) -> float:
    """One step as it is usually written; gives the loss."""
    divergence = nn.KLDivLoss(reduction="sum")
    if name == "trades":
        clean = functional.softmax(net(x), dim=1).detach()
        moved = climbed(net, x, lambda z: divergence(functional.log_softmax(z, dim=1), clean), drawn)
        optimizer.zero_grad()
        logits, adversarial = net(x), net(moved)
        apart = divergence(functional.log_softmax(adversarial, dim=1), functional.softmax(logits, dim=1))
        loss = functional.cross_entropy(logits, y) + 5 / len(x) * apart
    else:
        net.eval()
        moved = climbed(net, x, lambda z: functional.cross_entropy(z, y), drawn)
        net.train()
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(moved), y)
    loss.backward()
    optimizer.step()
    return loss.item()


class Operations(TorchDispatchMode):
    """Counts the operations of matrix products and convolutions, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def operations(work: Callable[[], Any]) -> int:
    with Operations() as counter:
        work()
    return counter.total


def objective(name: str) -> Any:
    return Trades(attack=ATTACK) if name == "trades" else Madry(attack=ATTACK)


class Pair:
    """Two networks with the same weights: one is trained our way, one the obvious way.

    Args:
        name: of the objective.
        model: of the catalog.
        shape: of an image.
        batch: examples a step.
        here: device and precision of ours.
    """

    def __init__(self, name: str, model: str, shape: tuple[int, int, int], batch: int, here: Place) -> None:
        draw = np.random.default_rng(0)
        self.name, self.here, self.batch = name, here, batch
        pixels = draw.integers(0, 256, (batch * 40, shape[1], shape[2], shape[0])).astype(np.uint8)
        augmentation = Augmentation(crop=4, flip=True, padding="zero")
        self.data = ImageDataset.from_arrays(pixels, draw.integers(0, 10, len(pixels)), name="noise")
        made = network(build("model", model), shape, 10, mean=self.data.mean, std=self.data.std, seed=0)
        self.theirs = copy.deepcopy(made).to(here.device).train()
        self.optimizer = torch.optim.SGD(
            self.theirs.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        training = Training(steps=10_000, batch_size=batch, objective=objective(name), optimizer=Sgd(lr=0.1))
        plan = training.plan(kept=len(self.data), whole=len(self.data))
        self.learner = Learner(made.to(here.device), training, plan, seed=0, place=here, compiled=False)
        inputs = OnDevice(self.data, here.device)
        self.feed = Feed(inputs, choose_examples(self.data, None, None), training, augmentation, seed=0, place=here)
        self.draw, self.drawn, self.step = draw, torch.Generator(here.device), 0
        self.order = self.feed.epoch(0)

    def losses(self) -> tuple[float, float]:
        """Gives ours and theirs from the same weights, batch and start."""
        x, y = self.feed.inputs.batch(np.arange(self.batch))
        ours, theirs = copy.deepcopy(self.learner.network), copy.deepcopy(self.theirs)
        passes = Passes(ours, seed=1, autocast=self.here.autocast())
        mine = objective(self.name).losses(passes, x, y).losses.mean().item()
        plain = torch.optim.SGD(theirs.parameters(), lr=0.1)
        drawn = torch.Generator(self.here.device).manual_seed(1)
        return mine, obvious(self.name, theirs, plain, x.contiguous(), y, drawn)

    def ours(self) -> None:
        (rows,) = islice(self.order, 1)
        self.step += 1
        (whole,) = self.feed.whole([rows], self.step)
        x, y, _, weights = self.feed.share(rows, whole)
        self.learner.take(self.step, x, y, count=len(rows), weights=weights)

    def obvious(self) -> None:
        rows = self.draw.integers(0, len(self.data), self.batch)
        x = on_the_host(self.data.images[rows], self.draw).to(self.here.device)
        y = torch.from_numpy(self.data.labels[rows]).to(self.here.device)
        obvious(self.name, self.theirs, self.optimizer, x, y, self.drawn)

    def equivalents(self) -> tuple[float, float]:
        """Gives the forward-equivalents of our step and of the obvious one, counted."""

        x, _ = self.feed.inputs.batch(np.arange(self.batch))
        with torch.no_grad():
            one = operations(lambda: copy.deepcopy(self.theirs)(x))
        return operations(self.ours) / one, operations(self.obvious) / one


def clocked(here: Place, work: Callable[[], Any]) -> tuple[float, float]:
    """Gives seconds on the wall, and of the processor."""
    if here.device.type == "cuda":
        torch.cuda.synchronize()
    wall, processor = time.perf_counter(), time.process_time()
    work()
    if here.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - processor


def steps(device: str, precision: Any, threads: int, scale: float) -> list[dict[str, Any]]:
    rows = []
    for model, shape, batch, rounds in WORKLOADS:
        for name in THEORY:
            runtime = Runtime(device=device, precision=precision, threads=threads)  # type: ignore[arg-type]
            with place(runtime, pixels=shape[1] * shape[2]) as here:
                kind = "bfloat16" if here.bfloat16 else "float32"
                pair = Pair(name, model, shape, batch, here)
                mine, theirs = pair.losses()
                assert abs(mine - theirs) <= TOLERANCE[kind] * max(1.0, abs(theirs)), (model, name, mine, theirs)
                counted = pair.equivalents()  # and the first step of each, which chooses kernels
                times = [
                    (clocked(here, pair.obvious), clocked(here, pair.ours))
                    for _ in range(max(3, round(rounds * scale)))
                ]
            ratios = [apart[0][0] / apart[1][0] for apart in times]
            seconds = [statistics.median(found[side][0] for found in times) for side in (0, 1)]
            processor = [statistics.median(found[side][1] for found in times) for side in (0, 1)]
            rows.append({
                "model": model, "image": "×".join(map(str, shape)), "batch": batch, "objective": f"{name}-10",
                "precision": kind, "rounds": len(times),
                "seconds": seconds[1], "obvious_seconds": seconds[0], "ratio": statistics.median(ratios),
                "ratio_of_rounds": [min(ratios), max(ratios)], "ratio_of_processor_time": processor[0] / processor[1],
                "loss": mine, "obvious_loss": theirs, "tolerance": TOLERANCE[kind],
                "forward_equivalents": counted[0], "in_theory": THEORY[name][0],
                "obvious_forward_equivalents": counted[1], "obvious_in_theory": THEORY[name][1],
            })  # fmt: skip
            print(model, name, kind, f"{rows[-1]['ratio']:.2f}", flush=True)
    return rows


class Unfooled(nn.Module):
    """A network whose logit of the label is far ahead: every attack goes through all its steps."""

    def __init__(self, made: nn.Module, y: Tensor) -> None:
        super().__init__()
        self.made = made
        self.ahead = functional.one_hot(y, 10) * 1e3

    def forward(self, x: Tensor) -> Tensor:
        return self.made(x) + self.ahead[: len(x)]


def robust_small_network(eps: float, folder: Path) -> tuple[nn.Module, Tensor, Tensor]:
    """A small network that is robust on digits, and 1000 digits that it has not seen."""
    parts = [Digits().load(), Digits(split="test").load()]
    images, labels = (np.concatenate([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    data = ImageDataset.from_arrays(images[1000:], labels[1000:], classes=parts[0].classes)
    fast = Fast(attack=Fgsm(eps=eps), noise=1.0)
    training = Training(steps=600, batch_size=64, optimizer=Sgd(lr=0.1), schedule=OneCycle(), objective=fast)
    quiet = Runtime(device="cpu", precision="float32", progress=False)
    fit(data, build("model", {"name": "convnet", "width": 32}), training, runtime=quiet, folder=folder)
    x = torch.from_numpy(images[:1000]).permute(0, 3, 1, 2).float() / 255
    return load(Trained.adopt(folder).checkpoint), x.contiguous(), torch.from_numpy(labels[:1000])


def ensemble(eps: float, rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        made, x, y = robust_small_network(eps, Path(folder))
    attacks = quick_ensemble("linf", eps)
    parts = [slice(first, first + 500) for first in range(0, len(x), 500)]
    here = Place(torch.device("cpu"))
    found: list[Tensor] = []

    def one_after_another() -> None:
        found[:] = [worst_case(made, attacks, x[part], y[part]).fooled_by for part in parts]

    def everything() -> None:
        for part in parts:
            for attack in attacks:
                attack(Unfooled(made, y[part]), x[part], y[part])

    def alone() -> None:
        for part in parts:
            for attack in attacks:
                attack(made, x[part], y[part])

    counted = [operations(work) for work in (one_after_another, everything, alone)]  # and kernels are chosen
    print(f"ensemble, {eps:g}: {counted[0] / counted[1]:.2f}", flush=True)
    times = [[clocked(here, work) for work in (one_after_another, everything)] for _ in range(rounds)]
    ours, full = ([one[place] for one in times] for place in range(2))
    fooled_by = torch.cat(found)
    ratios = [mine[0] / other[0] for mine, other in zip(ours, full, strict=True)]
    return {
        "data": "digits", "n": len(x), "threat": f"linf {eps:g}", "attacks": [attack.plain() for attack in attacks],
        "clean_accuracy": float((fooled_by >= 0).float().mean()),
        "robust_accuracy": float((fooled_by == len(attacks)).float().mean()),
        "seconds": statistics.median(wall for wall, _ in ours),
        "every_attack_in_full_seconds": statistics.median(wall for wall, _ in full),
        "share_of_every_attack_in_full": statistics.median(ratios), "share_of_rounds": [min(ratios), max(ratios)],
        "share_of_processor_time": statistics.median(a[1] / b[1] for a, b in zip(ours, full, strict=True)),
        "share_of_operations": counted[0] / counted[1], "share_of_operations_of_each_alone": counted[0] / counted[2],
        "rounds": rounds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="of the steps; more than are free tell nothing")
    parser.add_argument("--scale", type=float, default=1.0, help="rounds of the steps, as a multiple of the usual ones")
    asked = parser.parse_args()
    load_before = os.getloadavg()[0]
    rows = [row for kind in ("auto", "float32") for row in steps(asked.device, kind, asked.threads, asked.scale)]
    with place(Runtime(device="cpu", threads=1)):
        attacked = [ensemble(eps, rounds=2) for eps in (0.12, 0.2, 0.28)]
    device = in_words(Runtime(device=asked.device))["device"]
    table = Table("model", "step", "precision", "s", "obvious s", "ratio", "loss", "obvious", "forwards", "obvious")
    for row in rows:
        table.add_row(
            f"{row['model']} {row['image']}, {row['batch']}",
            row["objective"],
            row["precision"],
            f"{row['seconds']:.2f}",
            f"{row['obvious_seconds']:.2f}",
            f"{row['ratio']:.2f} ({row['ratio_of_rounds'][0]:.2f} to {row['ratio_of_rounds'][1]:.2f})",
            f"{row['loss']:.5f}",
            f"{row['obvious_loss']:.5f}",
            f"{row['forward_equivalents']:.1f} of {row['in_theory']}",
            f"{row['obvious_forward_equivalents']:.1f} of {row['obvious_in_theory']}",
        )
    Console(width=160).print(f"{device}, {asked.threads} threads, load {load_before:.1f}", table)
    for row in attacked:
        print(
            f"ensemble, {row['threat']}: clean {row['clean_accuracy']:.1%}, robust {row['robust_accuracy']:.1%} of "
            f"{row['n']}; of every attack in full on each {row['share_of_every_attack_in_full']:.2f} of the time "
            f"and {row['share_of_operations']:.2f} of the operations; of each attack alone "
            f"{row['share_of_operations_of_each_alone']:.2f} of the operations"
        )
    about = {"device": device, "torch": torch.__version__, "python": platform.python_version()}
    about |= {"threads": asked.threads, "load_before": load_before, "load_after": os.getloadavg()[0]}
    about |= {"command": "python benchmarks/adversarial.py"}
    written = about | {"steps": rows, "ensemble": attacked}
    RESULT.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
