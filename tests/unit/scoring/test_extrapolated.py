"""The verb `extrapolate`: what it checks, what it refuses, and that it resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paredown import EmbeddingMatrix, ExampleIds, Runtime, ScoreTable, Store, extrapolate, select
from paredown.artifacts import Pool
from paredown.artifacts.shards import Rows
from paredown.data import ImageDataset, pooled
from paredown.errors import MethodError, PoolMismatch
from paredown.scoring import extrapolated
from paredown.scoring.extrapolation import AbstractExtrapolation, KernelRidge, NearestMean, Predict
from paredown.scoring.graph_network import GraphNetwork
from paredown.verbs import VERBS

QUIET = Runtime(device="cpu", progress=False)


def ids(name: str, size: int) -> ExampleIds:
    return ExampleIds.of_pool(Pool((name,), size, name * 8))


def vectors(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((size, 3)).astype(np.float32)


def matrix(name: str, size: int, seed: int, **fields: Any) -> EmbeddingMatrix:
    return EmbeddingMatrix(ids(name, size), vectors(size, seed), **{"metric": "euclidean", "encoder": "e"} | fields)


def table(of: ExampleIds, values: np.ndarray, **fields: Any) -> ScoreTable:
    settings: dict[str, Any] = {"name": "el2n", "important": "high", "low": 0.0, "high": 2.0}
    return ScoreTable(of, values, **settings | fields)


KNOWN, UNKNOWN = matrix("a", 400, 0), matrix("b", 150, 1)
SCORES = table(KNOWN.ids, 1 + np.tanh(np.asarray(KNOWN.vectors)[:, 0]))


def test_it_predicts_and_says_how_well() -> None:
    found = extrapolate(SCORES, KNOWN, UNKNOWN, NearestMean(5), runtime=QUIET)
    truth = 1 + np.tanh(np.asarray(UNKNOWN.vectors)[:, 0])
    assert np.corrcoef(found.values, truth)[0, 1] > 0.9
    assert (found.name, found.important, found.low, found.high) == ("el2n", "high", 0.0, 2.0)
    noted = found.notes["extrapolated"]
    assert noted["extrapolation"]["name"] == "nearest-mean" and noted["measured"] == 400
    assert noted["held_out"]["n"] == 40 and noted["held_out"]["spearman"] > 0.8
    figure = f"{noted['held_out']['spearman']:.2f}"
    assert f"predicted from 400 measured, rank correlation {figure} on held-out ones" in found.describe()
    assert len(select("highest", scores=found, fraction=0.5, runtime=QUIET).ids) == 75


def test_values_are_the_methods_own() -> None:
    values = np.asarray(KNOWN.vectors)
    near = np.argsort(((np.asarray(UNKNOWN.vectors)[:, None] - values[None]) ** 2).sum(axis=2), axis=1)[:, :5]
    found = extrapolate(SCORES, KNOWN, UNKNOWN, {"name": "nearest-mean", "neighbors": 5}, held_out=0, runtime=QUIET)
    np.testing.assert_allclose(found.values, SCORES.values[near].mean(axis=1), atol=1e-12)
    assert found.notes["extrapolated"]["held_out"] is None and "unchecked" in found.describe()


def test_one_neighbour_on_the_known_gives_their_scores() -> None:
    found = extrapolate(SCORES, KNOWN, KNOWN, NearestMean(1), runtime=QUIET)
    np.testing.assert_array_equal(found.values, SCORES.values)


def test_scores_may_cover_a_part_of_the_known_in_any_order() -> None:
    rows = np.random.default_rng(5).permutation(400)[:120]
    part = table(KNOWN.ids.take(rows), SCORES.values[rows])
    found = extrapolate(part, KNOWN, KNOWN, NearestMean(1), held_out=0, runtime=QUIET)
    np.testing.assert_array_equal(found.values[rows], SCORES.values[rows])
    mapped = EmbeddingMatrix(
        KNOWN.ids, Rows([KNOWN.vectors[:150], KNOWN.vectors[150:]]), metric="euclidean", encoder="e"
    )
    again = extrapolate(part, mapped, mapped, NearestMean(1), held_out=0, runtime=QUIET)
    np.testing.assert_array_equal(again.values, found.values)


@pytest.mark.parametrize("mapped", [False, True])
def test_scores_of_two_pools_are_one_reference(mapped: bool) -> None:
    """The paper's own case: original images and a part of the generated ones are scored, in two trainings."""
    left, right = np.arange(150), np.arange(150, 400)[::-1]
    known, scores = [], []
    for name, rows in (("left", left), ("right", right)):
        held = np.asarray(KNOWN.vectors)[rows]
        parts = Rows([held[:60], held[60:]]) if mapped else held
        known.append(EmbeddingMatrix(ids(name, len(rows)), parts, metric="euclidean", encoder="e"))
        scores.append(table(known[-1].ids, SCORES.values[rows]))
    found = extrapolate(scores, known, UNKNOWN, NearestMean(7), runtime=QUIET)
    whole = extrapolate(SCORES, KNOWN, UNKNOWN, NearestMean(7), runtime=QUIET)
    np.testing.assert_allclose(found.values, whole.values, atol=1e-12)
    assert found.notes["extrapolated"]["measured"] == 400
    with pytest.raises(PoolMismatch, match="known vectors index pool"):
        extrapolate(scores, known[::-1], UNKNOWN, runtime=QUIET)


