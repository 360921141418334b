from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paredown.artifacts.checkpoint import Checkpoint, Trained
from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset
from paredown.errors import ArtifactError, DataError, MethodError
from paredown.log import read_metrics
from paredown.models.build import Factory, load
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Constant, Recording, Sgd, Training, fit
from paredown.training.observations import observe
from paredown.training.resume import read_state

MODEL = ConvNet(width=8, depth=1, norm="batch")
CPU = Runtime(device="cpu", precision="float32", progress=False)
SHORT = Training(epochs=3, batch_size=16, optimizer=Sgd(lr=0.05))
PLAIN = Augmentation()


def train(folder: Path, data: ImageDataset, training: Training = SHORT, **arguments: Any) -> Trained:
    arguments = {"runtime": CPU, "model": MODEL} | arguments
    fit(data, training=training, folder=folder, **arguments)
    return Trained.adopt(folder)


def accuracy(checkpoint: Checkpoint, data: ImageDataset) -> float:
    x = torch.from_numpy(data.images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        return float((load(checkpoint)(x).argmax(1).numpy() == data.labels).mean())


def test_training_learns(tmp_path: Path, images: ImageDataset) -> None:
    trained = train(tmp_path, images, replace(SHORT, epochs=15, checkpoints_at=(0,)))
    assert accuracy(trained.checkpoint, images) > 0.95 > accuracy(trained.early[0], images)
    first, *course = read_metrics(tmp_path / "metrics.jsonl")
    assert first["steps"] == 45 and first["steps_per_epoch"] == 3 and "note" not in first
    assert [row["step"] for row in course] == list(range(3, 46, 3))
    assert course[-1]["loss"] < course[0]["loss"] and course[-1]["epoch"] == 15


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(tmp_path: Path, images: ImageDataset) -> None:
    runs = [
        train(tmp_path / str(number), images, recording=Recording(), seed=seed) for number, seed in enumerate([1, 1, 2])
    ]
    assert runs[0] == runs[1] != runs[2]
    assert (tmp_path / "0/metrics.jsonl").read_bytes() == (tmp_path / "1/metrics.jsonl").read_bytes()


def test_training_leaves_the_callers_generator_alone(tmp_path: Path, images: ImageDataset) -> None:
    before = torch.random.get_rng_state()
    train(tmp_path, images)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_is_recorded_is_the_forward_pass_that_trained(tmp_path: Path, images: ImageDataset) -> None:
    whole = replace(SHORT, steps=1, epochs=None, batch_size=len(images), augmentation=PLAIN, checkpoints_at=(0,))
    trained = train(tmp_path, images, whole, recording=Recording())
    network = load(trained.early[0]).train()
    x = torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255
    seen = observe(network(x), torch.from_numpy(images.labels))
    (epoch,) = trained.dynamics
    for quantity, values in seen.items():
        np.testing.assert_allclose(epoch[quantity], values, rtol=1e-4, atol=1e-5, err_msg=quantity)


def test_rows_that_an_epoch_left_out_are_unknown_and_all_others_known(tmp_path: Path, images: ImageDataset) -> None:
    dynamics = train(tmp_path, images, recording=Recording()).dynamics
    assert len(dynamics) == 3 and dynamics.source == "presentations"
    for epoch in dynamics:
        assert np.isnan(epoch["margin"]).sum() == 60 - 48
    kept = train(tmp_path / "kept", images, replace(SHORT, drop_last=False), recording=Recording()).dynamics
    assert not np.isnan(kept.matrix("margin")).any()


def test_recording_changes_nothing_of_what_is_trained(tmp_path: Path, images: ImageDataset) -> None:
    runs = [
        train(tmp_path / str(number), images, recording=recording).checkpoint
        for number, recording in enumerate([None, Recording(), Recording(by="evaluation")])
    ]
    assert runs[0] == runs[1] == runs[2]


def test_an_evaluation_pass_sees_plain_images_in_evaluation_mode(tmp_path: Path, images: ImageDataset) -> None:
    recording = Recording(by="evaluation", quantities=("loss", "correct"))
    trained = train(tmp_path, images, recording=recording, runtime=replace(CPU, batch_size=7))
    assert trained.dynamics.source == "evaluation" and len(trained.dynamics) == 3
    x = torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        seen = observe(load(trained.checkpoint)(x), torch.from_numpy(images.labels))
    np.testing.assert_allclose(trained.dynamics[2]["loss"], seen["loss"], rtol=1e-4, atol=1e-5)


def test_every_second_epoch_can_be_recorded(tmp_path: Path, images: ImageDataset) -> None:
    every = train(tmp_path / "1", images, recording=Recording(quantities=("loss",))).dynamics
    second = train(tmp_path / "2", images, recording=Recording(quantities=("loss",), every=2)).dynamics
    assert len(second) == 2
    for ours, theirs in zip(second, (every[0], every[2]), strict=True):
        assert np.array_equal(ours["loss"], theirs["loss"], equal_nan=True)


def test_a_training_may_end_within_an_epoch(tmp_path: Path, images: ImageDataset) -> None:
    trained = train(tmp_path, images, replace(SHORT, epochs=None, steps=4), recording=Recording(quantities=("loss",)))
    known = [int((~np.isnan(epoch["loss"])).sum()) for epoch in trained.dynamics]
    assert known == [48, 16] and trained.checkpoint.step == 4


def test_a_subset_trains_as_many_steps_on_its_own_rows_in_any_order(tmp_path: Path, images: ImageDataset) -> None:
    rows = np.arange(0, 60, 3)
    runs = [
        train(tmp_path / str(number), images, positions=order, recording=Recording(quantities=("loss",)))
        for number, order in enumerate([rows, rows[::-1]])
    ]
    assert runs[0] == runs[1] and runs[0].checkpoint.step == 9
    assert np.array_equal(runs[0].dynamics.ids.keys, rows) and len(runs[0].dynamics) == 9


@pytest.mark.parametrize("drop_last", [True, False])
def test_a_subset_smaller_than_a_batch_is_taken_whole_and_says_so(
    tmp_path: Path, images: ImageDataset, drop_last: bool
) -> None:
    training = replace(SHORT, drop_last=drop_last, budget="epochs")
    train(tmp_path, images, training, positions=np.arange(5))
    first, *course = read_metrics(tmp_path / "metrics.jsonl")
    assert first["batch_size"] == 5 and "5 examples are fewer than a batch of 16" in first["note"]
    assert course[-1]["step"] == 3


def test_a_weight_of_zero_is_absence_and_equal_weights_are_none(tmp_path: Path, images: ImageDataset) -> None:
    model = ConvNet(width=4, depth=1, norm="none")
    flat = replace(SHORT, batch_size=60, augmentation=PLAIN, optimizer=Sgd(lr=0.05, weight_decay=0.0))
    half = np.r_[np.ones(30), np.zeros(30)]
    weighted = train(tmp_path / "w", images, flat, weights=half, model=model).checkpoint
    subset = train(tmp_path / "s", images, flat, positions=np.arange(30), model=model).checkpoint
    for name in weighted.weights:
        np.testing.assert_allclose(weighted.weights[name], subset.weights[name], rtol=1e-4, atol=1e-6)
    equal = train(tmp_path / "e", images, flat, weights=np.full(60, 3.0), model=model).checkpoint
    assert equal.weights.keys() == weighted.weights.keys()
    plain = train(tmp_path / "p", images, flat, model=model).checkpoint
    assert all(np.array_equal(equal.weights[name], plain.weights[name]) for name in plain.weights)


def test_label_smoothing_is_torchs(tmp_path: Path, images: ImageDataset) -> None:
    smooth = replace(SHORT, epochs=None, steps=1, label_smoothing=0.2, augmentation=PLAIN, batch_size=60)
    trained = train(tmp_path, images, replace(smooth, checkpoints_at=(0,)))
    x = torch.from_numpy(images.images).permute(0, 3, 1, 2) / 255
    logits = load(trained.early[0]).train()(x)
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(images.labels), label_smoothing=0.2)
    assert read_metrics(tmp_path / "metrics.jsonl")[1]["loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_early_checkpoints_stand_after_their_steps(tmp_path: Path, images: ImageDataset) -> None:
    trained = train(tmp_path, images, replace(SHORT, checkpoints_at=(0, 4, 9)))
    assert [part.step for part in trained.early] == [0, 4, 9]
    assert sorted(path.name for path in (tmp_path / "early").iterdir()) == [
        "step-0000000",
        "step-0000004",
        "step-0000009",
    ]
    assert trained.early[2] == trained.checkpoint
    constant = replace(SHORT, schedule=Constant())
    long = train(tmp_path / "l", images, replace(constant, checkpoints_at=(4,)))
    short = train(tmp_path / "k", images, replace(constant, epochs=None, steps=4))
    assert long.early[0] == short.checkpoint


def test_an_average_is_the_checkpoint_and_has_statistics_of_its_own(tmp_path: Path, images: ImageDataset) -> None:
    training = replace(SHORT, epochs=10, average=0.9, checkpoints_at=(30,))
    trained = train(tmp_path, images, training)
    assert trained.checkpoint != trained.early[0]
    assert accuracy(trained.checkpoint, images) > 0.9
    unaveraged = train(tmp_path / "u", images, replace(training, average=None))
    assert unaveraged.checkpoint == trained.early[0]


def test_a_second_call_does_nothing_and_another_training_is_refused(tmp_path: Path, images: ImageDataset) -> None:
    fit(images, MODEL, SHORT, runtime=CPU, folder=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    fit(images, MODEL, SHORT, runtime=CPU, folder=tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(ArtifactError, match="holds another training"):
        fit(images, MODEL, SHORT, runtime=CPU, folder=tmp_path, seed=1)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(ArtifactError, match="holds another training"):
        fit(images, MODEL, SHORT, runtime=CPU, folder=tmp_path)
    assert (tmp_path / "checkpoint" / "weights.safetensors").exists()


def test_folders_that_training_did_not_make_are_left_alone(tmp_path: Path, images: ImageDataset) -> None:
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "thesis.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="holds another training"):
        fit(images, MODEL, SHORT, runtime=CPU, folder=tmp_path)
    assert (tmp_path / "early" / "thesis.txt").read_text() == "precious"


def test_compiling_is_asked_of_torch_and_changes_nothing(
    tmp_path: Path, images: ImageDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    plain = train(tmp_path / "plain", images)
    assert not compiled
    assert train(tmp_path / "compiled", images, runtime=replace(CPU, compile=True)) == plain
    assert len(compiled) == 1


def test_a_loss_that_is_no_number_stops_in_words_and_keeps_earlier_epochs(tmp_path: Path, images: ImageDataset) -> None:
    wild = Training(epochs=40, batch_size=16, optimizer=Sgd(lr=1e6), schedule=Constant())
    model = ConvNet(width=8, depth=1, norm="none")
    with pytest.raises(MethodError, match=r"the loss of step \d+ is not a finite number, at a learning rate of 1e\+06"):
        fit(images, model, wild, runtime=replace(CPU, save_seconds=0), recording=Recording(), folder=tmp_path)
    assert not (tmp_path / "checkpoint").exists()
    for row in read_metrics(tmp_path / "metrics.jsonl")[1:]:
        assert np.isfinite(row["loss"])
    # The state of the step before stays, so that nothing ruined is ever continued.
    state = read_state(tmp_path)
    assert state is not None and state[1]["step"] >= 1
    assert bool(torch.isfinite(state[0]["journal"]).all())


def test_bfloat16_and_float32_learn_the_same(tmp_path: Path, images: ImageDataset) -> None:
    training = replace(SHORT, epochs=15)
    for precision in ("float32", "bfloat16"):
        runtime = replace(CPU, precision=precision)
        trained = train(tmp_path / precision, images, training, runtime=runtime, recording=Recording())
        assert accuracy(trained.checkpoint, images) > 0.95
        assert all(array.dtype != np.float16 for array in trained.checkpoint.weights.values())
        assert trained.dynamics[0]["loss"].dtype == np.float32


def dropping(shape: tuple[int, int, int], classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[1] * shape[2], 16), nn.Dropout(0.5), nn.Linear(16, classes))


def test_what_a_network_draws_follows_the_seed(tmp_path: Path, images: ImageDataset, monkeypatch) -> None:
    model = Factory(target=f"{__name__}:dropping")
    monkeypatch.setattr(Factory, "_function", lambda self: dropping)
    runs = [train(tmp_path / str(n), images, model=model, seed=seed) for n, seed in enumerate([0, 0, 1])]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"positions": np.array([], int)}, "subset to train on is empty"),
        ({"positions": np.array([3, 60])}, "Row 60 is to be trained on, and quarters has 60 rows"),
        ({"positions": np.array([-1])}, "Row -1 is to be trained on"),
        ({"positions": np.array([3, 5, 3])}, "Row 3 is to be trained on twice"),
        ({"weights": np.ones(3)}, r"60 examples and weights of shape \(3,\) do not pair up"),
        ({"weights": np.full(60, -1.0)}, "Weights are finite, at least 0 and not all 0"),
        ({"weights": np.zeros(60)}, "Weights are finite, at least 0 and not all 0"),
        ({"weights": np.full(60, np.nan)}, "Weights are finite, at least 0 and not all 0"),
    ],
)
def test_examples_that_cannot_be_trained_on_are_refused(
    tmp_path: Path, images: ImageDataset, arguments: dict[str, Any], match: str
) -> None:
    with pytest.raises(DataError, match=match):
        fit(images, MODEL, SHORT, runtime=CPU, folder=tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_trackers_hear_of_the_course_and_the_folder_holds_nothing_of_theirs(
    tmp_path: Path, images: ImageDataset
) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    plain = train(tmp_path / "plain", images)
    train(tmp_path / "tracked", images, runtime=replace(CPU, trackers=("tensorboard",)))
    assert list((tmp_path / "tensorboard" / "tracked").iterdir())
    assert plain == Trained.open(tmp_path / "tracked")
    assert {path.name for path in (tmp_path / "tracked").iterdir()} == {"checkpoint", "meta.json", "metrics.jsonl"}
