"""The page's figures, drawn by matplotlib as SVG that takes its colours and its type from the page's style sheet.

Colours are drawn as stand-ins and replaced by CSS variables, so one figure serves light and dark; text stays text.
A figure is drawn twice, wide and narrow, because a wide one shrunk to a phone cannot be read; the page shows one.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from PIL import Image

from paredown.page.findings import BALANCED, DISTILLED, FULL, RANDOM, DataMap, Findings
from paredown.page.wording import mean

# Stand-in → CSS variable. Nearly black, so that a figure that lost its style sheet can still be read.
_NAMED = ("ink", "soft", "line", "chosen", "random", "balanced", "full", "second", "third", "fourth", "fifth", "sixth")
_STAND_INS = {name: f"#0{i:x}010{i:x}" for i, name in enumerate(_NAMED, start=1)}
INK, SOFT, LINE, _, ORANGE, GREEN, GREY = (_STAND_INS[name] for name in _NAMED[:7])
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "paredown",
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
}
_MARKS = {FULL: ("s", GREY, "-"), RANDOM: ("^", ORANGE, "--"), BALANCED: ("D", GREEN, ":")}
# The colours of the selectors in order, by the page's variable: none is a baseline's, and each has a mark of its own.
SELECTORS = ("chosen", "second", "third", "fourth", "fifth", "sixth")
_SELECTOR_MARKS = ("o", "P", "X", "v", "p", "*")
_OTHER = ("<", SOFT, "-.")
_NAMES = {FULL: "all of the data", DISTILLED: "learnt images", BALANCED: "random, class by class"}


@dataclass(frozen=True)
class Drawn:
    """A figure in both widths, as SVG elements."""

    wide: str
    narrow: str


@dataclass(frozen=True)
class Plane:
    """The data map's axes as an SVG element without its end tag, and where its corners lie in the element's units."""

    svg: str
    left: float
    top: float
    width: float
    height: float
    x_max: float

    def place(self, variability: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The points' coordinates in the element's units."""
        return self.left + variability / self.x_max * self.width, self.top + (1 - confidence) * self.height


def accuracies(findings: Findings, *, of: str = "test accuracy") -> Drawn:
    """Every arm's accuracy at the main fraction: seeds as small marks, their mean as a large one with its spread."""
    fraction = findings.main.fraction
    arms = [arm for arm in findings.arms if findings.of(arm, fraction)]

    def draw(width: float) -> Figure:
        axes = _axes(width, 0.62 + 0.34 * len(arms), left=1.75 if width > 5 else 1.65, bottom=0.5, top=0.05)
        for row, arm in enumerate(arms):
            marker, colour, _ = _style(findings, arm)
            values = np.array([100 * outcome.accuracy for outcome in findings.of(arm, fraction)])
            middle, spread = values.mean(), values.std(ddof=1) if len(values) > 1 else None
            if len(values) > 1:
                axes.plot(values, np.full(len(values), row), marker, color=colour, alpha=0.35, ms=4, mew=0)
            axes.errorbar(middle, row, xerr=spread, fmt=marker, color=colour, ms=7, capsize=3, lw=1.4, mew=0)
            axes.axhline(row, color=LINE, lw=0.6, zorder=0)
        axes.set_yticks(range(len(arms)), [_label(findings, arm) for arm in arms], color=INK)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.spines["left"].set_visible(False)
        axes.margins(x=0.08)
        axes.set_xlabel(f"{of}, %")
        return axes.figure  # type: ignore[return-value]

    return _drawn(f"{of.replace(' ', '-')}-accuracies", draw)


