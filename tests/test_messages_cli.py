"""Whatever is wrong on a command line ends in one clear sentence (two at most), exit code 2 and no traceback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from paredown.cli import main
from paredown.data import AbstractSource

from .wrong_inputs import WRONG

TOY = ["--data", "synthetic", "--data.n", "64"]
NET = ["--model", "convnet", "--model.width", "4"]
SHORT = ["--training.steps", "2", "--training.batch_size", "16"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store that holds a training, scores and a selection, linked as `net`, `scores`, `kept`."""
    place = tmp_path_factory.mktemp("place")
    store = ["--store", str(place / "store")]
    calls = {
        "net": ["train", *TOY, *NET, *SHORT],
        "scores": ["score", "--scorer", "el2n", *TOY, "--checkpoint", str(place / "net")],
        "kept": ["select", "--selector", "highest", "--scores", str(place / "scores"), "--fraction", "0.5"],
    }
    for name, words in calls.items():
        assert main([*words, *store]) == 0
        verb = words[0]
        (place / name).symlink_to(next((place / "store").glob(f"{verb}-*")))
    shutil.copytree(place / "scores", place / "truncated", symlinks=False)
    table = place / "truncated" / "scores.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    shutil.copytree(place / "net", place / "broken-net")
    weights = place / "broken-net" / "checkpoint" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    (place / "empty").mkdir()
    (place / "recipe.yaml").write_text("steps:\n  a: {score: {data: $nothing, scorer: input-norm}}\n")
    (place / "notes.yaml").write_text("just: a file\n")
    (place / "broken.yaml").write_text("steps: {a: [\n")
    (place / "binary.yaml").write_bytes(bytes(range(128, 256)))
    (place / "table.csv").write_text("a,b\n")
    (place / "table.xlsx").write_text("a,b\n")
    (place / "own.py").write_text("class Own:\n    pass\n" + NETWORKS)
    return place


NETWORKS = """
from math import prod

from torch import nn
from torch.nn import functional


class Drops(nn.Module):
    def forward(self, x):
        return functional.dropout(x, 0.5)


def linear(shape, classes, *rest):
    return nn.Sequential(nn.Flatten(), *rest[:1], nn.Linear(prod(shape), classes), *rest[1:])


def probable(shape, classes):
    return linear(shape, classes, nn.Identity(), nn.Softmax(dim=1))


def dropping(shape, classes):
    return linear(shape, classes, Drops())
"""
SCORE = ["score", "--scorer", "el2n", *TOY, "--checkpoint", "net"]
SELECT = ["select", "--selector", "highest", "--scores", "scores"]
TRAIN = ["train", *TOY, *NET]
ROBUST = ["--training.objective", "trades", "--training.objective.attack", "pgd"]
HELD = ["--training.validation.examples", "8", "--training.validation.attack", "pgd"]
EVALUATE = ["evaluate", "--subject", "net", *TOY, "--probes", "robust-accuracy"]

