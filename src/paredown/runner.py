"""Goes down the steps of a recipe: what the store holds is reused, what is unfinished is resumed, the rest is made.

A run is a folder of links into the store, one for each result, beside the recipe as it was run and a page of figures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from paredown import reading
from paredown.artifacts import Checkpoint, DistilledSet, Pruned, Report, Selection, Trained
from paredown.artifacts.results_table import FIGURES
from paredown.errors import ParedownError
from paredown.recipe import Recipe
from paredown.runtime import Runtime
from paredown.steps import REFERENCE, Step, one_of, part_of_each, resolve, short
from paredown.store import Store
from paredown.verbs import VERBS


@dataclass(frozen=True)
class Made:
    """One result of a step.

    Args:
        link: its name in the run's folder: the step's, with `-0`, `-1`, … where the step is repeated.
        step: the name of its step.
        varied: what tells it from the other results of its step: the repeated arguments as plain values, those of the
            results that it was made from included; a result stands there by its link.
        artifact: opened from the store.
        address: where it is in the store.
        seconds: how long it took when it was made, which may have been an earlier run.
        reused: it was there before this run.
    """

    link: str
    step: Step
    varied: Mapping[str, Any]
    artifact: Any
    address: str
    seconds: float
    reused: bool


@dataclass(frozen=True)
class Run:
    """What became of a recipe.

    Args:
        recipe: as it was run.
        folder: the links, the recipe and the figures.
        data: the data sets by their names in the recipe, open.
        results: of each step, in the order made.
    """

    recipe: Recipe
    folder: Path
    data: Mapping[str, Any]
    results: Mapping[str, list[Made]]


class Runner:
    """Runs recipes.

    Args:
        store: where results are kept.
        runs: the folder that gets a folder for each run.
        runtime: how the verbs are carried out.
        say: is given a line for each result as it is there.
    """

    def __init__(
        self,
        store: Store,
        *,
        runs: str | Path = "runs",
        runtime: Runtime | None = None,
        say: Callable[[Made], None] = lambda made: None,
    ) -> None:
        self.store = store
        self.runs = Path(runs)
        self.runtime = runtime or Runtime()
        self.say = say

    def run(self, recipe: Recipe) -> Run:
        """Checks a recipe, then makes what it asks for, step by step.

        Raises:
            RecipeError: the check found faults; nothing was run.
            ParedownError: a step failed; the message names it, and what was finished before is kept and linked.
        """
        recipe.check(installed=True)
        work = _Work(self, recipe, self._folder(recipe))
        for name in recipe.data:
            work.look_up(f"${name}")  # a wrong file is named before hours of work
        for step in recipe.steps:
            work.make(step)
        run = Run(recipe, work.folder, work.data, work.results)
        (run.folder / "report.md").write_text(figures(run), encoding="utf-8")
        measured = Report([row for report in means(run).values() for row in report.rows])
        (run.folder / FIGURES).write_text(measured.to_csv(), encoding="utf-8")
        return run

    def _folder(self, recipe: Recipe) -> Path:
        """Gives today's folder of this recipe; with the dials turned otherwise it is another folder."""
        text, number = recipe.as_run(), 1
        while True:
            name = f"{recipe.name}-{date.today().isoformat()}" + (f"-{number}" if number > 1 else "")
            folder, number = self.runs / name, number + 1
            if not folder.exists() or _text(folder / "recipe.yaml") in (text, None):
                break
        folder.mkdir(parents=True, exist_ok=True)
        # Beside first: a run that is killed here must find its folder again.
        beside = folder / "recipe.yaml.new"
        beside.write_text(text, encoding="utf-8")
        beside.replace(folder / "recipe.yaml")
        return folder


