"""A finished run gives account of itself: roles are read off the run; the page and what was kept are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from paredown import Runtime, Store
from paredown.account import Account, give_account
from paredown.page import Selector
from paredown.recipe import Recipe
from paredown.runner import Run, Runner, means

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
  kept: {evaluate: {data: $train, subject: [$best, $any], probes: [class-balance, overlap]}}
"""

# Selections that tell each other apart by their settings, their score, classes and cut; one seed, nothing learnt.
KINDS = """
data: {train: {name: synthetic, n: 60}}
steps:
  full: {train: {data: $train, model: &model {name: simple-cnn, channels: [2]}, training: &short {steps: 4}}}
  first: {score: {checkpoint: $full.checkpoint, data: $train, scorer: el2n}}
  second: {score: {data: $train, scorer: input-norm}}
  trusted: {select: {scores: $first, selector: lowest, fraction: 0.9}}
  KIND
  by: {train: {data: $train, model: *model, training: *short}, repeat: {selection: $SELECTIONS}}
  found: {evaluate: {data: $train, subject: $by.checkpoint}}
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
        "highest": each,
        "window": [(0.5, 0), (0.5, 1)],
        "random": each,
        "balanced": each,
    }
    assert [(kept.arm, kept.fraction) for kept in findings.kept] == [
        ("highest", 0.5),
        ("highest", 0.25),
        ("window", 0.5),
    ]
    assert findings.selectors == (
        Selector("highest", "highest", "Highest: the largest values first; of equal ones the largest id."),
        Selector("window", "window", findings.selectors[1].words),
    )
    assert findings.scorer == "EL2N"
    assert {o.steps for o in findings.outcomes} == {12}
    assert all(o.by_class is not None for o in findings.outcomes)
    price = {
        arm: {step.name for step in findings.steps if arm in step.chooses} for arm in ("highest", "window", "random")
    }
    assert price["highest"] == {"teacher-0", "teacher-1", "worth", "best-0", "best-1"}
    assert price["window"] == {"teacher-0", "teacher-1", "worth", "slice"}
    assert not price["random"]


def test_what_was_measured_of_the_selections_is_told_by_arm(finished: tuple[Run, Store]) -> None:
    measures = Account(*finished).findings("pare run mine.yaml").measures
    balance = [(m.arm, m.fraction) for m in measures if m.metric == "class balance"]
    assert balance == [("highest", 0.5), ("highest", 0.25), *[("random", f) for f in (0.5, 0.5, 0.25, 0.25)]]
    shared = {(m.arm, m.fraction, m.other) for m in measures if m.metric == "shared"}
    assert shared == {
        (a, f, b) for f in (0.5, 0.25) for a, b in (("highest", "random"), ("random", "highest"), ("random",) * 2)
    }
    assert not [m for m in measures if m.metric == "kept"], "classes have a table of their own"


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
        "kept-window-0.5.parquet",
        "kept-window-0.5.txt",
    ]
    assert found.startswith("On two seeds, of two ways of choosing 50 % of synthetic, ")
    assert "50 % of synthetic is 80 of 160 images: highest trains to" in found and "n = 2" in found
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


def arms(folder: Path, **steps: str) -> dict[float, list[str]]:
    """Gives the arms of each share that a recipe with these selections has."""
    (folder / "mine.yaml").write_text(
        KINDS.replace("KIND", "\n  ".join(f"{name}: {{select: {step}}}" for name, step in steps.items())).replace(
            "$SELECTIONS", f"[{', '.join('$' + name for name in steps)}]"
        )
    )
    store = Store(folder / "store")
    run = Runner(store, runs=folder / "runs", runtime=Runtime(progress=False)).run(Recipe.read(folder / "mine.yaml"))
    trials = [trial for trial in Account(run, store).trials if trial.selection is not None]
    return {f: [trial.arm for trial in trials if trial.fraction == f] for f in {trial.fraction for trial in trials}}


def test_the_only_selector_is_the_chosen_whatever_its_steps_and_its_cut(tmp_path: Path) -> None:
    found = arms(
        tmp_path,
        most="{scores: $first, selector: highest, fraction: 0.5}",
        few="{scores: $first, selector: highest, fraction: 0.2, within: $trusted}",
        chance="{data: $train, selector: random, fraction: 0.5}",
    )
    assert found == {0.5: ["chosen", "random"], 0.2: ["chosen"]}


def test_selectors_of_one_name_are_called_by_what_tells_them_apart(tmp_path: Path) -> None:
    found = arms(
        tmp_path,
        plain="{scores: $first, selector: {name: window, offset: 0.1}, fraction: 0.5}",
        other="{scores: $first, selector: {name: window, offset: 0.2}, fraction: 0.5}",
        even="{scores: $first, data: $train, by_class: true, selector: highest, fraction: 0.5}",
        scored="{scores: $second, selector: highest, fraction: 0.5}",
        uneven="{scores: $first, selector: highest, fraction: 0.5}",
        cut="{scores: $first, selector: highest, fraction: 0.5, within: $trusted}",
        lucky="{scores: $first, selector: random, fraction: 0.5, within: $trusted}",
        drawn="{data: $train, selector: random, fraction: 0.5}",
    )
    assert found == {
        0.5: [
            "window, offset 0.1",
            "window, offset 0.2",
            "highest, class by class",
            "highest, by input-norm",
            "highest, by el2n",
            "highest, by el2n, within 90\u00a0%",
            "random, within 90\u00a0%",
            "random",
        ]
    }


LEARNT = """
data: {train: {name: synthetic, n: 60}, test: {name: synthetic, n: 60, split: test}}
steps:
  learnt:
    distill:
      data: $train
      per_class: 1
      distiller: {name: feature-regression, model: {name: widening-convnet, width: 4, depth: 1}, steps: 2, lr: 0.01}
  by_learnt: {train: {data: $learnt, model: &model {name: simple-cnn, channels: [2]}, training: &short {steps: 4}}}
  full: {train: {data: $train, model: *model, training: *short}}
  norms: {score: {data: $train, scorer: input-norm}}
  best: {select: {scores: $norms, selector: lowest, fraction: 0.5}}
  by_best: {train: {data: $train, model: *model, training: *short, selection: $best}}
  found: {evaluate: {data: $test, subject: [$by_learnt.checkpoint, $full.checkpoint, $by_best.checkpoint]}}
  taught:
    evaluate:
      subject: $learnt
      data: $test
      probes: [{name: class-incremental, model: *model, training: *short, networks: 2}]
"""


def test_what_was_trained_on_learnt_images_is_neither_everything_nor_a_choice(tmp_path: Path) -> None:
    (tmp_path / "learnt.yaml").write_text(LEARNT)
    store = Store(tmp_path / "store")
    run = Runner(store, runs=tmp_path / "runs", runtime=Runtime(progress=False)).run(
        Recipe.read(tmp_path / "learnt.yaml")
    )
    account = Account(run, store)
    assert [trial.arm for trial in account.trials] == ["", "full", "chosen"]
    findings = account.findings("pare run learnt.yaml")
    assert {outcome.arm for outcome in findings.outcomes} == {"distilled", "full", "chosen"}
    found, files = give_account(run, store, command=["pare"])
    assert "4 learnt images train to" in found and files[0].exists()
    # A mean over networks that a probe trained keeps their number and their spread.
    (row,) = means(run)["taught"].of("incremental-accuracy")
    assert (row.subject, row.n) == ("learnt", 2) and row.spread is not None
    assert {row.n for row in means(run)["found"].of("accuracy")} == {1}
