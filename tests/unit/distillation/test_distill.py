"""The verb `distill`: what it learns, what it leaves, how it goes on after a kill, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paredown import distill, evaluate, open_data, select, train
from paredown.artifacts import DistilledSet, ScoreTable
from paredown.data import Augmentation, ImageDataset
from paredown.distillation import FeatureRegression, InfiniteSemantic
from paredown.distillation.loop import Loop
from paredown.distillation.outer import Outer
from paredown.distillation.pool import Pool as Networks
from paredown.errors import ArtifactError, DataError, MethodError, PoolMismatch
from paredown.log import read_metrics
from paredown.method import build
from paredown.models.convnet import ConvNet
from paredown.models.widening import WideningConvNet
from paredown.runtime import Runtime
from paredown.store import Store
from paredown.verbs import VERBS

CPU = Runtime(device="cpu", precision="float32", progress=False, threads=1)
SMALL = FeatureRegression(
    model=WideningConvNet(width=4, depth=1), steps=12, batch_size=16, online_networks=2, online_steps=4, lr=0.01
)


def images(count: int = 60, *, channels: int = 3, name: str = "blobs", seed: int = 0) -> ImageDataset:
    """Three classes that differ in where a blob lies, in noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = rng.normal(100, 40, (count, 8, 8, channels))
    for row, label in enumerate(labels):
        pixels[row, 2 * label : 2 * label + 3, 1:7] += 70
    drawn = np.clip(pixels, 0, 255).astype(np.uint8)
    return ImageDataset.from_arrays(drawn, labels, name=name, augmentation=Augmentation(flip=channels == 3))


def whitened(data: ImageDataset) -> ImageDataset:
    return replace(data, whiten="zca")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_students_learn_more_from_it_than_from_as_many_real_images(tmp_path: Path) -> None:
    data, test = open_data("digits"), open_data("digits", split="test")
    method = replace(
        SMALL, model=WideningConvNet(width=8, depth=1), steps=100, batch_size=128, online_steps=20, lr=0.02
    )
    made = distill(data, method, per_class=1, runtime=CPU, folder=tmp_path)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "train/kernel_loss" in row]
    assert rows[-1]["train/kernel_loss"] < 0.7 * rows[0]["train/kernel_loss"]
    assert rows[-1]["train/accuracy"] > rows[0]["train/accuracy"]
    student = {"steps": 150, "batch_size": 10, "optimizer": {"name": "adam", "lr": 1e-3}, "objective": "squared-error"}
    model = WideningConvNet(width=16, depth=1, norm="none")
    chance = select("random", data=data, count=10, by_class=True, seed=0)

    def accuracy(source: Any, selection: Any) -> float:
        return evaluate(train(source, model, student, selection=selection, runtime=CPU), test).rows[0].value

    learnt, real = accuracy(made, None), accuracy(data, chance)
    assert learnt > real + 0.1, (learnt, real)


def test_what_it_leaves(tmp_path: Path) -> None:
    made = distill(images(), SMALL, per_class=2, runtime=CPU, folder=tmp_path)
    assert DistilledSet.open(tmp_path) == made
    names = set(files(tmp_path))
    assert {"set.safetensors", "meta.json", "grid.png", "metrics.jsonl", "growth.gif"} <= names
    assert "growth/step-0000000.png" in names and "growth/step-0000012.png" in names
    assert not [name for name in names if name.startswith("resume")]
    assert (tmp_path / "grid.png").read_bytes() == (tmp_path / "growth" / "step-0000012.png").read_bytes()
    with Image.open(tmp_path / "growth.gif") as film:
        # Pictures that are alike are one frame that is shown for longer.
        kept = [name for name in names if name.startswith("growth/")]
        assert len(kept) == 13 and 2 < film.n_frames <= len(kept)  # type: ignore[attr-defined]
    first, *rows = read_metrics(tmp_path / "metrics.jsonl")
    assert first["images"] == 6 and first["learnt from"] == 60
    assert rows[-1]["step"] == 12 and rows[-1]["monitor/learning_rate"] == pytest.approx(0.01 * 0.1, rel=0.2)
    assert {"train/total_loss", "train/label_loss", "train/grad_norm_x", "proto/y_proto_margin_min"} <= rows[-1].keys()
    assert "train/top5accuracy" not in rows[-1] and "monitor/steps_per_second" not in rows[-1]
    assert rows[0]["train/total_loss"] == pytest.approx(rows[0]["train/kernel_loss"] + rows[0]["train/label_loss"])
    before = files(tmp_path)
    assert distill(images(), SMALL, per_class=2, runtime=CPU, folder=tmp_path) == made and files(tmp_path) == before


