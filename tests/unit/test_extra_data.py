"""Extra data from the verb to the page: whose selection it is, one address, the command line, recipes, the account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from paredown import Runtime, Store, open_data, select, train
from paredown.account import Account, give_account
from paredown.cli import main
from paredown.errors import DataError, MethodError, PoolMismatch, RecipeError
from paredown.recipe import Recipe
from paredown.runner import Runner
from paredown.training import Mixing, Training

REAL = {"name": "synthetic", "n": 60, "classes": 3, "size": 8, "seed": 1}
MADE = {"name": "generated-mixtures", "base": REAL, "count": 90}
MORE = {"name": "generated-mixtures", "base": REAL, "count": 30, "seed": 1}
MODEL = {"name": "simple-cnn", "channels": [2]}
TRAINING = {"steps": 3, "batch_size": 20}
QUIET = Runtime(progress=False, precision="float32", device="cpu")


def chosen(data: Any, seed: int = 0, fraction: float = 0.5) -> Any:
    return select("random", data=data, fraction=fraction, seed=seed)


def test_a_selection_goes_to_whichever_data_it_was_made_from() -> None:
    def made(**arguments: Any) -> str:
        return train(REAL, MODEL, TRAINING, runtime=QUIET, **arguments).checkpoint.digest()

    real, generated = chosen(REAL), chosen(MADE)
    networks = {
        "plain": made(),
        "mixed": made(extra=MADE),
        "real": made(extra=MADE, selection=real),
        "generated": made(extra=MADE, selection=generated),
        "both": made(extra=MADE, selection=[generated, real]),
        "two pools": made(extra=[MADE, MORE]),
    }
    assert len(set(networks.values())) == len(networks)
    assert made(extra=MADE, selection=[real, generated]) == networks["both"]
    assert made(extra=[MADE], selection=[generated]) == networks["generated"]


def test_the_same_work_has_one_address(tmp_path: Path) -> None:
    store, real, generated = Store(tmp_path), chosen(REAL), chosen(MADE)

    def address(**arguments: Any) -> str:
        return store.address(train, **({"data": REAL, "model": MODEL, "training": TRAINING} | arguments))

    mixed = address(extra=MADE)
    assert mixed == address(extra=[open_data(MADE)])
    assert mixed == address(extra=MADE, training=Training(**TRAINING, mixing=Mixing(0.8)))
    assert mixed != address() and mixed != address(extra=MADE, training=TRAINING | {"mixing": {"share": 0.5}})
    assert address(extra=MADE, selection=[real, generated]) == address(extra=MADE, selection=[generated, real])
    assert address(selection=[real]) == address(selection=real)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"extra": REAL}, DataError, "these images are among the data already"),
        ({"extra": [MADE, REAL]}, DataError, "these images are among the data already"),
        ({"extra": {"name": "synthetic-sentences", "n": 40}}, MethodError, "has sentences, and only images are mixed"),
        ({"extra": REAL | {"size": 16, "seed": 3}}, DataError, "images of 16×16×3 and synthetic:train of 8×8×3"),
        ({"extra": REAL | {"classes": 4, "seed": 3}}, DataError, "have different classes"),
        ({"extra": MADE, "training": {"mixing": {"share": 1}}}, MethodError, "give them as data="),
        ({"extra": MADE, "training": {"mixing": {"part": 0.5}}}, MethodError, "Mixing has no field 'part'"),
        ({"training": {"mixing": {}}}, MethodError, "there are no other data to mix in"),
        ({"extra": MADE, "selection": MORE}, PoolMismatch, r"indexes pool .* the data pool .* and the extra data pool"),
        ({"extra": MADE, "selection": [REAL, REAL]}, PoolMismatch, "Two selections index"),
        ({"extra": MADE, "selection": [REAL, MADE, MADE]}, MethodError, "one selection of the data and one of the ext"),
        ({"selection": [REAL, MADE]}, MethodError, "takes one selection of the data, and was given 2"),
        ({"selection": MADE}, PoolMismatch, "Use the same list of data for both"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    given = {"training": TRAINING, "data": REAL, "model": MODEL} | arguments
    if isinstance(given.get("selection"), dict):
        given["selection"] = chosen(given["selection"])
    elif "selection" in given:
        given["selection"] = [chosen(data, seed) for seed, data in enumerate(given["selection"])]
    with pytest.raises(error, match=words):
        Store(tmp_path).make(train, runtime=QUIET, **given)
    assert not list(tmp_path.glob("*")), "nothing is left of what cannot be done"


def test_the_command_line_mixes_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    for number in range(3):
        images = draw.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{number}.npz", image=images, label=np.arange(30) % 10)
    words = ["train", "--model", "simple-cnn", "--model.channels", "[2]", "--training.steps", "2"]
    words += ["--training.batch_size", "10", "--training.mixing.share", "0.5", "--store", str(tmp_path / "store")]
    words += ["--data", "generated-images", "--data.path", str(tmp_path / "0.npz"), "--progress", "false"]
    words += ["--extra", "generated-images"]
    for number in (1, 2):
        words += ["--extra.path", str(tmp_path / f"{number}.npz")]
    assert main(words) == 0, capsys.readouterr().err
    folder = Path(capsys.readouterr().out.splitlines()[-1])
    head = (folder / "metrics.jsonl").read_text().splitlines()[0]
    assert '"extra": 60' in head and '"extra_of_batch": 5' in head
    assert main(["train", "--extra", "help"]) == 0
    assert "generated-mixtures" in capsys.readouterr().out
    assert main(["0" if word == "0.5" else word for word in words]) == 2
    assert "Leave extra out" in capsys.readouterr().err


RECIPE = """
data:
  real: {name: synthetic, n: 48, classes: 3}
  made: {name: generated-mixtures, base: {name: synthetic, n: 48, classes: 3}, count: 60}
  test: {name: synthetic, n: 30, classes: 3, split: test}
