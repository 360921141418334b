"""Layers and costs of the four architectures of non-uniform robust pruning, against an independent model of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.conftest import GOLDEN
from tests.unit.sparsity.networks import WHOLE, described

from paredown.artifacts import PruningStrategy
from paredown.artifacts.layers import list_order, searched
from paredown.sparsity import cost

FOLDER = GOLDEN / "robust-prune"
LOWER = {0.5: 0.1, 0.1: 0.05}


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    if not (FOLDER / "golden.json").exists():
        pytest.skip("arrays of the original code are not on this machine: robust-prune/golden.json")
    return json.loads((FOLDER / "golden.json").read_text())


@pytest.mark.parametrize("name", list(WHOLE))
def test_every_layer(name: str, known: dict[str, Any]) -> None:
    layers, _ = described(name)
    with (FOLDER / f"layers_{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(layers)
    for row, place in zip(rows, list_order(layers), strict=True):
        layer = layers[place]
        expected = [int(row[key]) for key in ("k", "cin", "cout", "hout", "n_weights", "macs")]
        found = [layer.kernel[0], layer.inputs, layer.outputs, layer.side[0], layer.weights, layer.macs]
        assert found == expected and layer.side[0] == layer.side[1]
        assert layer.shortcut == (row["shortcut"] == "True")


@pytest.mark.parametrize("name", list(WHOLE))
def test_totals_and_order(name: str, known: dict[str, Any]) -> None:
    layers, _ = described(name)
    total, told = cost.dense(layers), known["arch_totals"][name]
    assert (total.total("parameters"), total.total("macs")) == (told["weights_total"], told["macs_total"])
    assert len(searched(layers, "weight")) == told["num_layers_weight_strategy"]
    assert len(searched(layers, "channel")) == told["num_layers_channel_strategy"]
    order = list_order(layers)
    assert [entry for entry, place in enumerate(order) if layers[place].shortcut] == told["shortcut_idx_weight_order"]
    assert np.argsort(order).tolist() == known["weight_strategy_to_module_order"][name]
    for rate, target in known["target_rate_channel"][name].items():
        found = cost.published_target(layers, float(rate), "channel") / total.total("parameters")
        assert found == pytest.approx(target, rel=1e-12)


def entries(kind: str, count: int, known: dict[str, Any]) -> tuple[list[float], float]:
    """Gives the shares of a case, and the lower bound of its search."""
    if kind.startswith("uniform"):
        rate = float(kind.removeprefix("uniform").removesuffix("_first1"))
        return [1.0] + [rate] * (count - 1), LOWER[rate]
    if kind.startswith("ramp"):
        return np.linspace(1, 0.25, count).round(6).tolist(), 0.1
    return known["example_strategy_vgg16_bn_CIFAR10_channel_05_0"], 0.1


def cases(known: dict[str, Any], table: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((key.split(":")[1], told) for key, told in known[table].items() if key.split(":")[0] == name)


@pytest.mark.parametrize("name", list(WHOLE))
def test_costs_of_channels(name: str, known: dict[str, Any]) -> None:
    layers, _ = described(name)
    total = cost.dense(layers).total("parameters")
    for kind, told in cases(known, "counts_channel", name):
        ratios, lower = entries(kind, len(searched(layers, "channel")), known)
        shares = PruningStrategy.from_list(layers, ratios, granularity="channel").shares
        structural = cost.cost_of(layers, shares, "channel")
        published = cost.cost_of(layers, shares, "channel", accounting="published", lower=lower)
        left = cost.compacted(layers, shares)
        assert cost.ratio(layers, published) == pytest.approx(told["ref_accounting_ratio"], rel=1e-9)
        assert cost.ratio(layers, structural) == pytest.approx(told["full_accounting_ratio"], rel=1e-9)
        assert cost.ratio(layers, structural, "macs") == pytest.approx(told["mac_ratio"], rel=1e-9)
        masked = cost.masked_inputs(layers, shares) / total
        assert masked == pytest.approx(told["masked_input_only_nonzero_ratio"], rel=1e-9)
        assert (left.total("parameters"), left.total("macs")) == (told["integer_params"], told["integer_macs"])


@pytest.mark.parametrize("name", list(WHOLE))
def test_counts_of_weights(name: str, known: dict[str, Any]) -> None:
    layers, _ = described(name)
    for kind, told in cases(known, "counts_weight", name):
        rate = float(kind.removeprefix("uniform"))
        kept = cost.kept_weights(
            layers, PruningStrategy.uniform(layers, rate, granularity="weight").shares, counting="hydra"
        )
        assert [kept[layers[place].name] for place in list_order(layers)] == told["kept_per_layer"]
        assert sum(kept.values()) == told["kept_total"]
        macs = sum(kept[layer.name] * (layer.macs // layer.weights) for layer in layers)
        assert macs / cost.dense(layers).total("macs") == pytest.approx(told["mac_ratio"], rel=1e-9)


def test_what_is_told_of_the_stored_uniform_lists(known: dict[str, Any]) -> None:
    with (FOLDER / "strategies_summary.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "uni" in row["id"] and row["min"] == row["median"]]
    assert len(rows) > 10
    for row in rows:
        layers, _ = described(row["arch"])
        ratios = [float(row["first"])] + [float(row["median"])] * (int(row["length"]) - 1)
        if row["max"] not in (row["first"], row["median"]):  # the stray entry of ResNet-18's 001_uni
            ratios[4] = float(row["max"])
        kind: Any = row["reg"]
        shares = PruningStrategy.from_list(layers, ratios, granularity=kind).shares
        lower = LOWER.get(float(row["median"]))
        structural = cost.cost_of(layers, shares, kind)
        assert cost.ratio(layers, structural) == pytest.approx(float(row["structural_params"]), abs=6e-6)
        assert cost.ratio(layers, structural, "macs") == pytest.approx(float(row["mac_ratio"]), abs=6e-5)
        if kind == "channel":
            published = cost.cost_of(layers, shares, kind, accounting="published", lower=lower)
            assert cost.ratio(layers, published) == pytest.approx(float(row["ref_accounting"]), abs=6e-6)
