"""Wrong inputs at the command line: one clear sentence, exit code 2, no traceback; nothing that was given is run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown import open_data
from paredown.artifacts import Checkpoint, Pruned, PruningStrategy
from paredown.cli import main
from paredown.method import build
from paredown.models import checkpoint_of, load
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import magnitude_masks, mask_set, weights_of

DATA = ["--data", "synthetic", "--data.n", "40"]
PRUNE = ["prune", "--checkpoint", "net", "--strategy", "half", *DATA, "--pruner", "magnitude"]
SEARCH = ["search", "--checkpoint", "net", *DATA, "--searcher", "uniform", "--keep", "0.5"]
MODELS: dict[str, Any] = {
    "net": {"name": "small-resnet", "width": 4},
    "other": {"name": "convnet", "width": 4},
    "wide": {"name": "small-resnet", "width": 6},
    "shuffles": f"{__name__}:shuffling",
    "branches": f"{__name__}:branching",
}


def shuffling(shape: Any, classes: int) -> nn.Module:
    side = shape[1] - 4
    layers = nn.Conv2d(shape[0], 4, 3), nn.ChannelShuffle(2), nn.Conv2d(4, 4, 3), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4 * side * side, classes))


class Branching(nn.Module):
    """Decides by what it computes."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return self.linear(x if float(x.sum()) > 0 else -x)


