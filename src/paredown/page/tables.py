"""The page's tables as rows of words: facts, accuracies, paired comparisons, classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from paredown.evaluation.comparison import Paired
from paredown.page.findings import BALANCED, DISTILLED, FULL, RANDOM, Arm, Findings, Kept, Outcome
from paredown.page.wording import (
    arm_words,
    difference,
    mean,
    percent,
    plus_minus,
    points,
)

CLASS_ROWS = 30


@dataclass(frozen=True)
class AccuracyRow:
    """One arm at one fraction."""

    arm: Arm
    words: str
    examples: str
    n: int
    accuracy: str
    spread: str
    steps: str
    epochs: str


@dataclass(frozen=True)
class PairRow:
    """One selector against another arm, seed by seed; `first` where the page shows it at once."""

    first: bool
    words: str
    difference: str
    error: str
    interval: str
    wins: str
    says: str


@dataclass(frozen=True)
class ClassRow:
    """One class: how much of the data it is, how much of what was kept, and how well it is classified.

    What is kept is the first selector's; `rates` has the share kept by every selector.
    """

    name: str
    size: int
    kept: int
    of_data: float
    of_kept: float
    rates: tuple[str, ...]
    accuracies: tuple[str, ...]


def facts(findings: Findings) -> list[tuple[str, str]]:
    """What was done with what, as pairs of a word and a sentence."""
    data = f"{findings.data}: {len(findings):,} {findings.noun} in {len(findings.classes)} classes"
    if findings.shape is not None:
        channels, height, width = findings.shape
        data += f", {height} × {width} pixels, {channels} {'channel' if channels == 1 else 'channels'}"
    test = ""
    if findings.test:
        test = findings.test + (f", {findings.test_size:,} {findings.noun}" if findings.test_size else "")
    rows = [
        ("Data", data),
        ("Tested on", test),
        ("Model", findings.model),
        ("Training", findings.training),
        ("Budget", budget_words(findings)),
        ("Score", _method(findings.scorer, findings.scorer_words)),
    ]
    if findings.several:
        rows += [(f"Chosen by {selector.name}", selector.words or selector.name) for selector in findings.selectors]
    else:
        rows.append(("Selection", findings.selectors[0].words))
    return [(word, sentence) for word, sentence in rows if sentence]


def _method(name: str, words: str) -> str:
    return f"{name}: {words}" if words else name


def budget_words(findings: Findings) -> str:
    """What every training got the same number of, and what therefore differs."""
    fraction = findings.main.fraction
    full, chosen = findings.of(FULL, 1.0), findings.of(findings.main.arm, fraction)
    share = percent(fraction, -1)
    steps, epochs = _range(o.steps for o in chosen), _range(o.epochs for o in chosen)
    full_steps, full_epochs = _range(o.steps for o in full), _range(o.epochs for o in full)
    if findings.budget == "steps":
        text = "equal steps: every training takes the same number of optimiser steps" + (f" ({steps})" if steps else "")
        if full_steps and full_steps != steps:
            text += f", but {full_steps} on all of the data"
        if epochs and full_epochs:
            text += (
                f", so a smaller set is passed through more often"
                f" ({epochs} passes through the chosen {share}, {full_epochs} through all)"
            )
        return text + "."
    text = "equal epochs: every training passes through its examples equally often" + (
        f" ({epochs} times)" if epochs else ""
    )
    if steps and full_steps:
        text += f", so a smaller set gets fewer optimiser steps ({steps} on the chosen {share}, {full_steps} on all)"
    return text + "."


def _range(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = (f"{value:,.1f}".removesuffix(".0") for value in (min(known), max(known)))
    return low if low == high else f"{low} to {high}"


def accuracy_rows(findings: Findings) -> list[AccuracyRow]:
    """Every arm at every fraction: full first, then by kept fraction."""
    rows = []
    total = len(findings)
    for arm, fraction, outcomes in _groups(findings):
        value = mean(outcomes)
        assert value is not None
        sizes = {kept.arm: len(kept.positions) for kept in findings.at(fraction)}
        # A selector that decides by itself how many to keep has a size of its own; chance is given that of the first.
        sizes[DISTILLED] = round(fraction * total)
        examples = total if arm == FULL else sizes.get(arm, next(iter(sizes.values()), round(fraction * total)))
        rows.append(
            AccuracyRow(
                arm=arm,
                words=arm_words(findings, arm, fraction),
                examples=f"{examples:,}",
                n=value.n,
                accuracy=percent(value.mean),
                spread="–" if value.spread is None else points(value.spread),
                steps=_range(o.steps for o in outcomes),
                epochs=_range(o.epochs for o in outcomes),
            )
        )
    return rows


def seed_rows(findings: Findings) -> tuple[list[int], list[tuple[str, list[str]]]]:
    """Every single accuracy: the seeds, and for each training the accuracy by seed."""
    seeds = sorted({outcome.seed for outcome in findings.outcomes})
    rows = []
    for arm, fraction, outcomes in _groups(findings):
        by_seed = {outcome.seed: percent(outcome.accuracy, 2) for outcome in outcomes}
        rows.append((arm_words(findings, arm, fraction), [by_seed.get(seed, "–") for seed in seeds]))
    return seeds, rows


def pair_rows(findings: Findings) -> list[PairRow]:
    """Every selector against random, random by class and all of the data, and against each other, at every fraction."""
    rows = []
    for fraction in sorted(findings.fractions, reverse=True):
        kept = findings.at(fraction)
        baselines = [arm for arm in findings.arms if arm not in {FULL, *(s.arm for s in findings.selectors)}] + [FULL]
        pairs = [(one, arm) for arm in baselines for one in kept]
        pairs += [(one, other.arm) for place, one in enumerate(kept) for other in kept[place + 1 :]]
        rows += [row for one, arm in pairs if (row := _pair(findings, one, arm)) is not None]
    return rows


def _pair(findings: Findings, kept: Kept, arm: Arm) -> PairRow | None:
    outcomes, share = findings.of(arm, kept.fraction), percent(kept.fraction, -1)
    if not outcomes:
        return None
    first = f"{findings.name(kept.arm) if findings.several else 'chosen'} {share}"
    known = {selector.arm for selector in findings.selectors}
    words = f"{first} − {f'{findings.name(arm)} {share}' if arm in known else arm_words(findings, arm, kept.fraction)}"
    shown = arm == RANDOM or not findings.several
    d = difference(findings.of(kept.arm, kept.fraction), outcomes)
    if d is None:
        return PairRow(shown, words, *4 * ("–",), says="no seed in common: not compared")
    interval = "–"
    if d.low is not None and d.high is not None:
        interval = f"{points(d.low, signed=True)} to {points(d.high, signed=True)}"
    return PairRow(
        first=shown,
        words=words,
        difference=points(d.difference, signed=True),
        error="–" if d.error is None else f"{100 * d.error:.2f}",
        interval=interval,
        wins=f"{d.wins} of {d.n}",
        says=_says(d),
    )


def _says(d: Paired) -> str:
    if d.low is None or d.high is None:
        return "one seed, so no interval"
    if d.n == 2:
        return "two seeds: a rough idea only" if d.low <= 0 <= d.high else ("higher" if d.difference > 0 else "lower")
    if d.low > 0:
        return "higher"
    return "lower" if d.high < 0 else "not told apart"


def sampling_words(findings: Findings) -> str:
    """What the spread over seeds leaves out: the test examples are a sample too."""
    value = mean(findings.of(findings.main.arm, findings.main.fraction))
    if not findings.test_size or value is None:
        return ""
    error = np.sqrt(value.mean * (1 - value.mean) / findings.test_size)
    return (
        f"The ± leaves out that the test {findings.noun} are a sample too: {findings.test_size:,} of them add"
        f" about {points(float(error))} points to each accuracy, and less to differences."
    )


def class_rows(findings: Findings) -> tuple[list[ClassRow], list[str], int]:
    """The classes' shares, the names of the accuracy columns, and how many classes in between are left out."""
    number = len(findings.classes)
    sizes = np.bincount(findings.labels, minlength=number)
    counts = [np.bincount(findings.labels[kept.positions], minlength=number) for kept in findings.at_main]
    mine, chosen = counts[0], [selector.arm for selector in findings.selectors]
    arms = [
        (arm, found)
        for arm in (FULL, *chosen, RANDOM, BALANCED)
        if (found := _by_class(findings.of(arm, findings.main.fraction))) is not None
    ]
    shown, left_out = np.arange(number), 0
    if number > CLASS_ROWS:
        rates = mine / np.maximum(sizes, 1)
        order = np.lexsort((np.arange(number), rates))
        shown = np.concatenate([order[::-1][: CLASS_ROWS // 2], order[: CLASS_ROWS // 2][::-1]])
        left_out = number - CLASS_ROWS
    rows = [
        ClassRow(
            name=findings.classes[c],
            size=int(sizes[c]),
            kept=int(mine[c]),
            of_data=float(sizes[c] / max(1, sizes.sum())),
            of_kept=float(mine[c] / max(1, mine.sum())),
            rates=tuple(percent(float(count[c] / max(1, sizes[c])), 0) for count in counts),
            accuracies=tuple(percent(float(found[c])) for _, found in arms),
        )
        for c in shown
    ]
    names = {FULL: "all data", BALANCED: "by class"}
    if not findings.several:
        names[findings.main.arm] = "chosen"
    return rows, [names.get(arm, findings.name(arm)) for arm, _ in arms], left_out


def _by_class(outcomes: Sequence[Outcome]) -> np.ndarray | None:
    found = [outcome.by_class for outcome in outcomes if outcome.by_class is not None]
    return np.mean(found, axis=0) if found else None


def _groups(findings: Findings) -> list[tuple[Arm, float, tuple[Outcome, ...]]]:
    fractions = sorted({outcome.fraction for outcome in findings.outcomes if outcome.arm != FULL}, reverse=True)
    groups = [(FULL, 1.0, findings.of(FULL, 1.0))]
    groups += [
        (arm, fraction, findings.of(arm, fraction)) for fraction in fractions for arm in findings.arms if arm != FULL
    ]
    return [group for group in groups if group[2]]


def accuracy_alt(findings: Findings, *, of: str = "test accuracy") -> str:
    """The accuracy figure in words, for who cannot see it."""
    fraction = findings.main.fraction
    parts = [
        f"{arm_words(findings, arm, fraction)} {plus_minus(mean(o))}"
        for arm in findings.arms
        if (o := findings.of(arm, fraction))
    ]
    return f"{of.capitalize()} with its spread over seeds: {'; '.join(parts)}."