def test_pools_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(MethodError, match="2 tables of scores and 1 of known vectors"):
        extrapolate([SCORES, SCORES], KNOWN, UNKNOWN, runtime=QUIET)
    with pytest.raises(MethodError, match="el2n and loss are not the same score"):
        extrapolate([SCORES, table(KNOWN.ids, SCORES.values, name="loss")], [KNOWN, KNOWN], UNKNOWN, runtime=QUIET)
    half = EmbeddingMatrix(KNOWN.ids, KNOWN.vectors[:].astype(np.float16), metric="euclidean", encoder="e")
    with pytest.raises(MethodError, match="some known vectors are float16"):
        extrapolate([SCORES, SCORES], [KNOWN, half], UNKNOWN, runtime=QUIET)
    with pytest.raises(MethodError, match="select takes one table as scores=, and was given 2"):
        select("highest", scores=[SCORES, SCORES], fraction=0.5)  # type: ignore[arg-type]


def labelled(matrix: EmbeddingMatrix, labels: np.ndarray) -> ImageDataset:
    """Images whose ids are those of the vectors; nobody looks at their pixels."""
    pixels = np.zeros((len(labels), 1, 1, 1), np.uint8)
    return replace(ImageDataset.from_arrays(pixels, labels, name=matrix.ids.pool.sources[0]), ids=matrix.ids)


LABELS = np.random.default_rng(3).integers(0, 3, 550)
OF_KNOWN, OF_UNKNOWN = labelled(KNOWN, LABELS[:400]), labelled(UNKNOWN, LABELS[400:])
# A score that goes by the class as much as by the vector, as those of labels do.
BY_CLASS = table(KNOWN.ids, SCORES.values / 3 + 0.5 * LABELS[:400])


def test_class_by_class_each_is_predicted_from_its_own() -> None:
    both = [OF_KNOWN, OF_UNKNOWN]
    found = extrapolate(BY_CLASS, KNOWN, UNKNOWN, NearestMean(5), data=both, runtime=QUIET)
    for label in range(3):
        mine, asked = LABELS[:400] == label, LABELS[400:] == label
        near = NearestMean(5).learn(
            KNOWN.vectors[mine],
            BY_CLASS.values[mine],
            metric="euclidean",
            device=torch.device("cpu"),
            block_mb=9,
            seed=0,
        )
        np.testing.assert_array_equal(found.values[asked], near(UNKNOWN.vectors[asked]))
    alone = extrapolate(BY_CLASS, KNOWN, UNKNOWN, NearestMean(5), runtime=QUIET)
    noted, other = (table.notes["extrapolated"] for table in (found, alone))
    assert noted["by_class"] and "by_class" not in other
    assert noted["held_out"]["spearman"] > 0.9 > other["held_out"]["spearman"] + 0.3


