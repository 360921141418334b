"""The verb `search`: in Python, in the store, on the command line; killed and resumed; wrong inputs in words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from paredown import Runtime, Store, open_data, search, select, train
from paredown.artifacts import Checkpoint, PruningStrategy, Trained
from paredown.cli import main
from paredown.data import LearnableDataset
from paredown.errors import ArtifactError, MethodError
from paredown.searching import PrunedAccuracy, best_of, read_episodes
from paredown.searching.episodes import FILE
from paredown.searching.reward import PrunedJudge
from paredown.sparsity.latency import LatencyTable
from paredown.sparsity.layers import layers_of
from paredown.verbs import VERBS

QUIET = Runtime(device="cpu", precision="float32", progress=False)
REWARD: dict[str, Any] = {"share": 0.3, "attack": {"name": "fgsm"}, "calibration": 60}


@pytest.fixture(scope="module")
def data() -> LearnableDataset:
    return open_data("synthetic", n=240)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def trained(data: LearnableDataset) -> Trained:
    training = {"steps": 30, "batch_size": 40}
    return train(data, {"name": "small-resnet", "width": 8}, training, runtime=QUIET)


def test_from_a_checkpoint_to_a_strategy(trained: Trained, data: LearnableDataset, tmp_path: Path) -> None:
    found = search(
        trained, data, "random", keep=0.4, reward=REWARD, evaluations=6, seed=3, runtime=QUIET, folder=tmp_path
    )
    assert isinstance(found, PruningStrategy) and found.granularity == "channel"
    assert found.budget is not None and found.budget.got is not None and found.budget.got <= 0.4
    rows = read_episodes(tmp_path)
    assert len(rows) == 6 and best_of(rows).cost_ratio == found.budget.got
    assert all(row.adversarial_accuracy is not None for row in rows)
    again = search(trained.checkpoint, data, "random", keep=0.4, reward=REWARD, evaluations=6, seed=3, runtime=QUIET)
    assert again == found


@pytest.mark.parametrize(
    ("of", "granularity", "walk"),
    [
        ("macs", "channel", {}),
        ("latency", "channel", {}),
        ("parameters", "filter", {}),
        ("parameters", "weight", {}),
        ("parameters", "channel", {"grouped": False}),
        ("parameters", "channel", {"accounting": "published", "state": "as-coded"}),
    ],
)
def test_every_budget_and_granularity(
    trained: Trained,
    data: LearnableDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    of: str,
    granularity: str,
    walk: dict[str, Any],
) -> None:
    def measured(network: nn.Module) -> LatencyTable:
        """Seconds in place of measured ones: a layer's go with what it computes, and some are always lost."""
        grid = (0.5, 1.0)
        layers = layers_of(network)
        seconds = {
            layer.name: tuple(tuple(layer.macs * (0.1 + wide * high) for high in grid) for wide in grid)
            for layer in layers
        }
        return LatencyTable(seconds, grid, 1, 1)

    monkeypatch.setattr(LatencyTable, "measure", measured)
    found = search(
        trained,
        data,
        "random",
        keep=0.5,
        of=of,
        granularity=granularity,
        walk=walk,
        reward=REWARD | {"attack": None},
        evaluations=2,
        runtime=QUIET,
        folder=tmp_path,
    )
    assert found.budget is not None and found.budget.kind == of
    if of == "latency":  # measured once; a search that goes on reckons with the same seconds
        before = (tmp_path / "latency.json").read_bytes()
        lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
        (tmp_path / FILE).write_text("".join(lines[:2]))
        again = search(
            trained, data, "random", keep=0.5, of=of, reward=REWARD | {"attack": None}, evaluations=2, runtime=QUIET,
            folder=tmp_path,
        )  # fmt: skip
        assert again == found and (tmp_path / "latency.json").read_bytes() == before


def test_a_rule_makes_one_evaluation(trained: Trained, data: LearnableDataset, tmp_path: Path) -> None:
    bound = VERBS["search"].bind(checkpoint=trained, data=data, searcher="lamp", keep=0.4, evaluations=50)
    assert bound["evaluations"] == 1 and isinstance(bound["reward"], PrunedAccuracy)
    found = search(trained, data, "lamp", keep=0.4, reward=REWARD, runtime=QUIET, folder=tmp_path)
    assert found.measure == "lamp" and len(read_episodes(tmp_path)) == 1


