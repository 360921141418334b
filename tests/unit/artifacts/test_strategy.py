"""Strategies and masks as artifacts: what they refuse, how they are told, that they come back bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import Budget, Layer, MaskSet, PruningStrategy, open_artifact
from paredown.artifacts.layers import fingerprint, list_order, searched
from paredown.errors import ArtifactError, MethodError

LAYERS = (
    Layer("stem", "conv", (3, 3), 3, 8, 1, (8, 8), 216, 13824),
    Layer("one", "conv", (3, 3), 8, 16, 1, (4, 4), 1152, 18432, reads=("stem",)),
    Layer("two", "conv", (3, 3), 16, 16, 1, (4, 4), 2304, 36864, reads=("one",)),
    Layer("short", "conv", (1, 1), 8, 16, 1, (4, 4), 128, 2048, reads=("stem",), beside="one"),
    Layer("linear", "linear", (1, 1), 16, 10, 1, (1, 1), 160, 160, reads=("two", "short")),
)


def strategy(**how: Any) -> PruningStrategy:
    return PruningStrategy.uniform(LAYERS, 0.5, granularity=how.pop("granularity", "weight"), **how)


def test_orders() -> None:
    assert list_order(LAYERS) == (0, 3, 1, 2, 4)
    assert searched(LAYERS, "channel") == (0, 1, 2, 4)
    assert [layer.shortcut for layer in LAYERS] == [False, False, False, True, False]
    assert [layer.units("channel") for layer in LAYERS] == [3, 8, 16, 8, 16]
    assert LAYERS[-1].shape == (10, 16) and LAYERS[1].units("filter") == 16 and LAYERS[1].units("2:4") == 1152


def test_uniform() -> None:
    assert set(strategy().shares.values()) == {0.5}
    assert strategy(granularity="channel").shares["stem"] == 1.0
    assert strategy(granularity="channel", first=0.4).shares["stem"] == 0.4
    assert strategy(granularity="2:4").shares == {"stem": 1.0, "one": 0.5, "two": 0.5, "short": 0.5, "linear": 0.5}


@given(st.lists(st.floats(0.001, 1.0), min_size=4, max_size=5), st.booleans())
def test_lists_there_and_back(entries: list[float], module: bool) -> None:
    kind: Any = "weight" if len(entries) == 5 else "channel"
    found = PruningStrategy.from_list(LAYERS, entries, granularity=kind, order="module" if module else "published")
    named = (
        found.to_list(LAYERS) if not module else [found.shares[LAYERS[p].name] for p in sorted(searched(LAYERS, kind))]
    )
    assert named == entries


def test_saved_and_opened(tmp_path: Path) -> None:
    made = PruningStrategy(
        {"b": 1 / 3, "a": 1.0},
        granularity="channel",
        fingerprint="00ff",
        measure="tpe",
        budget=Budget("macs", 0.5, 0.499),
        notes=["one"],
    )
    opened = open_artifact(made.save(tmp_path / "s"))
    assert isinstance(opened, PruningStrategy) and opened == made
    assert list(opened.shares) == ["b", "a"]  # the order of modules, not of the alphabet
    assert opened.budget == made.budget and opened.notes == ("one",)
    copied = tmp_path / "copied.json"
    copied.write_bytes((tmp_path / "s" / "strategy.json").read_bytes())
    assert PruningStrategy.from_json(copied) == made
    assert made.describe() == (
        "keeps 0.333 to 1 of the input channels of 2 layers, tpe, 0.499 of the macs for a budget of 0.5; one"
    )
    told = json.loads(copied.read_text())
    assert told["layers"] == [{"keep": 1 / 3, "layer": "b"}, {"keep": 1.0, "layer": "a"}]
    assert strategy() != strategy(granularity="channel")


@pytest.mark.parametrize("text", ["", "3", '{"layers": 3}', '{"granularity": "weight"}'])
def test_files_that_are_no_strategy(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"no strategy that names layers, or damaged"):
        PruningStrategy.from_json(tmp_path / "s.json")
    with pytest.raises(ArtifactError, match=r"there is no such file"):
        PruningStrategy.from_json(tmp_path / "t.json")
    (tmp_path / "list.json").write_text("[0.5, 0.4]")
    with pytest.raises(ArtifactError, match=r"a bare list of 2 shares, which names no layer.*from_list"):
        PruningStrategy.from_json(tmp_path / "list.json")


@pytest.mark.parametrize(
    ("shares", "granularity", "sentence"),
    [
        ({"stem": 0.0}, "weight", r"layer 'stem' keeps 0 of its weights; a share lies above 0, because an empty layer"),
        ({"stem": 1.2}, "channel", r"layer 'stem' keeps 1.2 of its input channels"),
        ({"stem": float("nan")}, "filter", r"layer 'stem' keeps nan of its filters"),
        ({"stem": 0.4}, "2:4", r"a pattern of 2 in 4 keeps 0.5, and a layer without it 1"),
        ({}, "weight", r"it names no layer"),
        ({"stem": 0.5}, "kernel", r"a granularity is weight, channel, filter or 2:4"),
    ],
)
def test_strategies_that_cannot_be(shares: dict[str, float], granularity: Any, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        PruningStrategy(shares, granularity=granularity, fingerprint="")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [({"kind": "flops", "wanted": 0.5}, r"parameters, macs or latency"), ({"kind": "macs", "wanted": 0.0}, r"above 0")],
)
def test_budgets_that_cannot_be(how: dict[str, Any], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        Budget(**how)


def test_strategies_for_another_architecture() -> None:
    made = strategy()
    made.refuse_other(LAYERS)
    with pytest.raises(MethodError, match=r"it names 'linear', which this network has not"):
        made.refuse_other(LAYERS[:-1])
    with pytest.raises(MethodError, match=r"it has no share for 'more' \(5 layers in the strategy, 6 in the network\)"):
        made.refuse_other((*LAYERS, Layer("more", "linear", (1, 1), 2, 2, 1, (1, 1), 4, 4)))
    wider = (*LAYERS[:-1], Layer("linear", "linear", (1, 1), 16, 20, 1, (1, 1), 320, 320))
    with pytest.raises(MethodError, match=r"the same names and other shapes \(fingerprint [0-9a-f]{16}"):
        made.refuse_other(wider)
    assert fingerprint(LAYERS) != fingerprint(wider)
    with pytest.raises(MethodError, match=r"4 shares, and a list in weight mode has 5 .* 5 layers\. Use"):
        PruningStrategy.from_list(LAYERS, [0.5] * 4, granularity="weight")
    with pytest.raises(MethodError, match=r"5 shares, and a list in channel mode has 4 .*\(projections have none\)"):
        PruningStrategy.from_list(LAYERS, [0.5] * 5, granularity="channel")


def masks(seed: int = 0) -> MaskSet:
    draw = np.random.default_rng(seed).random
    return MaskSet(
        {"b": draw((3, 5, 3, 3)) < 0.3, "a": draw((2, 7)) < 0.5}, fingerprint="00ff", made={"pruner": "magnitude"}
    )


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 9))
def test_bits_there_and_back(seed: int, high: int, wide: int) -> None:
    held = np.random.default_rng(seed).random((high, wide)) < 0.5
    packed = dict(MaskSet({"x": held}, fingerprint="").arrays())["x"]
    assert packed.nbytes == -(-held.size // 8)
    assert np.array_equal(np.unpackbits(packed, count=held.size).reshape(held.shape).astype(bool), held)


def test_masks_saved_and_opened(tmp_path: Path) -> None:
    made = masks()
    opened = open_artifact(made.save(tmp_path / "m"))
    assert isinstance(opened, MaskSet) and opened == made and list(opened.masks) == ["b", "a"]
    assert all(np.array_equal(opened[name], made[name]) and opened[name].dtype == bool for name in made.masks)
    assert opened.made == {"pruner": "magnitude"} and opened.fingerprint == "00ff"
    assert (tmp_path / "m" / "masks.safetensors").stat().st_size < 300  # a bit each
    assert masks(1) != made


def test_counts() -> None:
    made = MaskSet({"x": np.array([[True, False], [False, False]]), "y": np.ones((1, 4), bool)}, fingerprint="")
    assert made.counts() == {"x": (1, 4), "y": (4, 4)}
    assert (made.kept, made.total, made.sparsity(), len(made)) == (5, 8, 3 / 8, 2)
    assert made.inputs("x").tolist() == [True, False] and made.outputs("x").tolist() == [True, False]
    assert made.describe() == "masks of 2 layers: 5 of 8 weights kept (62.50%)"


def test_masks_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"it masks no layer"):
        MaskSet({}, fingerprint="")
    with pytest.raises(ArtifactError, match=r"the mask of 'x' is float64 of shape \(2,\)"):
        MaskSet({"x": np.ones(2)}, fingerprint="")
    folder = masks().save(tmp_path / "m")
    header = json.loads((folder / "meta.json").read_text())
    header["layers"][0][1] = [3, 50, 3, 3]
    (folder / "meta.json").write_text(json.dumps(header))
    with pytest.raises(ArtifactError, match=r"the mask of 'b' has another length than its shape \(3, 50, 3, 3\)"):
        MaskSet.open(folder)
