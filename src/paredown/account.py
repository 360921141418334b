"""Gives account of a finished run: the report page, and the lists of what was kept."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paredown import captions, hindsight
from paredown.arms import Trial, trials
from paredown.artifacts import DistilledSet, Pruned, Report, Row, ScoreTable, Selection, Trained, TrainingDynamics
from paredown.artifacts.base import Artifact
from paredown.method import build
from paredown.page import (
    Findings,
    Kept,
    Measure,
    Outcome,
    Provenance,
    Selector,
    Step,
    distilled,
    headline,
    under_attack,
    verdict,
    write_page,
)
from paredown.page.findings import BALANCED, CHOSEN, DISTILLED, FULL, RANDOM
from paredown.runner import Made, Run
from paredown.store import Store


def give_account(run: Run, store: Store, *, command: list[str]) -> tuple[str, list[Path]]:
    """Writes `report.html`, `kept.parquet` and `kept.txt` into the run's folder, where the run has what they need.

    Args:
        run: a finished run.
        store: where its artifacts are.
        command: the words that were typed.

    Returns:
        What was found, in two sentences, and the files, the report first; nothing when no training on a selection was
        evaluated.
    """
    account = Account(run, store)
    if not account.choices:
        return "", []
    findings = account.findings(shlex.join(command))
    files = [write_page(findings, run.folder / "report.html")]
    for trial in account.choices:
        name = "kept" if trial.arm == account.choices[0].arm else f"kept-{_slug(trial.arm)}"
        # The bare name is the headline's; every other says its share.
        if trial is not account.choices[0]:
            name += f"-{trial.fraction:g}"
        files += account.write_kept(trial, name)
    said = [distilled(findings), f"{verdict(findings)} {headline(findings)}", under_attack(findings)]
    found = "\n".join(filter(None, said))
    # The page sets figures and units with unbreakable spaces, which a terminal need not have.
    return found.replace("\N{NO-BREAK SPACE}", " "), files


class Account:
    """What a run has found, read off what each of its steps was asked for.

    Args:
        run: finished.
        store: where its artifacts are.
    """

    def __init__(self, run: Run, store: Store) -> None:
        self.run = run
        self.store = store
        self.made = [made for results in run.results.values() for made in results]
        self.by_digest = {made.artifact.digest(): made for made in self.made if isinstance(made.artifact, Artifact)}
        self.accuracies = self._accuracies()
        self.attacked = self._attacked()
        self.trials = trials(self.made, self._asked, counts=lambda subject: subject in self.accuracies)
        fingerprint = next((trial.pool for trial in self.trials if trial.real), None)
        self.data: Any = next((d for d in run.data.values() if d.ids.pool.fingerprint == fingerprint), None)
        baselines = ("", FULL, RANDOM, BALANCED)
        # Of a pool that has no name in the recipe no page can be written.
        chosen = [trial for trial in self.trials if trial.arm not in baselines and self.data is not None]
        self.arms = list(dict.fromkeys(trial.arm for trial in chosen))
        """The selectors, in the order of their trainings."""
        first = {(trial.arm, trial.fraction): trial for trial in reversed(chosen)}
        self.choices = [first[key] for key in dict.fromkeys((trial.arm, trial.fraction) for trial in chosen)]
        """One training for each selector and share: of several draws, the first."""

    def _asked(self, made: Made) -> Mapping[str, Any]:
        return self.store.find(made.address).manifest["identity"]["arguments"]

    def _accuracies(self) -> dict[str, dict[str, float]]:
        # Subject → part of the data ("" for all of it) → accuracy.
        found: dict[str, dict[str, float]] = {}
        for made in self.made:
            if isinstance(made.artifact, Report):
                for row in made.artifact.rows:
                    if row.metric == "accuracy":
                        found.setdefault(row.subject, {})[row.group] = row.value
        return found

    def _attacked(self) -> dict[str, Row]:
        # Subject → its robust accuracy, in the first threat model that was tried.
        found: dict[str, Row] = {}
        for made in self.made:
            for row in made.artifact.of("robust-accuracy") if isinstance(made.artifact, Report) else ():
                if not row.group:
                    found.setdefault(row.subject, row)
        return found

    def table(self, trial: Trial) -> Made | None:
        """The scores that a choice was made by."""
        assert trial.selection is not None
        scores = self._asked(trial.selection)["scores"]
        return None if scores is None else self.by_digest.get(scores["digest"])

    def findings(self, command: str) -> Findings:
        """What the page shows."""
        first, data = self.choices[0], self.data
        scored = self.table(first)
        table: ScoreTable | None = None if scored is None else scored.artifact
        watched = self._watched(scored)
        evaluated = [made for made in self.made if isinstance(made.artifact, Report) and made.artifact.of("accuracy")]
        tested = evaluated[0].artifact.of("accuracy")[0]
        training = build("training", _without_version(first.asked["training"]))
        pictures = len(data.shape) == 3
        robust = self.attacked.get(first.subject)
        return Findings(
            data=data.name.partition(":")[0],
            labels=data.labels,
            classes=data.classes,
            outcomes=self.outcomes() + self.distilled(),
            kept=tuple(Kept(trial.fraction, self._positions(trial), trial.arm) for trial in self.choices),
            scorer="" if table is None else captions.title("scorer", table.notes["scorer"]),
            selectors=tuple(self._selector(arm) for arm in self.arms),
            budget=training.budget,
            scorer_words="" if table is None else captions.scorer_words(table),
            model=captions.settings(first.asked["model"]),
            training=captions.training_words(first.asked["training"]),
            shape=data.shape if pictures else None,
            noun=data.noun,
            test=tested.data,
            test_size=tested.n,
            threat=robust.threat if robust is not None else "",
            attacked=robust.n if robust is not None else None,
            scores=None if table is None else table.of(data.ids),
            important="none" if table is None else table.important,
            never_learned=hindsight.never_learned(watched, data.ids),
            keys=data.ids.keys,
            map=hindsight.data_map(watched, data.ids),
            images=data.read if pictures else None,
            texts=getattr(data, "shown", None),
            suspects=hindsight.suspects(watched, data),
            measures=self.measures(),
            steps=self.steps(),
            provenance=self._provenance(command, first),
            why_missing={} if watched else {"map": "No training on the whole data was recorded."},
        )

    def outcomes(self) -> tuple[Outcome, ...]:
        """What every training that was evaluated has reached."""
        return tuple(self._outcome(trial, trial.arm, trial.fraction) for trial in self.trials if trial.arm)

    def distilled(self) -> tuple[Outcome, ...]:
        """What every training on images learnt from these data has reached."""
        found = []
        for trial in self.trials:
            made = None if trial.real else self.by_digest.get(trial.asked["data"]["digest"])
            if made is not None and trial.subject in self.accuracies:
                learnt: DistilledSet = made.artifact
                if learnt.ids.pool == self.data.ids.pool:
                    found.append(self._outcome(trial, DISTILLED, len(learnt) / len(self.data)))
        # Of sets of several sizes the first.
        return tuple(one for one in found if one.fraction == found[0].fraction)

    def _selector(self, arm: str) -> Selector:
        trial = next(trial for trial in self.choices if trial.arm == arm)
        assert trial.selection is not None
        selection, scored = trial.selection.artifact, self.table(trial)
        by = captions.chosen_by(selection, None if scored is None else scored.artifact) if arm == CHOSEN else arm
        return Selector(arm, by, captions.selector_words(selection))

    def _outcome(self, trial: Trial, arm: str, fraction: float) -> Outcome:
        reached = self.accuracies[trial.subject]
        classes = [reached[name] for name in self.data.classes if name in reached]
        # What was chosen from may be extra data, which do not decide how long a training is.
        with (self.store.find(trial.made.address).folder / "metrics.jsonl").open(encoding="utf-8") as lines:
            plan = json.loads(next(lines))
        return Outcome(
            arm=arm,
            fraction=fraction,
            seed=int(trial.asked["seed"]),
            accuracy=reached[""],
            robust=self.attacked[trial.subject].value if trial.subject in self.attacked else None,
            by_class=tuple(classes) if len(classes) == len(self.data.classes) else None,
            steps=plan["steps"],
            epochs=plan["steps"] / plan["steps_per_epoch"],
            seconds=trial.made.seconds,
        )

    def measures(self) -> tuple[Measure, ...]:
        """What was measured of the selections that were trained on; of two, where they are of one share."""
        whose = {
            trial.selection.artifact.digest()[:16]: (trial.arm, trial.fraction)
            for trial in self.trials
            if trial.selection is not None and trial.arm
        }
        found = []
        for made in self.made:
            for row in made.artifact.rows if isinstance(made.artifact, Report) else ():
                arm, fraction = whose.get(row.subject, ("", 0.0))
                other, at = whose.get(row.group, ("", fraction))
                if arm and at == fraction and bool(row.group) == bool(other):
                    found.append(Measure(arm, fraction, row.metric, row.value, other))
        return tuple(found)

    def _positions(self, trial: Trial) -> np.ndarray:
        assert trial.selection is not None
        return self.data.ids.positions_of(trial.selection.artifact.ids, "the data", "the selection")

    def _watched(self, scored: Made | None) -> list[TrainingDynamics]:
        """Recorded dynamics of the whole data: of the trainings that the scores come from, else of any."""
        recorded = [
            made
            for made in self.made
            if isinstance(made.artifact, Trained)
            and made.artifact.dynamics is not None
            and made.artifact.dynamics.ids.pool == self.data.ids.pool
            and self._asked(made)["selection"] is None
        ]
        of_scores = [made for made in recorded if scored is not None and made.link in self._behind(scored)]
        watched = [made.artifact.dynamics for made in of_scores or recorded]
        # What is said of several trainings is said of the examples that all of them saw.
        return [one for one in watched if np.array_equal(one.ids.keys, watched[0].ids.keys)]

    def _behind(self, made: Made) -> set[str]:
        """The links of everything that a result was made from."""
        wanted = {part["digest"] for part in _artifacts_in(self._asked(made))}
        links: set[str] = set()
        for other in self.made:
            if wanted & _digests(other.artifact):
                links |= {other.link} | self._behind(other)
        return links

    def steps(self) -> tuple[Step, ...]:
        """What was made, each once, and whose choice it was made for."""
        prices: dict[str, dict[str, None]] = {}
        for trial in self.trials:
            if trial.arm in self.arms and trial.selection is not None:
                for link in {trial.selection.link} | self._behind(trial.selection):
                    prices.setdefault(link, {})[trial.arm] = None
        each = {made.address: made for made in reversed(self.made)}
        return tuple(
            Step(made.link, made.step.verb, made.seconds, made.reused, tuple(prices.get(made.link, ())), made.address)
            for made in self.made
            if each[made.address] is made
        )

    def _provenance(self, command: str, trial: Trial) -> Provenance:
        made = self.store.find(trial.made.address).made
        precision = made["runtime"]["precision"]
        if precision == "auto":
            precision = "bfloat16 where it is faster" if made["fast_bfloat16"] else "float32"
        return Provenance(
            command=command,
            versions=made["versions"],
            device=f"{made['device']}, {made['cores']} cores, precision {precision}",
            threads=made["threads"],
            date=made["when"].replace("T", " ").replace("+00:00", " UTC"),
            fingerprint=self.data.ids.pool.fingerprint,
        )

    def write_kept(self, trial: Trial, name: str) -> list[Path]:
        """Writes what one choice kept: a table, and the bare ids one a line, both best first."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        assert trial.selection is not None
        selection: Selection = trial.selection.artifact
        positions = self._positions(trial)
        columns: dict[str, Any] = {
            "id": selection.to_uids(),
            "rank": np.arange(1, len(selection) + 1),
            "label": self.data.labels[positions],
            "class": np.array(self.data.classes, dtype=object)[self.data.labels[positions]],
        }
        if (shown := getattr(self.data, "shown", None)) is not None:
            columns["text"] = shown(positions)
        if (scored := self.table(trial)) is not None:
            columns["score"] = scored.artifact.of(selection.ids)
        files = [self.run.folder / f"{name}.parquet", self.run.folder / f"{name}.txt"]
        pq.write_table(pa.table(columns), files[0], compression="zstd")
        files[1].write_text("".join(f"{key}\n" for key in selection.to_uids()), encoding="utf-8")
        return files


def _slug(arm: str) -> str:
    """A name that a file can have."""
    return re.sub(r"[^\w.]+", "-", arm).strip("-")


def _digests(artifact: Any) -> set[str]:
    if isinstance(artifact, Pruned):
        return {artifact.digest(), artifact.checkpoint.digest(), artifact.masks.digest()}
    if not isinstance(artifact, Trained):
        return {artifact.digest()}
    parts = [artifact, artifact.checkpoint, artifact.dynamics, *artifact.early]
    return {part.digest() for part in parts if part is not None}


def _artifacts_in(asked: Any) -> list[Mapping[str, Any]]:
    if isinstance(asked, Mapping):
        if set(asked) == {"artifact", "digest"}:
            return [asked]
        return [found for part in asked.values() for found in _artifacts_in(part)]
    if isinstance(asked, list):
        return [found for part in asked for found in _artifacts_in(part)]
    return []


def _without_version(identity: Any) -> Any:
    if isinstance(identity, Mapping):
        return {name: _without_version(part) for name, part in identity.items() if name != "version"}
    return [_without_version(part) for part in identity] if isinstance(identity, list) else identity
