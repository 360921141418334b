"""Accuracies into words: means, paired comparisons, and a verdict that does not boast.

A difference is taken seed by seed, because two trainings with one seed share their initial weights and much of their
noise. From three seeds on, the words follow Student's 95 % interval of the mean difference; with one or two they only
say what was seen, and say that so few seeds cannot settle it.
"""

from __future__ import annotations

from collections.abc import Sequence

from paredown.evaluation.comparison import Paired, Summary, paired, summary
from paredown.page.findings import BALANCED, DISTILLED, FULL, RANDOM, Arm, Findings, Kept, Outcome

NBSP = "\u00a0"
# Within half a point of all the data, with 95 % confidence, is what the page calls a match.
MARGIN = 0.005
NUMBERS = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


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
    number = f"{100 * share:.{4 if share >= 0.01 else 3}g}" if digits < 0 else f"{100 * share:.{digits}f}"
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


def arm_words(findings: Findings, arm: Arm, fraction: float) -> str:
    """What a training saw, in words: `random 30 %`."""
    share = percent(fraction, -1)
    known = {FULL: "all of the data", RANDOM: f"random {share}", BALANCED: f"random {share}, class by class"}
    known[DISTILLED] = f"{round(fraction * len(findings)):,} learnt {findings.noun}"
    known |= {selector.arm: f"{share} chosen by {selector.name}" for selector in findings.selectors}
    return known.get(arm, f"{arm} {share}")


def kept_words(findings: Findings) -> str:
    """What the marks of the page call kept: at the main fraction, by the first selector where there are several."""
    share = percent(findings.main.fraction, -1)
    return f"kept by {findings.name(findings.main.arm)} at {share}" if findings.several else f"kept at {share}"


