"""The flags of `pare down`: they turn the dials of `recipes/down/down.yaml`, which is a recipe like any other.

With `--trust` it is `recipes/down/trusted.yaml`, which leaves something out before it chooses.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from paredown import flags, method, reading
from paredown.flags import CommandError, Flags
from paredown.rehearsal import kind_of

ABOUT = {
    "noise": "label noise put on the training data, to see what it does: --noise label-noise --noise.fraction 0.1",
    "keep": "share of the examples to keep, above 0 and at most 1; repeat the flag for a curve",
    "by_class": "keep the same share of each class",
    "seeds": "how many trainings of each kind; the spread comes from them",
    "model": "which network",
    "training": "how it is trained, the same number of steps whatever is kept",
    "scorer": "what to measure of each example",
    "selector": "which of them to keep; repeat the flag to compare several, each with its fields after it",
    "record": "what to record of each example while training on all of it; repeat the flag for several",
    "probes": "what to measure of each network on the test data; repeat the flag for several",
    "robust": "train adversarially, by N-FGSM unless another objective is named, and measure robust accuracy too",
    "trust": "choose only from this share of the examples, those of the highest margins over training: the others"
    " may be wrongly labelled (default: choose from all)",
}

ROBUST: Mapping[str, Any] = {
    "objective": {"name": "fast"},
    "record": ["adversarial-confidence", "adversarial-correct"],
    "probes": [
        "accuracy",
        {
            "name": "robust-accuracy",
            "examples": 500,
            "attacks": [
                {"name": "apgd", "steps": 50, "loss": "cross-entropy", "best": "clean"},
                {"name": "apgd", "steps": 50, "loss": "targeted-dlr", "best": "clean", "targets": 3},
                {"name": "square", "queries": 500},
            ],
        },
    ],
}
"""What `--robust` turns, where nothing else is typed: an objective that costs twice a plain step, what its attack saw
of each example, recorded beside the rest, and a short ensemble on 500 test images, which on a processor takes about as
long as the trainings do; the quick ensemble on a thousand takes several times as long."""

TEXT_MODEL = "transformer"
"""What learns from sentences when nothing is said."""


def recipe(turned: Mapping[str, Any] | None = None) -> str:
    """Gives the name of the recipe whose dials were turned; before that, of the one that has them all."""
    return "down/trusted" if turned is None or "trust" in turned else "down/down"


def add_dials(parser: Flags, dials: Mapping[str, Any], words: Sequence[str]) -> None:
    """Adds the data and a flag for each dial."""
    parser.add_argument("data", help="a name that `pare list data` shows, or a path", metavar="DATA")
    for name, value in dials.items():
        if kind_of(name):
            flags.add_method(parser, name, ABOUT[name], words)
        elif name == "by_class":
            parser.add_argument(f"--{name}", nargs="?", const="true", help=ABOUT[name], metavar="true|false")
        elif name == "keep":
            parser.add_argument("--keep", action="append", help=f"{ABOUT[name]} (default: {value[0]})", metavar="SHARE")
        elif name == "trust":
            parser.add_argument("--trust", help=ABOUT[name], metavar="SHARE")
        elif name == "seeds":
            parser.add_argument("--seeds", help=f"{ABOUT[name]} (default: {len(value)})", metavar="N")
    parser.add_argument("--robust", nargs="?", const="true", help=ABOUT["robust"], metavar="true|false")
    for name in ("epochs", "steps"):
        parser.add_argument(f"--{name}", help=f"short for --training.{name}", metavar="N")


def turned(dials: Mapping[str, Any], given: argparse.Namespace) -> dict[str, Any]:
    """Gives the dials that were typed, each looked at on its own, so that a fault is named once and not in every step.

    Raises:
        ParedownError: a value that cannot be read, data that are not there, a share outside (0, 1].
    """
    from paredown.data.source import find_source

    source = find_source(given.data)
    typed: dict[str, Any] = {"data": given.data}
    if source.noun == "sentences":
        typed["model"] = TEXT_MODEL
    for name in dials:
        value = getattr(given, name)
        if value is None or name == "data":
            continue
        if name == "selector":
            typed[name] = _selectors(flags.methods(name, value))
        elif name in ("record", "probes"):
            typed[name] = flags.methods(name, value)
        elif kind_of(name):
            typed[name] = _one(name, flags.methods(name, value))
        elif name == "keep":
            typed[name] = [_share(name, share) for share in value]
        elif name == "trust":
            typed[name] = _share(name, value)
        elif name == "seeds":
            typed[name] = list(range(_count(name, value)))
        else:
            typed[name] = reading.read(name, value)
    if given.robust is not None and reading.read("by_class", given.robust):
        typed = _robust(typed, dials)
    length = {name: getattr(given, name) for name in ("epochs", "steps") if getattr(given, name) is not None}
    usual = method.build("model", typed.get("model", dials["model"])).usual
    if length or usual or "training" in typed:
        typed["training"] = _training({**dials["training"], **usual}, typed.get("training", {}) | length)
    for name, value in typed.items():
        if name == "record":
            reading.read(name, value)
            continue
        for part in reading.as_list(value) if kind_of(name) else ():
            method.build(str(kind_of(name)), part)
    return typed


def _robust(typed: Mapping[str, Any], dials: Mapping[str, Any]) -> dict[str, Any]:
    """Gives the dials of an adversarial training; what was typed stays, and the probe attacks as training does."""
    training = {"objective": ROBUST["objective"], **typed.get("training", {})}
    objective: Any = method.build("objective", training["objective"])
    attack = getattr(objective, "attack", objective)
    threat = {name: getattr(attack, name) for name in ("norm", "eps") if hasattr(attack, name)}
    accuracy, robust = ROBUST["probes"]
    record = [*dials["record"], *ROBUST["record"]]
    return {"record": record, "probes": [accuracy, {**robust, **threat}], **typed, "training": training}


def _training(standard: Mapping[str, Any], typed: Mapping[str, Any]) -> dict[str, Any]:
    # A length that was typed replaces the other one, which nobody asked for.
    kept = {name: value for name, value in standard.items() if name not in ("epochs", "steps")}
    return dict(standard if not {"epochs", "steps"} & typed.keys() else kept) | {
        name: flags.scalar(value) if isinstance(value, str) else value for name, value in typed.items()
    }


def _one(name: str, given: list[Any]) -> Any:
    if len(given) > 1:
        raise CommandError(f"pare down: --{name} is given {len(given)} times, and it takes one value.")
    return given[0]


def _selectors(given: list[Any]) -> list[Any]:
    """Gives each selector once, and not the one that every report has anyway."""
    asked = [selector for place, selector in enumerate(given) if selector not in given[:place]]
    compared = [selector for selector in asked if selector != "random"]
    if not compared:
        raise CommandError(
            "pare down: random is in every report, as what a selector has to beat. Name a selector to compare with it."
        )
    return compared


def _share(name: str, text: str) -> float:
    share = method.read(float, text, f"--{name} {text}")
    if not 0 < share <= 1:
        raise CommandError(f"--{name} {text}: a share lies above 0 and is at most 1.")
    return float(share)


def _count(name: str, text: str) -> int:
    count = method.read(int, text, f"--{name} {text}")
    if count < 1:
        raise CommandError(f"--{name} {text}: at least 1 is needed.")
    return int(count)
