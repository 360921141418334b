"""Every artifact: saved, opened, equal; damaged folders are messages; the rules of each kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import (
    Artifact,
    Checkpoint,
    DynamicsWriter,
    EmbeddingMatrix,
    ExampleIds,
    Pool,
    Report,
    Row,
    ScoreTable,
    Selection,
    Trained,
    TrainingDynamics,
    open_artifact,
)
from paredown.errors import ArtifactError, MethodError, PoolMismatch

POOL = Pool(("made:train",), 20, "a" * 64)
IDS = ExampleIds.of_pool(POOL)
RANDOM = np.random.default_rng(0)


def table(values: np.ndarray | None = None, **fields: object) -> ScoreTable:
    settings = {"name": "el2n", "important": "high", "low": 0.0, "high": 2**0.5} | fields
    return ScoreTable(IDS, np.linspace(0, 1, 20) if values is None else values, **settings)  # type: ignore[arg-type]


def dynamics(epochs: int = 3, best_epoch: int | None = None) -> TrainingDynamics:
    return TrainingDynamics(
        IDS,
        [{"confidence": RANDOM.random(20, np.float32), "correct": np.ones(20, np.float32)} for _ in range(epochs)],
        quantities=("confidence", "correct"),
        best_epoch=best_epoch,
    )


def checkpoint(step: int = 7) -> Checkpoint:
    weights = {"layer.weight": np.ones((2, 3), np.float32), "steps": np.array(3)}
    return Checkpoint({"name": "convnet"}, shape=(1, 8, 8), classes=10, weights=weights, step=step)


CASES: dict[str, Callable[[], Artifact]] = {
    "scores": table,
    "scores of runs": lambda: ScoreTable.mean([table(), table(np.linspace(0, 0.5, 20))]),
    "dynamics": dynamics,
    "embeddings": lambda: EmbeddingMatrix(IDS, RANDOM.random((20, 4), np.float32), metric="cosine", encoder="made"),
    "selection": lambda: Selection(IDS.take(np.array([3, 1])), base=20, asked={"fraction": 0.1}, weight=np.ones(2)),
    "checkpoint": checkpoint,
    "trained": lambda: Trained(checkpoint(), dynamics(), [checkpoint(3), checkpoint(0)]),
    "trained with validation": lambda: Trained(
        checkpoint(), dynamics(best_epoch=2), validation=IDS.take(np.array([3, 1, 7])), best_epoch=2
    ),
    "report": lambda: Report(
        [Row("accuracy", 0.9, 10, 0.1, "made:test", "ab", reported=0.95), Row("loss", 1, 1, None, "d", "s")]
    ),
}


def recomputed(artifact: Artifact) -> str:
    """The digest of what is really on disk, not the one that the header claims."""
    parts = [artifact]
    if isinstance(artifact, Trained):
        parts += [part for part in (artifact.checkpoint, artifact.dynamics, *artifact.early) if part is not None]
    for part in parts:
        part._digest = None
    return artifact.digest()


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_saved_and_opened_is_equal(make: Callable[[], Artifact], tmp_path: Path) -> None:
    made = make()
    opened = open_artifact(made.save(tmp_path / "folder"))
    assert opened == made
    assert recomputed(opened) == made.digest(), "the digest computed from what was read is the digest that was stored"
    assert opened.describe() == made.describe()
    assert made.save(tmp_path / "folder") == tmp_path / "folder", "saving the same again changes nothing"


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_damage_is_a_message(make: Callable[[], Artifact], tmp_path: Path) -> None:
    made = make()
    folder = made.save(tmp_path / "folder")
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.name in ("report.md", "meta.json"):
            continue
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ArtifactError):
            recomputed(open_artifact(folder))
        path.unlink()
        with pytest.raises(ArtifactError):
            recomputed(open_artifact(folder))
        path.write_bytes(whole)
    open_artifact(folder)


def test_what_knows_no_best_epoch_keeps_the_digest_that_it_always_had() -> None:
    ids = ExampleIds.of_pool(Pool(("a",), 3, "0" * 64))
    epoch = {"correct": np.arange(3, dtype=np.float32)}
    seen = TrainingDynamics(ids, [epoch], quantities=("correct",), source="evaluation")
    weights = {"w": np.arange(4, dtype=np.float32)}
    network = Checkpoint({"name": "convnet"}, shape=(1, 2, 2), classes=2, weights=weights, step=7)
    assert seen.digest() == "1d134a08550b9ad421f413e305fc58267f2b0232127c852933c53944e1d6314b"
    trained = Trained(network, seen, [network])
    assert trained.digest() == "d47030aec67f5b1e7f325af34e80456b6e9350364a93b5f86e25f9fe822fa832"
    better = TrainingDynamics(ids, [epoch], quantities=("correct",), source="evaluation", best_epoch=1)
    assert better != seen
    held = [Trained(network, seen, validation=ids.take(np.array(rows)), best_epoch=1) for rows in ([0], [1])]
    assert len({one.digest() for one in (trained, *held)}) == 3


def test_a_best_epoch_is_one_of_them_and_has_held_out_examples() -> None:
    for best in (0, 4):
        with pytest.raises(ArtifactError, match=f"hold 3 epochs, and number {best} is named the best"):
            dynamics(best_epoch=best)
    for fields in ({"best_epoch": 2}, {"validation": IDS}):
        with pytest.raises(ArtifactError, match="held-out examples and a best epoch go together"):
            Trained(checkpoint(), **fields)  # type: ignore[arg-type]


def test_what_is_no_artifact_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="There is no artifact at"):
        ScoreTable.open(tmp_path / "nothing")
    with pytest.raises(ArtifactError, match=r"is not an artifact: it has no meta\.json"):
        ScoreTable.open(tmp_path)
    folder = table().save(tmp_path / "scores")
    with pytest.raises(ArtifactError, match="holds a ScoreTable, and a Selection is needed here"):
        Selection.open(folder)
    header = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(header | {"format": 99}))
    with pytest.raises(ArtifactError, match="format 99 of ScoreTable is newer"):
        ScoreTable.open(folder)
    (folder / "meta.json").write_text(json.dumps(header | {"artifact": "Moon"}))
    with pytest.raises(ArtifactError, match="holds a Moon, which this version"):
        open_artifact(folder)
    (folder / "meta.json").write_text("{")
    with pytest.raises(ArtifactError, match="is damaged"):
        ScoreTable.open(folder)


def test_another_artifact_is_never_overwritten(tmp_path: Path) -> None:
    folder = table().save(tmp_path / "scores")
    with pytest.raises(ArtifactError, match="already holds another artifact"):
        table(np.zeros(20)).save(folder)


def test_direction_turns_values_into_importance() -> None:
    values = np.linspace(0, 1, 20)
    assert np.array_equal(table(values).importance(), values)
    assert np.array_equal(table(values, important="low").importance(), -values)
    with pytest.raises(MethodError, match="'el2n' has no direction"):
        table(values, important="none").importance()


@pytest.mark.parametrize("wrong", [np.nan, 1.6, -0.1, np.inf])
def test_values_outside_the_range_are_refused(wrong: float) -> None:
    values = np.full(20, 0.5)
    values[7] = wrong
    with pytest.raises(ArtifactError, match="id 7 has the value"):
        table(values)


def test_a_declared_infinite_range_holds_infinite_values(tmp_path: Path) -> None:
    values = np.arange(20.0)
    values[3] = np.inf
    forgetting = table(values, name="forgetting", low=0, high=np.inf)
    assert ScoreTable.open(forgetting.save(tmp_path / "f")).values[3] == np.inf


def test_the_mean_over_runs_keeps_each_run_and_aligns_ids() -> None:
    first, second = table(np.linspace(0, 1, 20)), table(np.linspace(1, 0, 20))
    turned = ScoreTable(
        IDS.take(np.arange(20)[::-1]), second.values[::-1], name="el2n", important="high", low=0, high=2**0.5
    )
    mean = ScoreTable.mean([first, turned])
    assert np.allclose(mean.values, 0.5)
    assert mean.runs == 2
    assert mean.spread is not None
    assert np.allclose(mean.spread, np.abs(first.values - second.values) / np.sqrt(2))
    with pytest.raises(MethodError, match="different scores"):
        ScoreTable.mean([first, table(name="loss")])
    with pytest.raises(MethodError, match="at least one table"):
        ScoreTable.mean([])
    other = ScoreTable(
        ExampleIds.of_pool(Pool(("else",), 20, "b" * 64)), first.values, name="el2n", important="high", low=0, high=2
    )
    with pytest.raises(PoolMismatch):
        ScoreTable.mean([first, other])


def test_dynamics_are_streamed_and_counted(tmp_path: Path) -> None:
    made = dynamics(3)
    writer = DynamicsWriter(tmp_path, IDS, quantities=("correct", "confidence"), source="presentations")
    for number, epoch in enumerate(made):
        assert writer.written() == number
        writer.write(number, epoch)
    assert writer.finish() == made
    assert TrainingDynamics.open(tmp_path).matrix("confidence").shape == (3, 20)
    with pytest.raises(MethodError, match="not 'margin'"):
        made.matrix("margin")
    # A training that is resumed elsewhere may stop sooner; what it had written behind that is no part of it.
    writer.cut(2)
    assert writer.finish(best_epoch=1).best_epoch == 1 and len(TrainingDynamics.open(tmp_path)) == 2
    with pytest.raises(MethodError, match="'speed' is not recorded"):
        TrainingDynamics(IDS, [], quantities=("speed",))
    with pytest.raises(ArtifactError, match="lacks 'correct'"):
        writer.write(3, {"confidence": np.zeros(20)})
    with pytest.raises(ArtifactError, match=r"has shape \(3,\)"):
        writer.write(3, {"confidence": np.zeros(3), "correct": np.zeros(3)})


@given(st.permutations(range(20)), st.integers(1, 20))
def test_a_smaller_fraction_is_the_beginning(order: list[int], count: int) -> None:
    whole = Selection(IDS.take(np.array(order)), base=20)
    part = whole.with_fraction(count / 20)
    assert part.ids.keys.tolist() == order[:count]
    assert part.fraction == count / 20


def test_a_selection_is_used_as_torch_and_others_expect() -> None:
    chosen = Selection(IDS.take(np.array([5, 2, 9])), base=20)
    data = [number * 10 for number in range(20)]
    assert [chosen.to_subset(data)[k] for k in range(3)] == [50, 20, 90]
    assert chosen.to_uids().tolist() == [5, 2, 9]
    assert np.flatnonzero(chosen.mask(IDS)).tolist() == [2, 5, 9]
    sampler = chosen.to_sampler(seed=1)
    first = list(sampler)
    assert sorted(first) == [2, 5, 9] and len(sampler) == 3
    assert list(sampler) == first
    orders = set()
    for epoch in range(8):
        sampler.set_epoch(epoch)
        orders.add(tuple(sampler))
    assert len(orders) > 1
    assert list(chosen.to_sampler(shuffle=False)) == [5, 2, 9]

    class Rows:
        def __len__(self) -> int:
            return 20

        def select(self, positions: np.ndarray) -> list[int]:
            return [data[position] for position in positions]

    assert chosen.to_hf(Rows()) == [50, 20, 90]
    with pytest.raises(MethodError, match="has 3 rows"):
        chosen.to_subset([1, 2, 3])


def test_hugging_face_data_keep_the_order_chosen() -> None:
    datasets = pytest.importorskip("datasets", reason="Hugging Face datasets is not installed")
    rows = datasets.Dataset.from_dict({"number": list(range(20))})
    assert Selection(IDS.take(np.array([5, 2, 9])), base=20).to_hf(rows)["number"][:] == [5, 2, 9]


def test_nonsense_selections_are_refused() -> None:
    with pytest.raises(ArtifactError, match="chosen twice"):
        Selection(IDS.take(np.array([1, 1])), base=20)
    with pytest.raises(ArtifactError, match="weights are finite"):
        Selection(IDS.take(np.array([1])), base=20, weight=np.array([-1.0]))
    with pytest.raises(MethodError, match="2 examples are wanted and 1 were chosen"):
        Selection(IDS.take(np.array([1])), base=20).with_fraction(0.1)
    for fraction in (0, 1.5, -1):
        with pytest.raises(MethodError, match="a share lies above 0"):
            Selection(IDS, base=20).with_fraction(fraction)
    with pytest.raises(MethodError, match="less than one example"):
        Selection(IDS, base=20).with_fraction(0.001)


def test_reports_refuse_figures_without_n() -> None:
    with pytest.raises(ArtifactError, match="n=0"):
        Row("accuracy", 0.5, 0, None, "d", "s")
    with pytest.raises(ArtifactError, match="not a finite figure"):
        Row("accuracy", float("nan"), 1, None, "d", "s")


def test_a_table_says_of_which_class_and_under_which_threat() -> None:
    rows = [
        Row("accuracy", 0.5, 10, 0.1, "d", "s"),
        Row("robust-accuracy", 0.5, 10, 0.1, "d", "s", threat="linf 8/255"),
        Row("robust-accuracy", 0.5, 10, 0.1, "d", "s", "cat", "linf 8/255"),
    ]
    shown = [line.split(" | ")[0] for line in Report(rows).to_markdown().splitlines()[2:]]
    assert shown == ["| accuracy", "| robust-accuracy (linf 8/255)", "| robust-accuracy (cat, linf 8/255)"]


def test_a_report_is_summed_over_runs() -> None:
    rows = [Row("accuracy", value, 100, 0.01, "d", f"run{number}") for number, value in enumerate((0.8, 0.9))]
    (row,) = Report(rows).over_runs(lambda subject: "chosen").rows
    assert (row.subject, row.n) == ("chosen", 2)
    assert row.value == pytest.approx(0.85)
    assert row.spread == pytest.approx(np.std([0.8, 0.9], ddof=1))
    # Two probes looked at one network, one of them at fewer examples.
    twice = [*rows, *(Row("accuracy", 0.5, 20, 0.01, "d", row.subject) for row in rows)]
    assert (
        Report(twice).over_runs(lambda subject: "chosen").rows == Report(rows).over_runs(lambda subject: "chosen").rows
    )
    text = (Report(rows[:1]) + Report(rows[1:])).to_csv()
    assert text.splitlines()[1].startswith("accuracy,0.8,100,0.01,d,run0")


def test_the_parts_of_a_training_are_checked(tmp_path: Path) -> None:
    folder = Trained(checkpoint(), dynamics()).save(tmp_path / "t")
    header = json.loads((folder / "checkpoint" / "meta.json").read_text())
    (folder / "checkpoint" / "meta.json").write_text(json.dumps(header | {"digest": "0" * 64}))
    with pytest.raises(ArtifactError, match="not those that the training left"):
        Trained.open(folder)
