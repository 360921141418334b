"""The verb `prune`: in Python, in the store, on the command line; killed and resumed; wrong inputs in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.pruning.small import QUIET, images, network, robust, run, strategy, training
from tests.unit.training.test_resume import Interruptions, files

import paredown.artifacts.masks
from paredown import Runtime, Store, evaluate, open_data, prune, select
from paredown.artifacts import Checkpoint, DistilledSet, MaskSet, Pruned, PruningStrategy, open_artifact
from paredown.artifacts.stored import part_of
from paredown.attacks import Fgsm, Pgd
from paredown.cli import main
from paredown.data import ImageDataset
from paredown.errors import ArtifactError, MethodError, ParedownError
from paredown.log import read_metrics
from paredown.models import ConvNet, Vgg16Bn, checkpoint_of, load, load_published
from paredown.pruning.admm import Admm
from paredown.pruning.base import AbstractPruner
from paredown.pruning.hydra import Hydra
from paredown.pruning.magnitude import Magnitude
from paredown.sparsity.apply import zeros_hold
from paredown.sparsity.layers import layers_of
from paredown.training import CrossEntropy, Fast, Free, Madry, Mart, Sgd, Trades
from paredown.verbs import VERBS

PRUNERS: list[AbstractPruner] = [
    Hydra(score=robust(), fine_tune=robust()),
    Admm(regularize=robust(), retrain=robust(average=0.9), every=1),
    Magnitude(gradual=robust(5), fine_tune=training(), every=2),
]


def plain(pruner: AbstractPruner) -> dict[str, Any]:
    return pruner.plain()


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda one: one.name)
def test_from_a_checkpoint_to_a_pruned_one(tmp_path: Path, pruner: AbstractPruner) -> None:
    asked = strategy("channel")
    asked.save(tmp_path / "strategy")
    network().save(tmp_path / "net")
    found = prune(str(tmp_path / "net"), str(tmp_path / "strategy"), images(), plain(pruner), runtime=QUIET)
    assert isinstance(found, Pruned)
    again = prune(network(), str(tmp_path / "strategy" / "strategy.json"), images(), pruner, runtime=QUIET)
    assert again == found
    found.save(tmp_path / "pruned")
    opened = open_artifact(tmp_path / "pruned")
    assert opened == found and part_of(opened, MaskSet) == found.masks
    report = evaluate(tmp_path / "pruned", images(), runtime=QUIET)  # type: ignore[arg-type]
    assert report.rows[0].subject == found.checkpoint.digest()[:16]
    other = prune(network(), asked, images(), pruner, seed=1, runtime=QUIET)
    assert other.checkpoint != found.checkpoint


@pytest.mark.parametrize(
    "objective",
    [
        CrossEntropy(),
        Madry(attack=Pgd(eps=0.1, step=0.05, steps=2)),
        Trades(attack=Pgd(eps=0.1, step=0.05, steps=2)),
        Mart(attack=Pgd(eps=0.1, step=0.05, steps=2)),
        Fast(attack=Fgsm(eps=0.1, step=1.25), noise=0),
        Free(attack=Fgsm(eps=0.1, step=1.0), replays=2),
    ],
    ids=lambda one: one.name,
)
def test_any_objective_serves(tmp_path: Path, objective: Any) -> None:
    how = training(3, objective=objective)
    for pruner in (Hydra(score=how, fine_tune=how), Admm(regularize=how, retrain=how)):
        found = run(pruner, strategy("weight"), tmp_path / pruner.name)
        assert all(np.isfinite(array).all() for array in found.checkpoint.weights.values())
        phases = [read_metrics(path) for path in (tmp_path / pruner.name).rglob("metrics.jsonl")]
        assert len(phases) == 2
        assert all(("adversarial_accuracy" in rows[1]) == objective.attacks for rows in phases)


def test_on_a_selection_only(tmp_path: Path) -> None:
    half = select("random", data=images(), fraction=0.5, seed=1)
    found = prune(network(), strategy("weight"), images(), PRUNERS[0], selection=half, runtime=QUIET, folder=tmp_path)
    assert found != prune(network(), strategy("weight"), images(), PRUNERS[0], runtime=QUIET)
    assert {read_metrics(path)[0]["examples"] for path in tmp_path.rglob("metrics.jsonl")} == {30}


def test_on_learnt_images_and_on_generated_ones(tmp_path: Path) -> None:
    data = open_data("synthetic", n=60)
    assert isinstance(data, ImageDataset)
    made = checkpoint_of(ConvNet(width=4).start(data, 0), ConvNet(width=4), 0)
    asked = PruningStrategy.uniform(layers_of(load(made)), 0.5, granularity="channel")
    mean, std = (np.asarray(part, np.float32) for part in (data.mean, data.std))
    learnt = DistilledSet(
        ((data.images[:12] / np.float32(255) - mean) / std).transpose(0, 3, 1, 2),
        np.eye(len(data.classes), dtype=np.float32)[data.labels[:12]] - np.float32(1 / len(data.classes)),
        classes=data.classes, mean=data.mean, std=data.std, ids=data.ids.take(np.arange(12)), step=0,
    )  # fmt: skip
    learnt.save(tmp_path / "learnt")
    mixtures = {"name": "generated-mixtures", "base": {"name": "synthetic", "n": 60}, "count": 30}
    for given, objective in ((str(tmp_path / "learnt"), "squared-error"), (mixtures, "cross-entropy")):
        how = {"steps": 2, "batch_size": 10, "objective": objective}
        found = prune(made, asked, given, {"name": "hydra", "score": how, "fine_tune": how}, runtime=QUIET)
        assert 0 < found.masks.sparsity() < 1 and zeros_hold(load(found.checkpoint), found.masks)


SHORT: list[AbstractPruner] = [
    Hydra(score=training(3), fine_tune=training(2)),
    Admm(regularize=training(3), retrain=training(2, average=0.9), every=0.34),
    Magnitude(gradual=training(3), fine_tune=training(2), every=2),
]


@pytest.mark.parametrize("pruner", SHORT, ids=lambda one: one.name)
def test_an_interruption_anywhere_leaves_the_bytes_of_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pruner: AbstractPruner
) -> None:
    often = Runtime(device="cpu", precision="float32", progress=False, save_seconds=0)

    def job(folder: Path) -> Callable[[], None]:
        def prune_there() -> None:
            run(pruner, strategy("channel"), folder, runtime=often)

        return prune_there

    interruptions = Interruptions(monkeypatch)
    interruptions._guard(monkeypatch, paredown.artifacts.masks, "save_file", half=True)
    assert interruptions.run(job(tmp_path / "whole"), None)
    expected = files(tmp_path / "whole")
    assert not any("resume" in name or ".new" in name for name in expected)
    assert interruptions.seen > 20
    for moment in range(0, interruptions.seen, 4):
        folder = tmp_path / str(moment)
        assert not interruptions.run(job(folder), moment)
        assert interruptions.run(job(folder), None)
        assert files(folder) == expected, f"interrupted before write {moment}"


def test_in_the_store_it_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    asked: dict[str, Any] = {"checkpoint": network(), "strategy": strategy("weight"), "data": images()}
    asked |= {"pruner": PRUNERS[2]}
    first = store.make(VERBS["prune"], runtime=QUIET, **asked)
    monkeypatch.setattr(Magnitude, "prune", None)
    again = store.make(VERBS["prune"], runtime=QUIET, **asked)
    assert again == first and again.address == first.address
    assert store.address(VERBS["prune"], **(asked | {"seed": 1})) != first.address


def test_another_pruning_in_the_folder_is_refused(tmp_path: Path) -> None:
    run(PRUNERS[2], strategy("weight"), tmp_path / "one")
    with pytest.raises(ArtifactError, match="holds another pruning: its strategy is not the same"):
        run(PRUNERS[2], strategy("weight", 0.4), tmp_path / "one")
    with pytest.raises(ArtifactError, match="holds another pruning: its seed is not the same"):
        run(PRUNERS[2], strategy("weight"), tmp_path / "one", seed=3)
    network().save(tmp_path / "net")
    with pytest.raises(ArtifactError, match="something else than a pruning"):
        run(PRUNERS[2], strategy("weight"), tmp_path / "net")


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = open_data("synthetic", n=60)
    made = checkpoint_of(ConvNet(width=4).start(data, 0), ConvNet(width=4), 0)  # type: ignore[arg-type]
    made.save(tmp_path / "net")
    PruningStrategy.uniform(layers_of(load(made)), 0.5, granularity="channel").save(tmp_path / "strategy")
    words = ["prune", "--checkpoint", str(tmp_path / "net"), "--strategy", str(tmp_path / "strategy")]
    words += ["--data", "synthetic", "--data.n", "60", "--pruner", "magnitude", "--pruner.fine_tune.steps", "2"]
    words += ["--store", str(tmp_path / "store"), "--progress", "false"]
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert re.search(r"masks of .* weights kept", shown[0])
    assert isinstance(open_artifact(shown[-1]), Pruned)
    other = PruningStrategy.uniform(layers_of(load(network("residual"))), 0.5, granularity="channel")
    other.save(tmp_path / "other")
    words[words.index(str(tmp_path / "strategy"))] = str(tmp_path / "other")
    assert main(words) == 2
    fault = capsys.readouterr().err
    assert "The strategy is for another architecture" in fault and "Traceback" not in fault


def changed(**weights: Any) -> Checkpoint:
    held = dict(network().weights)
    for name, array in weights.items():
        name = name.replace("__", ".")
        held.pop(name, None)
        if array is not None:
            held[name] = array
    return Checkpoint(network().model, shape=(1, 8, 8), classes=3, weights=held, step=0)


def test_wrong_strategies_and_checkpoints() -> None:
    def go(checkpoint: Checkpoint, asked: PruningStrategy, pruner: Any = "magnitude") -> None:
        prune(checkpoint, asked, images(), pruner, runtime=QUIET)

    layers = layers_of(load(network()))
    with pytest.raises(MethodError, match="another architecture: it has no share for"):
        go(network("residual"), strategy("weight"))
    wide = ConvNet(width=12, depth=2)
    with pytest.raises(MethodError, match="same names and other shapes"):
        go(checkpoint_of(wide.start(images(), 0), wide, 0), strategy("weight"))
    with pytest.raises(MethodError, match="2 shares, and a list in weight mode has 3"):
        PruningStrategy.from_list(layers, [0.5, 0.5], granularity="weight")
    with pytest.raises(MethodError, match="a share lies above 0, because an empty layer"):
        PruningStrategy.uniform(layers, 0.0, granularity="weight")
    few = PruningStrategy.uniform(layers, 0.01, granularity="channel", first=0.01)
    with pytest.raises(MethodError, match="rounds to 0, and an empty layer passes nothing on"):
        go(network(), few, {"name": "hydra", "compat": "published"})
    linear = next(name for name in network().weights if name.endswith("weight") and network().weights[name].ndim == 2)
    with pytest.raises(ArtifactError, match=f"the weights hold no '{linear}'"):
        go(changed(**{linear.replace(".", "__"): None}), strategy("weight"))
    with pytest.raises(ArtifactError, match=r"the weights hold .body.scores., which the architecture lacks"):
        go(changed(body__scores=np.zeros(3, np.float32)), strategy("weight"))
    with pytest.raises(ArtifactError, match="has shape"):
        go(changed(**{linear.replace(".", "__"): np.zeros((3, 2), np.float32)}), strategy("weight"))
    with pytest.raises(MethodError, match="The network takes images of"):
        prune(network(), strategy("weight"), "digits", "magnitude", runtime=QUIET)
    with pytest.raises(MethodError, match="prune takes one checkpoint, and was given 2"):
        prune([network(), network()], strategy("weight"), images(), runtime=QUIET)  # type: ignore[arg-type]
    with pytest.raises(MethodError, match="Did you mean 'hydra'"):
        prune(network(), strategy("weight"), images(), "hidra", runtime=QUIET)


class Evil:
    """What a pickle could do to whoever opens it."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("opened"),))


