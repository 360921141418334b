"""Class-incremental learning beside trainings by hand: selections and distilled sets, and going on after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paredown import Runtime, evaluate, open_data, select, train
from paredown.artifacts import DistilledSet, Report, Selection
from paredown.data import ImageDataset
from paredown.errors import DataError, MethodError
from paredown.evaluation import class_incremental, class_order, class_phases, students
from paredown.models import load

QUIET = Runtime(progress=False, precision="float32")
DATA = {"name": "synthetic", "n": 120, "classes": 5, "seed": 2, "spread": 1.5}
MODEL = {"name": "simple-cnn", "channels": [6]}
TRAINING = {"steps": 25, "batch_size": 20, "augmentation": {"crop": 0}}
PHASES = [[3, 0], [1], [4, 2]]


def probe(**fields: Any) -> dict[str, Any]:
    return {"name": "class-incremental", "model": MODEL, "training": TRAINING, "networks": 2} | fields


@pytest.fixture(scope="module")
def test() -> ImageDataset:
    return open_data(DATA | {"split": "test"})


@pytest.fixture(scope="module")
def phases() -> list[Selection]:
    chosen = [select({"name": "classes", "classes": classes}, data=DATA) for classes in PHASES]
    return [select("random", data=DATA, within=phase, count=12) for phase in chosen]


def distilled(classes: list[int], *, asked: bool = True, seed: int = 0) -> DistilledSet:
    """Some real images in the clothes of a distilled set."""
    data = open_data(DATA)
    rows = np.concatenate([np.flatnonzero(data.labels == label)[seed : seed + 4] for label in sorted(classes)])
    mean, std = (np.asarray(part, np.float32) for part in (data.mean, data.std))
    images = ((data.images[rows] / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    labels = np.eye(5, dtype=np.float32)[data.labels[rows]] - 0.2
    about = {"classes": sorted(classes) if asked else None}
    return DistilledSet(
        images, labels, classes=data.classes, mean=data.mean, std=data.std, ids=data.ids.take(rows), step=0, asked=about
    )


def told(report: Report, metric: str) -> list[tuple[float, float | None, int, str]]:
    return [(row.value, row.spread, row.n, row.subject) for row in report.of(metric)]


def test_the_published_class_orders() -> None:
    assert class_order(100, 0)[:8].tolist() == [26, 86, 2, 55, 75, 93, 16, 73]
    assert sorted(class_order(100, 4)) == list(range(100))
    blocks = class_phases(100, 5, 3)
    assert [len(block) for block in blocks] == [20] * 5
    assert [label for block in blocks for label in block] == class_order(100, 3).tolist()
    assert [len(block) for block in class_phases(10, 4, 0)] == [3, 3, 2, 2]
    for phases in (0, 11):
        with pytest.raises(MethodError, match="Ask for 1 to 10"):
            class_phases(10, phases, 0)


def test_each_phase_is_what_trainings_by_hand_give(phases: list[Selection], test: ImageDataset) -> None:
    report = evaluate(phases, test, [probe()], against=DATA, seed=5, runtime=QUIET)
    data, means = open_data(DATA), []
    for number, row in enumerate(report.of("incremental-accuracy")):
        keys = np.concatenate([phase.ids.keys for phase in phases[: number + 1]])
        union = Selection(data.ids.take(keys), base=len(data))
        seen = np.isin(test.labels, np.concatenate(PHASES[: number + 1]))
        values = []
        for seed in (5, 6):
            network = load(train(data, MODEL, TRAINING, selection=union, seed=seed, runtime=QUIET).checkpoint)
            x = torch.from_numpy(test.images[seen]).permute(0, 3, 1, 2) / 255
            with torch.no_grad():
                values.append(np.mean(network(x).argmax(dim=1).numpy() == test.labels[seen]))
        means.append(values)
        assert (row.value, row.spread) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
        assert (row.n, row.subject) == (2, phases[number].digest()[:16])
    assert [row.value for row in report.of("classes-seen")] == [2, 3, 5]
    (whole,) = report.of("mean-incremental-accuracy")
    assert whole.value == pytest.approx(np.mean(means))
    assert whole.spread == pytest.approx(np.mean(means, axis=0).std(ddof=1))
    assert whole.subject == phases[-1].digest()[:16]


def test_the_order_of_the_phases_counts(phases: list[Selection], test: ImageDataset) -> None:
    first, last = (evaluate(one, test, [probe()], against=DATA, runtime=QUIET) for one in (phases, phases[::-1]))
    assert [row.value for row in last.of("classes-seen")] == [2, 3, 5]
    assert told(first, "incremental-accuracy")[0] != told(last, "incremental-accuracy")[-1]
    # In the end both have seen the same.
    assert told(first, "incremental-accuracy")[-1][:3] == told(last, "incremental-accuracy")[-1][:3]


def test_distilled_phases(test: ImageDataset) -> None:
    sets = [distilled(classes) for classes in PHASES]
    report = evaluate(sets, test, [probe(training=TRAINING | {"objective": "squared-error"})], runtime=QUIET)
    assert [row.value for row in report.of("classes-seen")] == [2, 3, 5]
    by_hand = train(sets[0], MODEL, TRAINING | {"objective": "squared-error"}, seed=1, runtime=QUIET)
    alone = evaluate(sets[:1], test, [probe(training=TRAINING | {"objective": "squared-error"})], runtime=QUIET)
    seen = np.isin(test.labels, PHASES[0])
    with torch.no_grad():
        x = torch.from_numpy(test.images[seen]).permute(0, 3, 1, 2) / 255
        second = float((load(by_hand.checkpoint)(x).argmax(dim=1).numpy() == test.labels[seen]).mean())
    (row,) = alone.of("incremental-accuracy")
    first = 2 * row.value - second
    assert row.spread == pytest.approx(np.std([first, second], ddof=1))
    assert told(report, "incremental-accuracy")[0] == told(alone, "incremental-accuracy")[0]


def test_classes_are_those_asked_for_also_where_a_label_has_drifted(test: ImageDataset) -> None:
    one = distilled([0, 3])
    drifted = one.labels.copy()
    drifted[0] = np.roll(drifted[0], 1)
    parts = {"classes": one.classes, "mean": one.mean, "std": one.std, "ids": one.ids, "step": 1}
    moved = DistilledSet(one.images, drifted, asked={"classes": [0, 3]}, **parts)
    assert set(moved.hard_labels) == {0, 1, 3}
    report = evaluate(moved, test, [probe(networks=1)], runtime=QUIET)
    assert report.of("classes-seen")[0].value == 2
    whole = evaluate(distilled([0, 3, 4], asked=False), test, [probe(networks=1)], runtime=QUIET)
    assert whole.of("classes-seen")[0].value == 3


def test_weights_of_selections_count(test: ImageDataset, phases: list[Selection]) -> None:
    weighted = [Selection(one.ids, base=one.base, weight=np.linspace(1, 50, len(one))) for one in phases[:2]]
    scaled = [Selection(one.ids, base=one.base, weight=7 * np.linspace(1, 50, len(one))) for one in phases[:2]]
    plain, heavy, same = (
        told(evaluate(sets, test, [probe()], against=DATA, runtime=QUIET), "mean-incremental-accuracy")[0][0]
        for sets in (phases[:2], weighted, scaled)
    )
    assert plain != heavy == same


def test_a_killed_evaluation_goes_on(
    phases: list[Selection], test: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = evaluate(phases, test, [probe()], against=DATA, runtime=QUIET)
    calls: list[str] = []

    def counted(*args: Any, **kwargs: Any) -> None:
        calls.append(Path(kwargs["folder"]).name)
        if len(calls) == 4:
            raise KeyboardInterrupt
        fit(*args, **kwargs)

    fit = students.fit
    monkeypatch.setattr(students, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(phases, test, [probe()], against=DATA, runtime=QUIET, folder=tmp_path)
    left = sorted(path.name for path in (tmp_path / "students" / "0").iterdir())
    assert left == ["0-0", "0-1", "1-0"]
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
    again = evaluate(phases, test, [probe()], against=DATA, runtime=QUIET, folder=tmp_path)
    assert again.rows == whole.rows
    assert len(before) == 3 and list(tmp_path.iterdir()) == []


def test_finished_trainings_are_not_made_again(
    phases: list[Selection], test: ImageDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stop(Exception):
        pass

    def stop(*args: Any, **kwargs: Any) -> Any:
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(class_incremental, "_mean", stop)  # when all of a phase is trained
        with pytest.raises(Stop):
            evaluate(phases, test, [probe()], against=DATA, runtime=QUIET, folder=tmp_path)
    weights = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}
    with monkeypatch.context() as patch:
        patch.setattr(class_incremental, "_mean", stop)
        with pytest.raises(Stop):
            evaluate(phases, test, [probe()], against=DATA, runtime=QUIET, folder=tmp_path)
    assert len(weights) == 2
    assert weights == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("weights.safetensors")}


def test_what_cannot_be_measured_is_said(phases: list[Selection], test: ImageDataset) -> None:
    made = train(DATA, MODEL, {"steps": 1}, runtime=QUIET).checkpoint
    with pytest.raises(MethodError, match=r"ClassIncremental trains networks of its own, and was given one"):
        evaluate([made, phases[0]], test, [probe()], against=DATA, runtime=QUIET)
    with pytest.raises(MethodError, match=r"a selection is no data. Give as against= the data"):
        evaluate(phases, test, [probe()], runtime=QUIET)
    with pytest.raises(MethodError, match=r"selections and distilled sets are not one training set"):
        evaluate([phases[0], distilled([1])], test, [probe()], against=DATA, runtime=QUIET)
    with pytest.raises(DataError, match=r"Two of the distilled sets begin with the same image"):
        evaluate([distilled([1]), distilled([1, 2])], test, [probe()], runtime=QUIET)
    with pytest.raises(MethodError, match=r"Accuracy measures no distilled sets. Train on this one"):
        evaluate(distilled([1]), test, ["accuracy"], runtime=QUIET)
    few = np.flatnonzero(test.labels != 1)
    lacking = replace(test, images=test.images[few], labels=test.labels[few], ids=test.ids.take(few))
    with pytest.raises(MethodError, match=r"phase 2 brings class 1, and synthetic:test has no example of it"):
        evaluate(phases, lacking, [probe()], against=DATA, runtime=QUIET)
    other = {**DATA, "size": 10, "split": "test"}
    with pytest.raises(MethodError, match=r"images of 3×8×8 in 5 classes, and synthetic:test has images of 3×10×10"):
        evaluate(phases, other, [probe()], against=DATA, runtime=QUIET)
    with pytest.raises(MethodError, match=r"networks=0\): nothing would be trained"):
        evaluate(phases, test, [probe(networks=0)], against=DATA, runtime=QUIET)
    with pytest.raises(MethodError, match="ClassIncremental needs a value for 'model'"):
        evaluate(phases, test, ["class-incremental"], against=DATA, runtime=QUIET)