@pytest.mark.parametrize("method", [NearestMean(3), KernelRidge(), GraphNetwork(width=8, steps=20)], ids=repr)
def test_class_by_class_shards_and_pools_change_nothing(method: AbstractExtrapolation, tmp_path: Path) -> None:
    how: dict[str, Any] = {"data": pooled([OF_KNOWN, OF_UNKNOWN]), "held_out": 0.0, "seed": 0, "runtime": QUIET}
    whole = extrapolated.extrapolated([BY_CLASS], [KNOWN], UNKNOWN, method, folder=None, **how)
    parts = extrapolated.extrapolated([BY_CLASS], [KNOWN], UNKNOWN, method, folder=tmp_path, shard=40, **how)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-5)
    halves = [KNOWN.ids.take(np.arange(200)), KNOWN.ids.take(np.arange(200, 400))]
    known = [EmbeddingMatrix(half, KNOWN.vectors[half.keys], metric="euclidean", encoder="e") for half in halves]
    scores = [table(half, BY_CLASS.values[half.keys]) for half in halves]
    several = extrapolated.extrapolated(scores, known, UNKNOWN, method, folder=None, **how)
    np.testing.assert_allclose(several.values, whole.values, rtol=1e-5)


def test_classes_that_cannot_be_predicted_are_named() -> None:
    with pytest.raises(
        PoolMismatch, match=r"the unknown vectors index pool .* Give the labelled examples .* as a list"
    ):
        extrapolate(BY_CLASS, KNOWN, UNKNOWN, data=OF_KNOWN, runtime=QUIET)
    part = np.flatnonzero(LABELS[:400] != 2)
    lacking = table(KNOWN.ids.take(part), BY_CLASS.values[part])
    with pytest.raises(
        MethodError, match="no example of class '2' has a score, and each is predicted from its own class"
    ):
        extrapolate(lacking, KNOWN, UNKNOWN, data=[OF_KNOWN, OF_UNKNOWN], runtime=QUIET)
    few = np.concatenate([part, np.flatnonzero(LABELS[:400] == 2)[:3]])
    rare = table(KNOWN.ids.take(few), BY_CLASS.values[few])
    with pytest.raises(MethodError, match=r"Class '2' alone: NearestMean\(neighbors=12\): only 3 examples have scores"):
        extrapolate(rare, KNOWN, UNKNOWN, data=[OF_KNOWN, OF_UNKNOWN], held_out=0, runtime=QUIET)


def test_kernel_ridge_stays_in_the_scores_range() -> None:
    steep = table(KNOWN.ids, (np.asarray(KNOWN.vectors)[:, 0] > 0).astype(np.float64), high=1.0)
    found = extrapolate(steep, KNOWN, UNKNOWN, KernelRidge(ridge=1e-6), runtime=QUIET)
    assert found.values.min() == 0.0 and found.values.max() == 1.0


def test_a_score_of_which_low_is_important_is_checked_by_its_low_end() -> None:
    rare = np.zeros(400)
    rare[np.asarray(KNOWN.vectors)[:, 0] < -1.2] = -1.0
    rare += 1e-3 * np.random.default_rng(0).random(400)
    noted = [
        extrapolate(table(KNOWN.ids, rare, low=-2, important=end), KNOWN, UNKNOWN, NearestMean(3), runtime=QUIET).notes
        for end in ("low", "high")
    ]
    low, high = (note["extrapolated"]["held_out"] for note in noted)
    assert low["spearman"] == pytest.approx(high["spearman"])
    assert low["overlap"]["0.25"] > high["overlap"]["0.25"]


