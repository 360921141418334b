"""What the selections themselves are like, in tables: figures of each, and what each two share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from paredown.page.findings import BALANCED, RANDOM, Arm, Findings
from paredown.page.wording import arm_words, percent

SHARED = "shared"
"""The metric of the overlap table."""

# Metric → what it says, as a reader needs it under the table; a metric that is not here stands under its own name.
ABOUT = {
    "class balance": "entropy of the class shares over that of the data: 1 is as mixed as the data",
    "class shift": "share of the kept that would have to be exchanged to have the mix of the data",
    "least kept class": "how much of the class that lost most is kept, over what is kept of all: 0 is a class gone",
    "coverage": "mean distance of what was left out to the nearest kept (AUCpr): lower covers the data better",
    "coverage radius": "the largest of these distances",
    "nearest kept": "mean distance of a kept to the nearest other kept: higher repeats itself less",
    "redundant": "share of the kept that lie no farther from another one than half of as many drawn by chance do",
}


@dataclass(frozen=True)
class Measured:
    """One selection: its name, and a figure under each heading."""

    arm: Arm
    words: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """How much of each selection two share, by row and column; `depth` in [0, 1] is how dark a cell is drawn."""

    names: tuple[str, ...]
    cells: tuple[tuple[tuple[str, float], ...], ...]


def headings(findings: Findings) -> list[str]:
    """The figures that were measured of single selections: those that the page explains first."""
    found = dict.fromkeys(measure.metric for measure in findings.measures if not measure.other)
    return [metric for metric in ABOUT if metric in found] + [metric for metric in found if metric not in ABOUT]


def measured_rows(findings: Findings) -> list[Measured]:
    """Every selection at every fraction: means over the draws where chance decides."""
    metrics, rows = headings(findings), []
    for fraction in sorted(findings.fractions, reverse=True):
        for arm in _arms(findings):
            values = [_mean(findings, arm, fraction, metric) for metric in metrics]
            if any(value is not None for value in values):
                cells = tuple("–" if value is None else _figure(value) for value in values)
                rows.append(Measured(arm, arm_words(findings, arm, fraction), cells))
    return rows


def explained(findings: Findings) -> list[tuple[str, str]]:
    """What the figures mean."""
    return [(metric, ABOUT[metric]) for metric in headings(findings) if metric in ABOUT]


def shared(findings: Findings) -> Shared | None:
    """What each two selections share at the main fraction; nothing where fewer than two were compared."""
    fraction = findings.main.fraction
    arms = [
        arm
        for arm in _arms(findings)
        if any(m.metric == SHARED and m.arm == arm and _same(m.fraction, fraction) for m in findings.measures)
    ]
    if len(arms) < 2:
        return None
    cells = []
    for arm in arms:
        values = [_mean(findings, arm, fraction, SHARED, other) for other in arms]
        cells.append(tuple(("–", 0.0) if v is None else (percent(v, 0), v) for v in values))
    return Shared(tuple(_short(findings, arm) for arm in arms), tuple(cells))


def _figure(value: float) -> str:
    """`1` → `1.00`, `0.0425` → `0.043`: a distance may be of any size, and a share needs no more than this."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}" if abs(value) >= 0.1 else f"{value:.3f}"


def _arms(findings: Findings) -> Iterable[Arm]:
    return (*(selector.arm for selector in findings.selectors), RANDOM, BALANCED)


def _short(findings: Findings, arm: Arm) -> str:
    return {BALANCED: "random, class by class"}.get(arm, findings.name(arm) if findings.several else arm)


def _mean(findings: Findings, arm: Arm, fraction: float, metric: str, other: Arm = "") -> float | None:
    values = [
        measure.value
        for measure in findings.measures
        if (measure.arm, measure.metric, measure.other) == (arm, metric, other) and _same(measure.fraction, fraction)
    ]
    return float(np.mean(values)) if values else None


def _same(first: float, second: float) -> bool:
    return abs(first - second) < 1e-9
