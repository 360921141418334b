"""Running recipes: order, reuse, links, figures, and what stays when a step fails."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from paredown.artifacts import Selection, Trained
from paredown.data.dataset import AbstractDataset
from paredown.errors import MethodError, RecipeError
from paredown.recipe import Recipe
from paredown.runner import Made, Run, Runner, figures, means
from paredown.store import Store

RECIPE = """\
dials: {keep: [0.5, 0.25]}
data:
  train: {name: synthetic, n: 64, spread: 0.3}
  test: {name: synthetic, n: 32, spread: 0.3, split: test}
steps:
  norms: {score: {data: $train, scorer: input-norm}}
  kept:
    select: {scores: $norms, selector: highest}
    repeat: {fraction: $keep}
  drawn:
    select: {data: $train, selector: random}
    repeat: {fraction: $keep, seed: [0, 1]}
  net:
    train: {data: $train, model: &model {name: convnet, width: 4}, training: &short {steps: 2, batch_size: 16}}
    repeat: {selection: $kept, seed: [0, 1]}
  other:
    train: {data: $train, model: *model, training: *short}
    repeat: {selection: $drawn, seed: [0, 1]}
  result: {evaluate: {subject: [$net.checkpoint, $other], data: $test, probes: [{name: accuracy, by_class: true}]}}
"""


class Ran:
    """A run, and what was said of it."""

    def __init__(self, place: Path, text: str = RECIPE, **dials: object) -> None:
        (place / "mine.yaml").write_text(text)
        self.place, self.said = place, list[Made]()
        self.store = Store(place / "store")
        runner = Runner(self.store, runs=place / "runs", say=self.said.append)
        self.run: Run = runner.run(Recipe.read(place / "mine.yaml", **dials))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("place"))


def test_every_result_is_made_in_order_linked_and_told(ran: Ran) -> None:
    assert list(ran.run.results) == ["norms", "kept", "drawn", "net", "other", "result"]
    links = [made.link for results in ran.run.results.values() for made in results]
    assert links[:4] == ["norms", "kept-0", "kept-1", "drawn-0"]
    assert [made.link for made in ran.said] == links
    assert not any(made.reused for made in ran.said)
    for made in ran.said:
        link = ran.run.folder / made.link
        assert link.is_symlink() and link.resolve() == (ran.place / "store" / made.address).resolve()
        assert ran.store.open(made.address) == made.artifact
    assert ran.run.folder == ran.place / "runs" / f"mine-{date.today().isoformat()}"
    assert (ran.run.folder / "recipe.yaml").read_text() == RECIPE


def test_results_say_what_tells_them_apart(ran: Ran) -> None:
    assert [made.varied for made in ran.run.results["kept"]] == [{"fraction": 0.5}, {"fraction": 0.25}]
    assert ran.run.results["net"][3].varied == {"fraction": 0.25, "selection": "kept-1", "seed": 1}
    # Selections drawn with a seed go with the trainings of that seed only.
    assert [made.varied["selection"] for made in ran.run.results["other"]] == [
        "drawn-0",
        "drawn-1",
        "drawn-2",
        "drawn-3",
    ]
    assert [made.varied["seed"] for made in ran.run.results["other"]] == [0, 1, 0, 1]
    assert ran.run.results["norms"][0].varied == {}


def test_artifacts_and_data_are_open(ran: Ran) -> None:
    assert isinstance(ran.run.data["train"], AbstractDataset) and len(ran.run.data["test"]) == 32
    assert isinstance(ran.run.results["kept"][0].artifact, Selection)
    assert len(ran.run.results["kept"][1].artifact) == 16
    assert isinstance(ran.run.results["net"][0].artifact, Trained)


def test_figures_are_means_over_seeds_and_each_alone(ran: Ran) -> None:
    rows = [row for row in means(ran.run)["result"].rows if row.metric == "accuracy"]
    assert [row.subject for row in rows] == [
        "net fraction=0.5",
        "net fraction=0.25",
        "other fraction=0.5",
        "other fraction=0.25",
    ]
    assert {row.n for row in rows} == {2}
    page = (ran.run.folder / "report.md").read_text()
    assert page == figures(ran.run)
    assert "| net-3 fraction=0.25 seed=1 |" in page and "| other fraction=0.5 |" in page


def test_the_same_again_makes_nothing(ran: Ran) -> None:
    again = Ran(ran.place)
    assert all(made.reused for made in again.said)
    assert again.run.folder == ran.run.folder
    assert [made.address for made in again.said] == [made.address for made in ran.said]
    assert [made.seconds for made in again.said] == [made.seconds for made in ran.said]


def test_with_a_dial_turned_it_is_another_folder_and_reuses_what_is_the_same(ran: Ran) -> None:
    turned = Ran(ran.place, keep=0.5)
    assert turned.run.folder.name == ran.run.folder.name + "-2"
    assert Recipe.read(turned.run.folder / "recipe.yaml").dials == {"keep": 0.5}
    assert [made.link for made in turned.said if not made.reused] == ["result"]


def test_a_folder_that_was_killed_at_birth_is_used_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / f"mine-{date.today().isoformat()}"
    folder.mkdir(parents=True)
    (folder / "recipe.yaml.new").write_text("half")
    assert Ran(tmp_path, keep=0.5).run.folder == folder
    assert sorted(path.name for path in folder.glob("*.new")) == []


def test_nothing_runs_when_the_check_finds_a_fault(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"line 19, steps\.result\.evaluate\.subject: nothing is called '\$nett\.checkpoint'"
    ):
        Ran(tmp_path, RECIPE.replace("$net.checkpoint", "$nett.checkpoint"))
    assert not (tmp_path / "store").exists() and not (tmp_path / "runs").exists()


def test_a_failing_step_is_named_and_what_is_finished_stays(tmp_path: Path) -> None:
    text = RECIPE.replace("selector: highest}", "selector: {name: window, offset: 0.7}}")
    with pytest.raises(MethodError, match=r"^Step 'kept-0' \(select\): Window\(offset=0\.7\): .* at most 1\.$"):
        Ran(tmp_path, text)
    folder = next((tmp_path / "runs").iterdir())
    assert [path.name for path in folder.iterdir() if path.is_symlink()] == ["norms"]
    assert [entry.address[:6] for entry in Store(tmp_path / "store").entries() if entry.complete] == ["score-"]
