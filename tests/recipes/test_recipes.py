"""Every recipe of the package holds together, and every smoke version runs from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from paredown.cli import main
from paredown.recipe import Recipe, packaged

PUBLISHED = {"full_training", "early_runs_el2n", "grand", "keep_max", "offset_window", "random_subset", "label_noise"}
SMOKE = [name for name in packaged() if name.endswith("smoke")]


def test_every_published_program_has_a_recipe_and_its_smoke_version() -> None:
    names = set(packaged())
    assert {f"data_diet/{name}{end}" for name in PUBLISHED for end in ("", ".smoke")} <= names
    assert {"data_diet/smoke", "down/down"} <= names


@pytest.mark.parametrize("name", packaged())
def test_a_recipe_has_no_fault(name: str) -> None:
    Recipe.read(name).check()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_smoke_version_has_the_steps_of_its_recipe(name: str) -> None:
    whole, smoke = Recipe.read(f"data_diet/{name}"), Recipe.read(f"data_diet/{name}.smoke")
    assert [(step.name, step.verb, dict(step.repeat)) for step in whole.steps] == [
        (step.name, step.verb, dict(step.repeat)) for step in smoke.steps
    ]
    assert whole.dials.keys() == smoke.dials.keys()


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_published_length_and_schedule(name: str) -> None:
    lengths = {}
    for step in Recipe.read(f"data_diet/{name}").steps:
        if step.verb == "train":
            training = step.arguments["training"]
            lengths[step.name] = training["steps"]
            assert training["batch_size"] == 128 and training["optimizer"]["lr"] == 0.1
            assert step.arguments["model"]["name"] == "resnet18"
            if training["steps"] == 78000:
                assert training["schedule"] == {"name": "step", "drops": [23400, 46800, 62400], "factor": 0.2}
    assert set(lengths.values()) <= {7800, 78000} and 78000 in lengths.values()


@pytest.mark.parametrize("name", SMOKE)
def test_a_smoke_version_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", f"recipes/{name}.yaml", "--threads", "1"]) == 0
    folder = tmp_path / capsys.readouterr().out.splitlines()[-1]
    assert "| accuracy |" in (folder / "report.md").read_text()


def test_the_main_job_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = "down digits --keep 0.5 --keep 0.2 --seeds 2 --model convnet --model.width 8 --epochs 4 --threads 1"
    assert main(words.split()) == 0
    folder = tmp_path / capsys.readouterr().out.splitlines()[-1]
    kept = (folder / "kept.txt").read_text().split()
    assert len(kept) == len(set(kept)) == 719
    assert (folder / "report.html").exists() and (folder / "kept.parquet").exists()