def number(count: int) -> str:
    """`3` → `three`, as prose has small numbers."""
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def joined(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


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
    seeds = min(_seeds(findings, kept) for kept in findings.at_main)
    opening = {1: "On one seed, ", 2: "On two seeds, "}.get(seeds, "")
    share, name = percent(findings.main.fraction, -1), findings.name(findings.main.arm)
    if findings.several:
        ways = f"{opening}of {number(len(findings.at_main))} ways of choosing {share} of {findings.data}"
        return f"{ways[0].upper()}{ways[1:]}, {_compared(findings, findings.main.fraction)}."
    return f"{opening}{share} of {findings.data}, chosen by {name}, {_judgement(findings, findings.main)}."


def under_attack(findings: Findings) -> str:
    """Gives verdict and numbers for robust accuracy, where that was measured; else nothing."""
    attacked = findings.under_attack()
    if attacked is None:
        return ""
    said = verdict(attacked)
    opening = said[0].lower() + said[1:] if said.startswith("On ") or findings.several else said
    return f"Under attack ({findings.threat}): {opening} {headline(attacked)}"


def distilled(findings: Findings) -> str:
    """Gives what learnt images teach beside as many real ones, where networks were trained on such; else nothing."""
    fraction = next((outcome.fraction for outcome in findings.outcomes if outcome.arm == DISTILLED), None)
    if fraction is None:
        return ""
    learnt = findings.of(DISTILLED, fraction)
    beside = {one.arm: f"as many chosen by {findings.name(one.arm)}" for one in findings.at(fraction)}
    beside |= {RANDOM: "as many random ones", BALANCED: "as many drawn at random from each class"}
    said = []
    for arm, words in (beside | {FULL: "all of the data"}).items():
        d = difference(learnt, findings.of(arm, fraction))
        if d is not None:
            said.append(f"{points(d.difference)}{NBSP}points {'more' if d.difference > 0 else 'less'} than {words}")
    n = len(learnt)
    text = f"{arm_words(findings, DISTILLED, fraction)} train to {plus_minus(mean(learnt))}"
    return f"{text} (n{NBSP}={NBSP}{n} {'seed' if n == 1 else 'seeds'}){': ' if said else ''}{joined(said)}."


def also(findings: Findings) -> list[str]:
    """Gives what the verdict leaves open: each selector against all of the data, and the other fractions."""
    if not findings.several:
        return [f"At {_reached(findings, kept)} it {_judgement(findings, kept)}." for kept in findings.kept[1:]]
    lines = [
        f"{findings.name(kept.arm)} at {_reached(findings, kept)} {_judgement(findings, kept)}."
        for kept in findings.at_main
    ]
    return lines + [f"At {percent(f, -1)}, {_compared(findings, f)}." for f in findings.fractions[1:]]


def _reached(findings: Findings, kept: Kept) -> str:
    return f"{percent(kept.fraction, -1)} ({plus_minus(mean(findings.of(kept.arm, kept.fraction)))})"


def _compared(findings: Findings, fraction: float) -> str:
    """How many of the selectors beat as many random examples, which, and which are worse."""
    kept, (chance, share) = findings.at(fraction), _chance(findings, fraction)
    found = {findings.name(one.arm): difference(findings.of(one.arm, fraction), chance) for one in kept}
    known = {name: d for name, d in found.items() if d is not None}
    if not known:
        reached = [f"{findings.name(one.arm)} {plus_minus(mean(findings.of(one.arm, fraction)))}" for one in kept]
        return f"none stands beside a random {percent(fraction, -1)}: {joined(reached)}"
    standing = {name: against_random(d, share)[1] for name, d in known.items()}
    size = {name: f"{points(d.difference)}{NBSP}points" for name, d in known.items()}
    better, worse = ([name for name in known if standing[name] == sign] for sign in (1, -2))
    text = f"none clearly beats a random {share}"
    if better:
        which = joined([f"{name} by {size[name]}" for name in better])
        text = f"{number(len(better))} {'beat' if len(better) > 1 else 'beats'} a random {share}: {which}"
    if worse:
        which = joined([f"{name} by {size[name]}" for name in worse])
        count = "all" if 1 < len(worse) == len(kept) else number(len(worse))
        text += f"; {count} {'are' if len(worse) > 1 else 'is'} worse: {which}"
    return text


def _judgement(findings: Findings, kept: Kept) -> str:
    """Both comparisons in one clause; what speaks against choosing comes first or after a "but"."""
    chosen = findings.of(kept.arm, kept.fraction)
    full, standing = against_full(difference(chosen, findings.of(FULL, 1.0)))
    chance, share = _chance(findings, kept.fraction)
    rand, rand_standing = against_random(difference(chosen, chance), share)
    if not full or not rand:
        return full or rand or f"trains to {plus_minus(mean(chosen))}"
    if rand_standing == -2:
        return f"{rand}, and {full}"
    return f"{full}{', but' if standing * rand_standing < 0 else ' and'} {rand}"


def _chance(findings: Findings, fraction: float) -> tuple[tuple[Outcome, ...], str]:
    """The random examples that a choice stands beside, and their share in words; by class where there are no others."""
    share, drawn = percent(fraction, -1), findings.of(RANDOM, fraction)
    return (drawn, share) if drawn else (findings.of(BALANCED, fraction), f"{share} drawn class by class")


def _seeds(findings: Findings, kept: Kept) -> int:
    """The fewest seeds that a comparison at this fraction rests on."""
    chosen = findings.of(kept.arm, kept.fraction)
    others = (difference(chosen, beside) for beside in (findings.of(FULL, 1.0), _chance(findings, kept.fraction)[0]))
    return min((d.n for d in others if d is not None), default=len(chosen))


def headline(findings: Findings) -> str:
    """Gives the numbers behind the verdict in one sentence, with n and spread."""
    kept = findings.main
    share, size = percent(kept.fraction, -1), f"{len(kept.positions):,} of {len(findings):,} {findings.noun}"
    arms = [*(one.arm for one in findings.at_main), FULL, RANDOM, BALANCED]
    reached = {arm: mean(findings.of(arm, kept.fraction)) for arm in arms}
    told = {arm: plus_minus(found) for arm, found in reached.items() if found is not None}
    if findings.several:
        first, *more = findings.at_main
        chosen = [f"{findings.name(first.arm)} trains to {told[first.arm]}"]
        chosen += [f"{findings.name(one.arm)} to {told[one.arm]}" for one in more]
        text = f"{share} of {findings.data} is {size}: {joined(chosen)}"
    else:
        text = f"{share} of {findings.data} ({size}), chosen by {findings.name(kept.arm)}, trains to {told[kept.arm]}"
    words = {
        FULL: "all of it reaches",
        RANDOM: f"a random {share}",
        BALANCED: f"a random {share} drawn class by class",
    }
    rest = [f"{words[arm]} {told[arm]}" for arm in words if arm in told]
    if rest:
        text += "; " + (", and ".join(rest) if len(rest) < 3 else f"{', '.join(rest[:-1])}, and {rest[-1]}")
    counts = {found.n for found in reached.values() if found is not None}
    few, most = min(counts), max(counts)
    if few == most:
        n = f"n{NBSP}={NBSP}{few} {'seed' if few == 1 else 'seeds'}{' each' if len(told) > 1 else ''}"
    else:
        n = f"n{NBSP}={NBSP}{few} to {most} seeds"
    return f"{text} ({n})."


def caution(findings: Findings) -> str:
    """Gives the sentence that few seeds ask for, and the one that many comparisons ask for; nothing without either."""
    n = min(_seeds(findings, kept) for kept in findings.kept)
    sentences = []
    if n == 1:
        sentences.append("One seed shows no spread, so a small difference can be luck. Three seeds or more would tell.")
    if n == 2:
        sentences.append(
            "Two seeds give only a rough idea of the spread, so a small difference can be luck."
            " Three seeds or more would tell."
        )
    if findings.several:
        count = len(findings.kept)
        sentences.append(
            f"{number(count).capitalize()} comparisons with random are made here, each on its own: the more there are,"
            " the likelier that one of them stands out by luck."
        )
    return " ".join(sentences)
