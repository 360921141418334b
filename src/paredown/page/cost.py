"""What choosing cost and what a smaller training set saves, without counting a saving that is not there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paredown.page.findings import CHOSEN, FULL, Arm, Findings
from paredown.page.wording import NBSP, percent


@dataclass(frozen=True)
class StepRow:
    """One step of the run in words."""

    name: str
    verb: str
    time: str
    note: str
    for_selection: bool
    address: str


def duration(seconds: float) -> str:
    """`3725` → `1 h 2 min`; below ten seconds with one digit more."""
    if seconds < 10:
        return f"{seconds:.2g}{NBSP}s" if seconds >= 0.01 else f"under 0.01{NBSP}s"
    if round(seconds) < 120:
        return f"{seconds:.0f}{NBSP}s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes}{NBSP}min"
    return f"{minutes // 60}{NBSP}h {minutes % 60}{NBSP}min"


def step_rows(findings: Findings) -> list[StepRow]:
    """The steps in order."""
    return [
        StepRow(s.name, s.verb, duration(s.seconds), "reused" if s.reused else "", s.for_selection, s.address)
        for s in findings.steps
    ]


def total_words(findings: Findings) -> str:
    """What the run took, and what it did not have to do again."""
    made = sum(step.seconds for step in findings.steps if not step.reused)
    again = [step.seconds for step in findings.steps if step.reused]
    text = f"This run worked for {duration(made)}" if made else "This run had nothing to compute"
    if again:
        number = f"{len(again)} steps" if len(again) > 1 else "one step"
        text += f"; {number} stood in the store already, which saved {duration(sum(again))}"
    return text + "."


def selection_seconds(findings: Findings) -> float | None:
    """Seconds of everything that choosing needed, whenever it was made; nothing when no step says so."""
    steps = [step.seconds for step in findings.steps if step.for_selection]
    return sum(steps) if steps else None


def balance(findings: Findings) -> list[str]:
    """The price of choosing against the saving of a smaller training set, in sentences."""
    sentences = []
    price = selection_seconds(findings)
    share = percent(findings.main.fraction, -1)
    if price is not None:
        sentences.append(
            f"Choosing cost {duration(price)}: the training that the scores come from, scoring and selecting"
            " (the marked steps; what they share with the training on all of the data is counted in full)."
        )
    full, chosen = _seconds(findings, FULL), _seconds(findings, CHOSEN)
    if full is None or chosen is None:
        sentences.append(
            "Training times of both all of the data and the chosen are not known, so no saving is worked out."
        )
        return sentences
    full_time, full_epoch = full
    chosen_time, chosen_epoch = chosen
    per_epoch = ""
    if full_epoch is not None and chosen_epoch is not None:
        per_epoch = (
            f" One pass takes {duration(chosen_epoch)} through the chosen {share}"
            f" and {duration(full_epoch)} through everything."
        )
    once = f"One training took {duration(chosen_time)} on the chosen {share} and {duration(full_time)} on everything."
    if findings.budget == "epochs":
        back = _back(price, full_time - chosen_time)
        return [*sentences, once + per_epoch, back[0].upper() + back[1:]]
    sentences.append(
        f"{once} Here every training takes the same number of steps, so a smaller set shortens none of them:"
        f" what it saves is storage and loading, not training time.{per_epoch}"
    )
    if full_epoch is not None and chosen_epoch is not None:
        saved = full_time - chosen_epoch * full_time / full_epoch
        sentences.append("With equal epochs instead (not what was run here), " + _back(price, saved))
    return sentences


def _back(price: float | None, saved: float) -> str:
    if saved <= 0:
        return "the smaller set saves no training time, so choosing is never paid back in time."
    text = f"each further training on the chosen saves {duration(saved)}"
    if price is None:
        return text + "."
    count = math.ceil(price / saved)
    return f"{text}; choosing is paid back after {count:,} further {'training' if count == 1 else 'trainings'}."


def _seconds(findings: Findings, arm: Arm) -> tuple[float, float | None] | None:
    """Mean seconds of one training at the main fraction, and of one epoch where epochs are known."""
    timed = [o for o in findings.of(arm, findings.main.fraction) if o.seconds is not None]
    if not timed:
        return None
    seconds = sum(o.seconds or 0.0 for o in timed) / len(timed)
    epochs = [o.epochs for o in timed if o.epochs]
    return seconds, seconds / (sum(epochs) / len(epochs)) if epochs else None
