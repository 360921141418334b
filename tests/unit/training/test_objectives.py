"""Adversarial objectives: their numbers on a linear network, what they leave alone, and trainings by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.golden.test_robust_attack_vectors import Linear, X, Y
from torch import Tensor, nn

from paredown.artifacts import ADVERSARIAL_QUANTITIES, Trained
from paredown.attacks import AbstractAttack, Ball, Fgsm, Pgd
from paredown.attacks.losses import divergence
from paredown.catalog import names
from paredown.data.dataset import ImageDataset
from paredown.errors import MethodError
from paredown.log import read_metrics
from paredown.method import build
from paredown.models.build import load
from paredown.models.convnet import ConvNet
from paredown.rng import key
from paredown.runtime import Runtime
from paredown.training import (
    AbstractObjective,
    CrossEntropy,
    Fast,
    Free,
    Madry,
    Mart,
    Passes,
    Recording,
    Seen,
    Sgd,
    Trades,
    Training,
    fit,
    objectives,
)
from paredown.training.learner import learn
from paredown.training.resume import STATE
from paredown.training.soft_labels import SoftCrossEntropy, SquaredError

CPU = Runtime(device="cpu", precision="float32", progress=False)
MODEL = ConvNet(width=8, depth=1, norm="batch")
WEAK = Pgd(eps=0.05, step=0.02, steps=2)
SHORT = Training(epochs=3, batch_size=16, optimizer=Sgd(lr=0.05))
ADVERSARIAL = [
    Madry(attack=WEAK),
    Madry(attack=WEAK, clean_share=0.5),
    Fast(attack=Fgsm(eps=0.05)),
    Fast(attack=Fgsm(eps=0.05, step=1.25), noise=0),
    Free(attack=Fgsm(eps=0.05), replays=3),
    Trades(attack=WEAK),
    Trades(attack=Pgd(norm="l2", eps=0.5, step=0.2, steps=2)),
    Mart(attack=WEAK),
    Mart(attack=WEAK, looks="training"),
    Trades(attack=WEAK, looks="evaluation"),
]
ATTACKING = [objective for objective in ADVERSARIAL if not isinstance(objective, Free)]
"""Those that look for new images at every step."""


def named(objective: Any) -> str:
    return objective.name + ("" if getattr(objective.attack, "norm", "linf") == "linf" else "-l2")


def train(folder: Path, data: ImageDataset, training: Training, **arguments: Any) -> Trained:
    fit(data, MODEL, training, folder=folder, **({"runtime": CPU} | arguments))
    return Trained.adopt(folder)


def batch(count: int = 12) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(count, 1, 8, 8, generator=draw), torch.arange(count) % 3


def normed() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)).train()


def starts_at(monkeypatch: pytest.MonkeyPatch, offset: list[list[float]]) -> None:
    """Lets every attack of the objectives begin at the given offset from the clean images."""
    moved = torch.tensor(offset, dtype=torch.float64).view_as(X)
    monkeypatch.setattr(Ball, "draw", lambda ball, x, generator: ball.project(x + moved, x))
    monkeypatch.setattr(objectives, "beside", lambda x, ball, generator: x + moved)


def test_every_objective_of_the_catalog_is_tried_here() -> None:
    # Those that aim at learnt labels have tests of their own.
    tried = {objective.name for objective in (CrossEntropy(), SquaredError(), SoftCrossEntropy(), *ADVERSARIAL)}
    assert tried == set(names("objective"))


def test_trades_on_the_linear_network(monkeypatch: pytest.MonkeyPatch) -> None:
    starts_at(monkeypatch, [[0.01, -0.01], [-0.01, 0.005]])
    network = Linear()
    seen = Trades(attack=Pgd(eps=0.05, step=0.02, steps=2)).losses(Passes(network), X, Y, label_smoothing=0.1)
    assert seen.losses.mean().item() == pytest.approx(0.6935997967, abs=1e-9)
    seen.losses.mean().backward()
    expected = [[-0.1417844275, -0.0529924121], [0.1008496395, -0.0770009629], [0.0409347880, 0.1299933750]]
    np.testing.assert_allclose(network.linear.weight.grad, expected, atol=1e-9)


def test_trades_in_l2_honours_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    starts_at(monkeypatch, [[0.001, -0.002], [-0.001, 0.0005]])
    for steps, expected in ((1, 0.688993), (2, 0.689204)):
        attack = Pgd(norm="l2", eps=0.05, step=2 * 0.05 / steps, steps=steps)
        seen = Trades(attack=attack).losses(Passes(Linear()), X, Y, label_smoothing=0.1)
        assert seen.losses.mean().item() == pytest.approx(expected, abs=1e-6)


def test_mart_on_the_linear_network(monkeypatch: pytest.MonkeyPatch) -> None:
    starts_at(monkeypatch, [[0.001, -0.002], [-0.001, 0.0005]])
    seen = Mart(attack=Pgd(eps=0.05, step=0.02, steps=3)).losses(Passes(Linear()), X, Y)
    assert seen.losses.mean().item() == pytest.approx(1.1306807368, abs=1e-9)


def test_madry_mixes_clean_and_adversarial_losses() -> None:
    x, y = batch()
    attack = Pgd(eps=0.05, step=0.02, steps=3, start="clean")
    moved = attack(normed().eval(), x, y)
    natural, robust = (nn.functional.cross_entropy(normed()(part), y, reduction="none") for part in (x, moved))
    none, half = (Madry(attack=attack, clean_share=share).losses(Passes(normed()), x, y) for share in (0.0, 0.25))
    assert none.clean is None
    torch.testing.assert_close(none.losses, robust)
    torch.testing.assert_close(half.losses, 0.25 * natural + 0.75 * robust)


def reach(objective: Any) -> Ball:
    """Where the images of an objective lie: noise that guards widens the ball."""
    ball = objective.attack.ball
    return replace(ball, eps=(objective.noise + objective.attack.step) * ball.eps) if guarded(objective) else ball


def guarded(objective: Any) -> bool:
    return isinstance(objective, Fast) and objective.noise > 0


@pytest.mark.parametrize("objective", ATTACKING, ids=named)
def test_an_attack_stays_in_its_ball_and_gains_more_than_chance(
    objective: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = batch()
    looked: list[Tensor] = []
    original = Passes.logits
    monkeypatch.setattr(Passes, "logits", lambda self, *images: [looked.extend(images), original(self, *images)][1])
    network = normed()
    seen = objective.losses(Passes(network, seed=3), x, y)
    moved = looked[-1]
    ball = reach(objective)
    assert torch.allclose(ball.project(moved, x), moved, atol=1e-6)
    assert 0 <= float(moved.min()) <= float(moved.max()) <= 1 and not torch.equal(moved, x)
    clean, drawn = (normed()(part) for part in (x, ball.draw(x, torch.Generator().manual_seed(0))))
    if guarded(objective):
        assert float((moved - x).abs().max()) > objective.attack.ball.eps  # nothing is cut back
    elif isinstance(objective, Trades):
        assert divergence(seen.adversarial, clean.softmax(1)).mean() > divergence(drawn, clean.softmax(1)).mean()
    else:
        lost = (nn.functional.cross_entropy(logits, y) for logits in (seen.adversarial, drawn))
        assert next(lost) > next(lost)


@pytest.mark.parametrize("objective", ADVERSARIAL, ids=named)
def test_trainings_follow_the_seed_and_record_what_the_attack_reached(
    tmp_path: Path, images: ImageDataset, objective: Any
) -> None:
    training = replace(SHORT, objective=objective)
    recording = Recording(("confidence", "correct", *ADVERSARIAL_QUANTITIES))
    runs = [
        train(tmp_path / str(number), images, training, recording=recording, seed=seed)
        for number, seed in enumerate([1, 1, 2])
    ]
    assert runs[0] == runs[1] != runs[2]
    assert runs[0].dynamics.quantities == ("confidence", "correct", "adversarial-confidence", "adversarial-correct")
    # The clean look that is only for the recording changes nothing of what is learnt, nor of the course.
    plain = train(tmp_path / "plain", images, training, seed=1)
    assert plain.checkpoint == runs[0].checkpoint
    course = [read_metrics(tmp_path / name / "metrics.jsonl")[1:] for name in ("0", "plain")]
    assert course[0] == course[1]
    assert ("accuracy" in course[0][0]) == objective.looks_clean and "adversarial_accuracy" in course[0][0]
    clean, moved = (runs[0].dynamics.matrix(name) for name in ("confidence", "adversarial-confidence"))
    assert np.nanmean(moved) < np.nanmean(clean)


def test_recorded_are_the_logits_of_the_step(tmp_path: Path, images: ImageDataset) -> None:
    objective = Trades(attack=WEAK)
    whole = Training(steps=1, batch_size=60, objective=objective, optimizer=Sgd(lr=0.05), checkpoints_at=(0,))
    whole = replace(whole, augmentation=build("augmentation", "augmentation"))
    trained = train(tmp_path, images, whole, recording=Recording(ADVERSARIAL_QUANTITIES), seed=4)
    x = torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255
    y = torch.from_numpy(images.labels)
    order = torch.from_numpy(np.concatenate(list(_first_epoch(60, seed=4))))
    seen = objective.losses(Passes(load(trained.early[0]).train(), seed=key(4, "attack", 1, 0)), x[order], y[order])
    expected = seen.adversarial.softmax(1).gather(1, y[order][:, None])[:, 0].detach()
    np.testing.assert_allclose(trained.dynamics[0]["adversarial-confidence"][order], expected, rtol=1e-3, atol=1e-4)


def _first_epoch(count: int, *, seed: int) -> Iterator[np.ndarray]:
    from paredown.data.loader import batches, epoch_order

    return batches(epoch_order(np.arange(count), seed=seed, epoch=0), count, drop_last=True)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("objective", [Madry(attack=WEAK), Trades(attack=WEAK)], ids=named)
def test_an_interrupted_training_ends_on_the_same_bytes(
    tmp_path: Path, images: ImageDataset, objective: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = replace(SHORT, objective=objective, average=0.9, average_warmup=0.4, clip=1.0)
    recording = Recording(("confidence", *ADVERSARIAL_QUANTITIES))
    arguments: dict[str, Any] = {"recording": recording, "runtime": replace(CPU, save_seconds=0)}
    train(tmp_path / "whole", images, training, **arguments)
    original, left = Seen.detached, [0]

    def stopping(seen: Seen) -> Seen:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        return original(seen)

    with monkeypatch.context() as patch:
        patch.setattr(Seen, "detached", stopping)
        for steps in (2, 3, 1):
            left[0] = steps
            with pytest.raises(Stopped):
                train(tmp_path / "torn", images, training, **arguments)
            assert (tmp_path / "torn" / STATE).exists()
    train(tmp_path / "torn", images, training, **arguments)
    whole, torn = (
        {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "whole", tmp_path / "torn")
    )
    assert whole == torn


def test_processes_draw_their_own_attacks() -> None:
    x, y = batch()
    first, second, again = (
        Trades(attack=WEAK).losses(Passes(normed(), seed=key(0, "attack", 1, rank)), x, y).losses for rank in (0, 1, 0)
    )
    assert torch.equal(first, again) and not torch.equal(first, second)


def test_weights_and_smoothing_reach_every_objective() -> None:
    x, y = batch()
    weights = torch.arange(12.0)
    for objective in (CrossEntropy(), *ADVERSARIAL):
        smooth = 0.1 if objective.smooths else 0.0
        expected = objective.losses(Passes(normed()), x, y, label_smoothing=smooth).losses
        network = normed()
        optimizer = Sgd(lr=0.1).build(network)
        _, total = learn(
            network, optimizer, x, y, count=12, objective=objective, weights=weights, label_smoothing=smooth
        )
        assert total.item() == pytest.approx((expected * weights).sum().item(), rel=1e-5)


def test_the_passes_run_in_the_precision_that_is_asked_for() -> None:
    x, y = batch()
    types: set[torch.dtype] = set()
    network = normed()
    network[0].register_forward_hook(lambda module, given, made: types.add(made.dtype))
    autocast = torch.autocast("cpu", torch.bfloat16)
    seen = Trades(attack=WEAK).losses(Passes(network, autocast=autocast), x, y)
    assert types == {torch.bfloat16} and seen.losses.dtype == seen.adversarial.dtype == torch.float32
    seen.losses.sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


def test_a_long_gradient_is_shortened_and_a_short_one_is_not() -> None:
    x, y = batch()

    def moved(clip: float | None) -> Tensor:
        network = normed()
        before = nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        plain = Sgd(lr=1.0, momentum=0.0, weight_decay=0.0).build(network)
        learn(network, plain, x, y, count=12, clip=clip)
        return nn.utils.parameters_to_vector(network.parameters()).detach() - before

    free = moved(None)
    assert moved(0.01).norm().item() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(moved(0.01) / 0.01, free / free.norm(), rtol=1e-3, atol=1e-4)
    assert torch.equal(moved(1e6), free)


class Reckless(AbstractAttack):
    """An attack of the user's own, which leaves the ball."""

    norm = "linf"
    eps = 0.1

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        return x + 1


