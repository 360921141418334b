"""What choosing cost and what a smaller training set saves, without counting a saving that is not there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from paredown.page.findings import FULL, Arm, Findings, Step
from paredown.page.wording import NBSP, joined, percent


@dataclass(frozen=True)
class StepRow:
    """One step of the run in words."""

    name: str
    verb: str
    time: str
    note: str
    chooses: str
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
        StepRow(s.name, s.verb, duration(s.seconds), "reused" if s.reused else "", _for_whom(findings, s), s.address)
        for s in findings.steps
    ]


def _for_whom(findings: Findings, step: Step) -> str:
    """Whose price a step belongs to: names where selectors differ, else "all", or nothing."""
    mine = [selector.name for selector in findings.selectors if selector.arm in step.chooses]
    return "all" if len(mine) == len(findings.selectors) else ", ".join(mine)


def total_words(findings: Findings) -> str:
    """What the run took, and what it did not have to do again."""
    made = sum(step.seconds for step in findings.steps if not step.reused)
    again = [step.seconds for step in findings.steps if step.reused]
    text = f"This run worked for {duration(made)}" if made else "This run had nothing to compute"
    if again:
        number = f"{len(again)} steps" if len(again) > 1 else "one step"
        text += f"; {number} stood in the store already, which saved {duration(sum(again))}"
    return text + "."


def price(findings: Findings, arm: Arm) -> float | None:
    """Seconds of everything that a selector needed, whenever it was made; nothing when no step says so."""
    steps = [step.seconds for step in findings.steps if arm in step.chooses]
    return sum(steps) if steps else None


def balance(findings: Findings) -> list[str]:
    """The price of choosing against the saving of a smaller training set, in sentences."""
    sentences = []
    prices = {selector.arm: price(findings, selector.arm) for selector in findings.selectors}
    known = {findings.name(arm): duration(seconds) for arm, seconds in prices.items() if seconds is not None}
    share = percent(findings.main.fraction, -1)
    if known:
        cost = [f"{seconds} by {name}" for name, seconds in known.items()]
        sentences.append(
            f"Choosing cost {joined(cost) if findings.several else next(iter(known.values()))}: the training that the"
            " scores come from, scoring, embedding where it is needed, and selecting"
            " (the marked steps; what they share with the training on all of the data is counted in full)."
        )
    # By equal steps or epochs, what is kept trains equally long whoever chose it: the dearest choice is paid back last.
    dearest = max((seconds for seconds in prices.values() if seconds is not None), default=None)
    full, chosen = _seconds(findings, FULL), _seconds(findings, findings.main.arm)
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
        back = _back(findings, dearest, full_time - chosen_time)
        return [*sentences, once + per_epoch, back[0].upper() + back[1:]]
    sentences.append(
        f"{once} Here every training takes the same number of steps, so a smaller set shortens none of them:"
        f" what it saves is storage and loading, not training time.{per_epoch}"
    )
    if full_epoch is not None and chosen_epoch is not None:
        saved = full_time - chosen_epoch * full_time / full_epoch
        sentences.append("With equal epochs instead (not what was run here), " + _back(findings, dearest, saved))
    return sentences


def _back(findings: Findings, cost: float | None, saved: float) -> str:
    if saved <= 0:
        return "the smaller set saves no training time, so choosing is never paid back in time."
    text = f"each further training on the chosen saves {duration(saved)}"
    if cost is None:
        return text + "."
    count = math.ceil(cost / saved)
    what = "the dearest choice" if findings.several else "choosing"
    return f"{text}; {what} is paid back after {count:,} further {'training' if count == 1 else 'trainings'}."


def _seconds(findings: Findings, arm: Arm) -> tuple[float, float | None] | None:
    """Mean seconds of one training at the main fraction, and of one epoch where epochs are known."""
    timed = [o for o in findings.of(arm, findings.main.fraction) if o.seconds is not None]
    if not timed:
        return None
    seconds = sum(o.seconds or 0.0 for o in timed) / len(timed)
    epochs = [o.epochs for o in timed if o.epochs]
    return seconds, seconds / (sum(epochs) / len(epochs)) if epochs else None