CASES: list[tuple[list[str], str]] = [
    # commands and flags
    (["scor"], r"no command 'scor'\. Did you mean 'score'"),
    (["--hlep"], "no command '--hlep'"),
    (["score"], "needs --scorer"),
    (["score", "--scorrer", "el2n"], r"no flag '--scorrer'\. Did you mean '--scorer'"),
    (["score", "--scorer"], "--scorer needs a value"),
    ([*SELECT, "--fraction"], "--fraction needs a value"),
    ([*SELECT, "--fraction", "0.5", "more"], "does not know what to do with 'more'"),
    ([*SCORE, "--scorer", "el1n"], "--scorer is given 2 times"),
    ([*SELECT, "--fraction", "0.5", "--fraction", "0.2"], "--fraction is given 2 times"),
    # methods and their fields
    (["score", "--scorer", "el3n"], r"No scorer is called 'el3n'\. Did you mean 'el2n'"),
    ([*SCORE, "--scorer.bm", "batch"], r"El2n has no field 'bm'"),
    ([*SCORE, "--scorer.bn", "bach"], r"El2n\(bn='bach'\): not one of .* Did you mean 'batch'"),
    (["score", "--scorer", "nowhere:Mine", *TOY], "there is no module 'nowhere'"),
    (["score", "--scorer", "own:Owm", *TOY], r"has no 'Owm'\. Did you mean 'Own'"),
    (["score", "--scorer", "own:Own", *TOY], "'own:Own' is not a scorer"),
    ([*TRAIN, "--training.optimizer", "sgdd"], r"No optimizer is called 'sgdd'\. Did you mean 'sgd'"),
    ([*TRAIN, "--training.optimizer.lr", "fast"], r"Sgd\(lr='fast'\): not a number"),
    ([*TRAIN, "--training.optimizer.lr", "-1"], r"Sgd\(lr=-1\.0\): nothing would be learnt"),
    ([*TRAIN, "--training.optimizer.rate", "1"], "Sgd has no field 'rate'"),
    ([*TRAIN, "--training.epochs", "0"], r"Training\(epochs=0\): nothing would be trained"),
    ([*TRAIN, "--training.epochs", "1.5"], r"epochs=1\.5\): a whole number is needed"),
    ([*TRAIN, "--training.epochs", "1", "--training.steps", "9"], "two lengths of one training"),
    ([*TRAIN, *SHORT, "--training.checkpoints_at", "9"], "step 9 never comes"),
    ([*TRAIN, "--model", "resnet19"], "--model is given 2 times"),
    (["train", *TOY, "--model", "resnet19"], r"No model is called 'resnet19'\. Did you mean 'resnet18'"),
    ([*TRAIN, "--record", "confidance"], "'confidance' is not recorded"),
    (
        ["select", "--selector", "window", "--selector.offset", "2", "--scores", "scores", "--fraction", "0.5"],
        "offset=2",
    ),
    (
        ["select", "--selector", "window", "--selector.offset", "0.8", "--scores", "scores", "--fraction", "0.5"],
        "together they are at most 1",
    ),
    # numbers
    ([*SELECT, "--fraction", "half"], "fraction='half': not a number"),
    ([*SELECT, "--fraction", "0"], "fraction=0: a share lies above 0"),
    ([*SELECT, "--fraction", "1.5"], r"fraction=1\.5: a share lies above 0 and is at most 1"),
    ([*SELECT, "--fraction", "0.5", "--count", "3"], "either fraction= or count=, and was given both"),
    (SELECT, "either fraction= or count=, and was given neither"),
    ([*SELECT, "--count", "0"], "0 examples are wanted"),
    ([*SELECT, "--count", "65"], "65 examples are wanted and there are 64"),
    ([*SELECT, "--fraction", "0.5", "--seed", "x"], "seed='x': not a number"),
    ([*SELECT, "--fraction", "0.5", "--by_class", "perhaps"], "true or false is needed"),
    # what belongs together
    (["score", "--scorer", "el2n", *TOY], r"El2n needs checkpoint= and data="),
    (["score", "--scorer", "forgetting", "--dynamics", "net"], "The training recorded no dynamics"),
    ([*SELECT, "--fraction", "0.5", "--by_class"], "by_class=True.* needs data="),
    (["select", "--selector", "highest", *TOY, "--fraction", "0.5"], "Highest needs values.*scores="),
    (
        [*SELECT, "--data", "digits", "--fraction", "0.5"],
        r"the scores index pool .*synthetic:train.*, the data pool .*digits:train",
    ),
    ([*TRAIN[:1], "--data", "digits", *NET, *SHORT, "--selection", "kept"], "pool"),
    # artifacts
    (["score", "--scorer", "el2n", *TOY, "--checkpoint", "nowhere"], "no artifact at nowhere"),
    (["score", "--scorer", "el2n", *TOY, "--checkpoint", "empty"], "empty is not an artifact"),
    (["score", "--scorer", "el2n", *TOY, "--checkpoint", "scores"], "A ScoreTable was given, and a Checkpoint is"),
    (["score", "--scorer", "el2n", *TOY, "--checkpoint", "broken-net"], "weights.safetensors is missing, damaged or"),
    (["select", "--selector", "highest", "--scores", "truncated", "--fraction", "0.5"], "truncated.*cannot be read"),
    ([*SELECT, "--within", "scores", "--fraction", "0.5"], "A ScoreTable was given, and a Selection is needed"),
    (["show", "train-nothing"], "There is no 'train-nothing' in store"),
    # how
    ([*TRAIN, *SHORT, "--seed", "9", "--device", "toaster"], r"Runtime\(device='toaster'\)"),
    ([*TRAIN, *SHORT, "--precision", "float8"], "--precision float8: not one of"),
    ([*TRAIN, *SHORT, "--batch_size", "0"], r"Runtime\(batch_size=0\)"),
    ([*TRAIN, *SHORT, "--threads", "many"], "--threads many: not a number"),
    ([*TRAIN, *SHORT, "--trackers", "wall"], "unknown tracker"),
    # validation
    (
        [*TRAIN, *SHORT, "--training.validation.examples", "64"],
        "synthetic:train has 64 examples, so none would be left",
    ),
    ([*TRAIN, *SHORT, "--training.validation.examples", "2"], "would be looked at. Hold out more examples"),
    ([*TRAIN, *SHORT, "--training.validation.patience", "0"], r"Validation\(patience=0\): training would stop"),
    ([*TRAIN, *SHORT, "--training.validation.every", "0"], r"Validation\(every=0\): epochs are counted from 1"),
    ([*TRAIN, *SHORT, "--training.average_statistics", "copied"], "there is no average to copy them to"),
    (
        [*TRAIN, *SHORT, "--record.by", "evaluation", "--record.quantities", "[adversarial-confidence]"],
        "adversarial-confidence needs an attack, and the objective cross-entropy has none to lend",
    ),
    ([*TRAIN, *SHORT, "--store", "table.csv"], "table.csv"),
    # attacks
    ([*TRAIN, *SHORT, *ROBUST, "--training.objective.attack.eps", "8"], r"Pgd\(eps=8\): pixels lie .* write 8/255"),
    ([*TRAIN, *SHORT, *ROBUST, "--training.objective.attack.step", "2"], r"Pgd\(step=2\): pixels lie .*Write 2/255"),
    (
        [
            *TRAIN,
            *SHORT,
            *ROBUST,
            *("--training.objective.attack.norm", "l2", "--training.objective.attack.eps", "128"),
        ],
        r"Pgd\(eps=128\): no two images of this size are so far apart .* write 128/255",
    ),
    ([*TRAIN, *SHORT, *HELD, "--training.validation.attack.eps", "8"], r"Pgd\(eps=8\): pixels lie .* write 8/255"),
    (
        [*TRAIN, *SHORT, *HELD, "--training.validation.attack.norm", "l2", "--training.validation.attack.eps", "128"],
        "no two images of this size are so far apart",
    ),
    ([*EVALUATE, "--probes.eps", "8"], r"RobustAccuracy\(eps=8\): pixels lie .* write 8/255"),
    ([*EVALUATE, "--probes.norm", "l2", "--probes.eps", "128"], "no two images of this size are so far apart"),
    (
        ["train", *TOY, "--model", "own:probable", *SHORT, *ROBUST],
        r"Training\(objective=trades\): .* so it gives probabilities, .* attacks need logits",
    ),
    (
        ["train", *TOY, "--model", "own:dropping", *SHORT, *ROBUST],
        r"Training\(objective=trades\): the network gives other logits for the same images",
    ),
    (
        [*TRAIN, *SHORT, *ROBUST, "--training.optimizer", "sgd", "--training.optimizer.lr", "1e30"],
        r"the loss of step 2 is not a finite number",
    ),
    # recipes
    (["run", "nothing.yaml"], "There is no recipe at nothing.yaml"),
    (["check", "data_diet/smok"], r"no recipe at data_diet/smok\. Did you mean 'data_diet/smoke'"),
    (["check", "recipe.yaml"], r"line 2, steps\.a\.score\.data: nothing is called '\$nothing'"),
    (["check", "notes.yaml"], "notes.yaml is not a recipe"),
    (["check", "broken.yaml"], "broken.yaml, line 2: this is not YAML"),
    (["check", "binary.yaml"], "binary.yaml is not text"),
    (["run", "data_diet/smoke", "fractoin=0.3"], r"no dial 'fractoin'\. Did you mean 'fraction'"),
    (["run", "data_diet/smoke", "0.3"], "'0.3' is not a dial"),
    (["run", "data_diet/grand.smoke", "fraction=2"], r"fraction=2: a share lies above 0"),
    (["copy", "data_diet/smoke", "notes.yaml"], "notes.yaml is there already"),
    (["list", "scorrers"], "no kind 'scorrers'"),
    (["check"], "pare check needs"),
    # the main job
    (["down"], "pare down needs DATA"),
    (["down", "digitz"], r"Data 'digitz': .* Did you mean 'digits'"),
    (["down", "table.csv"], "none of the columns .a, b. is called like texts"),
    (["down", "table.xlsx"], "type '.xlsx'"),
    (["down", "digits", "--keep", "0"], "--keep 0: a share lies above 0"),
    (["down", "digits", "--keep", "most"], "--keep most: not a number"),
    (["down", "digits", "--seeds", "0"], "--seeds 0: at least 1"),
    (["down", "digits", "--scorer", "el3n"], "No scorer is called 'el3n'"),
    (["down", "digits", "--scorer.quantity", "joy"], "A scorer needs a name"),
    (["down", "digits", "--epochs", "x"], r"Training\(epochs='x'\): not a number"),
    (["down", "digits", "--epochs", "2", "--steps", "2"], "two lengths of one training"),
    (["down", "digits", "--noise.fraction", "2"], "a share of the rows lies in 0 to 1"),
]


