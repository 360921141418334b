"""What the report says in words follows from the numbers, also when they are few or bad."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from paredown.page import Findings, Kept, Outcome, Selector, Step, distilled, headline, verdict
from paredown.page.cost import balance, duration
from paredown.page.wording import caution, difference


def outcomes(arm: str, accuracies: list[float]) -> tuple[Outcome, ...]:
    """One outcome a seed, from accuracies in percent."""
    fraction = 1.0 if arm == "full" else 0.3
    return tuple(Outcome(arm, fraction, seed, value / 100) for seed, value in enumerate(accuracies))


def findings(full: list[float], chosen: list[float], random: list[float], size: int = 60) -> Findings:
    return Findings(
        data="tiny",
        labels=np.arange(size) % 3,
        classes=("ant", "bee", "cat"),
        outcomes=outcomes("full", full) + outcomes("chosen", chosen) + outcomes("random", random),
        kept=(Kept(0.3, np.arange(round(0.3 * size))),),
        scorer="EL2N",
        selectors=(Selector("chosen", "EL2N"),),
        budget="steps",
    )


def timed(seconds: float, *, budget: Literal["steps", "epochs"]) -> Findings:
    """Training takes 20 s on all of the data and so long on the chosen; choosing cost 24 s."""
    plain_findings = findings([90], [89], [88])
    results = tuple(
        replace(o, seconds=20.0 if o.arm == "full" else seconds, epochs=10.0) for o in plain_findings.outcomes
    )
    mine = ("chosen",)
    steps = (Step("full", "train", 20.0, chooses=mine), Step("el2n", "score", 4.0, True, chooses=mine))
    return replace(plain_findings, outcomes=results, budget=budget, steps=steps)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ")


START = "30 % of tiny, chosen by EL2N,"
VERDICTS: dict[str, tuple[tuple[list[float], list[float], list[float]], str]] = {
    "matches": (
        ([91.9, 92, 91.8], [91.8, 92, 91.9], [90, 90.1, 89.9]),
        f"{START} matches all of it and beats a random 30 % by 1.9 points.",
    ),
    "loses": (
        ([95, 95.2, 95.1], [92, 92.1, 92.3], [90, 90.1, 89.9]),
        f"{START} loses 3.0 points against all of it, but beats a random 30 % by 2.1 points.",
    ),
    "worse than random": (
        ([95, 95.2, 95.1], [88, 88.1, 88.3], [90, 90.1, 89.9]),
        f"{START} is 1.9 points worse than a random 30 %, and loses 7.0 points against all of it.",
    ),
    "as random": (
        ([95, 95.2, 95.1], [90, 90.4, 89.7], [90, 90.1, 90.1]),
        f"{START} loses 5.1 points against all of it and is no better than a random 30 %.",
    ),
    "below random, within the noise": (
        ([90, 91, 90], [90, 91, 90], [90.5, 90.9, 90.9]),
        f"{START} matches all of it, but is no better than a random 30 % (−0.4 points, 3 seeds).",
    ),
    "open": (
        ([95, 95.2, 95.1], [90, 92, 94.5], [90, 89, 91]),
        f"{START} cannot be told from all of it with 3 seeds (−2.9 points)"
        " and is not clearly better than a random 30 % (+2.2 points, 3 seeds).",
    ),
    "one seed": (
        ([90.0], [91.0], [89.0]),
        f"On one seed, {START} is 1.0 points better than all of it and beats a random 30 % by 2.0 points.",
    ),
    "two seeds that disagree": (
        ([88.0, 88.1], [88.7, 88.05], [88.2, 88.3]),
        f"On two seeds, {START} cannot be told from all of it with 2 seeds (+0.3 points) and is not clearly better "
        "than a random 30 % (+0.1 points, 2 seeds).",
    ),
    "two seeds": (
        ([90.0, 91], [89.7, 90.7], [89.9, 90.9]),
        f"On two seeds, {START} is 0.2 points worse than a random 30 %, and comes within 0.3 points of all of it.",
    ),
    "no random": (([90.0], [89.0], []), f"On one seed, {START} loses 1.0 points against all of it."),
    "alone": (([], [89, 90, 91.0], []), f"{START} trains to 90.0 % ± 1.0."),
}


@pytest.mark.parametrize("case", VERDICTS)
def test_the_verdict_says_what_the_numbers_say(case: str) -> None:
    accuracies, says = VERDICTS[case]
    assert plain(verdict(findings(*accuracies))) == says


def test_the_headline_gives_shares_counts_spreads_and_n() -> None:
    given = findings([91.8, 91.9, 92.0], [91.0, 91.2, 91.4], [89.8, 90.1, 90.4], size=1000)
    assert plain(headline(given)) == (
        "30 % of tiny (300 of 1,000 images), chosen by EL2N, trains to 91.2 % ± 0.2; all of it reaches 91.9 % ± 0.1,"
        " and a random 30 % 90.1 % ± 0.3 (n = 3 seeds each)."
    )


def test_one_seed_has_no_spread() -> None:
    text = plain(headline(findings([90.0], [91.0], [89.0])))
    assert text.endswith("and a random 30 % 89.0 % (n = 1 seed each).")
    assert "±" not in text


def test_seeds_are_paired_by_number_and_not_by_place() -> None:
    chosen = tuple(Outcome("chosen", 0.3, seed, value) for seed, value in ((2, 0.9), (0, 0.7), (5, 0.1)))
    other = tuple(Outcome("random", 0.3, seed, value) for seed, value in ((0, 0.6), (2, 0.8), (7, 0.9)))
    found = difference(chosen, other)
    assert found is not None
    assert (found.n, found.wins) == (2, 2)
    assert found.difference == pytest.approx(0.1)
    assert difference(chosen[:1], other[2:]) is None


def test_equal_steps_claim_no_saving() -> None:
    text = plain(" ".join(balance(timed(8.0, budget="steps"))))
    assert "Choosing cost 24 s" in text
    assert "a smaller set shortens none of them" in text
    assert "With equal epochs instead (not what was run here)" in text


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (8.0, "saves 12 s; choosing is paid back after 2 further trainings."),
        (21.0, "choosing is never paid back in time."),
    ],
)
def test_equal_epochs_say_when_choosing_is_paid_back(seconds: float, says: str) -> None:
    assert plain(balance(timed(seconds, budget="epochs"))[-1]).endswith(says)


def test_without_times_no_saving_is_worked_out() -> None:
    assert balance(findings([90], [89], [88]))[-1].endswith("so no saving is worked out.")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.001, "under 0.01 s"),
        (0.123, "0.12 s"),
        (42.4, "42 s"),
        (119.6, "2 min"),
        (3725, "62 min"),
        (9000, "2 h 30 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert plain(duration(seconds)) == words


def compared(*accuracies: list[float], random: tuple[float, ...] = (90, 90.2, 89.9)) -> Findings:
    """Several selectors a, b, … at one fraction, beside random."""
    arms = "abcdefghijkl"[: len(accuracies)]
    results = [outcomes(arm, list(values)) for arm, values in zip(arms, accuracies, strict=True)]
    return replace(
        findings([95, 95.1, 95.2], [1, 1, 1], list(random)),
        outcomes=sum(results, outcomes("random", list(random)) + outcomes("full", [95, 95.1, 95.2])),
        kept=tuple(Kept(0.3, np.arange(18), arm) for arm in arms),
        selectors=tuple(Selector(arm, arm) for arm in arms),
    )


SAME, BETTER, WORSE = [90.1, 90.0, 90.1], [92, 92.3, 91.9], [88, 88.1, 87.9]
WAYS = {
    "none": ((SAME, SAME), "Of two ways of choosing 30 % of tiny, none clearly beats a random 30 %."),
    "one": (
        (SAME, BETTER, SAME),
        "Of three ways of choosing 30 % of tiny, one beats a random 30 %: b by 2.0 points.",
    ),
    "two, and one is worse": (
        (BETTER, BETTER, WORSE),
        "Of three ways of choosing 30 % of tiny, two beat a random 30 %: a by 2.0 points and b by 2.0 points; "
        "one is worse: c by 2.0 points.",
    ),
    "all are worse": (
        (WORSE, WORSE),
        "Of two ways of choosing 30 % of tiny, none clearly beats a random 30 %; all are worse: a by 2.0 points and "
        "b by 2.0 points.",
    ),
    "one seed": (
        ([92.0], [88.0]),
        "On one seed, of two ways of choosing 30 % of tiny, one beats a random 30 %: a by 2.0 points; one is worse: "
        "b by 2.0 points.",
    ),
}


@pytest.mark.parametrize("case", WAYS)
def test_of_several_selectors_the_verdict_counts_those_that_beat_chance(case: str) -> None:
    accuracies, says = WAYS[case]
    assert plain(verdict(compared(*accuracies))) == says


def test_of_two_seeds_that_disagree_none_is_claimed_to_be_better_or_worse() -> None:
    says = plain(verdict(compared([92, 89.0], [88, 91.0], random=(90, 90.1))))
    assert says == "On two seeds, of two ways of choosing 30 % of tiny, none clearly beats a random 30 %."


def test_without_random_the_accuracies_are_told_and_nobody_wins() -> None:
    given = compared(SAME, BETTER)
    alone = replace(given, outcomes=tuple(o for o in given.outcomes if o.arm != "random"))
    assert plain(verdict(alone)) == (
        "Of two ways of choosing 30 % of tiny, none stands beside a random 30 %: a 90.1 % ± 0.1 and b 92.1 % ± 0.2."
    )


def test_many_comparisons_are_cautioned_against() -> None:
    assert caution(compared(SAME, SAME, SAME)).startswith("Three comparisons with random are made here")
    assert caution(findings([90, 91, 90], [90, 91, 90], [90, 91, 90])) == ""


def test_learnt_images_stand_beside_as_many_real_ones_and_all_of_them() -> None:
    given = compared(SAME, BETTER)
    assert distilled(given) == ""
    learnt = tuple(Outcome("distilled", 0.3, seed, value) for seed, value in enumerate((0.93, 0.94, 0.935)))
    assert plain(distilled(replace(given, outcomes=given.outcomes + learnt))) == (
        "18 learnt images train to 93.5 % ± 0.5 (n = 3 seeds): 3.4 points more than as many chosen by a, 1.4 points "
        "more than as many chosen by b, 3.5 points more than as many random ones and 1.6 points less "
        "than all of the data."
    )
    few = tuple(replace(one, fraction=0.1) for one in learnt[:1])
    assert plain(distilled(replace(given, outcomes=given.outcomes + few))) == (
        "6 learnt images train to 93.0 % (n = 1 seed): 2.0 points less than all of the data."
    )


def test_random_drawn_by_class_stands_in_where_no_other_was_drawn() -> None:
    given = findings([95, 95.1, 95.2], [92, 92.3, 91.9], [90, 90.2, 89.9])
    by_class = tuple(replace(o, arm="balanced") if o.arm == "random" else o for o in given.outcomes)
    says = plain(verdict(replace(given, outcomes=by_class)))
    assert "beats a random 30 % drawn class by class by 2.0 points" in says