steps:
  teacher: {train: {data: $real, model: &model {name: simple-cnn, channels: [2]}, training: {steps: 4, batch_size: 12}}}
  full: {train: {data: $real, extra: $made, model: *model, training: &training {steps: 6, batch_size: 12}}}
  worth: {score: {checkpoint: $teacher.checkpoint, data: $made, scorer: el2n}}
  trusted: {select: {data: $real, selector: random, fraction: 0.9}}
  best: {select: {scores: $worth, selector: highest, fraction: 0.5}}
  any: {select: {data: $made, selector: random, fraction: 0.5}}
  a: {train: {data: $real, extra: $made, model: *model, training: *training, selection: $best}}
  b: {train: {data: $real, extra: $made, model: *model, training: *training, selection: $any}}
  c:
    train: {data: $real, extra: $made, model: *model, training: *training, selection: [$trusted, $best]}
    repeat: {seed: [7]}
  found:
    evaluate:
      data: $test
      subject: [$teacher.checkpoint, $full.checkpoint, $a.checkpoint, $b.checkpoint, $c.checkpoint]
"""


def test_a_page_is_about_the_data_that_was_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RECIPE)
    store = Store(tmp_path / "store")
    run = Runner(store, runs=tmp_path / "runs", runtime=QUIET).run(Recipe.read(tmp_path / "mine.yaml"))
    account = Account(run, store)
    arms = {trial.made.link: (trial.arm, trial.fraction) for trial in account.trials}
    assert arms == {
        "teacher": ("", 1.0),
        "full": ("full", 1.0),
        "a": ("chosen", 0.5),
        "b": ("random", 0.5),
        "c-0": ("chosen", 0.5),
    }
    findings = account.findings("pare run mine.yaml")
    assert findings.data == "generated-mixtures" and len(findings.labels) == 60
    assert {outcome.steps for outcome in findings.outcomes} == {6}
    assert {outcome.epochs for outcome in findings.outcomes} == {1.5, 2.0}
    assert "share 0.8" in findings.training
    said, files = give_account(run, store, command=["pare", "run", "mine.yaml"])
    assert "30 of 60 images" in said
    assert len(pq.read_table(files[1])) == 30


def faults(tmp_path: Path, text: str) -> str:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError) as found:
        Recipe.read(tmp_path / "mine.yaml").check()
    return str(found.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "extra: $made, model: *model, training: &training",
            "extra: $mad, model: *model, training: &training",
            "'$mad'",
        ),
        ("base: {name: synthetic,", "base: {name: synthetik,", "Did you mean 'synthetic'"),
        ("{steps: 6, batch_size: 12}", "{steps: 6, mixing: {share: 1}}", "give them as data="),
        ("training: {steps: 4, batch_size: 12}", "training: {mixing: {}}", "there are no other data to mix in"),
        ("[$trusted, $best]}", "[$trusted, $best, $any]}", "and was given 3"),
        ("extra: $made, model: *model, training: *training, selection: [", "extra: $worth, selection: [", "ScoreTable"),
    ],
)
def test_a_recipe_is_checked_before_anything_runs(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in RECIPE
    assert words in faults(tmp_path, RECIPE.replace(old, new))
