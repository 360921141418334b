"""Every recipe of the package holds together, and every smoke version runs from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paredown.cli import main
from paredown.distillation import FeatureRegression
from paredown.evaluation import class_phases
from paredown.method import build
from paredown.recipe import Recipe, packaged

PUBLISHED = {"full_training", "early_runs_el2n", "grand", "keep_max", "offset_window", "random_subset", "label_noise"}
CORESETS = {"cifar10", "cifar100"}
USES = {"continual", "membership"}
PRUNINGS = {"imagenet", "both_at_once"}
PAIRS = [
    *(f"data_diet/{name}" for name in PUBLISHED),
    *(f"coreset_selection/{name}" for name in CORESETS),
    *(f"distillation/{name}" for name in USES),
    *(f"robust_network_pruning/{name}" for name in PRUNINGS),
]
SMOKE = [name for name in packaged() if name.endswith("smoke")]


def test_every_published_program_has_a_recipe_and_its_smoke_version() -> None:
    names = set(packaged())
    assert {f"data_diet/{name}{end}" for name in PUBLISHED for end in ("", ".smoke")} <= names
    assert {f"coreset_selection/{name}{end}" for name in CORESETS for end in ("", ".smoke")} <= names
    assert {"data_diet/smoke", "coreset_selection/smoke", "coreset_selection/fashion_mnist", "down/down"} <= names


@pytest.mark.parametrize("name", packaged())
def test_a_recipe_has_no_fault(name: str) -> None:
    Recipe.read(name).check()


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_a_smoke_version_has_the_steps_of_its_recipe(name: str) -> None:
    whole, smoke = Recipe.read(name), Recipe.read(f"{name}.smoke")
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


@pytest.mark.parametrize("name", ["smoke", "fashion_mnist"])
def test_smaller_distillations_have_the_steps_of_the_published_one(name: str) -> None:
    whole, small = Recipe.read("distillation/cifar10"), Recipe.read(f"distillation/{name}")
    steps = [[(step.name, step.verb, step.repeat) for step in recipe.steps] for recipe in (whole, small)]
    assert steps[0] == steps[1] and whole.dials.keys() == small.dials.keys()


def test_the_published_settings_of_a_distillation() -> None:
    recipe = Recipe.read("distillation/cifar10")
    step = next(step for step in recipe.steps if step.verb == "distill")
    distiller = build("distiller", step.arguments["distiller"] | {"steps": recipe.dials["steps"]})
    assert distiller == FeatureRegression(flips=True)
    assert (distiller.steps, distiller.batch_size, distiller.online_networks) == (500_000, 1024, 10)
    assert (distiller.online_steps, distiller.online_lr, distiller.lr, distiller.ridge) == (100, 3e-4, 3e-4, 1e-6)
    assert (distiller.augmentation.epsilon, distiller.augmentation.keep_hardest) == (0.5, 0.8)
    assert distiller.model == build("model", {"name": "widening-convnet", "width": 128, "norm": "batch"})


def test_phases_hold_every_class_once_in_the_published_order() -> None:
    for name, classes in (("continual", 100), ("continual.smoke", 10)):
        dials = Recipe.read(f"distillation/{name}").dials
        assert dials["phases"] == class_phases(classes, 5, seed=0)
        assert [block["classes"] for block in dials["blocks"]] == dials["phases"]
        assert dials["memory"] == dials["per_class"] * classes // 5


def test_the_smoke_version_of_a_pool_has_the_steps_of_its_recipe() -> None:
    whole, smoke = (Recipe.read(f"coreset_selection/datacomp{end}") for end in ("", ".smoke"))
    assert [(step.name, step.verb, step.repeat) for step in whole.steps] == [
        (step.name, step.verb, step.repeat) for step in smoke.steps
    ]


@pytest.mark.parametrize("name", sorted(CORESETS))
def test_coresets_are_trained_on_for_the_published_steps(name: str) -> None:
    recipe = Recipe.read(f"coreset_selection/{name}")
    full, coreset = (step.arguments for step in recipe.steps if step.verb == "train")
    assert (full["training"]["epochs"], coreset["training"]["steps"]) == (200, 40000)
    for training in (full["training"], coreset["training"]):
        assert training["batch_size"] == 256 and training["optimizer"]["lr"] == 0.1 and not training["drop_last"]
        assert training["schedule"] == {"name": "cosine", "floor": 0.001}
    shares = [share for group in ("mild", "middle", "fewer", "few") for share in recipe.dials.get(group, [])]
    assert shares == recipe.dials["keep"] == [0.7, 0.5, 0.3, 0.2, 0.1]


def test_the_published_settings_of_a_robust_pruning() -> None:
    hydra, admm = (
        {step.name: step.arguments for step in Recipe.read(f"robust_network_pruning/{name}").steps}
        for name in ("hydra", "admm")
    )
    # One training and one set of searches serve both pruners.
    for step in ("dense", "uniform_shares", "found_shares"):
        assert hydra[step] == admm[step]
    dials = Recipe.read("robust_network_pruning/hydra").dials
    assert (dials["epochs"], dials["score_epochs"], dials["evaluations"]) == (100, 20, 400)
    assert dials["searcher"] == "ddpg" and len(dials["seeds"]) == 5
    assert build("training", hydra["dense"]["training"] | {"epochs": 100, "schedule": "cosine"}).batch_size == 256
    usual, told = build("pruner", "admm"), admm["found_masked"]["pruner"]
    assert (told["rho"], told["growth"], told["every"]) == ("1e-3", usual.growth, 30)
    phases = [told["regularize"], told["retrain"]]
    assert [phase["epochs"] for phase in phases] == [usual.regularize.epochs, usual.retrain.epochs] == [100, 100]
    assert all(phase["optimizer"]["lr"] == usual.regularize.optimizer.lr for phase in phases)


@pytest.mark.parametrize(
    "turned",
    [
        {"model": {"name": "vgg16-bn"}},
        {"model": {"name": "wide-resnet", "depth": 28, "width": 4}, "keep": 0.01},
        {"dataset": "svhn", "epochs": 110, "score_epochs": 30, "warmup": 10},
        {"granularity": "weight", "keep": 0.1},
        {"keep": 0.5, "walk": {"accounting": "published"}, "compat": "published"},
        {"reward": {"statistics": "batch", "attack": {"name": "pgd"}}},
    ],
)
def test_the_published_commands_are_dials(turned: dict[str, Any]) -> None:
    Recipe.read("robust_network_pruning/hydra", **turned).check()
    known = Recipe.read("robust_network_pruning/admm").dials
    Recipe.read("robust_network_pruning/admm", **{k: v for k, v in turned.items() if k in known}).check()


# What some recipes need beyond paredown itself.
LIBRARIES = {
    "robust_network_pruning/smoke": ("onnxscript", "onnxruntime"),
    "coreset_selection/rotten_tomatoes.smoke": ("tokenizers",),
    "coreset_selection/anli.smoke": ("tokenizers", "transformers"),
    "coreset_selection/imdb.smoke": ("tokenizers", "transformers"),
}


@pytest.mark.parametrize("name", SMOKE)
def test_a_smoke_version_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for library in LIBRARIES.get(name, ()):
        pytest.importorskip(library, reason="needs an extra")
    monkeypatch.chdir(tmp_path)
    assert main(["run", f"recipes/{name}.yaml", "--threads", "1"]) == 0
    folder = tmp_path / capsys.readouterr().out.splitlines()[-1]
    # Nothing is trained on a pool; phases are tested by their own probe.
    figure = {
        "coreset_selection/datacomp.smoke": "coverage",
        "distillation/continual.smoke": "incremental-accuracy",
    }.get(name, "accuracy")
    assert f"| {figure} |" in (folder / "report.md").read_text()


def test_the_main_job_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    words = "down digits --keep 0.5 --keep 0.2 --seeds 2 --model convnet --model.width 8 --epochs 4 --threads 1"
    assert main(words.split()) == 0
    folder = tmp_path / capsys.readouterr().out.splitlines()[-1]
    kept = (folder / "kept.txt").read_text().split()
    assert len(kept) == len(set(kept)) == 719
    assert (folder / "report.html").exists() and (folder / "kept.parquet").exists()
    # The same again with another selector beside it makes only what is new.
    capsys.readouterr()
    assert main([*words.split(), "--selector", "highest", "--selector", "d2", "--trust", "0.9"]) == 0
    said = capsys.readouterr()
    made = {line.split()[0] for line in said.err.splitlines() if "made in" in line}
    assert not [link for link in made if link.startswith(("full", "scores", "features", "random", "by_random"))]
    assert {"margins", "trusted", "selections"} <= made
    folder = tmp_path / said.out.splitlines()[-1]
    assert len((folder / "kept-d2-0.2.txt").read_text().split()) == 288
    page = (folder / "report.html").read_text()
    assert "of two ways of choosing" in page and "30 % chosen by d2" not in page and "chosen by d2" in page