def test_a_pickled_checkpoint_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "net.pth.tar")
    with pytest.raises(ArtifactError, match=r"net\.pth\.tar") as fault:
        prune("net.pth.tar", strategy("weight"), images(), runtime=QUIET)
    assert "load_published" in str(fault.value)
    with pytest.raises(ParedownError):
        load_published("net.pth.tar", Vgg16Bn(), shape=(3, 32, 32), classes=10, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert not Path("opened").exists()


def test_a_pruned_folder_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    found = run(Magnitude(fine_tune=None), strategy("weight"), tmp_path / "one")
    with pytest.raises(ArtifactError, match=r"masked weights of .* are not 0"):
        Pruned(network(), found.masks).save(tmp_path / "two")
    (tmp_path / "one" / "masks" / "meta.json").unlink()
    with pytest.raises(ArtifactError):
        Pruned.open(tmp_path / "one")


def test_a_network_whose_channels_cannot_be_followed_is_pruned_layer_by_layer(tmp_path: Path) -> None:
    odd = {"name": "factory", "target": f"{__name__}:shuffled"}
    from paredown.method import build

    model = build("model", odd)
    made = checkpoint_of(model.start(images(), 0), model, 0)
    asked = PruningStrategy.uniform(layers_of(load(made)), 0.5, granularity="channel")
    with pytest.raises(MethodError, match="channels cannot be followed through"):
        prune(made, asked, images(), Magnitude(fine_tune=None), runtime=QUIET)
    found = prune(made, asked, images(), Magnitude(fine_tune=None, grouped=False), runtime=QUIET)
    assert found.masks.sparsity() > 0.2


def shuffled(shape: Any, classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(shape[0], 8, 3),
        torch.nn.ChannelShuffle(2),
        torch.nn.Conv2d(8, 8, 3),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 4 * 4, classes),
    )


def test_masked_networks_learn(tmp_path: Path) -> None:
    how = training(40, optimizer=Sgd(lr=0.1))
    pruner = Hydra(score=how, fine_tune=how)
    found = run(pruner, strategy("channel"), tmp_path)
    accuracy = evaluate(found, images(), runtime=QUIET).rows[0]  # type: ignore[arg-type]
    assert accuracy.metric == "accuracy" and accuracy.value > 0.8