def curve(findings: Findings, *, of: str = "test accuracy") -> Drawn:
    """Accuracy over the kept fraction, one line an arm; all of the data as the line to reach."""
    fractions = sorted(
        {kept.fraction for kept in findings.kept} | {o.fraction for o in findings.outcomes if o.arm != FULL}
    )
    full = mean(findings.of(FULL, 1.0))

    def draw(width: float) -> Figure:
        columns = 4 if width > 5 else 2
        room = 0.18 * math.ceil((len(findings.arms)) / columns)
        axes = _axes(width, 3.4 + room, left=0.45, bottom=0.52, top=0.3 + room)
        if full is not None:
            marker, colour, _ = _style(findings, FULL)
            value, spread = 100 * full.mean, 100 * (full.spread or 0)
            axes.axhline(value, color=colour, lw=1, alpha=0.8)
            if full.spread is not None:
                axes.axhspan(value - spread, value + spread, color=colour, alpha=0.12, lw=0)
            _whiskers(axes, [100.0], [value], [spread], colour)
            axes.plot(100, value, marker, color=colour, ms=6, mew=0, label="all of the data")
        for arm in findings.arms:
            if arm == FULL:
                continue
            marker, colour, line = _style(findings, arm)
            means = [(100 * f, m) for f in fractions if (m := mean(findings.of(arm, f))) is not None]
            x, y = [f for f, _ in means], [100 * m.mean for _, m in means]
            _whiskers(axes, x, y, [100 * (m.spread or 0) for _, m in means], colour)
            label = _label(findings, arm)
            axes.plot(x, y, marker=marker, linestyle=line, color=colour, ms=6, lw=1.6, mew=0, label=label)
        if min(fractions) < 0.05:
            axes.set_xscale("log")
            axes.minorticks_off()
        else:
            axes.set_xlim(0, 104)
        axes.set_xticks(ticks := [*(100 * f for f in fractions), 100.0], [f"{tick:.3g}" for tick in ticks])
        axes.grid(axis="y", color=LINE, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("examples kept, %")
        axes.set_title(f"{of}, %", loc="left", fontsize=10, color=SOFT, pad=6 + 72 * room)
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=columns, fontsize=9, borderpad=0.2)
        return axes.figure  # type: ignore[return-value]

    return _drawn(f"{of.replace(' ', '-')}-curve", draw)


