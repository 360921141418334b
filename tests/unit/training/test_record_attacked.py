"""Recording by a pass after the epoch that attacks: what it sees, and that only its own settings decide it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paredown.artifacts import ADVERSARIAL_QUANTITIES, Trained
from paredown.attacks import DeepFool, Fgsm, Pgd
from paredown.data.dataset import ImageDataset
from paredown.errors import MethodError
from paredown.method import build
from paredown.models.build import load
from paredown.models.convnet import ConvNet
from paredown.models.transformer import Transformer
from paredown.reading import read
from paredown.rng import key
from paredown.runtime import Runtime
from paredown.training import CrossEntropy, Madry, Recording, Sgd, Trades, Training, Validation, fit

CPU = Runtime(device="cpu", precision="float32", progress=False)
ATTACK = Pgd(eps=0.1, step=0.05, steps=3)
BOTH = ("confidence", *ADVERSARIAL_QUANTITIES)
SHORT = Training(epochs=3, batch_size=16, optimizer=Sgd(lr=0.05), checkpoints_at=(3, 9))


def train(folder: Path, data: ImageDataset, training: Training = SHORT, **arguments: Any) -> Trained:
    arguments = {"model": ConvNet(width=8, depth=1, norm="batch"), "runtime": CPU} | arguments
    fit(data, training=training, folder=folder, **arguments)
    return Trained.adopt(folder)


@pytest.mark.parametrize(
    ("training", "named"),
    [
        (replace(SHORT, average=0.9), ATTACK),
        (replace(SHORT, objective=Trades(attack=ATTACK)), None),
        (replace(SHORT, objective=Madry(attack=Fgsm(eps=0.1))), None),
    ],
)
def test_it_is_of_the_raw_network_in_evaluation_mode_under_the_attack_block_by_block(
    tmp_path: Path, images: ImageDataset, training: Training, named: Any
) -> None:
    recording = Recording(BOTH, by="evaluation", attack=named, block=25)
    trained = train(tmp_path, images, training, recording=recording, seed=5)
    assert trained.dynamics.source == "evaluation" and len(trained.dynamics) == 3
    attack: Any = named or training.objective.attack  # type: ignore[attr-defined]
    for early, epoch in zip(trained.early, (0, 2), strict=True):
        network, seen = load(early), trained.dynamics[epoch]
        for first in (0, 25, 50):
            rows = np.arange(first, min(first + 25, 60))
            x = torch.from_numpy(images.images[rows]).permute(0, 3, 1, 2) / 255
            y = torch.from_numpy(images.labels[rows])
            moved = attack(network, x, y, seed=key(5, "record", epoch, first))
            with torch.no_grad():
                clean, reached = (network(z).softmax(1) for z in (x, moved))
            own = y[:, None]
            np.testing.assert_allclose(seen["confidence"][rows], clean.gather(1, own)[:, 0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(
                seen["adversarial-confidence"][rows], reached.gather(1, own)[:, 0], rtol=1e-3, atol=1e-4
            )
            assert np.array_equal(seen["adversarial-correct"][rows], (reached.argmax(1) == y).float())


def test_it_changes_nothing_of_what_is_learnt_and_other_blocks_draw_otherwise(
    tmp_path: Path, images: ImageDataset
) -> None:
    recordings = [None, *(Recording(BOTH, by="evaluation", attack=ATTACK, block=block) for block in (7, 500))]
    runs = [train(tmp_path / str(n), images, recording=recording) for n, recording in enumerate(recordings)]
    assert runs[0].checkpoint == runs[1].checkpoint == runs[2].checkpoint
    small, large = (run.dynamics[2] for run in runs[1:])
    np.testing.assert_allclose(small["confidence"], large["confidence"], rtol=1e-4, atol=1e-5)
    assert not np.array_equal(small["adversarial-confidence"], large["adversarial-confidence"])
    assert (small["adversarial-confidence"] <= small["confidence"] + 1e-3).mean() > 0.9


def test_every_second_epoch_draws_what_it_would_have_drawn(tmp_path: Path, images: ImageDataset) -> None:
    every, second = (
        train(tmp_path / str(n), images, recording=Recording(BOTH, by="evaluation", attack=ATTACK, every=n)).dynamics
        for n in (1, 2)
    )
    assert len(second) == 2
    for ours, theirs in zip(second, (every[0], every[2]), strict=True):
        assert all(np.array_equal(ours[name], theirs[name]) for name in BOTH)


def test_it_is_read_from_plain_data() -> None:
    plain = {"quantities": ["adversarial-confidence"], "by": "evaluation", "attack": {"name": "pgd", "eps": "4/255"}}
    assert read("record", plain) == Recording(("adversarial-confidence",), "evaluation", attack=Pgd(eps=4 / 255))
    assert build("recording", read("record", plain).plain()) == read("record", plain)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Recording(BOTH, attack=ATTACK), r"Recording\(attack=pgd\): by presentations, training attacks"),
        (lambda: Recording(by="evaluation", attack=ATTACK), r"attack=pgd\): nothing adversarial is recorded"),
        (lambda: Recording(BOTH, by="evaluation", attack=DeepFool(eps=None)), "the attack has no radius"),
        (lambda: Recording(block=0), r"Recording\(block=0\): nothing would be looked at"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: Any, match: str) -> None:
    with pytest.raises(MethodError, match=match):
        make()


def test_what_nobody_attacks_is_refused_before_anything_is_done(tmp_path: Path, images: ImageDataset) -> None:
    plain = replace(SHORT, objective=CrossEntropy())
    for by, match in (("presentations", "name an attack and record by evaluation"), ("evaluation", "has none to lend")):
        with pytest.raises(MethodError, match=match):
            train(tmp_path / by, images, plain, recording=Recording(BOTH, by=by))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_sentences_are_not_attacked(tmp_path: Path) -> None:
    from paredown.data import open_data

    pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    data: Any = open_data("synthetic-sentences", n=64, classes=2)
    model = Transformer(width=16, depth=1, heads=2, vocabulary=400, length=24)
    attacked = replace(SHORT, checkpoints_at=(), validation=Validation(examples=16, attack=ATTACK))
    with pytest.raises(MethodError, match=r"Validation\(attack=…\): .* has sentences, and only images are attacked"):
        fit(data, model, attacked, runtime=CPU, folder=tmp_path)
    recording = Recording(BOTH, by="evaluation", attack=ATTACK)
    with pytest.raises(MethodError, match=r"Recording\(attack=…\): .* has sentences, and only images are attacked"):
        fit(data, model, SHORT, recording=recording, runtime=CPU, folder=tmp_path)
    # But they are validated.
    held = replace(SHORT, epochs=2, checkpoints_at=(), validation=Validation(examples=16))
    fit(data, model, held, runtime=CPU, folder=tmp_path)
    assert Trained.adopt(tmp_path).best_epoch in (1, 2)
