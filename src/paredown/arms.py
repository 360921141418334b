"""What each training of a run was on: everything, what a selector chose, or what chance drew.

It is read off the run itself, so that no step has to be called anything. A training that names no selection is full;
one whose selection was drawn by chance from everything is random; the others belong to the selector that chose. One
selector with the same settings on the same scores is one arm, at whatever shares, in whatever steps and within whatever
cut.

Where data are mixed, a run may choose from either of them. It is told by the pool from which it chose most often: a
selection of the other is a setting like any other, and a training that saw nothing of that pool belongs to no arm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from paredown import captions
from paredown.artifacts import Selection, Trained
from paredown.artifacts.base import canonical
from paredown.page.findings import BALANCED, CHOSEN, FULL, RANDOM
from paredown.page.wording import percent
from paredown.runner import Made

Asked = Callable[[Made], Mapping[str, Any]]


@dataclass(frozen=True)
class Trial:
    """One training of the run, with what it was trained on.

    Args:
        made: the training.
        asked: the arguments that it was made from.
        pool: the fingerprint of the data that the run chooses from.
        selection: what it was trained on of those; none for everything.
        arm: what the page calls others like it.
        fraction: the share of the data that it saw.
    """

    made: Made
    asked: Mapping[str, Any]
    pool: str
    selection: Made | None
    arm: str
    fraction: float

    @property
    def subject(self) -> str:
        """What a report calls the network."""
        return str(self.made.artifact.checkpoint.digest())[:16]

    @property
    def real(self) -> bool:
        """Whether it was trained on examples of a data set, and not on learnt ones."""
        return "pool" in self.asked["data"]


def trials(made: Sequence[Made], asked: Asked, *, counts: Callable[[str], bool]) -> list[Trial]:
    """Gives the trainings of a run.

    Args:
        made: everything that the run made.
        asked: gives the arguments that a result was made from.
        counts: says of a network's name in reports whether it belongs to an arm; others have the arm "", and so has
            one that was trained on distilled images, which are neither all of the data nor a part of it.
    """
    selections = {one.artifact.digest(): one for one in made if isinstance(one.artifact, Selection)}
    trainings = [(one, asked(one)) for one in made if isinstance(one.artifact, Trained)]
    pool = _chosen_from([(arguments, _chosen(arguments, selections)) for _, arguments in trainings])
    found = []
    for one, arguments in trainings:
        selection = next((one for one in _chosen(arguments, selections) if _pool(one) == pool), None)
        found.append(Trial(one, arguments, pool, selection, "", fraction_of(selection)))
    compared = {trial.subject for trial in found if counts(trial.subject) and trial.real}
    chosen = [trial.selection for trial in found if trial.selection is not None and trial.subject in compared]
    names = arm_names(list({one.artifact.digest(): one for one in chosen}.values()), asked, selections)
    return [
        replace(trial, arm=_arm(trial, names)) if trial.subject in compared and pool in _pools(trial.asked) else trial
        for trial in found
    ]


def _chosen(asked: Mapping[str, Any], selections: Mapping[str, Made]) -> list[Made]:
    """Gives the selections that a training was made on: none, one, or one of the data and one of extra data."""
    given = asked["selection"] or []
    digests = [one["digest"] for one in (given if isinstance(given, list) else [given])]
    return [selections[digest] for digest in digests if digest in selections]


def _chosen_from(trainings: Sequence[tuple[Mapping[str, Any], Sequence[Made]]]) -> str:
    """Gives the pool of which most selections were trained on; of several the one that was trained on first."""
    pools = dict.fromkeys(pool for asked, _ in trainings for pool in _pools(asked))
    chosen = {one.artifact.digest(): _pool(one) for _, made in trainings for one in made}
    return max(pools, key=list(chosen.values()).count, default="")


def _pools(asked: Mapping[str, Any]) -> list[str]:
    """Gives the pools that a training saw, the data's first."""
    return [data["pool"] for data in (asked["data"], asked.get("extra")) if data is not None and "pool" in data]


def _pool(selection: Made) -> str:
    return str(selection.artifact.ids.pool.fingerprint)


def fraction_of(selection: Made | None) -> float:
    """Gives the share that was asked for, or else the share that was chosen; 1 for everything."""
    if selection is None:
        return 1.0
    share = selection.artifact.asked.get("fraction")
    return float(selection.artifact.fraction if share is None else share)