def test_the_images_begin_as_real_ones() -> None:
    data = whitened(images())
    made = distill(data, replace(SMALL, steps=1, lr=1e-12), per_class=2, runtime=CPU)
    begun = data.images[data.ids.positions_of(made.ids, "", "")].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(made.pixels(), begun, atol=1e-3)
    assert data.labels[made.ids.keys].tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_allclose(made.labels, (np.eye(3)[[0, 0, 1, 1, 2, 2]] - 1 / 3) / np.sqrt(0.3), atol=1e-5)


def test_each_step_moves_images_and_labels_by_the_rate_times_their_length() -> None:
    data = images()
    one = distill(data, replace(SMALL, steps=1), per_class=2, runtime=CPU)
    none = distill(data, replace(SMALL, steps=1, lr=1e-12), per_class=2, runtime=CPU)
    moved = np.linalg.norm(one.images - none.images) / np.linalg.norm(none.images)
    assert moved == pytest.approx(0.01, rel=1e-3)
    fixed = distill(data, replace(SMALL, steps=3, learn_labels=False), per_class=2, runtime=CPU)
    np.testing.assert_allclose(fixed.labels, none.labels, atol=1e-7)


def test_phases_of_classes_keep_all_names_and_join() -> None:
    data = images()
    phases = [distill(data, SMALL, per_class=2, classes=classes, runtime=CPU) for classes in ([2], [1, 0])]
    assert [phase.hard_labels.tolist() for phase in phases] == [[2, 2], [0, 0, 1, 1]]
    assert phases[0].labels.shape == (2, 3) and len(DistilledSet.union(phases)) == 6


def test_the_order_of_the_classes_changes_no_address(tmp_path: Path) -> None:
    store, verb = Store(tmp_path), VERBS["distill"]
    addresses = {store.address(verb, data="digits", classes=classes) for classes in ([3, 1], (1, 3), ["1", "3"])}
    assert len(addresses) == 1
    assert store.address(verb, data="digits", per_class="10") == store.address(verb, data="digits")


def test_it_begins_as_a_selection_and_goes_by_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images()
    values = np.random.default_rng(5).random(60)
    table = ScoreTable(data.ids, values, name="el2n", important="low", low=0, high=1)
    chosen = select("lowest", scores=table, data=data, fraction=0.5, by_class=True)
    seen: list[torch.Tensor] = []
    gradients = Outer.gradients

    def watched(self: Outer, step: int, body: torch.nn.Module) -> Any:
        found = gradients(self, step, body)
        rows = self.real.batch(step - 1)[2]
        seen.append(rows[found[1].kept])
        return found

    monkeypatch.setattr(Outer, "gradients", watched)
    method = replace(SMALL, augmentation=InfiniteSemantic(keep_hardest=0.25))
    made = distill(data, method, per_class=2, selection=chosen, scores=table, runtime=CPU)
    best = [[row for row in np.argsort(values) if data.labels[row] == label][:2] for label in range(3)]
    assert made.ids.keys.tolist() == np.concatenate(best).tolist()
    assert made.asked["scores"]["name"] == "el2n" and made.asked["selection"] == chosen.digest()
    for kept in seen:
        assert len(kept) == 4 and (np.diff(values[kept.numpy()]) >= 0).all()


