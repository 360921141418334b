"""A constraint is called when it says, saved with the training and told apart; a training may go on from a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown.artifacts import Checkpoint
from paredown.data.dataset import ImageDataset
from paredown.errors import ArtifactError
from paredown.log import read_metrics
from paredown.models import ConvNet, checkpoint_of
from paredown.runtime import Runtime
from paredown.training import Sgd, Training, fit
from paredown.training.constraint import AbstractConstraint
from paredown.training.training import Plan

CPU = Runtime(device="cpu", precision="float32", progress=False, save_seconds=0)
MODEL = ConvNet(width=4, depth=1)
TRAINING = Training(steps=5, batch_size=20, optimizer=Sgd(lr=0.1, momentum=0, weight_decay=0))


class Drawn(AbstractConstraint):
    """Adds a number to every gradient and counts its calls."""

    def __init__(self, by: float = 0.0, stop: int | None = None) -> None:
        self.by, self.stop, self.seen, self.count = by, stop, [], torch.zeros(1)  # type: ignore[var-annotated]

    def identity(self) -> Any:
        return {"drawn": self.by}

    def begin(self, network: nn.Module, plan: Plan) -> nn.Module:
        self.seen.append(("begin", plan.steps))
        self.network = network
        self.learnt = nn.Module()
        self.learnt.only = network.get_submodule("body")
        return self.learnt

    def gradients(self) -> None:
        for weight in self.network.parameters():
            assert weight.grad is not None
            weight.grad.add_(self.by)

    def moved(self, step: int) -> None:
        self.seen.append(("moved", step))
        self.count += 1
        if step == self.stop:
            raise KeyboardInterrupt

    def tensors(self) -> dict[str, Tensor]:
        return {"count": self.count}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        self.count.copy_(tensors["count"])

    def figures(self) -> dict[str, float]:
        return {"count": float(self.count)}


def weights(folder: Path) -> dict[str, np.ndarray]:
    return dict(Checkpoint.open(folder / "checkpoint").weights)


def test_it_is_called_at_every_step_and_tells_its_figures(tmp_path: Path, images: ImageDataset) -> None:
    held = Drawn()
    fit(images, MODEL, TRAINING, constraint=held, runtime=CPU, folder=tmp_path / "held")
    assert held.seen == [("begin", 5), *(("moved", step) for step in range(1, 6))]
    assert [row["count"] for row in read_metrics(tmp_path / "held" / "metrics.jsonl") if "count" in row] == [3, 5]
    fit(images, MODEL, TRAINING, runtime=CPU, folder=tmp_path / "free")
    free, same = weights(tmp_path / "free"), weights(tmp_path / "held")
    assert all(np.array_equal(free[name], same[name]) for name in free)
    fit(images, MODEL, TRAINING, constraint=Drawn(0.5), runtime=CPU, folder=tmp_path / "drawn")
    drawn = weights(tmp_path / "drawn")
    assert not any(np.array_equal(drawn[name], free[name]) for name in free if name.endswith(".weight"))


def test_what_it_adds_is_clipped_with_the_rest(tmp_path: Path, images: ImageDataset) -> None:
    how = Training(steps=1, batch_size=20, optimizer=Sgd(lr=1.0, momentum=0, weight_decay=0), clip=0.25)
    begun = checkpoint_of(MODEL.start(images, 0), MODEL, 0)
    fit(images, MODEL, how, checkpoint=begun, constraint=Drawn(100.0), runtime=CPU, folder=tmp_path)
    after = weights(tmp_path)
    learnt = [name for name in after if name.endswith(("weight", "bias"))]
    moved = sum(float(np.square(after[name].astype(float) - begun.weights[name]).sum()) for name in learnt)
    assert moved**0.5 == pytest.approx(0.25, rel=1e-3)


def test_it_goes_on_with_what_it_had(tmp_path: Path, images: ImageDataset) -> None:
    fit(images, MODEL, TRAINING, constraint=Drawn(0.1), runtime=CPU, folder=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(images, MODEL, TRAINING, constraint=Drawn(0.1, stop=4), runtime=CPU, folder=tmp_path / "cut")
    again = Drawn(0.1)
    fit(images, MODEL, TRAINING, constraint=again, runtime=CPU, folder=tmp_path / "cut")
    assert again.seen[1:] == [("moved", 4), ("moved", 5)] and float(again.count) == 5
    for name in ("metrics.jsonl", "checkpoint/weights.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_a_folder_knows_constraint_and_beginning(tmp_path: Path, images: ImageDataset) -> None:
    begun = checkpoint_of(MODEL.start(images, 3), MODEL, 0)
    fit(images, MODEL, TRAINING, checkpoint=begun, constraint=Drawn(0.1), runtime=CPU, folder=tmp_path)
    fit(images, MODEL, TRAINING, checkpoint=begun, constraint=Drawn(0.1), runtime=CPU, folder=tmp_path)
    other = checkpoint_of(MODEL.start(images, 4), MODEL, 0)
    for how in (
        {"checkpoint": begun, "constraint": Drawn(0.2)},
        {"checkpoint": begun},
        {"checkpoint": other, "constraint": Drawn(0.1)},
        {"constraint": Drawn(0.1)},
    ):
        with pytest.raises(ArtifactError, match="holds another training"):
            fit(images, MODEL, TRAINING, **how, runtime=CPU, folder=tmp_path)  # type: ignore[arg-type]


def test_a_training_goes_on_from_a_network(tmp_path: Path, images: ImageDataset) -> None:
    begun = checkpoint_of(MODEL.start(images, 3), MODEL, 0)
    still = Training(steps=1, batch_size=20, optimizer=Sgd(lr=1e-30, momentum=0, weight_decay=0))
    fit(images, MODEL, still, checkpoint=begun, runtime=CPU, folder=tmp_path)
    after = weights(tmp_path)
    for name, array in begun.weights.items():
        assert "running" in name or "tracked" in name or np.allclose(after[name], array, atol=1e-20)
