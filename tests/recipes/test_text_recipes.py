"""Recipes on sentences: each smoke version has the steps of its recipe."""

from __future__ import annotations

import pytest

from paredown.recipe import Recipe, packaged

TEXT = ("rotten_tomatoes", "anli", "imdb")


def test_every_recipe_on_sentences_has_a_smoke_version() -> None:
    assert {f"coreset_selection/{name}{end}" for name in TEXT for end in ("", ".smoke")} <= set(packaged())


@pytest.mark.parametrize("name", TEXT)
def test_a_smoke_version_has_the_steps_of_its_recipe(name: str) -> None:
    whole, smoke = Recipe.read(f"coreset_selection/{name}"), Recipe.read(f"coreset_selection/{name}.smoke")
    assert [(step.name, step.verb, dict(step.repeat)) for step in whole.steps] == [
        (step.name, step.verb, dict(step.repeat)) for step in smoke.steps
    ]
    assert whole.dials.keys() == smoke.dials.keys()


@pytest.mark.parametrize("name", ["anli", "imdb"])
def test_the_settings_of_the_published_code(name: str) -> None:
    recipe = Recipe.read(f"coreset_selection/{name}")
    for step in recipe.steps:
        if step.verb == "train":
            training = step.arguments["training"]
            assert (training["epochs"], training["batch_size"], training["budget"]) == (3, 8, "epochs")
            assert training["optimizer"] == {"name": "adamw", "lr": 5e-5, "weight_decay": 0.0}
            assert training["schedule"] == {"name": "linear", "warmup": 0.05}
            assert step.arguments["model"] == {"name": "pretrained-text", "model": "$model", "length": 128}