def test_scores_and_selections_of_other_data_are_refused() -> None:
    other = images(name="others", seed=9)
    table = ScoreTable(other.ids, np.zeros(60), name="el2n", important="high", low=0, high=1)
    with pytest.raises(PoolMismatch):
        distill(images(), SMALL, per_class=1, scores=table, runtime=CPU)
    with pytest.raises(PoolMismatch):
        distill(images(), SMALL, per_class=1, selection=select("random", data=other, count=9), runtime=CPU)
    flat = ScoreTable(images().ids, np.zeros(60), name="size", important="none", low=0, high=1)
    with pytest.raises(MethodError, match="has no direction"):
        distill(images(), SMALL, per_class=1, scores=flat, runtime=CPU)


@pytest.mark.parametrize("at", [1, 5, 7, 11])
@pytest.mark.parametrize("held_out", [0.0, 0.3])
def test_killed_it_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, held_out: float
) -> None:
    if held_out:
        monkeypatch.setattr("paredown.distillation.students.TRAINING", build("training", {"steps": 5}))
    data, method = whitened(images()), replace(SMALL, held_out=held_out, check_every=3)
    often = replace(CPU, save_seconds=0.0)
    whole = distill(data, method, per_class=2, seed=3, runtime=often, folder=tmp_path / "whole")
    take, deaths = Loop._take, [at, at + 1]

    def dying(self: Loop) -> None:
        if deaths and self.step + 1 == deaths[0]:
            deaths.pop(0)
            raise KeyboardInterrupt
        take(self)

    monkeypatch.setattr(Loop, "_take", dying)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            distill(data, method, per_class=2, seed=3, runtime=often, folder=tmp_path / "killed")
    again = distill(data, method, per_class=2, seed=3, runtime=often, folder=tmp_path / "killed")
    assert again == whole
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert not [name for name in files(tmp_path / "killed") if "resume" in name]


def test_killed_before_it_saved_it_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = distill(images(), SMALL, per_class=2, runtime=CPU, folder=tmp_path / "whole")
    learn = Networks.learn

    def dying(self: Networks, number: int, step: int, *rest: torch.Tensor) -> None:
        if step == 9:
            raise KeyboardInterrupt
        learn(self, number, step, *rest)

    monkeypatch.setattr(Networks, "learn", dying)
    with pytest.raises(KeyboardInterrupt):
        distill(images(), SMALL, per_class=2, runtime=CPU, folder=tmp_path / "killed")
    monkeypatch.undo()
    assert distill(images(), SMALL, per_class=2, runtime=CPU, folder=tmp_path / "killed") == whole
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_folder_of_another_distillation_is_refused(tmp_path: Path) -> None:
    method = replace(SMALL, steps=2)
    (tmp_path / "metrics.jsonl").write_text(json.dumps({"training": "ab"}) + "\n")
    with pytest.raises(ArtifactError, match="holds another distillation"):
        distill(images(), method, per_class=2, runtime=CPU, folder=tmp_path)
    (tmp_path / "metrics.jsonl").unlink()
    distill(images(), method, per_class=2, runtime=CPU, folder=tmp_path / "held")
    with pytest.raises(ArtifactError, match="held holds another distillation"):
        distill(images(), method, per_class=2, seed=1, runtime=CPU, folder=tmp_path / "held")
    (tmp_path / "growth").mkdir()
    with pytest.raises(ArtifactError, match="holds another distillation"):
        distill(images(), method, per_class=2, runtime=CPU, folder=tmp_path)