def arm_names(selections: Sequence[Made], asked: Asked, within: Mapping[str, Made]) -> dict[str, str]:
    """Gives the arm of each selection by its digest.

    The only selector of a run is called "chosen". Of several each is called by its name, and beside it what tells it
    from others of that name: settings, class by class or not, the score, the cut, the step.

    Args:
        selections: those that were trained on, each once.
        asked: gives the arguments that a result was made from.
        within: every selection of the run by its digest.
    """
    chance = {RANDOM: (False, "random", None), BALANCED: (True, "random", None)}
    names: dict[str, str] = {}
    groups: dict[Any, list[Made]] = {}
    for one in selections:
        how = one.artifact.asked
        drawn = (how["by_class"], how["selector"]["name"], how["within"])
        names |= {one.artifact.digest(): arm for arm, as_drawn in chance.items() if as_drawn == drawn}
        if one.artifact.digest() not in names:
            score = (asked(one)["scores"] or {"digest": ""})["digest"]
            groups.setdefault((canonical(how["selector"]), how["by_class"], score), []).append(one)
    parts = [part for group in groups.values() for part in _apart(group, asked, within)]
    labels = [CHOSEN] if len(parts) == 1 else _labels([part[0] for part in parts], within)
    return names | {one.artifact.digest(): label for part, label in zip(parts, labels, strict=True) for one in part}


def _arm(trial: Trial, names: Mapping[str, str]) -> str:
    return FULL if trial.selection is None else names[trial.selection.artifact.digest()]


def _apart(group: list[Made], asked: Asked, within: Mapping[str, Made]) -> list[list[Made]]:
    """Takes apart what cannot be one arm: two different choices at one share with one seed."""
    for tell in (lambda one: _cut(one, within), lambda one: one.step.name):
        places = [(fraction_of(one), asked(one)["seed"]) for one in group]
        if len(set(places)) == len(places):
            break
        parts: dict[str, list[Made]] = {}
        for one in group:
            parts.setdefault(tell(one), []).append(one)
        if len(parts) > 1:
            return [apart for part in parts.values() for apart in _apart(part, asked, within)]
    return [group]


def _labels(first: Sequence[Made], within: Mapping[str, Made]) -> list[str]:
    """Gives each arm a name of its own, from the first of its selections."""
    plain = [one.artifact.asked["selector"] for one in first]
    names = [_name(settings) for settings in plain]
    # A random choice within a cut is not the baseline.
    names = [f"{name}, {_cut(one, within)}" if name == RANDOM else name for name, one in zip(names, first, strict=True)]
    told_by_fields = [_fields([other for other in plain if other["name"] == one["name"]], one) for one in plain]
    tells: list[Callable[[Made], str]] = [
        lambda one: told_by_fields[first.index(one)],
        lambda one: "class by class" if one.artifact.asked["by_class"] else "",
        lambda one: f"by {one.artifact.asked['scores']}" if one.artifact.asked["scores"] else "",
        lambda one: _cut(one, within),
        lambda one: one.step.name,
        lambda one: one.link,
    ]
    for tell in tells:
        told = [tell(one) for one in first]
        for place in range(len(names)):
            same = [other for other in range(len(names)) if names[other] == names[place]]
            if len({told[other] for other in same}) > 1:
                for other in same:
                    names[other] += f", {told[other]}" if told[other] else ""
    return names


def _name(selector: Mapping[str, Any]) -> str:
    """Gives the name of a selector, and of what picks for it where that is not chance."""
    own, picker = selector["name"].rpartition(":")[2], selector.get("picker")
    picks = picker["name"] if isinstance(picker, Mapping) else "random"
    return str(own) if picks == "random" else f"{own} of {picks}"


def _fields(alike: Sequence[Mapping[str, Any]], one: Mapping[str, Any]) -> str:
    """Says the settings in which a method differs from others of its name."""
    differing = {key: one[key] for key in one if any(other.get(key) != one[key] for other in alike)}
    return captions.settings({"name": "", **differing}).strip(" ()")


def _cut(one: Made, within: Mapping[str, Made]) -> str:
    """Says within what share of the data was chosen."""
    outer = within.get(one.artifact.asked["within"] or "")
    return "" if outer is None else f"within {percent(fraction_of(outer), -1)}"