def histogram(findings: Findings, scores: np.ndarray) -> tuple[Drawn, bool]:
    """How many examples have which score, the kept ones shaded, or outlined for each selector where there are several;
    and whether counts stand on a square-root scale."""
    finite = np.isfinite(scores)
    values, mine = scores[finite], [(kept.arm, findings.is_kept(kept)) for kept in findings.at_main]
    edges = np.histogram_bin_edges(values, bins=min(60, max(1, len(np.unique(values)))))
    everything, _ = np.histogram(values, edges)
    chosen = {arm: np.histogram(scores[finite & kept], edges)[0] for arm, kept in mine}
    filled = everything[everything > 0]
    # A spike (most examples learnt at once) would flatten the rest. Kept are part of all and drawn over them, not on
    # top of them, so that any increasing scale is true.
    rooted = bool(filled.max() > 12 * np.median(filled))

    def draw(width: float) -> Figure:
        columns = 4 if width > 5 else 2
        room = 0.18 * (math.ceil((1 + len(chosen)) / columns) - 1)
        axes = _axes(width, (2.9 if width > 5 else 2.7) + room, left=0.62, bottom=0.52, top=0.45 + room)
        axes.stairs(everything, edges, fill=True, color=GREY, alpha=0.28, lw=0, label="all")
        for arm, counts in chosen.items():
            _, colour, _ = _style(findings, arm)
            if findings.several:
                axes.stairs(counts, edges, color=colour, lw=1.5, label=f"kept by {findings.name(arm)}")
            else:
                axes.stairs(counts, edges, fill=True, color=colour, alpha=0.9, lw=0, label="kept")
        if rooted:
            axes.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, everything.max() * 1.04)
        axes.grid(axis="y", color=LINE, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("score")
        axes.set_title(
            "examples" + (", square-root scale" if rooted else ""), loc="left", fontsize=10, color=SOFT, pad=8
        )
        axes.legend(
            loc="lower right", bbox_to_anchor=(1.02, 0.99), ncols=columns, fontsize=9, handlelength=1.2, borderpad=0.2
        )
        return axes.figure  # type: ignore[return-value]

    return _drawn("histogram", draw), rooted


def map_plane(data_map: DataMap, *, cloud: bool) -> Plane:
    """The data map's axes, ready for points; with the density of all examples behind when not all become points."""
    known = np.isfinite(data_map.confidence) & np.isfinite(data_map.variability)
    x, y = data_map.variability[known], data_map.confidence[known]
    x_max = max(0.05, 1.04 * float(x.max(initial=0.0)))
    wide, high, left, bottom, top, right = 5.6, 4.9, 0.55, 0.5, 0.3, 0.12
    # One size for both widths, hence the larger type.
    with matplotlib.style.context(["default", _STYLE, {"font.size": 11.5}]):
        figure = Figure(figsize=(wide, high))
        axes = figure.add_axes((left / wide, bottom / high, (wide - left - right) / wide, (high - bottom - top) / high))
        axes.set(xlim=(0, x_max), ylim=(0, 1))
        axes.set_xlabel("variability of the confidence between epochs")
        axes.set_title("mean confidence in the given label", loc="left", fontsize=11.5, color=SOFT, pad=8)
        axes.spines["left"].set_visible(False)
        axes.grid(color=LINE, lw=0.6)
        svg = _svg(figure, "map")
    plane = Plane("", 72 * left, 72 * top, 72 * (wide - left - right), 72 * (high - bottom - top), x_max)
    behind = ""
    if cloud:
        behind = (
            f'<image x="{plane.left:.1f}" y="{plane.top:.1f}" width="{plane.width:.1f}" height="{plane.height:.1f}"'
            f' preserveAspectRatio="none" href="{_density(x / x_max, y)}"/>'
        )
    return replace(plane, svg=svg.removesuffix("</svg>") + behind)


def _density(x: np.ndarray, y: np.ndarray) -> str:
    counts, _, _ = np.histogram2d(1 - y, x, bins=(88, 104), range=((0, 1), (0, 1)))
    depth = np.log1p(counts) / np.log1p(max(1.0, counts.max()))
    pixels = np.zeros((*counts.shape, 4), dtype=np.uint8)
    # A middle grey under transparency reads on white and on black alike.
    pixels[..., :3] = (128, 138, 150)
    pixels[..., 3] = np.where(counts > 0, 24 + 150 * depth, 0).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode("ascii")


def _whiskers(axes: Axes, x: Sequence[float], y: Sequence[float], spread: Sequence[float], colour: str) -> None:
    axes.errorbar(x, y, yerr=spread, fmt="none", ecolor=colour, capsize=3, elinewidth=1.4)


def _style(findings: Findings, arm: str) -> tuple[str, str, str]:
    for place, selector in enumerate(findings.selectors):
        if selector.arm == arm:
            turn = place % len(SELECTORS)
            return _SELECTOR_MARKS[turn], _STAND_INS[SELECTORS[turn]], "-"
    return _MARKS.get(arm, _OTHER)


def _label(findings: Findings, arm: str) -> str:
    return _NAMES.get(arm, findings.name(arm) if findings.several else arm)


def _axes(width: float, height: float, *, left: float, bottom: float, top: float, right: float = 0.15) -> Axes:
    figure = Figure(figsize=(width, height))
    return figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )


def _drawn(name: str, draw: Callable[[float], Figure]) -> Drawn:
    # The style context changes matplotlib's settings for these lines only and puts them back.
    with matplotlib.style.context(["default", _STYLE]):
        return Drawn(_svg(draw(7.0), f"{name}-wide"), _svg(draw(4.1), f"{name}-narrow"))


def _svg(figure: Figure, name: str) -> str:
    """The figure as one SVG element: no header, no metadata, no size, ids of its own, the page's colours and type."""
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    out = io.StringIO()
    FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = (
        re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", text.partition(">")[0])
        + ">"
        + text.partition(">")[2]
    )
    text = text.replace("xlink:href", "href")
    text = re.sub(r"\s*font-family:[^;\"]*;?", "", text)
    text = _own_ids(text, name)
    for variable, stand_in in _STAND_INS.items():
        text = text.replace(stand_in, f"var(--{variable})")
    text = re.sub(r"\s*\n\s*", " ", text)
    return text.replace("<svg", '<svg aria-hidden="true"', 1)


def _own_ids(text: str, name: str) -> str:
    """Keeps the ids that something refers to, renamed so that two figures on one page never share one."""
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    names = {old: f"{name}-{place}" for place, old in enumerate(used)}
    text = re.sub(r'\sid="([^"]+)"', lambda m: f' id="{names[m[1]]}"' if m[1] in names else "", text)
    return re.sub(r'(url\(#|href="#)([^)"]+)', lambda m: m[1] + names[m[2]], text)
