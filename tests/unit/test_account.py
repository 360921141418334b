"""A finished run gives account of itself: roles are read off the run; the page and what was kept are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from paredown import Runtime, Store
from paredown.account import Account, give_account
from paredown.recipe import Recipe
from paredown.runner import Run, Runner

RECIPE = """
dials: {keep: [0.5, 0.25], seeds: [0, 1]}
data:
  train: {name: synthetic, n: 160, noise: {name: label-noise, fraction: 0.1}}
  test: {name: synthetic, n: 60, split: test}
steps:
  teacher:
    train:
      data: $train
      model: &model {name: simple-cnn, channels: [4]}
      training: &training {steps: 12, batch_size: 32}
      record: [confidence, correct, margin]
    repeat: {seed: $seeds}
  worth: {score: {checkpoint: $teacher.checkpoint, data: $train, scorer: el2n}}
  best: {select: {scores: $worth, selector: highest}, repeat: {fraction: $keep}}
  slice: {select: {scores: $worth, selector: {name: window, offset: 0.2}, fraction: 0.5}}
  any: {select: {data: $train, selector: random}, repeat: {fraction: $keep, seed: $seeds}}
  even: {select: {data: $train, selector: random, by_class: true}, repeat: {fraction: $keep, seed: $seeds}}
  a: {train: {data: $train, model: *model, training: *training}, repeat: {selection: $best, seed: $seeds}}
  b: {train: {data: $train, model: *model, training: *training}, repeat: {selection: $any, seed: $seeds}}
  c: {train: {data: $train, model: *model, training: *training}, repeat: {selection: $even, seed: $seeds}}
  d: {train: {data: $train, model: *model, training: *training, selection: $slice}, repeat: {seed: $seeds}}
  found:
    evaluate:
      data: $test
      subject: [$teacher.checkpoint, $a.checkpoint, $b.checkpoint, $c.checkpoint, $d.checkpoint]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Store]:
    place = tmp_path_factory.mktemp("account")
    (place / "mine.yaml").write_text(RECIPE)
    store = Store(place / "store")
    runner = Runner(store, runs=place / "runs", runtime=Runtime(progress=False))
    return runner.run(Recipe.read(place / "mine.yaml")), store


def test_roles_are_read_off_the_run(finished: tuple[Run, Store]) -> None:
    findings = Account(*finished).findings("pare run mine.yaml")
    counts = {arm: sorted({(o.fraction, o.seed) for o in findings.outcomes if o.arm == arm}) for arm in findings.arms}
    each = [(0.25, 0), (0.25, 1), (0.5, 0), (0.5, 1)]
    assert counts == {
        "full": [(1.0, 0), (1.0, 1)],
        "chosen": each,
        "random": each,
        "balanced": each,
        "slice": [(0.5, 0), (0.5, 1)],
    }
    assert [kept.fraction for kept in findings.kept] == [0.5, 0.25]
    assert findings.scorer == "EL2N"
    assert {o.steps for o in findings.outcomes} == {12}
    assert all(o.by_class is not None for o in findings.outcomes)
    price = {step.name for step in findings.steps if step.for_selection}
    assert price == {"teacher-0", "teacher-1", "worth", "best-0", "best-1"}


def test_what_was_recorded_becomes_the_map_and_the_suspects(finished: tuple[Run, Store]) -> None:
    findings = Account(*finished).findings("pare run mine.yaml")
    assert findings.map is not None
    assert ((findings.map.confidence >= 0) & (findings.map.confidence <= 1)).all()
    assert findings.never_learned is not None
    assert findings.suspects is not None
    assert findings.suspects.corrupted is not None and findings.suspects.corrupted.sum() > 0


def test_the_files_are_written(finished: tuple[Run, Store]) -> None:
    run, store = finished
    found, files = give_account(run, store, command=["pare", "run", "mine.yaml", "keep=[0.5, 0.25]"])
    assert [path.name for path in files] == [
        "report.html",
        "kept.parquet",
        "kept.txt",
        "kept-0.25.parquet",
        "kept-0.25.txt",
    ]
    assert found.startswith("On two seeds, 50 % of synthetic, chosen by EL2N, ")
    assert "(80 of 160 images)" in found and "n = 2" in found
    page = files[0].read_text()
    assert "pare run mine.yaml &#39;keep=[0.5, 0.25]&#39;" in page
    table = pq.read_table(files[1])
    assert table.column_names == ["id", "rank", "label", "class", "score"]
    assert len(table) == 80
    scores = table.column("score").to_numpy()
    assert (np.diff(scores) <= 0).all(), "best first"
    assert [int(line) for line in files[2].read_text().split()] == table.column("id").to_pylist()


def test_a_run_without_a_choice_has_no_page(tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(RECIPE.partition("  worth:")[0].replace("keep: [0.5, 0.25], ", ""))
    store = Store(tmp_path / "store")
    run = Runner(store, runs=tmp_path / "runs", runtime=Runtime(progress=False)).run(
        Recipe.read(tmp_path / "plain.yaml")
    )
    assert give_account(run, store, command=["pare"]) == ("", [])
