"""The command line: verbs, one address behind three doors, recipes, looking things up and cleaning up."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from paredown import Runtime, Store
from paredown.artifacts import open_artifact
from paredown.cli import main
from paredown.errors import MethodError
from paredown.flags import Flags, add_verb, arguments, described, scalar
from paredown.method import build
from paredown.pruning.hydra import Hydra
from paredown.recipe import Recipe
from paredown.runner import Runner
from paredown.training import Training
from paredown.verbs import VERBS

TOY = ["--data", "synthetic", "--data.n", "64"]
TRAIN = ["train", *TOY, "--model", "convnet", "--model.width", "4", "--training.steps", "3"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Gives what a command prints on standard output."""
    capsys.readouterr()
    code = main(words)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def made(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Gives the last line that a command prints: the folder."""
    return said(capsys, *words).splitlines()[-1]


def typed(verb: str, *words: str) -> dict[str, Any]:
    """Gives what the flags of a verb mean, in plain data."""
    parser = Flags(verb, "")
    add_verb(parser, VERBS[verb], words)
    return arguments(VERBS[verb], parser.read(words))


def test_from_training_to_figures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nets = [made(capsys, *TRAIN, "--record", "correct", "--seed", seed) for seed in ("0", "1")]
    scores = made(capsys, "score", "--scorer", "el2n", *TOY, "--checkpoint", nets[0], "--checkpoint", nets[1])
    assert open_artifact(scores).runs == 2
    forgotten = made(capsys, "score", "--scorer", "forgetting", "--dynamics", nets[0])
    assert open_artifact(forgotten).name == "forgetting"
    kept = made(capsys, "select", "--selector", "highest", "--scores", scores, "--fraction", "1/4", *TOY, "--by-class")
    assert len(open_artifact(kept)) == 16
    student = made(capsys, *TRAIN, "--selection", kept)
    report = said(capsys, "evaluate", "--subject", student, "--data", "synthetic", "--data.split", "test")
    assert "| accuracy |" in report and report.splitlines()[-1].startswith("store/evaluate-")


WORDS: list[tuple[str, list[str], dict[str, Any]]] = [
    ("score", ["--scorer", "el2n", "--checkpoint", "c"], {"scorer": "el2n", "checkpoint": "c"}),
    ("score", ["--scorer=el2n", "--checkpoint", "a", "--checkpoint=b"], {"scorer": "el2n", "checkpoint": ["a", "b"]}),
    ("score", ["--scorer", "el2n", "--scorer.bn", "batch"], {"scorer": {"name": "el2n", "bn": "batch"}}),
    ("score", ["--scorer.bn", "batch", "--scorer", "el2n"], {"scorer": {"name": "el2n", "bn": "batch"}}),
    ("score", ["--scorer", "random", "--data", "digits", "--data.split", "test"],
     {"scorer": "random", "data": {"name": "digits", "split": "test"}}),
    ("score", ["--scorer", "random", "--data", "pictures/", "--data.split", "test"],
     {"scorer": "random", "data": {"path": "pictures/", "split": "test"}}),
    ("score", ["--scorer", "random", "--data", "digits", "--data", "mnist"],
     {"scorer": "random", "data": ["digits", "mnist"]}),
    ("select", ["--selector", "random", "--by_class"], {"selector": "random", "by_class": "true"}),
    ("select", ["--selector", "random", "--by-class", "false"], {"selector": "random", "by_class": "false"}),
    ("train", ["--data", "d", "--model", "m", "--training.steps", "3", "--training.schedule", "constant"],
     {"data": "d", "model": "m", "training": {"steps": 3, "schedule": "constant"}}),
    ("train", ["--data", "d", "--model", "m", "--training.checkpoints-at", "1", "--training.checkpoints_at", "2"],
     {"data": "d", "model": "m", "training": {"checkpoints_at": [1, 2]}}),
    ("train", ["--data", "d", "--model", "m", "--training.optimizer", "adam", "--training.optimizer.lr", "5e-4"],
     {"data": "d", "model": "m", "training": {"optimizer": {"name": "adam", "lr": "5e-4"}}}),
    ("train", ["--data", "d", "--model", "m", "--training.optimizer.lr", "8/255", "--training.optimizer", "adam"],
     {"data": "d", "model": "m", "training": {"optimizer": {"name": "adam", "lr": "8/255"}}}),
    ("train", ["--data", "d", "--model", "m", "--record", "correct", "--record", "margin"],
     {"data": "d", "model": "m", "record": ["correct", "margin"]}),
    ("train", ["--data", "d", "--model", "m", "--record", "correct", "--record.by", "evaluation"],
     {"data": "d", "model": "m", "record": {"quantities": ["correct"], "by": "evaluation"}}),
    ("train", ["--data", "d", "--data.noise.fraction", "0.1", "--model", "m"],
     {"data": {"path": "d", "noise": {"fraction": 0.1}}, "model": "m"}),
    ("evaluate", ["--subject", "s", "--data", "d", "--probes", "accuracy", "--probes.by_class", "no", "--probes", "q"],
     {"subject": "s", "data": "d", "probes": [{"name": "accuracy", "by_class": False}, "q"]}),
    ("evaluate", ["--subject", "s", "--data", "d", "--probes", "p", "--against", "svhn", "--against.split", "x"],
     {"subject": "s", "data": "d", "probes": "p", "against": {"name": "svhn", "split": "x"}}),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "words", "plain"), WORDS, ids=[" ".join(words) for _, words, _ in WORDS])
def test_what_flags_mean(verb: str, words: list[str], plain: dict[str, Any]) -> None:
    assert typed(verb, *words) == plain


def test_a_field_of_a_default_method_keeps_the_rest_of_it() -> None:
    training = typed("train", "--data", "d", "--model", "convnet", "--training.optimizer.lr", "0.2")["training"]
    assert training["optimizer"] == Training().optimizer.plain() | {"lr": 0.2}


def test_fields_typed_within_a_default_are_fields_of_that_default() -> None:
    words = ["prune", "--checkpoint", "c", "--strategy", "s", "--data", "d", "--pruner", "hydra"]
    deep = typed(*words, "--pruner.score.objective.attack.steps", "3", "--pruner.score.steps", "9")["pruner"]
    asked, usual = build("pruner", deep), Hydra()
    attack = replace(usual.score.objective.attack, steps=3)  # type: ignore[attr-defined]
    objective = replace(usual.score.objective, attack=attack)  # type: ignore[call-arg]
    # A length that is typed takes the place of the default's, which is in epochs.
    assert asked == replace(usual, score=replace(usual.score, objective=objective, epochs=None, steps=9))
    both = typed(*words, "--pruner.score.steps", "9", "--pruner.score.epochs", "2")["pruner"]
    with pytest.raises(MethodError, match="two lengths of one training"):
        build("pruner", both)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("0.5", 0.5), ("true", True), ("[1, 2]", [1, 2]), ("a", "a"), ("8/255", "8/255"), ("null", None),
     ("2026-01-01", "2026-01-01"), ("[1", "[1"), ("{a: 1}", {"a": 1})],
)  # fmt: skip
def test_a_word_is_read_as_a_recipe_reads_it(text: str, value: Any) -> None:
    assert scalar(text) == value


def test_one_address_behind_three_doors(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store("store")
    data = {"name": "synthetic", "n": 64}
    from_python = [
        store.make(VERBS["train"], data=data, model={"name": "convnet", "width": 4}, training=Training(steps=3), seed=s)
        for s in (0, 1)
    ]
    scores = store.make(VERBS["score"], scorer="el2n", data=data, checkpoint=[net.checkpoint for net in from_python])
    kept = store.make(VERBS["select"], selector={"name": "window", "offset": 0.25}, scores=scores, fraction=0.5)

    nets = [made(capsys, *TRAIN, "--seed", seed) for seed in ("0", "1")]
    scored = made(capsys, "score", "--scorer", "el2n", *TOY, *[w for net in nets for w in ("--checkpoint", net)])
    window = ["--selector", "window", "--selector.offset", "1/4"]
    chosen = made(capsys, "select", *window, "--scores", scored, "--fraction", "0.5")

    (here / "r.yaml").write_text(
        "data: {d: {name: synthetic, n: 64}}\n"
        "steps:\n"
        "  net: {train: {data: $d, model: {name: convnet, width: 4}, training: {steps: 3}}, repeat: {seed: [0, 1]}}\n"
        "  scores: {score: {data: $d, scorer: el2n, checkpoint: $net}}\n"
        "  kept: {select: {scores: $scores, selector: {name: window, offset: 0.25}, fraction: 0.5}}\n"
    )
    run = Runner(Store("other")).run(Recipe.read("r.yaml"))
    by_recipe = [made.address for results in run.results.values() for made in results]
    addresses = [part.address for part in (*from_python, scores, kept)]
    assert addresses == [Path(folder).name for folder in (*nets, scored, chosen)] == by_recipe
    assert len(list(store.entries())) == 4


def test_how_it_is_done_is_no_part_of_the_address(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--batch_size", "7", "--workers", "1", "--save-seconds", "5", "--progress", "false", "--threads", "1"]
    words = ["score", "--scorer", "input-norm", *TOY]
    assert made(capsys, *words) == made(capsys, *words, *how)
    other = made(capsys, *words, *how, "--store", "elsewhere")
    written = Store("elsewhere").find(Path(other).name).made["runtime"]
    asked = Runtime(batch_size=7, workers=1, save_seconds=5.0, progress=False, threads=1)
    assert written | {"trackers": ()} == asked.plain()


def test_a_scorer_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "brightness_scorer.py").write_text(
        "from dataclasses import dataclass\n"
        "from paredown.scoring.base import AbstractDataScorer\n"
        "@dataclass(frozen=True)\n"
        "class Brightness(AbstractDataScorer):\n"
        "    '''The mean pixel.'''\n"
        "    power: float = 1.0\n"
        "    important = 'high'\n"
        "    low, high, paper = 0.0, 1.0, ''\n"
        "    def of(self, data, *, runtime, seed):\n"
        "        return (data.images.reshape(len(data), -1).mean(1) / 255) ** self.power\n"
    )
    words = [sys.executable, "-m", "paredown", "score", "--scorer", "brightness_scorer:Brightness"]
    done = subprocess.run([*words, "--scorer.power", "2", *TOY], capture_output=True, text=True, check=False, cwd=here)
    assert done.returncode == 0, done.stderr
    scores = open_artifact(here / done.stdout.splitlines()[-1])
    assert "brightness" in scores.describe().lower() and scores.values.max() < 1


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["list", "selectors"], ["highest", "lowest", "random", "window"]),
        (["list", "data"], ["digits", "cifar10"]),
        (["list", "schedules"], ["cosine"]),
        (["list", "recipes"], ["data_diet/smoke", "down/down"]),
        (["score", "--scorer", "help"], ["el2n", "forgetting"]),
        (["train", "--data", "help"], ["digits"]),
    ],
)
def test_what_there_is(words: list[str], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert set(lines) <= set(said(capsys, *words).splitlines())


def test_the_fields_of_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--selector.offset" in said(capsys, "select", "--selector", "window", "--selector.help")
    assert "--training.batch_size" in said(capsys, "train", "--training.help")
    with_fields = said(capsys, "select", "--selector", "window", "--help")
    assert re.search(r"--selector\.offset X +share of the candidates", with_fields)
    assert "--selector.offset" not in said(capsys, "select", "--help")


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    overview = said(capsys, "--help")
    assert overview == said(capsys)
    for name in (*VERBS, "down", "run", "check", "list", "show", "table", "shares", "copy", "clean"):
        assert re.search(rf"^  {name} +\S+", overview, re.M), name
        assert said(capsys, name, "--help").startswith(f"usage: pare {name}")
    assert "--of X" in said(capsys, "search", "--help") and "--selection FOLDER" in said(capsys, "search", "--help")
    assert re.fullmatch(r"paredown \d+\.\d+.*\n", said(capsys, "--version"))


def test_show_says_what_made_it_and_from_what(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = made(capsys, *TRAIN)
    scores = made(capsys, "score", "--scorer", "el2n", *TOY, "--checkpoint", net)
    for name in (scores, Path(scores).name, Path(scores).name[:10]):
        shown = said(capsys, "show", name)
        assert re.search(rf"checkpoint +{Path(net).name}", shown)
        assert "el2n of 64 examples" in shown and "scorer      el2n(bn=running)" in shown
        assert Path(shown.splitlines()[-1]).resolve() == Path(scores).resolve()
    assert re.search(r"train-[0-9a-f]{16} +Trained", said(capsys, "list"))
    for link in Path(net).iterdir():
        if link.name == "manifest.json":
            link.unlink()
    assert Path(net).name not in said(capsys, "list")
    assert "not in this store" in said(capsys, "show", scores)


def test_an_unfinished_result_is_told_as_such(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "store" / "train-0123456789abcdef.partial").mkdir(parents=True)
    assert re.search(r"train-0123456789abcdef +unfinished", said(capsys, "list"))
    assert "unfinished" in said(capsys, "show", "train-01")


def test_a_recipe_is_taken_home_checked_and_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "copy", "data_diet/random_subset.smoke", "mine.yaml") == "mine.yaml\n"
    assert said(capsys, "copy", "data_diet/smoke") == "smoke.yaml\n"
    assert (
        said(capsys, "check", "mine.yaml", "smoke.yaml", "seeds=[0]")
        == "mine: 3 steps, no fault\nsmoke: 12 steps, no fault\n"
    )
    assert main(["check", "mine.yaml", "smoke.yaml", "fraction=0.5"]) == 2
    assert capsys.readouterr().err == "mine: there is no dial 'fraction'. It has: keep, seeds.\n"


def test_clean_removes_what_no_run_links_to(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loose = Path(made(capsys, "score", "--scorer", "random", *TOY))
    unfinished = here / "store" / "train-0123456789abcdef.partial"
    unfinished.mkdir()
    (here / "r.yaml").write_text("steps: {a: {score: {data: {name: synthetic, n: 64}, scorer: input-norm}}}\n")
    folder = made(capsys, "run", "r.yaml")
    told = said(capsys, "clean")
    assert re.search(rf"would remove {loose.name} \(no run links to it, 0\.\d MB\)", told)
    assert "would remove train-0123456789abcdef (unfinished" in told and "Say --yes" in told
    assert loose.exists() and unfinished.exists()
    assert f"removed {loose.name}" in said(capsys, "clean", "--yes")
    assert not loose.exists() and not unfinished.exists()
    assert (Path(folder) / "a" / "scores.parquet").exists()
    assert said(capsys, "clean") == ""


def test_the_docstrings_give_the_help() -> None:
    arguments = "    Args:\n        a: one\n            line more.\n        b: two: three.\n"
    about = described(f"First line.\n\n{arguments}\n    Returns:\n        c: no.\n")
    assert about == {"a": "one line more.", "b": "two: three."}
    assert described(None) == {}
    for verb in VERBS.values():
        assert described(verb.function.__doc__).keys() >= verb.parameters.keys(), verb.name


def test_a_closed_pipe_is_no_fault(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = f"{sys.executable} -m paredown list scorers | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_flags_come_in_any_order(capsys: pytest.CaptureFixture[str]) -> None:
    parser = Flags("run", "")
    parser.add_argument("recipe")
    parser.add_argument("dials", nargs="*")
    parser.add_argument("--store")
    assert parser.read(["r", "a=1", "--store", "s", "b=2"]) == argparse.Namespace(
        recipe="r", dials=["a=1", "b=2"], store="s"
    )
