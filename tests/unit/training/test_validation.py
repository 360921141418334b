"""Held-out examples choose the best epoch, and nothing else of a training depends on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.training.conftest import make_images

import paredown.training.journal
import paredown.training.loop
from paredown.artifacts import Checkpoint, Trained
from paredown.attacks import DeepFool, Pgd
from paredown.data.dataset import ImageDataset
from paredown.errors import MethodError
from paredown.log import read_metrics
from paredown.method import build
from paredown.models.build import load
from paredown.models.convnet import ConvNet
from paredown.rng import key
from paredown.runtime import Runtime
from paredown.training import Constant, Recording, Sgd, Trades, Training, Validation, fit
from paredown.training.devices import Place
from paredown.training.resume import read_state
from paredown.training.validation import Looks

CPU = Runtime(device="cpu", precision="float32", progress=False)
MODEL = ConvNet(width=8, depth=1, norm="batch")
SHORT = Training(epochs=3, batch_size=8, optimizer=Sgd(lr=0.05), validation=Validation(examples=20))
ATTACK = Pgd(eps=0.1, step=0.05, steps=3)


def train(folder: Path, data: ImageDataset, training: Training = SHORT, **arguments: Any) -> Trained:
    arguments = {"runtime": CPU, "model": MODEL} | arguments
    fit(data, training=training, folder=folder, **arguments)
    return Trained.adopt(folder)


def looks(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_metrics(folder / "metrics.jsonl") if "validation-accuracy" in line]


def rows_of(trained: Trained) -> np.ndarray:
    assert trained.validation is not None
    return trained.validation.keys


@settings(deadline=None, max_examples=30)
@given(
    sizes=st.lists(st.integers(2, 40), min_size=2, max_size=6),
    share=st.floats(0.05, 0.95),
    fewer=st.floats(0.3, 1.0),
)
def test_each_class_gives_its_share_and_fewer_are_a_part_of_more(sizes: list[int], share: float, fewer: float) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)[np.random.default_rng(0).permutation(sum(sizes))]
    data = ImageDataset.from_arrays(np.zeros((len(labels), 2, 2), np.uint8), labels)
    count = max(1, int(share * len(labels)))
    try:
        held = Validation(examples=count).rows(data)
    except MethodError as refusal:
        assert "would be looked at" in str(refusal) or "would be held out" in str(refusal)
        return
    assert len(held) == count and (np.diff(held) > 0).all()
    counts = np.bincount(labels[held], minlength=len(sizes))
    assert (np.abs(counts - count * np.array(sizes) / len(labels)) <= 1).all()
    assert (counts >= 1).all() and (counts < sizes).all()
    try:
        some = Validation(examples=max(1, int(fewer * count))).rows(data)
    except MethodError:
        return
    assert set(some) <= set(held)


def test_first_takes_the_first_rows_as_the_original_does() -> None:
    labels = np.arange(5000) % 10
    data = ImageDataset.from_arrays(np.zeros((5000, 2, 2), np.uint8), labels)
    assert np.array_equal(Validation(draw="first").rows(data), np.arange(1024))


def test_held_out_rows_are_the_same_for_every_seed_and_selection_and_never_trained_on(
    tmp_path: Path, images: ImageDataset
) -> None:
    some = np.arange(0, 60, 2)
    runs = [
        train(tmp_path / str(number), images, recording=Recording(("loss",)), seed=seed, positions=positions)
        for number, (seed, positions) in enumerate([(0, None), (1, None), (0, some)])
    ]
    held = rows_of(runs[0])
    assert len(held) == 20 and all(np.array_equal(rows_of(run), held) for run in runs)
    assert np.array_equal(runs[0].dynamics.ids.keys, np.setdiff1d(np.arange(60), held))
    assert np.array_equal(runs[2].dynamics.ids.keys, np.setdiff1d(some, held))
    assert all(epoch["loss"].shape == (40,) and not np.isnan(epoch["loss"]).any() for epoch in runs[0].dynamics)
    first = read_metrics(tmp_path / "2" / "metrics.jsonl")[0]
    left_out = len(np.intersect1d(some, held))
    assert first["validation"] == 20 and first["examples"] == 30 - left_out
    assert f"{left_out} of the chosen examples are held out for validation" in first["note"]
    # A budget of steps is that of what can be trained on: 40 examples make 5 batches of 8.
    assert first["steps"] == 15
    assert "note" not in read_metrics(tmp_path / "0" / "metrics.jsonl")[0]


def test_pixels_of_held_out_rows_change_nothing_that_is_learnt(tmp_path: Path, images: ImageDataset) -> None:
    training = replace(SHORT, average=0.9)
    plain = train(tmp_path / "plain", images, training, recording=Recording())
    held = rows_of(plain)
    pixels = images.images.copy()
    pixels[held] = 255 - pixels[held]
    other = train(tmp_path / "other", replace(images, images=pixels), training, recording=Recording())
    assert [list(epoch["loss"]) for epoch in plain.dynamics] == [list(epoch["loss"]) for epoch in other.dynamics]
    assert looks(tmp_path / "plain") != looks(tmp_path / "other")


def test_looking_changes_nothing_of_what_is_trained(tmp_path: Path, images: ImageDataset) -> None:
    kept = np.setdiff1d(np.arange(60), Validation(examples=20).rows(images))
    for average in (None, 0.9):
        looked = replace(SHORT, average=average, checkpoints_at=(15,), budget="epochs")
        blind = replace(looked, validation=None)
        runs = [
            train(tmp_path / f"{average}-{training is blind}", images, training, positions=kept, recording=Recording())
            for training in (looked, blind)
        ]
        assert runs[0].early[0] == runs[1].early[0] and runs[1].best_epoch is None and runs[1].validation is None
        assert [list(epoch["el2n"]) for epoch in runs[0].dynamics] == [list(e["el2n"]) for e in runs[1].dynamics]


def accuracies(trained: Trained, data: ImageDataset, checkpoint: Checkpoint, *, seed: int = 0) -> tuple[float, float]:
    """What a look at the best epoch must have found, block by block, by hand."""
    network, held = load(checkpoint), rows_of(trained)
    right = robust = 0
    for first in range(0, len(held), 8):
        rows = held[first : first + 8]
        x = torch.from_numpy(data.images[rows]).permute(0, 3, 1, 2) / 255
        y = torch.from_numpy(data.labels[rows])
        moved = ATTACK(network, x, y, seed=key(seed, "validation", trained.best_epoch, first))
        with torch.no_grad():
            clean = network(x).argmax(1) == y
            right += int(clean.sum())
            robust += int((clean & (network(moved).argmax(1) == y)).sum())
    return right / len(held), robust / len(held)


@pytest.mark.parametrize("statistics", ["recalibrated", "copied"])
def test_the_checkpoint_is_the_network_that_was_looked_at(
    tmp_path: Path, images: ImageDataset, statistics: Any
) -> None:
    validation = Validation(examples=20, attack=ATTACK)
    training = replace(
        SHORT, epochs=6, average=0.8, average_statistics=statistics, validation=validation, checkpoints_at=(10, 30)
    )
    trained = train(tmp_path, images, training)
    lines = looks(tmp_path)
    assert [line["step"] for line in lines] == [5, 10, 15, 20, 25, 30] and lines[-1]["epoch"] == 6
    best = max(range(6), key=lambda number: (lines[number]["validation-robust-accuracy"], -number))
    assert trained.best_epoch == best + 1 and trained.checkpoint.step == lines[best]["step"]
    clean, robust = accuracies(trained, images, trained.checkpoint)
    assert clean == pytest.approx(lines[best]["validation-accuracy"])
    assert robust == pytest.approx(lines[best]["validation-robust-accuracy"])


@pytest.mark.parametrize("statistics", ["recalibrated", "copied"])
def test_copied_statistics_are_the_raw_networks(tmp_path: Path, images: ImageDataset, statistics: Any) -> None:
    training = replace(SHORT, validation=None, average=0.8, average_statistics=statistics, checkpoints_at=(21,))
    trained = train(tmp_path, images, training)
    raw, averaged = trained.early[0].weights, trained.checkpoint.weights
    buffers = [name for name in raw if "running" in name or "batches_tracked" in name]
    same = [np.array_equal(raw[name], averaged[name]) for name in buffers]
    assert buffers and all(same) if statistics == "copied" else not any(same)
    assert not any(np.array_equal(raw[name], averaged[name]) for name in raw if name.endswith("weight"))


def test_without_an_attack_clean_accuracy_decides_and_the_last_network_is_looked_at_too(
    tmp_path: Path, images: ImageDataset
) -> None:
    training = replace(SHORT, epochs=None, steps=18, validation=Validation(examples=20, every=2))
    trained = train(tmp_path, images, training, recording=Recording(("correct",), every=2))
    lines = looks(tmp_path)
    assert [line["step"] for line in lines] == [10, 18] and "validation-robust-accuracy" not in lines[0]
    # Epochs 1 and 3 were recorded; the best one is 2 or, cut short, 4.
    assert trained.best_epoch in (2, 4) and len(trained.dynamics) == 2
    assert trained.dynamics.best_epoch == {2: 1, 4: 2}[trained.best_epoch]


class Scripted(Looks):
    """Looks that find what a script says."""

    def __init__(self, validation: Validation, script: Sequence[int]) -> None:
        super().__init__(
            validation,
            None,  # type: ignore[arg-type]
            None,  # type: ignore[arg-type]
            np.arange(100),
            batch=10,
            per_epoch=10,
            steps=10 * len(script),
            seed=0,
            place=Place(torch.device("cpu")),
        )
        self.script = script

    def _hits(self, epoch: int, network: Any) -> tuple[int, int]:
        return 50, self.script[epoch - 1]


def course(validation: Validation, script: Sequence[int]) -> tuple[int, int]:
    """The epoch after which training ends, and the best one."""
    watched = Scripted(replace(validation, attack=ATTACK), script)
    network = torch.nn.Linear(1, 1)
    for step in range(1, watched.steps + 1):
        if watched.due(step):
            torch.nn.init.constant_(network.weight, float(step))
            watched.look(step, network)
            if watched.over:
                break
    assert watched.best_epoch is not None
    assert float(watched.weights["weight"]) == watched.best_step == min(watched.best_epoch * 10, watched.steps)
    return -(-step // 10), watched.best_epoch


@pytest.mark.parametrize(
    ("script", "fields", "expected"),
    [
        ([5, 5, 6, 6, 6], {}, (5, 3)),  # strictly greater replaces
        ([0, 0, 0], {}, (3, 1)),  # the first is the best so far, whatever it is
        ([5, 4, 4, 4, 9], {"patience": 2}, (4, 1)),  # 4 - 1 > 2
        ([5, 4, 4, 6, 5, 5, 5, 9], {"patience": 2}, (7, 4)),
        ([5, 4, 4, 6], {"patience": 3}, (4, 4)),
        ([0, 5, 0, 4, 0, 4, 0, 9], {"patience": 2, "every": 2}, (6, 2)),  # 4 - 2 is not above 2
        ([0, 5, 0, 4, 0, 4], {"patience": 1, "every": 2}, (4, 2)),
        ([1, 2, 3, 4, 5], {"every": 3}, (5, 5)),  # epochs 3 and 5
    ],
)
def test_the_best_epoch_and_the_end(script: list[int], fields: dict[str, Any], expected: tuple[int, int]) -> None:
    assert course(Validation(**fields), script) == expected


@given(script=st.lists(st.integers(0, 6), min_size=1, max_size=25), patience=st.integers(1, 8))
def test_patience_is_the_rule_of_the_original(script: list[int], patience: int) -> None:
    best, epoch = 1, 0
    for epoch, found in enumerate(script, start=1):
        if found > script[best - 1]:
            best = epoch
        if epoch - best > patience:
            break
    assert course(Validation(patience=patience), script) == (epoch, best)


def test_training_stops_early_and_so_do_the_dynamics(tmp_path: Path, images: ImageDataset) -> None:
    # With so small a rate no look is better than the first.
    still = replace(SHORT, epochs=30, optimizer=Sgd(lr=1e-12), schedule=Constant())
    still = replace(still, validation=Validation(examples=20, patience=2))
    trained = train(tmp_path, images, still, recording=Recording(("loss",)))
    lines = looks(tmp_path)
    assert len(lines) == 4 and [line.get("best") for line in lines] == [True, None, None, None]
    assert (trained.best_epoch, trained.checkpoint.step, len(trained.dynamics)) == (1, 5, 4)
    assert trained.dynamics.best_epoch == 1 and "the best of epoch 1 by 20 examples" in trained.describe()
    assert not (tmp_path / "resume.safetensors").exists()
    assert Trained.open(tmp_path) == trained == trained.in_memory()


def test_batches_of_the_runtime_change_nothing_of_what_is_recorded_or_decided(
    tmp_path: Path, images: ImageDataset
) -> None:
    training = replace(SHORT, validation=Validation(examples=20, attack=ATTACK), objective=Trades(attack=ATTACK))
    recording = Recording(("loss", "adversarial-confidence"), by="evaluation", block=16)
    runs = []
    for batch in (3, 512):
        runtime = replace(CPU, batch_size=batch)
        runs.append(train(tmp_path / str(batch), images, training, recording=recording, runtime=runtime))
    assert runs[0] == runs[1]
    names = ("metrics.jsonl", "validation.safetensors")
    for name in (*names, "dynamics/epoch-0002.safetensors"):
        assert (tmp_path / "3" / name).read_bytes() == (tmp_path / "512" / name).read_bytes()


def test_a_training_without_validation_keeps_its_form_and_one_with_it_names_it(
    tmp_path: Path, images: ImageDataset
) -> None:
    plain = train(tmp_path / "plain", images, replace(SHORT, validation=None), recording=Recording(("loss",)))
    assert set(plain.header()) == {"checkpoint", "dynamics", "early"} and "best_epoch" not in plain.dynamics.header()
    assert not (tmp_path / "plain" / "validation.safetensors").exists()
    held = train(tmp_path / "held", images, recording=Recording(("loss",)))
    again = Trained.open(held.save(tmp_path / "copy"))
    assert again == held and (again.best_epoch, again.dynamics.best_epoch) == (held.best_epoch, held.best_epoch)
    assert again.validation.pool == images.ids.pool and np.array_equal(rows_of(again), rows_of(held))


def test_it_is_built_from_plain_data() -> None:
    plain = {"validation": {"examples": 500, "draw": "first", "patience": "30", "attack": {"name": "pgd", "steps": 40}}}
    made = build("training", plain)
    assert made.validation == Validation(500, "first", Pgd(steps=40), patience=30)
    assert build("training", made.plain()) == made
    assert build("validation", {}) == Validation()


def test_a_loss_that_is_no_number_keeps_the_best_network_and_says_so_again(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paredown.training.learner import Learner

    taken: list[int] = []
    original = Learner.take

    def broken(self: Learner, step: int, *arguments: Any, **options: Any) -> Any:
        taken.append(step)
        seen, loss = original(self, step, *arguments, **options)
        return seen, loss * (float("nan") if step >= 23 and self.place.device.type == "cpu" else 1.0)

    monkeypatch.setattr(Learner, "take", broken)
    training = replace(SHORT, epochs=9)
    runtime = replace(CPU, save_seconds=0)
    with pytest.raises(MethodError, match=r"loss of step 23 is not a finite number.*of epoch \d, in best/\.$") as first:
        fit(images, MODEL, training, runtime=runtime, recording=Recording(("loss",)), folder=tmp_path)
    assert "\n" not in str(first.value)
    best = Checkpoint.open(tmp_path / "best")
    lines = looks(tmp_path)
    assert best.step == next(line["step"] for line in reversed(lines) if line.get("best"))
    state = read_state(tmp_path)
    assert state is not None and state[1]["step"] == 22 and len(lines) == 4
    # Again it says the same, at once and whatever is left to be trained.
    taken.clear()
    with pytest.raises(MethodError) as second:
        fit(images, MODEL, training, runtime=runtime, recording=Recording(("loss",)), folder=tmp_path)
    assert str(second.value) == str(first.value) and not taken
    # Where the arithmetic is another it goes on from the last good state, and ends like any other.
    monkeypatch.setattr(Learner, "take", original)
    fit(
        images,
        MODEL,
        training,
        runtime=replace(runtime, precision="bfloat16"),
        recording=Recording(("loss",)),
        folder=tmp_path,
    )
    assert Trained.adopt(tmp_path).best_epoch is not None and not (tmp_path / "stopped.json").exists()
    assert not (tmp_path / "best").exists()


class Heard:
    """A tracker that remembers what it is told."""

    run = "7f"

    def __init__(self) -> None:
        self.told: list[Any] = []

    def parameters(self, values: Any) -> None:
        self.told.append(values)

    def log(self, metrics: Any, step: int) -> None:
        self.told.append((step, dict(metrics)))

    def artifacts(self, paths: Any) -> None:
        self.told.append([path.name for path in paths if path.exists()])

    def close(self) -> None:
        self.told.append("closed")


def test_trackers_hear_of_settings_looks_and_what_is_made(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, asked = Heard(), []

    def opened(names: Any, folder: Path, *, runs: Any = None) -> dict[str, Heard]:
        asked.append(runs)
        return {"mlflow": heard}

    monkeypatch.setattr(paredown.training.journal, "open_trackers", opened)
    runtime = replace(CPU, trackers=("mlflow",), save_seconds=0)
    original, saves = paredown.training.loop.write_state, []

    def stopping(*arguments: Any) -> None:
        original(*arguments)
        saves.append(1)
        if len(saves) == 7:
            raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(paredown.training.loop, "write_state", stopping)
        with pytest.raises(InterruptedError):
            train(tmp_path / "run", images, runtime=runtime, seed=4)
    train(tmp_path / "run", images, runtime=runtime, seed=4)
    assert asked == [None, {"mlflow": "7f"}]
    told, metrics = heard.told[0], [entry for entry in heard.told if isinstance(entry, tuple)]
    assert told["training"] == SHORT.plain() and told["seed"] == 4 and told["data"] == "quarters"
    assert [step for step, figures in metrics if "validation-accuracy" in figures] == [5, 10, 15]
    assert [step for step, figures in metrics if "loss" in figures] == [5, 10, 15]
    assert heard.told[-2:] == [["checkpoint", "metrics.jsonl"], "closed"]
    plain = train(tmp_path / "plain", images, seed=4)
    assert plain == Trained.open(tmp_path / "run")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Validation(examples=0), r"Validation\(examples=0\): nothing would be looked at"),
        (lambda: Validation(every=0), r"Validation\(every=0\): epochs are counted from 1"),
        (lambda: Validation(patience=0), r"Validation\(patience=0\): training would stop at the first look"),
        (lambda: Validation(draw="last"), r"Validation\(draw='last'\): not a way to draw"),
        (lambda: Validation(attack=DeepFool(eps=None)), r"Validation\(attack=deepfool\): the attack has no radius"),
        (lambda: Validation(examples=60).rows(make_images()), r"quarters has 60 examples, so none would be left"),
        (lambda: Validation(examples=61).rows(make_images()), r"quarters has 60 examples, so none would be left"),
        (
            lambda: Validation(examples=2).rows(make_images()),
            r"none of the \d+ examples of class '\d' .* Hold out more",
        ),
        (lambda: Validation(examples=59).rows(make_images()), r"all \d+ examples of class '\d' of quarters would be"),
        (lambda: Training(average_statistics="copied"), r"there is no average to copy them to"),
        (lambda: Training(average=0.9, average_statistics="none"), r"average_statistics='none'\): not a kind"),
        (lambda: Trained(Checkpoint({}, shape=(1, 2, 2), classes=2, weights={}, step=1), best_epoch=3), "go together"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, match: str) -> None:
    with pytest.raises(Exception, match=match):
        make()


def test_first_rows_of_a_file_sorted_by_class_are_refused() -> None:
    data = ImageDataset.from_arrays(np.zeros((40, 2, 2), np.uint8), np.repeat([0, 1], 20))
    with pytest.raises(MethodError, match=r"none of the 20 examples of class '1' .* Draw by-class"):
        Validation(examples=10, draw="first").rows(data)


def test_a_subset_of_held_out_rows_alone_is_refused(tmp_path: Path, images: ImageDataset) -> None:
    held = Validation(examples=20).rows(images)
    with pytest.raises(Exception, match="All 20 examples to train on are held out for validation"):
        train(tmp_path, images, positions=held)
    weights = np.ones(60)
    weights[np.setdiff1d(np.arange(60), held)] = 0
    with pytest.raises(Exception, match="Every example whose weight is above 0 is held out"):
        train(tmp_path, images, weights=weights)
    assert not list(tmp_path.iterdir())