def branching(shape: Any, classes: int) -> nn.Module:
    return Branching(shape[0], classes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks and strategies, some of them with a fault."""
    place = tmp_path_factory.mktemp("given")
    data = open_data("synthetic", n=40)
    for name, told in MODELS.items():
        model = build("model", told)
        checkpoint_of(model.start(data, 0), model, 0).save(place / name)
    for name, model in (("net", "half"), ("other", "of-another"), ("wide", "of-a-wider"), ("shuffles", "shuffled")):
        PruningStrategy.uniform(layers_of(load(Checkpoint.open(place / name))), 0.5, granularity="channel").save(
            place / model
        )
    _faulty_strategies(place)
    _faulty_checkpoints(place)
    _untraceable(place)
    return place


def _faulty_strategies(place: Path) -> None:
    told = json.loads((place / "half" / "strategy.json").read_text())

    def write(name: str, layers: list[dict[str, Any]]) -> None:
        (place / f"{name}.json").write_text(json.dumps(told | {"layers": layers}))

    write("short", told["layers"][:-1])
    write("long", [*told["layers"], {"layer": "body.more", "keep": 0.5}])
    write("empty", [row | {"keep": 0.0} for row in told["layers"]])
    write("tiny", [row | {"keep": 0.01} for row in told["layers"]])
    (place / "bare.json").write_text(json.dumps([0.5] * 5))
    (place / "cut.json").write_text(json.dumps(told)[:40])


def _faulty_checkpoints(place: Path) -> None:
    whole = Checkpoint.open(place / "net").in_memory()
    weights = dict(whole.weights)

    def save(name: str, held: dict[str, np.ndarray]) -> None:
        Checkpoint(whole.model, shape=whole.shape, classes=whole.classes, weights=held, step=0).save(place / name)

    first = next(name for name in weights if name.endswith("conv.weight"))
    save("missing", {name: array for name, array in weights.items() if name != first})
    save("extra", weights | {"body.scores": np.zeros(3, np.float32)})
    torch.save({"state_dict": Evil()}, place / "net.pth.tar")


def _untraceable(place: Path) -> None:
    """A pruned network whose channels cannot be followed."""
    checkpoint = Checkpoint.open(place / "shuffles").in_memory()
    made = load(checkpoint)
    layers = layers_of(made)
    strategy = PruningStrategy.uniform(layers, 0.5, granularity="channel")
    masks = mask_set(magnitude_masks(weights_of(made, layers), layers, strategy), strategy.fingerprint)
    weights = dict(checkpoint.weights)
    for name, mask in masks.masks.items():
        weights[f"{name}.weight"] = weights[f"{name}.weight"] * mask
    held = Checkpoint(checkpoint.model, shape=checkpoint.shape, classes=checkpoint.classes, weights=weights, step=0)
    Pruned(held, masks).save(place / "shuffled-pruned")


class Evil:
    """What a pickle could do to whoever opens it."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("opened"),))


def instead(words: list[str], **given: str) -> list[str]:
    """Gives the words of a command with other values of its flags."""
    found = list(words)
    for flag, value in given.items():
        found[found.index(f"--{flag}") + 1] = value
    return found


@pytest.fixture
def refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Gives what a command says that fails."""
    monkeypatch.chdir(folder)

    def told(words: list[str]) -> str:
        capfd.readouterr()
        assert main([*words, "--store", str(tmp_path / "store"), "--progress", "false"]) == 2
        said = capfd.readouterr()
        assert "Traceback" not in said.err and not said.out
        assert len(said.err.strip().splitlines()) == 1
        return said.err

    return told


Refused = Callable[[list[str]], str]


@pytest.mark.parametrize(
    ("strategy", "sentence"),
    [
        ("of-another", "The strategy is for another architecture: it has no share for"),
        ("of-a-wider", "The strategy is for another architecture: the layers have the same names and other shapes"),
        ("short.json", "it has no share for 'body.4' (4 layers in the strategy, 5 in the network)"),
        ("long.json", "it names 'body.more', which this network has not"),
        ("empty.json", "keeps 0 of its input channels; a share lies above 0, because an empty layer passes nothing on"),
        ("bare.json", "a bare list of 5 shares, which names no layer. Make a strategy of it by PruningStrategy.from"),
        ("cut.json", "no strategy that names layers, or damaged"),
        ("none.json", "there is no such file"),
        ("net", "A Checkpoint was given, and a PruningStrategy is needed here"),
    ],
)
def test_strategies(refused: Refused, strategy: str, sentence: str) -> None:
    assert sentence in refused(instead(PRUNE, strategy=strategy))


def test_a_share_that_rounds_to_nothing(refused: Refused) -> None:
    words = [*instead(PRUNE, strategy="tiny.json", pruner="hydra"), "--pruner.compat", "published"]
    assert "rounds to 0, and an empty layer passes nothing on. Give it a larger share" in refused(words)


@pytest.mark.parametrize("words", [PRUNE, SEARCH, ["export", "--checkpoint", "net"]], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("checkpoint", "sentence"),
    [
        ("missing", "the weights hold no 'body.0.conv.weight', which the architecture has"),
        ("extra", "the weights hold 'body.scores', which the architecture lacks"),
        (
            "net.pth.tar",
            "net.pth.tar is a file, and an artifact is a folder. Weights that others published are read by",
        ),
    ],
)
def test_checkpoints(refused: Refused, words: list[str], checkpoint: str, sentence: str) -> None:
    assert sentence in refused(instead(words, checkpoint=checkpoint))
    assert not Path("opened").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--keep", "0.0001"], "of the parameters cannot be met when every layer keeps at least"),
        (["--keep", "0.0001", "--searcher", "erk"], "the smallest that can is 0.0"),
        (["--keep", "0.1", "--searcher", "tpe", "--walk.lower", "0.5"], "the smallest that can is 0."),
        (
            ["--keep", "0.1", "--of", "macs", "--searcher", "random", "--walk.lower", "0.5"],
            "the smallest that can is 0.",
        ),
        (["--keep", "0"], "keep=0: a share of the dense cost lies above 0 and is at most 1"),
        (["--keep", "half"], "keep='half': not a number"),
    ],
)
def test_budgets(refused: Refused, words: list[str], sentence: str) -> None:
    assert sentence in refused(["search", "--checkpoint", "net", *DATA, "--reward.mode", "clean", *words])


def test_networks_that_cannot_be_followed(refused: Refused) -> None:
    operation = "channels cannot be followed through 'channel_shuffle'"
    assert operation in refused(instead(PRUNE, checkpoint="shuffles", strategy="shuffled"))
    assert operation in refused(instead(SEARCH, checkpoint="shuffles"))
    assert operation in refused(["compact", "--pruned", "shuffled-pruned"])
    assert "item() cannot be called" in refused(instead(PRUNE, checkpoint="branches"))
    assert "Branching cannot be exported: " in refused(["export", "--checkpoint", "branches", "--formats", "torch"])


def test_without_the_extra(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "onnx is needed here and is not installed. Run: pip install 'paredown[export]'" in refused(
        ["export", "--checkpoint", "net"]
    )


def test_what_was_meant(refused: Refused) -> None:
    assert "Did you mean 'onnx'" in refused(["export", "--checkpoint", "net", "--formats", "onxx"])
    assert "pruned: A Checkpoint was given, and a Pruned is needed here" in refused(["compact", "--pruned", "net"])
    assert "Did you mean 'hydra'" in refused(instead(PRUNE, pruner="hidra"))
