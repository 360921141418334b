"""The flags of the main job turn the dials of its recipe."""

from __future__ import annotations

from typing import Any

import pytest

from paredown import down
from paredown.flags import Flags
from paredown.recipe import Recipe

DIALS = {"data": "digits", "noise": None, "keep": [0.3], "by_class": False, "seeds": [0, 1, 2], "model": "convnet",
         "training": {"epochs": 30, "batch_size": 64}, "scorer": "el2n", "selector": "highest"}  # fmt: skip


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
        (["--selector", "window", "--selector.offset", "0.1"], {"selector": {"name": "window", "offset": 0.1}}),
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


def test_the_recipe_of_the_main_job_has_these_dials() -> None:
    recipe = Recipe.read("down", **turned("digits", "--keep", "0.5", "--seeds", "2", "--epochs", "3"))
    recipe.check()
    assert recipe.dials.keys() == DIALS.keys()
    assert recipe.dials["training"]["epochs"] == 3
