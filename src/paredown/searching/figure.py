"""Shares by layer, as a table and as a figure: what searches found, and how much it differs from one to the next."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from paredown.artifacts.layers import Layer, list_order
from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import MethodError, require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = {
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "paredown",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa1a9",
    "xtick.color": "#9aa1a9",
    "ytick.color": "#9aa1a9",
    "xtick.labelcolor": "#4a5057",
    "ytick.labelcolor": "#4a5057",
    "axes.labelcolor": "#4a5057",
    "legend.frameon": False,
}
FORMATS = {".svg": "Date", ".png": "Software", ".pdf": "CreationDate"}
"""What a figure's name may end in, and what would make two files of one figure differ."""
# Colours that are told apart with any kind of sight (Okabe and Ito), each with a mark of its own.
SERIES = (("#0072b2", "o"), ("#d55e00", "s"), ("#009e73", "^"), ("#cc79a7", "D"), ("#56b4e9", "v"), ("#e69f00", "P"))


class LayerShare(NamedTuple):
    """What several strategies keep of one layer.

    Args:
        layer: its name.
        median: of the shares.
        low: the smallest.
        high: the largest.
    """

    layer: str
    median: float
    low: float
    high: float


def layer_shares(layers: Sequence[Layer], strategies: Sequence[PruningStrategy]) -> list[LayerShare]:
    """Gives the median, the smallest and the largest share of each layer, in the order of published lists.

    Projections are among them in every mode, so that figures of several modes share an axis.

    Args:
        layers: of the network, in module order.
        strategies: of repeated searches.

    Raises:
        MethodError: none at all, or one is for another architecture.
    """
    if not strategies:
        raise MethodError("There is no strategy to show. Give at least one.")
    for strategy in strategies:
        strategy.refuse_other(layers)
    names = [layers[place].name for place in list_order(layers)]
    table = np.array([[strategy.shares[name] for name in names] for strategy in strategies])
    return [
        LayerShare(name, float(np.median(column)), float(column.min()), float(column.max()))
        for name, column in zip(names, table.T, strict=True)
    ]


def write_layer_shares(shares: Sequence[LayerShare], path: str | Path) -> None:
    """Writes shares by layer as CSV: layer, median, smallest, largest."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([LayerShare._fields, *shares])
    Path(path).write_text(out.getvalue(), encoding="utf-8")


def shares_figure(
    layers: Sequence[Layer], series: Mapping[str, Sequence[PruningStrategy]], *, width: float = 7.0
) -> Figure:
    """Draws the share of each layer: the median over strategies, from the smallest to the largest.

    Args:
        layers: of the network, in module order.
        series: by what is written in the legend, the strategies of repeated searches, such as one a seed.
        width: in inches.

    Returns:
        The figure; `figure.savefig("shares.svg")` writes it.

    Raises:
        MethodError: nothing to show, or a strategy is for another architecture.
    """
    found = {label: layer_shares(layers, strategies) for label, strategies in series.items()}
    if not found:
        raise MethodError("There is no strategy to show. Give at least one.")
    require("matplotlib.figure", "page")
    import matplotlib.style
    from matplotlib.figure import Figure as Drawn

    with matplotlib.style.context(["default", STYLE]):
        figure = Drawn(figsize=(width, 0.42 * width), layout="constrained")
        axes = figure.add_subplot()
        names = [share.layer for share in next(iter(found.values()))]
        across = np.arange(len(names))
        for number, (label, shares) in enumerate(found.items()):
            colour, mark = SERIES[number % len(SERIES)]
            middle = np.array([share.median for share in shares])
            reach = np.array(
                [[share.median - share.low for share in shares], [share.high - share.median for share in shares]]
            )
            aside = (number - (len(found) - 1) / 2) * 0.15
            axes.errorbar(
                across + aside, middle, yerr=reach, color=colour, marker=mark, ms=4, lw=1.2, capsize=2, label=label
            )
        axes.set_ylim(0, 1.05)
        axes.set_ylabel("share kept")
        # What all names begin with says nothing: `body.` of most networks.
        top = {name.partition(".")[0] for name in names}
        shared = f"{top.pop()}." if len(top) == 1 else ""
        axes.set_xticks(across, [name.removeprefix(shared) for name in names], rotation=90, fontsize=7)
        axes.grid(axis="y", color="#e3e6e9", lw=0.6)
        axes.set_axisbelow(True)
        if len(found) > 1:
            axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=min(len(found), 4), fontsize=9)
    return figure


def in_series(strategies: Sequence[PruningStrategy]) -> dict[str, list[PruningStrategy]]:
    """Gives strategies by what they are repeats of: who made them, of which units, under which budget."""
    series: dict[str, list[PruningStrategy]] = {}
    for strategy in strategies:
        budget = strategy.budget
        cost = "" if budget is None else f", {budget.wanted:g} of the {budget.kind}"
        series.setdefault(f"{strategy.measure or 'strategy'}, {strategy.granularity}s{cost}", []).append(strategy)
    return series


def write_figure(layers: Sequence[Layer], strategies: Sequence[PruningStrategy], path: str | Path) -> None:
    """Writes the figure of strategies, a line for each series of repeats; the same strategies give the same bytes.

    Args:
        layers: of the network, in module order.
        strategies: of searches.
        path: its ending says the format: .svg, .png or .pdf.

    Raises:
        MethodError: no strategy, one for another architecture, or a format that cannot be written.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise MethodError(f"{path}: a figure's name ends in one of {', '.join(FORMATS)}.")
    figure = shares_figure(layers, in_series(strategies))
    import matplotlib

    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, dpi=150, metadata={FORMATS[path.suffix]: None})
