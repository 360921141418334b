"""Accuracies into words: means, paired comparisons, and a verdict that does not boast.

A difference is taken seed by seed, because two trainings with one seed share their initial weights and much of their
noise. From three seeds on, the words follow Student's 95 % interval of the mean difference; with one or two they only
say what was seen, and say that so few seeds cannot settle it.
"""

from __future__ import annotations

from collections.abc import Sequence

from paredown.evaluation.comparison import Paired, Summary, paired, summary
from paredown.page.findings import BALANCED, CHOSEN, FULL, RANDOM, Arm, Findings, Kept, Outcome

NBSP = "\u00a0"
# Within half a point of all the data, with 95 % confidence, is what the page calls a match.
MARGIN = 0.005


def mean(outcomes: Sequence[Outcome]) -> Summary | None:
    """Gives the mean accuracy of some outcomes, or nothing when there are none."""
    return summary([outcome.accuracy for outcome in outcomes]) if outcomes else None


def difference(first: Sequence[Outcome], second: Sequence[Outcome]) -> Paired | None:
    """Gives the mean of first − second over the seeds that both have, or nothing when no seed is common."""
    a, b = ({outcome.seed: outcome.accuracy for outcome in outcomes} for outcomes in (first, second))
    common = a.keys() & b.keys()
    return paired({seed: a[seed] for seed in common}, {seed: b[seed] for seed in common}) if common else None


def percent(share: float, digits: int = 1) -> str:
    """`0.912` → `91.2 %`; digits that say nothing are left away from whole fractions by `digits=-1`."""
    number = f"{100 * share:.4g}" if digits < 0 else f"{100 * share:.{digits}f}"
    return f"{number}{NBSP}%"


def points(share: float, *, signed: bool = False) -> str:
    """`-0.0123` → `1.2`, or `−1.2` when signed: percentage points."""
    text = f"{abs(100 * share):.1f}"
    if not signed:
        return text
    return text if text == "0.0" else ("+" if share > 0 else "−") + text


def plus_minus(value: Summary | None) -> str:
    """`91.2 % ± 0.2`, without the ± when n is 1."""
    if value is None:
        return "–"
    return percent(value.mean) + ("" if value.spread is None else f" ±{NBSP}{points(value.spread)}")


def arm_words(arm: Arm, fraction: float, scorer: str) -> str:
    """What a training saw, in words: `random 30 %`."""
    share = percent(fraction, -1)
    known = {
        FULL: "all of the data",
        CHOSEN: f"{share} chosen by {scorer}",
        RANDOM: f"random {share}",
        BALANCED: f"random {share}, class by class",
    }
    return known.get(arm, f"{arm} {share}")


def against_full(d: Paired | None) -> tuple[str, int]:
    """How the chosen stands to all of the data: half a sentence, and 1 (good news), 0 (open) or −1; "" when unknown."""
    if d is None:
        return "", 0
    x, level = f"{points(d.difference)}{NBSP}points", points(d.difference) == "0.0"
    if d.low is not None and d.high is not None and d.low <= 0 <= d.high:
        if d.low > -MARGIN:
            return "matches all of it", 1
        return f"cannot be told from all of it with {d.n} seeds ({points(d.difference, signed=True)}{NBSP}points)", 0
    if level:
        return "matches all of it", 1
    if d.difference > 0:
        return f"is {x} better than all of it", 1
    return (f"comes within {x} of all of it", 1) if d.difference > -MARGIN else (f"loses {x} against all of it", -1)


def against_random(d: Paired | None, share: str) -> tuple[str, int]:
    """How the chosen stands to as many random examples: half a sentence, and 1 (better), −1 (no better), −2 (worse)."""
    if d is None:
        return "", 0
    x, signed = f"{points(d.difference)}{NBSP}points", points(d.difference, signed=True)
    settled = d.low is None or d.high is None or not d.low <= 0 <= d.high
    if signed == "0.0":
        return f"is no better than a random {share}", -1
    if d.difference > 0:
        if settled:
            return f"beats a random {share} by {x}", 1
        return f"is not clearly better than a random {share} ({signed}{NBSP}points, {d.n} seeds)", -1
    if settled:
        return f"is {x} worse than a random {share}", -2
    return f"is no better than a random {share} ({signed}{NBSP}points, {d.n} seeds)", -1


