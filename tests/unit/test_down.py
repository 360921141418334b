"""The flags of the main job turn the dials of its recipe."""

from __future__ import annotations

from typing import Any

import pytest

from paredown import down
from paredown.errors import ParedownError
from paredown.flags import Flags
from paredown.recipe import Recipe

DIALS = {"data": "digits", "noise": None, "keep": [0.3], "by_class": False, "seeds": [0, 1, 2], "model": "convnet",
         "training": {"epochs": 30, "batch_size": 64}, "record": ["confidence", "correct"], "scorer": "el2n",
         "selector": ["highest"], "probes": ["accuracy"], "trust": 0.9}  # fmt: skip


def turned(*words: str) -> dict[str, Any]:
    """Gives the dials that a command line turns."""
    parser = Flags("down", "")
    down.add_dials(parser, DIALS, words)
    return down.turned(DIALS, parser.read(words))


@pytest.mark.parametrize(
    ("words", "dials"),
    [
        ([], {}),
        (["--keep", "0.5", "--keep", "1/5"], {"keep": [0.5, 0.2]}),
        (["--seeds", "2"], {"seeds": [0, 1]}),
        (["--by-class"], {"by_class": True}),
        (["--scorer", "forgetting"], {"scorer": "forgetting"}),
        (["--selector", "window", "--selector.offset", "0.1"], {"selector": [{"name": "window", "offset": 0.1}]}),
        (
            [
                "--selector",
                "d2",
                "--selector.gamma",
                "0.2",
                "--selector",
                "ccs",
                "--selector",
                "random",
                "--selector",
                "ccs",
            ],
            {"selector": [{"name": "d2", "gamma": 0.2}, "ccs"]},
        ),
        (["--trust", "9/10"], {"trust": 0.9}),
        (["--record", "loss", "--record", "el2n"], {"record": ["loss", "el2n"]}),
        (["--probes", "accuracy", "--probes", "robust-accuracy"], {"probes": ["accuracy", "robust-accuracy"]}),
        (["--model", "convnet", "--model.width", "8"], {"model": {"name": "convnet", "width": 8}}),
        (["--noise.fraction", "0.1"], {"noise": {"fraction": 0.1}}),
        (["--epochs", "5"], {"training": {"epochs": 5, "batch_size": 64}}),
        (["--steps", "100"], {"training": {"steps": 100, "batch_size": 64}}),
        (["--training.batch_size", "32"], {"training": {"epochs": 30, "batch_size": 32}}),
        (
            ["--epochs", "5", "--training.schedule", "constant"],
            {"training": {"epochs": 5, "batch_size": 64, "schedule": "constant"}},
        ),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_is_typed_is_turned_and_nothing_else(words: list[str], dials: dict[str, Any]) -> None:
    assert turned("digits", *words) == {"data": "digits", **dials}


def test_robust_trains_adversarially_and_measures_in_the_same_threat_model() -> None:
    plain = turned("digits", "--robust")
    assert plain["training"]["objective"] == {"name": "fast"}
    assert plain["record"] == ["confidence", "correct", "adversarial-confidence", "adversarial-correct"]
    accuracy, robust = plain["probes"]
    assert accuracy == "accuracy"
    assert (robust["name"], robust["norm"], robust["eps"]) == ("robust-accuracy", "linf", 8 / 255)
    mine = turned(
        "digits", "--robust", "--training.objective", "trades", "--training.objective.attack", "pgd",
        "--training.objective.attack.eps", "0.1", "--steps", "10", "--probes", "accuracy",
    )  # fmt: skip
    assert mine["training"]["objective"]["name"] == "trades" and mine["training"]["steps"] == 10
    assert mine["probes"] == ["accuracy"]
    other = turned("digits", "--robust", "--training.objective", "madry", "--training.objective.attack.eps", "0.1")
    assert other["probes"][1]["eps"] == 0.1
    assert "probes" not in turned("digits", "--robust", "false")


def test_the_recipe_of_the_main_job_has_these_dials() -> None:
    for trust in ([], ["--trust", "0.8"], ["--robust"]):
        dials = turned("digits", "--keep", "0.5", "--seeds", "2", "--epochs", "3", *trust)
        recipe = Recipe.read(down.recipe(dials), **dials)
        recipe.check()
        assert recipe.dials.keys() == DIALS.keys() - (set() if "--trust" in trust else {"trust"})
        assert recipe.dials["training"]["epochs"] == 3


def test_trust_adds_a_cut_and_changes_nothing_else() -> None:
    plain, trusted = (Recipe.read(name) for name in ("down/down", "down/trusted"))
    cut = [step for step in trusted.steps if step.name not in {step.name for step in plain.steps}]
    assert [step.name for step in cut] == ["margins", "trusted"]
    for step in trusted.steps:
        arguments = {name: value for name, value in step.arguments.items() if value != "$trusted"}
        same = next((other for other in plain.steps if other.name == step.name), None)
        assert step in cut or (same is not None and (arguments, step.repeat) == (same.arguments, same.repeat))


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--selector", "random"], "random is in every report"),
        (["--trust", "0"], "--trust 0: a share lies above 0 and is at most 1"),
        (["--selector", "d2", "--selector.gama", "1"], "D2 has no field 'gama'"),
        (["--selector", "ccs", "--selector", "hihgest"], "No selector is called 'hihgest'"),
    ],
)
def test_what_cannot_be_compared_is_refused(words: list[str], match: str) -> None:
    with pytest.raises(ParedownError, match=match):
        turned("digits", *words)
