"""Fast and free adversarial training: what one step does, and what goes on from step to step."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.artifacts import ADVERSARIAL_QUANTITIES, Trained
from paredown.attacks import Fgsm
from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.errors import MethodError
from paredown.log import read_metrics
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Fast, Free, Passes, Recording, Seen, Sgd, Trades, Training, fit
from paredown.training.devices import Place
from paredown.training.learner import Learner
from paredown.training.resume import STATE

CPU = Runtime(device="cpu", precision="float32", progress=False)
MODEL = ConvNet(width=8, depth=1, norm="batch")


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).train()


def batch(count: int = 12) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 8, 8, generator=draw), torch.arange(count) % 3


def slope(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(functional.cross_entropy(network(x), y, reduction="sum"), x)[0]


def looked_at(objective: Any, network: nn.Module, x: Tensor, y: Tensor, **how: Any) -> Tensor:
    """Gives the images that the network is trained on."""
    seen: list[Tensor] = []

    class Noted(Passes):
        def logits(self, *batches: Tensor) -> tuple[Tensor, ...]:
            seen.extend(part.detach().clone() for part in batches)
            return super().logits(*batches)

    objective.losses(Noted(network, **how), x, y).losses.sum().backward()
    (moved,) = seen
    return moved


def test_fast_begins_in_twice_the_ball_and_cuts_nothing_back() -> None:
    x, y = batch()
    start = torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) * 2 - 1
    begun = (x + 2 * 0.1 * start).clamp(0, 1)
    expected = (begun + 0.1 * slope(normed(), begun, y).sign()).clamp(0, 1)
    torch.testing.assert_close(looked_at(Fast(attack=Fgsm(eps=0.1)), normed(), x, y, seed=5), expected)
    assert float((expected - x).abs().max()) > 0.2


def test_fast_without_the_guard_is_that_of_wong() -> None:
    x, y = batch()
    start = torch.rand(x.shape, generator=torch.Generator().manual_seed(5)) * 2 - 1
    begun = (x + 0.1 * start).clamp(0, 1)
    stepped = begun + 1.25 * 0.1 * slope(normed(), begun, y).sign()
    expected = (x + (stepped - x).clamp(-0.1, 0.1)).clamp(0, 1)
    without = Fast(attack=Fgsm(eps=0.1, step=1.25), noise=0)
    torch.testing.assert_close(looked_at(without, normed(), x, y, seed=5), expected)


def test_free_by_hand() -> None:
    # x = 0.5, logits (w·x', 0), label 0: the loss falls in w·x', so the image goes down while w is above 0.
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor) -> Tensor:
            z = self.w * x.flatten(1)
            return torch.cat([z, torch.zeros_like(z)], dim=1)

    network, x, y = Scale(), torch.tensor([0.5, 0.02]).view(2, 1, 1, 1), torch.zeros(2, dtype=torch.int64)
    change = torch.zeros_like(x)
    objective = Free(attack=Fgsm(eps=0.1, step=0.75))
    for expected in ([-0.075, -0.075], [-0.1, -0.075]):  # the second image was cut to the box, where nothing moves it
        objective.losses(Passes(network, perturbation=change), x, y).losses.sum().backward()
        torch.testing.assert_close(change.view(2), torch.tensor(expected))
    with torch.no_grad():
        network.w.neg_()
    moved = looked_at(objective, network, x, y, perturbation=change)
    torch.testing.assert_close(moved.view(2), torch.tensor([0.4, 0.0]))
    torch.testing.assert_close(change.view(2), torch.tensor([-0.025, -0.075]))


def test_free_in_l2_stays_in_its_ball() -> None:
    x, y = batch()
    change, network = torch.zeros_like(x), normed()
    objective = Free(attack=Fgsm(norm="l2", eps=0.5))
    for _ in range(4):
        objective.losses(Passes(network, perturbation=change), x, y).losses.sum().backward()
        lengths = change.flatten(1).norm(dim=1)
        assert float(lengths.max()) <= 0.5 + 1e-6 and float(lengths.max()) > 0.4


SHORT = Training(epochs=6, batch_size=16, drop_last=False, optimizer=Sgd(lr=0.05))
FREE = Free(attack=Fgsm(eps=0.05), replays=3)


def train(folder: Path, data: ImageDataset, training: Training, **arguments: Any) -> Trained:
    fit(data, MODEL, training, folder=folder, **({"runtime": CPU} | arguments))
    return Trained.adopt(folder)


def taken(monkeypatch: pytest.MonkeyPatch, folder: Path, data: ImageDataset, training: Training) -> list[Any]:
    """Gives step, images, labels and the perturbation before each step of a training."""
    steps: list[Any] = []
    original = Learner.take

    def noting(self: Learner, step: int, x: Tensor, y: Tensor, **rest: Any) -> Any:
        before = None if self.perturbation is None else self.perturbation.clone()
        found = original(self, step, x, y, **rest)
        assert self.perturbation is not None
        steps.append((step, x.clone(), y.clone(), before, self.perturbation.clone()))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "take", noting)
        train(folder, data, training)
    return steps


def test_each_batch_comes_as_often_as_it_is_replayed(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(SHORT, objective=FREE)
    plan = training.plan(kept=60, whole=60)
    # Four batches, of which the last has 12 images; 24 steps are six presentations of each image, in two passes.
    assert (plan.steps, plan.per_epoch, plan.replays, plan.epochs) == (24, 12, 3, 2.0)
    assert training.plan(kept=60, whole=60).steps == replace(SHORT, objective=Trades()).plan(kept=60, whole=60).steps
    steps = taken(monkeypatch, tmp_path, images, training)
    assert [step for step, *_ in steps] == list(range(1, 25))
    for first in range(0, 24, 3):
        one, two, three = (steps[first + n] for n in range(3))
        assert torch.equal(one[1], two[1]) and torch.equal(two[1], three[1]) and torch.equal(one[2], three[2])
        if first:
            assert not torch.equal(steps[first - 1][1][:12], one[1][:12])
    assert [len(x) for _, x, *_ in steps[::3]] == [16, 16, 16, 12] * 2
    # Every image once in each pass, in another order and, augmented, elsewhere.
    labels = [torch.cat([y for _, _, y, *_ in steps[begin : begin + 12 : 3]]) for begin in (0, 12)]
    for found in labels:
        assert torch.equal(found.sort().values, torch.from_numpy(images.labels).sort().values)
    assert not torch.equal(*labels)


@pytest.mark.parametrize("persists", ["training", "epoch"])
def test_the_perturbation_goes_on_from_batch_to_batch(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch, persists: Any
) -> None:
    steps = taken(monkeypatch, tmp_path, images, replace(SHORT, objective=replace(FREE, persists=persists)))
    assert steps[0][3] is None and float(steps[0][4].abs().max()) == pytest.approx(0.05)
    for one, two in pairwise(steps):
        assert torch.equal(one[4], two[3])  # what a step left is there at the next
    # An incomplete batch moves the first places alone.
    assert torch.equal(steps[9][3][12:], steps[11][4][12:]) and not torch.equal(steps[9][3][:12], steps[9][4][:12])
    other = taken(monkeypatch, tmp_path / "other", images, replace(SHORT, objective=FREE))
    assert torch.equal(steps[11][4], other[11][4])
    assert torch.equal(steps[12][4], other[12][4]) == (persists == "training")


class Stopped(Exception):
    pass


@pytest.mark.parametrize(("objective", "channels"), [(FREE, 1), (replace(FREE, persists="epoch"), 3)])
def test_an_interruption_between_two_replays_changes_no_byte(
    tmp_path: Path, images: ImageDataset, objective: Free, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ImageDataset.from_arrays(
        np.repeat(images.images, channels, axis=3), images.labels, augmentation=Augmentation(crop=1, flip=True)
    )
    training = replace(SHORT, objective=objective, average=0.9, steps=23, epochs=None)
    arguments: dict[str, Any] = {
        "recording": Recording(("confidence", *ADVERSARIAL_QUANTITIES)),
        "runtime": replace(CPU, save_seconds=0),
    }
    train(tmp_path / "whole", data, training, **arguments)
    original, left = Seen.detached, [0]

    def stopping(seen: Seen) -> Seen:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        return original(seen)

    with monkeypatch.context() as patch:
        patch.setattr(Seen, "detached", stopping)
        for steps in (1, 6, 4):  # after steps 1, 7 and 11; the last one on the incomplete batch
            left[0] = steps
            with pytest.raises(Stopped):
                train(tmp_path / "torn", data, training, **arguments)
            assert (tmp_path / "torn" / STATE).exists()
    train(tmp_path / "torn", data, training, **arguments)
    whole, torn = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "whole", tmp_path / "torn")
    )
    assert whole == torn


def test_of_the_replays_the_last_one_is_recorded(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits: list[Tensor] = []
    original = Learner.take

    def noting(self: Learner, *arguments: Any, **rest: Any) -> Any:
        seen, loss = original(self, *arguments, **rest)
        logits.append(seen.adversarial.softmax(1).gather(1, arguments[2][:, None])[:, 0])
        assert (seen.clean is not None) == (len(logits) % 3 == 0)  # a clean look only where it is recorded
        return seen, loss

    monkeypatch.setattr(Learner, "take", noting)
    recording = Recording(("confidence", *ADVERSARIAL_QUANTITIES))
    dynamics = train(tmp_path, images, replace(SHORT, objective=FREE), recording=recording).dynamics
    assert len(dynamics) == 2 and not any(np.isnan(values).any() for epoch in dynamics for values in epoch.values())
    for epoch in range(2):
        seen = torch.cat(logits[12 * epoch : 12 * epoch + 12][2::3])
        found = dynamics[epoch]["adversarial-confidence"]
        np.testing.assert_allclose(np.sort(found), np.sort(seen.numpy()), atol=1e-6)
    course = read_metrics(tmp_path / "metrics.jsonl")
    assert course[0]["steps_per_epoch"] == 12 and course[-1]["epoch"] == 2.0


def test_processes_share_the_places_of_a_batch(images: ImageDataset) -> None:
    training = replace(SHORT, objective=FREE)
    plan = training.plan(kept=60, whole=60)
    x, y = torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255, torch.from_numpy(images.labels)

    def learner(rank: int) -> Learner:
        here = Place(torch.device("cpu"), rank=rank, processes=2)
        return Learner(MODEL.start(images, 0), training, plan, seed=0, place=here, compiled=False)

    held = []
    for rank in (0, 1):
        one = learner(rank)
        one.take(1, x[:16][rank::2], y[:16][rank::2], count=16, weights=None)
        held.append((one.perturbation, one.tensors()["perturbation"]))
        assert len(held[-1][0]) == 8 and held[-1][1].shape[0] == 16
    whole = held[0][1] + held[1][1]  # what `total` gives where there are two
    for rank in (0, 1):
        again = learner(rank)
        again.restore(again.tensors() | {"perturbation": whole})
        assert torch.equal(again.perturbation, held[rank][0]) and float(held[rank][0].abs().max()) > 0


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Free(replays=0), r"Free\(replays=0\): no step would be taken"),
        (lambda: Free(attack=Fgsm(start="random")), r"Free\(attack=…\): it begins where the step before ended"),
        (lambda: Fast(attack=Fgsm(start="random")), r"Fast\(attack=…\): it begins at random by itself.*Leave start"),
        (lambda: Fast(noise=-1), r"Fast\(noise=-1\): a width of noise, in units of eps, is 0 or more"),
        (lambda: Fast(attack=Fgsm(eps=8)), r"Fgsm\(eps=8\): pixels lie in \[0, 1\].*write 8/255"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, match: str) -> None:
    with pytest.raises(MethodError, match=match):
        make()