def assert_one_sentence(said: str) -> None:
    assert said.count("\n") == 1 and said.endswith("\n"), said
    assert "Traceback" not in said and 'File "' not in said
    # A sentence ends where a capital or a quoted command follows; file names and numbers have points inside.
    assert len(re.split(r"[.?!] (?=[A-Z`])", said)) <= 3, said


def wrong_words(words: list[str]) -> str:
    return " ".join(words)


@pytest.mark.parametrize(
    ("words", "pattern"), CASES, ids=lambda part: wrong_words(part) if isinstance(part, list) else ""
)
def test_a_wrong_command_is_one_sentence(
    words: list[str], pattern: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(str(place))
    assert main(words) == 2
    said = capsys.readouterr().err
    assert re.search(pattern, said), said
    assert_one_sentence(said)


def as_flags(data: Any, prefix: str = "--data") -> list[str]:
    """Gives the flags by which a person would type a data set."""
    if isinstance(data, AbstractSource):
        data = data.plain()
    if not isinstance(data, Mapping):
        return [prefix, str(data)]
    first = "name" if "name" in data else "path"
    words = [prefix, str(data[first])] if first in data else []
    rest = {key: value for key, value in data.items() if value is not None and key != first}
    for key, value in rest.items():
        words += as_flags(value, f"{prefix}.{key}") if isinstance(value, Mapping) else [f"{prefix}.{key}", str(value)]
    return words


@pytest.mark.parametrize("make", WRONG, ids=lambda make: make.__name__)
def test_wrong_data_are_one_sentence(
    make: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong").mkdir()
    assert main(["select", "--selector", "random", "--fraction", "0.5", *as_flags(make(tmp_path / "wrong"))]) == 2
    said = capsys.readouterr().err
    assert re.search(WRONG[make], said, re.S), said
    assert said.count("\n") == 1 and "Traceback" not in said


@pytest.mark.parametrize(
    "words", [["scor"], ["select", "--selector", "highest", "--fraction", "0.5", "--scores", "no"]]
)
def test_the_real_command_exits_with_two(words: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paredown", *words],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert_one_sentence(done.stderr)


def test_an_interruption_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paredown.store.Store.make", interrupted)
    assert main([*TRAIN, *SHORT]) == 130
    said = capsys.readouterr().err
    assert re.search("the same command goes on from here", said)
    assert_one_sentence(said)


def test_a_failing_step_is_named_and_what_is_finished_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(
        "data: {d: {name: synthetic, n: 64}}\n"
        "steps:\n"
        "  norms: {score: {data: $d, scorer: input-norm}}\n"
        "  far: {select: {scores: $norms, selector: {name: window, offset: 0.9}, fraction: 0.5}}\n"
    )
    assert main(["run", "r.yaml"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"Step 'far' \(select\): Window\(offset=0\.9\)", said)
    assert len(list((tmp_path / "store").glob("score-*"))) == 1
    assert len(list((tmp_path / "runs").glob("r-*/norms"))) == 1