def test_any_attack_serves_and_is_kept_in_its_ball() -> None:
    x, y = batch()
    moved = Passes(normed()).attacked(Reckless(), x, y, mode="evaluation")
    assert float((moved - x).abs().max()) <= 0.1 + 1e-6 and float(moved.max()) <= 1


@dataclass(frozen=True)
class Silent(AbstractObjective):
    """An objective of the user's own that forgot to say that it attacks nothing."""

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        return CrossEntropy().losses(passes, x, y, label_smoothing=label_smoothing)


def test_an_objective_that_gives_less_than_it_says_is_refused(tmp_path: Path, images: ImageDataset) -> None:
    with pytest.raises(MethodError, match="Silent: it gives no adversarial logits, and its looks_clean and attacks"):
        train(tmp_path, images, replace(SHORT, objective=Silent()))


def test_what_is_compiled_is_trained_alike(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compiled(network, backend="eager"))
    training = replace(SHORT, epochs=1, objective=Trades(attack=WEAK))
    plain = train(tmp_path / "plain", images, training).checkpoint
    traced = train(tmp_path / "traced", images, training, runtime=replace(CPU, compile=True)).checkpoint
    for name, weights in plain.weights.items():
        np.testing.assert_allclose(traced.weights[name], weights, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Madry(clean_share=1.0), r"Madry\(clean_share=1\): a share lies from 0 up to below 1"),
        (lambda: Madry(attack=build("attack", {"name": "deepfool", "eps": None})), "the attack has no radius"),
        (lambda: Trades(beta=-1), r"Trades\(beta=-1\): images that resist would be punished"),
        (lambda: Trades(attack=Pgd(loss="dlr")), r"Trades\(attack=…\): it has a start and a loss of its own"),
        (lambda: Mart(attack=Pgd(restarts=2)), r"Mart\(attack=…\): it has a start and a loss of its own"),
        (lambda: Training(objective=Mart(), label_smoothing=0.1), "no target that could be smoothed"),
        (lambda: Training(clip=0.0), r"Training\(clip=0.0\): no step would be taken"),
        (lambda: Recording(("adversarial-correct",), attack=WEAK), "by presentations, training attacks"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, match: str) -> None:
    with pytest.raises(MethodError, match=match):
        make()


def test_an_attack_that_nobody_makes_is_not_recorded(tmp_path: Path, images: ImageDataset) -> None:
    with pytest.raises(MethodError, match="adversarial-confidence is of what a training attack reached, and the"):
        train(tmp_path, images, SHORT, recording=Recording(ADVERSARIAL_QUANTITIES))
    assert not list(tmp_path.iterdir())


def test_only_images_are_attacked(tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(images), "noun", "sentences")
    with pytest.raises(MethodError, match=r"Training\(objective=trades\): quarters has sentences, and only images"):
        train(tmp_path, images, replace(SHORT, objective=Trades()))


def test_objectives_are_built_from_plain_data() -> None:
    plain = {"name": "trades", "beta": 6, "attack": {"name": "pgd", "eps": "4/255"}}
    assert build("training", {"objective": plain}).objective == Trades(beta=6.0, attack=Pgd(eps=4 / 255))
    assert build("objective", "fast") == Fast(attack=Fgsm(), noise=2.0)