def test_the_best_set_is_kept_where_students_are_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.2, 0.9, 0.5, 0.9])
    monkeypatch.setattr("paredown.distillation.students.Students._accuracy", lambda *_: next(shares))
    monkeypatch.setattr("paredown.distillation.students.TRAINING", build("training", {"steps": 2}))
    data, method = images(), replace(SMALL, held_out=0.3, check_every=3)
    made = distill(data, method, per_class=2, runtime=CPU, folder=tmp_path)
    last = DistilledSet.open(tmp_path / "last")
    assert made.step == 6 and made.notes["held-out accuracy"] == 0.9 and last.step == 12
    tested = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "eval/step_acc_mean" in row]
    assert [(row["step"], row["eval/step_acc_mean"]) for row in tested] == [(3, 0.2), (6, 0.9), (9, 0.5), (12, 0.9)]
    head = read_metrics(tmp_path / "metrics.jsonl")[0]
    assert head["held out"] == 18 and head["learnt from"] == 42


def test_students_are_tested_on_images_that_nothing_was_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    from paredown.distillation import students as module
    from paredown.distillation.base import Task
    from paredown.distillation.initial import begin_as

    data = images()
    rows = np.arange(60)
    task = Task(data, rows, begin_as(data, rows, per_class=4, chosen=None, seed=2), seed=2)
    aside = module.set_aside(task, 0.3)
    assert np.bincount(data.labels[aside]).tolist() == [6, 6, 6] and not set(aside) & set(task.first)
    outer, _ = replace(SMALL, held_out=0.3).assembled(task, aside, CPU, _here())
    assert set(outer.real.rows.tolist()) == set(range(60)) - set(aside.tolist())
    assert len(module.set_aside(task, 0.0)) == 0
    with pytest.raises(MethodError, match="less than one in every class"):
        module.set_aside(task, 0.01)
    assert replace(SMALL, student=ConvNet()).tested == ConvNet()
    assert SMALL.tested == WideningConvNet(width=4, depth=1, norm="none")


def _here() -> Any:
    from paredown.training.devices import Place

    return Place(torch.device("cpu"))


def test_numbers_that_are_not_finite_stop_it_and_the_last_good_set_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = Outer.gradients

    def broken(self: Outer, step: int, body: torch.nn.Module) -> Any:
        loss, parts, aims = gradients(self, step, body)
        if step == 8:
            assert self.prototypes.images.grad is not None
            self.prototypes.images.grad.fill_(torch.nan)
        return loss, parts, aims

    whole = distill(images(), SMALL, per_class=2, runtime=CPU)
    monkeypatch.setattr(Outer, "gradients", broken)
    with pytest.raises(MethodError, match=r"stopped at step 8\. Its loss or gradient is not a finite number\. Lower"):
        distill(images(), SMALL, per_class=2, runtime=CPU, folder=tmp_path)
    kept = DistilledSet.open(tmp_path / "so-far")
    assert 0 < kept.step < 8 and np.isfinite(kept.images).all() and kept.ids.keys.tolist() == whole.ids.keys.tolist()
    assert not (tmp_path / "meta.json").exists()


def test_a_regression_that_breaks_down_stops_it_in_words(tmp_path: Path) -> None:
    method = replace(SMALL, model=WideningConvNet(width=1, depth=3), ridge=0.0)
    with pytest.raises(MethodError, match=r"without a ridge there is no regression"):
        distill(images(), method, per_class=8, runtime=CPU, folder=tmp_path)


def test_more_images_than_features_are_warned_of(tmp_path: Path) -> None:
    method = replace(SMALL, model=WideningConvNet(width=1, depth=3), steps=1)
    made = distill(images(), method, per_class=8, runtime=CPU, folder=tmp_path)
    assert "only 4 features: rounding decides" in made.notes["warning"]
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["note"] == made.notes["warning"]