def test_what_cannot_be_predicted_is_refused_and_held_out_0_goes_on() -> None:
    noise = table(KNOWN.ids, np.random.default_rng(7).random(400))
    with pytest.raises(MethodError, match=r"do not tell the score 'el2n': 40 held-out scores .* held_out=0"):
        extrapolate(noise, KNOWN, UNKNOWN, runtime=QUIET)
    assert len(extrapolate(noise, KNOWN, UNKNOWN, held_out=0, runtime=QUIET).values) == 150
    with pytest.raises(MethodError, match="do not tell the score"):
        extrapolate(table(KNOWN.ids, np.ones(400)), KNOWN, UNKNOWN, runtime=QUIET)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"encoder": "f"}, "known vectors have encoder e, the unknown f"),
        ({"metric": "cosine"}, "known vectors have metric euclidean, the unknown cosine"),
        ({"normalised": True}, "known vectors have normalised"),
        ({"factors": (1, 2)}, "factors of outer products"),
    ],
    ids=str,
)
def test_vectors_that_do_not_compare_are_refused(other: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        extrapolate(SCORES, KNOWN, matrix("b", 150, 1, **other), runtime=QUIET)


def test_other_wrong_inputs_are_refused() -> None:
    narrow = EmbeddingMatrix(ids("b", 9), np.ones((9, 2), np.float32), metric="euclidean", encoder="e")
    with pytest.raises(MethodError, match="have width 3, the unknown 2"):
        extrapolate(SCORES, KNOWN, narrow, runtime=QUIET)
    with pytest.raises(PoolMismatch, match="known vectors index pool"):
        extrapolate(SCORES, UNKNOWN, KNOWN, runtime=QUIET)
    endless = table(KNOWN.ids, np.where(np.arange(400) == 3, np.inf, 1.0), high=np.inf)
    with pytest.raises(MethodError, match="1 of 400 scores are infinite"):
        extrapolate(endless, KNOWN, UNKNOWN, runtime=QUIET)
    with pytest.raises(MethodError, match="that is 4 of 400 scores, too few"):
        extrapolate(SCORES, KNOWN, UNKNOWN, held_out=0.01, runtime=QUIET)
    with pytest.raises(MethodError, match=r"held_out=1\): a share below 1"):
        extrapolate(SCORES, KNOWN, UNKNOWN, held_out=1, runtime=QUIET)
    nothing = np.arange(0)
    with pytest.raises(MethodError, match="there are no unknown vectors"):
        extrapolate(
            SCORES,
            KNOWN,
            EmbeddingMatrix(UNKNOWN.ids.take(nothing), UNKNOWN.vectors[:0], metric="euclidean", encoder="e"),
        )
    with pytest.raises(MethodError, match="there are no scores"):
        extrapolate(table(KNOWN.ids.take(nothing), nothing), KNOWN, UNKNOWN)
    broken = EmbeddingMatrix(UNKNOWN.ids, np.full((150, 3), np.nan, np.float32), metric="euclidean", encoder="e")
    with pytest.raises(MethodError, match="NaN or infinity"):
        extrapolate(SCORES, KNOWN, broken, runtime=QUIET)


class Interrupted(AbstractExtrapolation):
    """The nearest mean, which stops after so many parts."""

    def __init__(self, parts: float) -> None:
        self.parts, self.asked = parts, 0

    def plain(self) -> dict[str, Any]:
        return {"name": "interrupted"}

    def learn(self, *given: Any, **how: Any) -> Predict:
        inner = NearestMean(4).learn(*given, **how)

        def predict(queries: np.ndarray) -> np.ndarray:
            if self.asked == self.parts:
                raise KeyboardInterrupt
            self.asked += 1
            return inner(queries)

        return predict


def test_it_goes_on_after_the_last_whole_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extrapolated, "BLOCK_BYTES", 12 * 16)  # parts of 16 rows

    def run(method: AbstractExtrapolation, folder: Path | None) -> ScoreTable:
        how: dict[str, Any] = {"held_out": 0.0, "seed": 0, "runtime": QUIET, "shard": 40}
        return extrapolated.extrapolated([SCORES], [KNOWN], UNKNOWN, method, folder=folder, **how)

    whole = run(Interrupted(np.inf), None)
    with pytest.raises(KeyboardInterrupt):
        run(Interrupted(7), tmp_path)  # three parts a shard: two shards and a part of the third
    assert len(list(tmp_path.rglob("shard-*.safetensors"))) == 2
    rest = Interrupted(np.inf)
    resumed = run(rest, tmp_path)
    assert rest.asked == 3 + 2  # a shard of 40 and one of 30
    assert resumed == whole and ScoreTable.open(tmp_path) == whole
    assert not (tmp_path / "predicted").exists()


def test_the_store_gives_the_same_for_names_and_folders(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folders: dict[str, Any] = {}
    for name, artifact in {"scores": SCORES, "known": KNOWN, "unknown": UNKNOWN}.items():
        folders[name] = str(artifact.save(tmp_path / name))
    made = store.make(VERBS["extrapolate"], scores=SCORES, known=KNOWN, unknown=UNKNOWN, runtime=QUIET)
    again = store.make(VERBS["extrapolate"], **folders, extrapolation={"name": "nearest-mean", "neighbors": "12"})
    assert made.address == again.address and made == again
    listed = store.make(VERBS["extrapolate"], scores=[SCORES], known=[KNOWN], unknown=UNKNOWN, runtime=QUIET)
    assert listed.address == made.address
    assert sorted(path.name for path in (store.root / str(made.address)).iterdir()) == [
        "made.json",
        "manifest.json",
        "meta.json",
        "scores.parquet",
    ]