class _Work:
    """A run that is under way: what is there so far, and which result each artifact belongs to."""

    def __init__(self, runner: Runner, recipe: Recipe, folder: Path) -> None:
        self.runner, self.recipe, self.folder = runner, recipe, folder
        self.data: dict[str, Any] = {}
        self.results: dict[str, list[Made]] = {}
        self.repeated = {step.name for step in recipe.steps if step.repeat}
        self.origin: dict[int, Made] = {}
        self.there = {entry.address for entry in runner.store.entries() if entry.complete}

    def make(self, step: Step) -> None:
        """Makes every result of a step and links it as soon as it is there."""
        results = self.results[step.name] = []
        fixed = resolve(step.arguments, self.look_up)
        for number, (variation, varied) in enumerate(step.variations(self.look_up, self._origin)):
            link = f"{step.name}-{number}" if step.repeat else step.name
            try:
                artifact = self.runner.store.make(VERBS[step.verb], runtime=self.runner.runtime, **(fixed | variation))
            except ParedownError as error:
                raise type(error)(f"Step '{link}' ({step.verb}): {error}") from error
            address = str(artifact.address)
            seconds = float(self.runner.store.find(address).made["seconds"])
            made = Made(link, step, varied, artifact, address, seconds, address in self.there)
            results.append(made)
            self.there.add(address)
            self._link(link, address)
            self.runner.say(made)

    def look_up(self, text: str) -> Any:
        """Gives what a `$name` of a checked recipe stands for."""
        match = REFERENCE.fullmatch(text)
        assert match is not None
        name, part = match.groups()
        if name in self.recipe.dials:
            return self.recipe.dials[name]
        if name in self.recipe.data:
            if name not in self.data:
                # Read once for all steps; the verbs take an open data set as it is.
                self.data[name] = reading.read("data", resolve(self.recipe.data[name], self.look_up))
            return self.data[name]
        made = self.results.get(name) or one_of(self.results, name)
        assert made is not None
        found = part_of_each([one.artifact for one in made], part, repeated=name in self.repeated)
        for one in made:
            for piece in reading.as_list(part_of_each([one.artifact], part, repeated=True)):
                self.origin[id(piece)] = one
        return found

    def _origin(self, value: Any) -> Made | None:
        return self.origin.get(id(value))

    def _link(self, link: str, address: str) -> None:
        place = self.folder / link
        place.unlink(missing_ok=True)
        place.symlink_to(os.path.relpath(self.runner.store.root / address, self.folder), target_is_directory=True)


def means(run: Run) -> dict[str, Report]:
    """Gives the figures of each evaluation, by step: means over the trainings that differ in their seed only."""
    names = _names(run, lambda made, settings: " ".join([made.step.name, *settings]), unseeded=True)
    made = [one.artifact for results in run.results.values() for one in results]
    sets = {artifact.digest()[:16] for artifact in made if isinstance(artifact, Selection | DistilledSet)}
    return {
        step: rows.over_runs(lambda subject: names.get(subject, subject), whole=sets.__contains__)
        for step, rows in _rows(run).items()
    }


def figures(run: Run) -> str:
    """Gives the figures of a run as Markdown: means over seeds, then each training alone."""
    names = _names(run, lambda made, settings: " ".join([made.link, *settings]), unseeded=False)
    text, rows = f"# {run.recipe.name}\n", _rows(run)
    for step, mean in means(run).items():
        alone = Report([replace(row, subject=names.get(row.subject, row.subject)) for row in rows[step].rows])
        text += f"\n## {step}\n\n{mean.to_markdown()}\nEach alone:\n\n{alone.to_markdown()}"
    return text


def _rows(run: Run) -> dict[str, Report]:
    """The figures of each evaluation without those of single classes, which stand in its own folder."""
    found: dict[str, Report] = {}
    for step, results in run.results.items():
        reports = [made.artifact for made in results if isinstance(made.artifact, Report)]
        if reports:
            found[step] = Report([row for report in reports for row in report.rows if not row.group])
    return found


def _names(run: Run, say: Callable[[Made, list[str]], str], *, unseeded: bool) -> dict[str, str]:
    """A name for each subject of a report, from the network or selection that it is and what was varied for it."""
    links = {made.link for results in run.results.values() for made in results}
    names: dict[str, str] = {}
    for made in (made for results in run.results.values() for made in results):
        subject = made.artifact.checkpoint if isinstance(made.artifact, Trained | Pruned) else made.artifact
        if not isinstance(subject, Checkpoint | Selection | DistilledSet):
            continue
        told = {name: short(value) for name, value in made.varied.items() if not (unseeded and name == "seed")}
        settings = [f"{name}={value}" for name, value in told.items() if value not in links]
        names.setdefault(subject.digest()[:16], say(made, settings))
    return names


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None