def test_on_a_selection_only(
    trained: Trained, data: LearnableDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = select("random", data=data, fraction=0.5, by_class=True, seed=1)
    seen: list[PrunedJudge] = []
    whole = PrunedJudge.__init__

    def remembered(self: PrunedJudge, *args: Any, **settings: Any) -> None:
        whole(self, *args, **settings)
        seen.append(self)

    monkeypatch.setattr(PrunedJudge, "__init__", remembered)
    search(trained, data, "uniform", keep=0.4, reward=REWARD, selection=half, runtime=QUIET)
    (judge,) = seen
    rows = data.ids.positions_of(half.ids, "the data", "the selection")
    assert {*judge.held, *judge.rest} == set(rows.tolist())
    assert len(judge.held) == 36


class Killed(Exception):
    pass


def test_killed_in_the_store_it_goes_on_to_the_same_bytes(
    trained: Trained, data: LearnableDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {"checkpoint": trained, "data": data, "searcher": "random", "keep": 0.4, "seed": 2}
    asked |= {"reward": REWARD, "evaluations": 5}
    whole = Store(tmp_path / "whole")
    expected = whole.make(VERBS["search"], runtime=QUIET, **asked)
    judged, stops, calls = PrunedJudge.__call__, {0, 2, 3}, []

    def killed(self: PrunedJudge, strategy: PruningStrategy) -> Any:
        if len(calls) in stops:
            stops.remove(len(calls))
            raise Killed
        calls.append(strategy)
        return judged(self, strategy)

    monkeypatch.setattr(PrunedJudge, "__call__", killed)
    store = Store(tmp_path / "cut")
    for _ in range(3):
        with pytest.raises(Killed):
            store.make(VERBS["search"], runtime=QUIET, **asked)
    assert store.make(VERBS["search"], runtime=QUIET, **asked) == expected
    different = {row.shares for row in read_episodes(tmp_path / "whole" / str(expected.address))}
    assert len(calls) == len(different) >= 4
    one, other = (tmp_path / name / str(expected.address) for name in ("whole", "cut"))
    for path in sorted(one.iterdir()):
        if path.name != "made.json":
            assert path.read_bytes() == (other / path.name).read_bytes(), path.name
    # Asked again it is there already; under another seed it is another.
    assert store.make(VERBS["search"], runtime=QUIET, **asked).address == expected.address
    assert len(calls) == len(different)


def test_on_the_command_line(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained.checkpoint.save(tmp_path / "net")
    words = ["search", "--checkpoint", str(tmp_path / "net"), "--data", "synthetic", "--data.n", "240"]
    words += ["--searcher", "random", "--keep", "0.4", "--reward.share", "0.3", "--reward.attack", "none"]
    words += ["--evaluations", "2", "--store", str(tmp_path / "store"), "--progress", "false"]
    assert main(words) == 0
    shown = capsys.readouterr().out.splitlines()
    assert re.match(r"keeps .* of the input channels of .* for a budget of 0\.4", shown[0])
    assert (Path(shown[-1]) / FILE).exists()
    drawn = ["shares", shown[-1], "--checkpoint", str(tmp_path / "net"), "--to", str(tmp_path / "shares.svg")]
    assert main(drawn) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'shares.svg'}\n"
    assert (
        "random, channels, 0.4 of the parameters" not in (tmp_path / "shares.svg").read_text()
    )  # one series: no legend
    assert main([*drawn[:-1], "shares.txt"]) == 2
    assert "a figure's name ends in one of" in capsys.readouterr().err
    assert main([*words, "--keep", "0.0001"]) == 2
    assert "--keep is given 2 times" in capsys.readouterr().err
    words[words.index("--keep") + 1] = "0.0001"
    assert main(words) == 2
    assert "the smallest that can is" in capsys.readouterr().err


RECIPE = """
data:
  toy: {name: synthetic, n: 240}
steps:
  net: {train: {data: $toy, model: {name: small-resnet, width: 8}, training: {steps: 4, batch_size: 40}}}
  found:
    repeat: {searcher: [random, uniform]}
    search:
      checkpoint: $net
      data: $toy
      keep: 0.4
      evaluations: 2
      reward: {share: 0.3, attack: null}
"""


def test_in_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE)
    where = ["--store", str(tmp_path / "store"), "--runs", str(tmp_path / "runs"), "--progress", "false"]
    assert main(["run", str(recipe), *where]) == 0
    assert len(list((tmp_path / "store").glob("search-*"))) == 2
    recipe.write_text(RECIPE.replace("keep: 0.4", "keeps: 0.4"))
    capsys.readouterr()
    assert main(["check", str(recipe)]) == 2
    assert "search has no argument 'keeps'. Did you mean 'keep'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"keep": 0.001}, "cannot be met when every layer keeps at least .* the smallest that can is"),
        ({"keep": 0.4, "of": "flops"}, r"of='flops': not one of parameters, macs, latency"),
        ({"keep": 0.4, "granularity": "2:4"}, "no shares to find"),
        ({"keep": 0.4, "granularity": "weight", "of": "latency"}, "A budget of seconds needs groups"),
        ({"keep": 0.4, "evaluations": 0}, "nothing would be found"),
        ({"keep": 0.4, "searcher": "ddgp"}, "Did you mean 'ddpg'"),
        ({"keep": 0.4, "walk": {"lowest": 0.1}}, "LayerWalk has no field 'lowest'"),
        ({"keep": 0.4, "reward": {"share": 0.001}}, "both sides need one of each"),
    ],
)
def test_wrong_inputs(trained: Trained, data: LearnableDataset, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        search(trained, data, **({"searcher": "random", "reward": REWARD, "runtime": QUIET} | arguments))  # type: ignore[arg-type]


def test_other_data_and_several_checkpoints(trained: Trained, data: LearnableDataset) -> None:
    with pytest.raises(MethodError, match="The network takes images of"):
        search(trained, "digits", "uniform", keep=0.4, runtime=QUIET)
    other = Checkpoint({}, shape=(3, 8, 8), classes=3, weights={}, step=0)
    with pytest.raises(MethodError, match="search takes one checkpoint, and was given 2"):
        search([trained, other], data, "uniform", keep=0.4, runtime=QUIET)  # type: ignore[arg-type]
    with pytest.raises(ArtifactError):
        search("no such folder", data, "uniform", keep=0.4, runtime=QUIET)
