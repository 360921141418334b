"""Shares by layer over repeated searches: the table and the figure."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.searching.networks import CHAIN, TOY
from tests.unit.sparsity.networks import described

from paredown.artifacts import PruningStrategy
from paredown.artifacts.layers import fingerprint
from paredown.artifacts.strategy import Budget
from paredown.errors import MethodError
from paredown.searching import in_series, layer_shares, shares_figure, write_figure, write_layer_shares


def strategies(*shares: float) -> list[PruningStrategy]:
    return [PruningStrategy.uniform(TOY, share, granularity="weight") for share in shares]


def test_medians_and_ends(tmp_path: Path) -> None:
    found = layer_shares(TOY, strategies(0.2, 0.5, 0.4))
    assert [tuple(row) for row in found] == [(layer.name, 0.4, 0.2, 0.5) for layer in TOY]
    write_layer_shares(found, tmp_path / "shares.csv")
    assert (tmp_path / "shares.csv").read_text().splitlines()[:2] == ["layer,median,low,high", "conv1,0.4,0.2,0.5"]


def test_projections_stand_before_their_block() -> None:
    layers, _ = described("resnet18")
    shares = {layer.name: 0.5 for layer in layers}
    strategy = PruningStrategy(shares, granularity="channel", fingerprint=fingerprint(layers))
    names = [row.layer for row in layer_shares(layers, [strategy])]
    assert names.index("blocks.2.shortcut.0") + 1 == names.index("blocks.2.conv1")


def test_the_figure(tmp_path: Path) -> None:
    figure = shares_figure(TOY, {"ddpg": strategies(0.2, 0.5), "random": strategies(0.3)})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_xticklabels()] == [layer.name for layer in TOY]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["ddpg", "random"]
    assert len(axes.containers) == 2 and all(container.has_yerr for container in axes.containers)
    for name in ("shares.svg", "shares.png"):
        figure.savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000


def test_repeats_are_one_series(tmp_path: Path) -> None:
    budget = Budget("macs", 0.5, 0.49)

    def of(measure: str, share: float) -> PruningStrategy:
        shares = {layer.name: share for layer in TOY}
        return PruningStrategy(
            shares, granularity="weight", fingerprint=fingerprint(TOY), measure=measure, budget=budget
        )

    found = [of("tpe", 0.2), of("random", 0.3), of("tpe", 0.4), *strategies(0.5)]
    series = in_series(found)
    assert {label: len(members) for label, members in series.items()} == {
        "tpe, weights, 0.5 of the macs": 2,
        "random, weights, 0.5 of the macs": 1,
        "uniform, weights": 1,
    }
    for ending in ("svg", "png", "pdf"):
        for name in ("one", "other"):
            write_figure(TOY, found, tmp_path / "new" / f"{name}.{ending}")
        one, other = ((tmp_path / "new" / f"{name}.{ending}").read_bytes() for name in ("one", "other"))
        assert one == other
    with pytest.raises(MethodError, match=r"shares.xls: a figure's name ends in one of .svg, .png, .pdf"):
        write_figure(TOY, found, "shares.xls")


def test_nothing_to_show() -> None:
    with pytest.raises(MethodError, match="no strategy to show"):
        layer_shares(TOY, [])
    with pytest.raises(MethodError, match="no strategy to show"):
        shares_figure(TOY, {})
    with pytest.raises(MethodError, match="another architecture"):
        layer_shares(CHAIN, strategies(0.5))