def verdict(findings: Findings) -> str:
    """Gives the outcome at the main fraction in one plain sentence."""
    share = percent(findings.main.fraction, -1)
    opening = {1: f"On one seed, {share}", 2: f"On two seeds, {share}"}.get(_seeds(findings, findings.main), share)
    return f"{opening} of {findings.data}, chosen by {findings.scorer}, {_judgement(findings, findings.main)}."


def also(findings: Findings, kept: Kept) -> str:
    """Gives the outcome at another fraction, shorter."""
    accuracy = plus_minus(mean(findings.of(CHOSEN, kept.fraction)))
    return f"At {percent(kept.fraction, -1)} ({accuracy}) it {_judgement(findings, kept)}."


def _judgement(findings: Findings, kept: Kept) -> str:
    """Both comparisons in one clause; what speaks against choosing comes first or after a "but"."""
    chosen = findings.of(CHOSEN, kept.fraction)
    full, standing = against_full(difference(chosen, findings.of(FULL, 1.0)))
    other = difference(chosen, findings.of(RANDOM, kept.fraction))
    rand, rand_standing = against_random(other, percent(kept.fraction, -1))
    if not full or not rand:
        return full or rand or f"trains to {plus_minus(mean(chosen))}"
    if rand_standing == -2:
        return f"{rand}, and {full}"
    return f"{full}{', but' if standing * rand_standing < 0 else ' and'} {rand}"


def _seeds(findings: Findings, kept: Kept) -> int:
    """The fewest seeds that a comparison at this fraction rests on."""
    chosen = findings.of(CHOSEN, kept.fraction)
    others = (difference(chosen, findings.of(arm, kept.fraction)) for arm in (FULL, RANDOM))
    return min((d.n for d in others if d is not None), default=len(chosen))


def headline(findings: Findings) -> str:
    """Gives the numbers behind the verdict in one sentence, with n and spread."""
    kept = findings.main
    share, total = percent(kept.fraction, -1), len(findings)
    chosen, full, rand, balanced = (mean(findings.of(arm, kept.fraction)) for arm in (CHOSEN, FULL, RANDOM, BALANCED))
    text = (
        f"{share} of {findings.data} ({len(kept.positions):,} of {total:,} {findings.noun}),"
        f" chosen by {findings.scorer}, trains to {plus_minus(chosen)}"
    )
    rest = []
    if full is not None:
        rest.append(f"all of it reaches {plus_minus(full)}")
    if rand is not None:
        rest.append(f"a random {share} {plus_minus(rand)}")
    if balanced is not None:
        rest.append(f"a random {share} drawn class by class {plus_minus(balanced)}")
    if rest:
        text += "; " + (", and ".join(rest) if len(rest) < 3 else f"{', '.join(rest[:-1])}, and {rest[-1]}")
    counts = {m.n for m in (chosen, full, rand, balanced) if m is not None}
    few, most = min(counts), max(counts)
    if few == most:
        n = f"n{NBSP}={NBSP}{few} {'seed' if few == 1 else 'seeds'}{' each' if rest else ''}"
    else:
        n = f"n{NBSP}={NBSP}{few} to {most} seeds"
    return f"{text} ({n})."


def caution(findings: Findings) -> str:
    """Gives the sentence that few seeds ask for, or nothing from three seeds on."""
    n = min(_seeds(findings, kept) for kept in findings.kept)
    if n == 1:
        return "One seed shows no spread, so a small difference can be luck. Three seeds or more would tell."
    if n == 2:
        return (
            "Two seeds give only a rough idea of the spread, so a small difference can be luck."
            " Three seeds or more would tell."
        )
    return ""
