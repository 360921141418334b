"""Label-robust and augmentation-robust scores: the formulas, and the trainings that they are made of."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown import Runtime, evaluate, open_data, select, train
from paredown.artifacts import DistilledSet, Row, Selection
from paredown.data import ImageDataset
from paredown.errors import MethodError
from paredown.evaluation import (
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)
from paredown.evaluation.label_robustness import alike

QUIET = Runtime(progress=False, precision="float32")
DATA = {"name": "synthetic", "n": 120, "classes": 4, "seed": 3, "spread": 1.5}
TEST = DATA | {"split": "test"}
MODEL = {"name": "simple-cnn", "channels": [6]}
TRAINING = {"steps": 25, "batch_size": 20, "objective": "squared-error", "optimizer": {"name": "adam", "lr": 0.01}}
SHARES = st.floats(0, 1)


def test_the_formulas() -> None:
    # DD-Ranking: LRS = (e^α - e^-1) / (e - e^-1), α = ½ IOR - ½ HLR.
    assert hard_label_recovery(0.848, 0.655) == pytest.approx(0.193)
    assert improvement_over_random(0.655, 0.310) == pytest.approx(0.345)
    assert label_robust_score(0.193, 0.345) == pytest.approx((math.exp(0.076) - math.exp(-1)) / (math.e - math.exp(-1)))
    assert label_robust_score(0.193, 0.345) == pytest.approx(0.3025368, abs=1e-7)
    assert label_robust_score(0, 0) == pytest.approx(0.2689414, abs=1e-7)  # 1 / (1 + e)
    assert label_robust_score(0.2, 0.6, 0.25) == pytest.approx(label_robust_score(0, 0.0))
    assert augmentation_robust_score(0.4, 0.2, 0.75) == pytest.approx(label_robust_score(-0.35, 0.35))


@given(SHARES, SHARES, SHARES, SHARES, SHARES)
def test_shares_give_scores_in_the_unit_interval(full: float, hard: float, own: float, drawn: float, w: float) -> None:
    recovery, gain = hard_label_recovery(full, hard), improvement_over_random(own, drawn)
    assert -1e-12 <= label_robust_score(recovery, gain, w) <= 1 + 1e-12
    assert label_robust_score(recovery, gain, w) <= label_robust_score(recovery, min(1, gain + 0.1), w)
    assert label_robust_score(recovery, gain, w) >= label_robust_score(min(1, recovery + 0.1), gain, w)


def test_percentages_are_refused() -> None:
    with pytest.raises(MethodError, match=r"accuracy of 65.5 is no share in \[0, 1\].*Write 0.655"):
        hard_label_recovery(0.848, 65.5)
    with pytest.raises(MethodError, match="is no share"):
        measure(few(), full=84.8)


def few(count: int = 12) -> Selection:
    return select("random", data=DATA, count=count, by_class=True)


def distilled(labels: str) -> DistilledSet:
    """Real images, whose labels are hard or mostly those of another class."""
    data = open_data(DATA)
    rows = few().ids.keys
    mean, std = (np.asarray(part, np.float32) for part in (data.mean, data.std))
    images = ((data.images[rows] / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    own = np.eye(4, dtype=np.float32)[data.labels[rows]]
    given = own - 0.25 if labels == "hard" else 0.04 * own + 0.01 * np.roll(own, 1, axis=1) - 0.0125
    return DistilledSet(
        images, given, classes=data.classes, mean=data.mean, std=data.std, ids=data.ids.take(rows), step=0
    )


def measure(*sets: Selection | DistilledSet, against: Any = DATA, **fields: Any) -> dict[str, Row]:
    probe = {"name": "label-robustness", "model": MODEL, "training": TRAINING, "networks": 2} | fields
    rows = evaluate(list(sets), TEST, [probe], against=against, seed=4, runtime=QUIET).rows
    return {row.metric: row for row in rows if row.subject == sets[-1].digest()[:16]}


def reached(seed: int, selection: Selection | None = None, data: Any = DATA, **changed: Any) -> float:
    made = train(data, MODEL, TRAINING | changed, selection=selection, seed=seed, runtime=QUIET)
    return evaluate(made.checkpoint, TEST, [{"name": "accuracy", "by_class": False}]).of("accuracy")[0].value


def test_every_accuracy_is_that_of_trainings_by_hand() -> None:
    chosen, data = few(), open_data(DATA)
    got = measure(chosen)
    usual, plain, hard = {"augmentation": {"crop": 1}}, {"augmentation": {"crop": 0}}, {"objective": "cross-entropy"}

    def drawn(seed: int) -> Selection:
        return Selection(data.ids.take(alike(data.labels[chosen.ids.keys], data, seed)), base=len(data))

    by_hand = {
        "accuracy-own": [reached(seed, chosen, **usual) for seed in (4, 5)],
        "accuracy-hard": [reached(seed, chosen, **usual, **hard) for seed in (4, 5)],
        "accuracy-own-plain": [reached(seed, chosen, **plain) for seed in (4, 5)],
        "accuracy-random": [reached(seed, drawn(seed), **usual) for seed in (4, 5)],
        "accuracy-random-plain": [reached(seed, drawn(seed), **plain) for seed in (4, 5)],
        "accuracy-full": [reached(seed, **usual, **hard) for seed in (4, 5)],
    }
    for metric, values in by_hand.items():
        row = got[metric]
        assert (row.value, row.spread, row.n) == (
            pytest.approx(np.mean(values)),
            pytest.approx(np.std(values, ddof=1)),
            2,
        ), metric
    each = [
        label_robust_score(full - kept, own - other)
        for full, kept, own, other in zip(
            *(by_hand[f"accuracy-{kind}"] for kind in ("full", "hard", "own", "random")), strict=True
        )
    ]
    assert got["label-robust-score"].value == pytest.approx(np.mean(each))
    assert got["label-robust-score"].spread == pytest.approx(np.std(each, ddof=1))
    gains = [
        (by_hand["accuracy-own"][n] - by_hand["accuracy-random"][n])
        + (by_hand["accuracy-own-plain"][n] - by_hand["accuracy-random-plain"][n])
        for n in (0, 1)
    ]
    expected = np.mean([augmentation_robust_score(gain / 2, gain / 2) for gain in gains])
    assert got["augmentation-robust-score"].value == pytest.approx(expected)


def test_soft_labels_are_the_sets_own_and_hard_ones_are_their_classes() -> None:
    hard, soft = measure(distilled("hard"), full=0.9), measure(distilled("soft"), full=0.9)
    # The same images: with hard labels both teach the same, with their own they do not.
    assert hard["accuracy-hard"].value == soft["accuracy-hard"].value
    assert hard["accuracy-own"].value != soft["accuracy-own"].value
    assert hard["accuracy-random"].value == soft["accuracy-random"].value
    full = soft["accuracy-full"]
    assert (full.value, full.n, full.spread) == (0.9, 1, None)
    assert soft["hard-label-recovery"].value == pytest.approx(0.9 - soft["accuracy-hard"].value)


def test_all_the_data_may_be_trained_on_in_another_way() -> None:
    first, second = few(8), few(12)
    got = measure(first, second, full_training={"steps": 60, "batch_size": 40}, networks=1)
    longer = reached(4, steps=60, batch_size=40, objective="cross-entropy", optimizer="sgd")
    assert got["accuracy-full"].value == longer
    assert got["accuracy-full"].n == 1 and got["accuracy-full"].spread is None


def test_as_many_of_each_class_are_drawn() -> None:
    data = open_data(DATA)
    wanted = np.array([0, 0, 0, 2, 3, 3])
    rows = alike(wanted, data, 7)
    assert sorted(data.labels[rows]) == wanted.tolist()
    assert np.array_equal(rows, alike(wanted, data, 7))
    assert not np.array_equal(rows, alike(wanted, data, 8))
    with pytest.raises(MethodError, match="the set has 31 examples of class 1 and synthetic:train has 30"):
        alike(np.ones(31, np.int64), data, 0)


def test_whitened_sets_go_with_whitened_data() -> None:
    data = replace(open_data(DATA), whiten="zca")
    rows = few().ids.keys
    assert data.whitening is not None
    parts = {"classes": data.classes, "mean": data.mean, "std": data.std, "ids": data.ids.take(rows), "step": 0}
    images = data.whitening.apply(data.images[rows].transpose(0, 3, 1, 2) / np.float32(255))
    labels = np.eye(4, dtype=np.float32)[data.labels[rows]] - 0.25
    whitened = DistilledSet(images, labels, whitening=data.whitening, **parts)
    # The same images as data and as a set: what they teach is the same.
    got, same = (measure(one, against=data, full=0.9, networks=1) for one in (whitened, few()))
    assert got["accuracy-own-plain"].value == pytest.approx(same["accuracy-own-plain"].value, abs=0.02)
    with pytest.raises(MethodError, match="learnt on data that are whitened, and synthetic:train is opened otherwise"):
        measure(whitened, full=0.9, networks=1)


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(MethodError, match=r"LabelRobustness needs against="):
        measure(few(), against=None)
    for field in ({"weight": 1.5}, {"augmented_weight": -0.1}):
        with pytest.raises(MethodError, match="a weight lies from 0 to 1"):
            measure(few(), **field)
    with pytest.raises(MethodError, match=r"networks=0\): nothing would be trained"):
        measure(few(), networks=0)
    other: ImageDataset = replace(open_data(DATA), whiten="zca")
    with pytest.raises(
        MethodError, match="learnt on data that are not whitened, and synthetic:train is opened otherwise"
    ):
        measure(distilled("hard"), against=other)