@pytest.mark.parametrize(
    ("images_in_all", "channels", "asked", "mirrored"),
    [(10, 3, None, True), (500, 3, None, True), (501, 3, None, False), (10, 1, None, False), (10, 1, True, True)],
)
def test_mirror_images_by_default(images_in_all: int, channels: int, asked: bool | None, mirrored: bool) -> None:
    assert replace(SMALL, flips=asked).mirrors(images(9, channels=channels), images_in_all) is mirrored


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("steps", 0, r"FeatureRegression\(steps=0\): at least 1 is needed"),
        ("batch_size", 0, "at least 1"),
        ("online_networks", 0, "at least 1"),
        ("check_every", 0, "at least 1"),
        ("online_steps", -1, "takes 0 steps or more"),
        ("lr", 0.0, r"FeatureRegression\(lr=0\): nothing would be learnt"),
        ("online_lr", -1.0, "Give a rate above 0"),
        ("ridge", -1e-6, "a ridge is 0 or more"),
        ("held_out", 1.0, "a share of the images lies from 0 up to below 1"),
    ],
)
def test_settings_that_make_no_sense(field: str, value: float, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        replace(SMALL, **{field: value})


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epsilon": -0.5}, r"InfiniteSemantic\(epsilon=-0.5\): a line reaches 0 or more"),
        ({"keep_hardest": 0}, r"InfiniteSemantic\(keep_hardest=0\): a share of the batch is above 0"),
        ({"keep_hardest": 1.5}, "above 0 and at most 1"),
        ({"keep_hardest": 0.001}, "of a batch of 16 no example would be left"),
    ],
)
def test_augmentations_that_make_no_sense(settings: dict[str, float], sentence: str) -> None:
    plain = SMALL.plain() | {"augmentation": {"name": "infinite-semantic"} | settings}
    with pytest.raises(MethodError, match=sentence):
        distill(images(), plain, per_class=1, runtime=CPU)


def test_data_that_cannot_be_distilled() -> None:
    with pytest.raises(MethodError, match=r"class 0 \('0'\) has 20 images in blobs, .* Ask for at most 20 a class"):
        distill(images(), SMALL, per_class=21, runtime=CPU)
    with pytest.raises(MethodError, match=r"distill\(per_class=0\): nothing would be learnt"):
        distill(images(), SMALL, per_class=0, runtime=CPU)
    with pytest.raises(MethodError, match="there is no class 7; blobs has 0 to 2"):
        distill(images(), SMALL, per_class=1, classes=[7], runtime=CPU)
    with pytest.raises(MethodError, match="distill learns images, and synthetic-sentences:train has"):
        distill({"name": "synthetic-sentences", "n": 40}, SMALL, runtime=CPU)
    one = ImageDataset.from_arrays(images(9).images, np.zeros(9, int), name="one")
    with pytest.raises(MethodError, match="one has one class, and labels tell classes apart"):
        distill(one, SMALL, per_class=1, runtime=CPU)
    made = distill(images(), replace(SMALL, steps=1), per_class=1, runtime=CPU)
    with pytest.raises(MethodError, match="distilled blobs is distilled already"):
        distill(made, SMALL, per_class=1, runtime=CPU)


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(MethodError, match="distill works in one process, and torchrun started several"):
        distill(images(), SMALL, per_class=1, runtime=CPU, folder=tmp_path)


def test_constant_images_have_no_whitening() -> None:
    grey = ImageDataset.from_arrays(np.full((9, 8, 8, 3), 128, np.uint8), np.arange(9) % 3, name="grey")
    with pytest.raises(DataError, match="grey: all 9 images are alike, so there is nothing to whiten"):
        distill(whitened(grey), SMALL, per_class=1, runtime=CPU)


def test_trackers_hear_of_it_and_see_it(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    runtime = replace(CPU, trackers=("tensorboard",))
    distill(images(), SMALL, per_class=2, runtime=runtime, folder=tmp_path / "set")
    events = loader.EventAccumulator(str(tmp_path / "tensorboard" / "set"), size_guidance={"images": 0})
    events.Reload()
    assert {"train/total_loss", "monitor/steps_per_second", "proto/x_proto_norm"} <= set(events.Tags()["tensors"])
    shown = events.Images("images")
    assert [image.step for image in shown][:: len(shown) - 1] == [0, 12]
    assert shown[-1].encoded_image_string == (tmp_path / "set" / "grid.png").read_bytes()
