"""Gives account of a finished run: the report page, and the list of what was kept.

Which training is on everything, on the chosen examples or on random ones is read off the run itself: a training that
names no selection is full, one whose selection was drawn by chance is random, the others are what was asked for. No
step has to be called anything.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paredown import captions
from paredown.artifacts import Report, ScoreTable, Selection, Trained, TrainingDynamics
from paredown.artifacts.base import Artifact
from paredown.method import build
from paredown.page import DataMap, Findings, Kept, Outcome, Provenance, Step, Suspects, headline, verdict, write_page
from paredown.page.findings import BALANCED, CHOSEN, FULL, RANDOM
from paredown.runner import Made, Run
from paredown.scoring.base import AbstractDynamicsScorer
from paredown.scoring.dynamics import Aum, Correctness, RecordedMean, Variability
from paredown.store import Store

SUSPECTS = 60
"""How many likely label errors are named."""


@dataclass(frozen=True)
class _Arm:
    """One training of the run, with what it was trained on."""

    made: Made
    asked: Mapping[str, Any]
    selection: Made | None
    name: str
    fraction: float


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
    if not account.judged(CHOSEN):
        return "", []
    findings = account.findings(shlex.join(command))
    files = [write_page(findings, run.folder / "report.html")]
    for number, arm in enumerate(account.choices()):
        name = "kept" if number == 0 else f"kept-{arm.fraction:g}"
        files += account.write_kept(arm, name)
    # The page sets figures and units with unbreakable spaces, which a terminal need not have.
    return f"{verdict(findings)} {headline(findings)}".replace("\N{NO-BREAK SPACE}", " "), files


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
        self.arms = self._arms()
        first = next(arm for arm in self.arms) if self.arms else None
        fingerprint = None if first is None else first.asked["data"]["pool"]
        self.data: Any = next((d for d in run.data.values() if d.ids.pool.fingerprint == fingerprint), None)
        self.accuracies = self._accuracies()

    def _asked(self, made: Made) -> Mapping[str, Any]:
        return self.store.find(made.address).manifest["identity"]["arguments"]

    def _arms(self) -> list[_Arm]:
        arms = []
        chosen_step = None
        for made in self.made:
            if not isinstance(made.artifact, Trained):
                continue
            asked = self._asked(made)
            selection = self.by_digest.get((asked["selection"] or {"digest": ""})["digest"])
            if selection is None:
                arms.append(_Arm(made, asked, None, FULL, 1.0))
                continue
            how = selection.artifact.asked
            if how["selector"]["name"] == "random":
                name = BALANCED if how["by_class"] else RANDOM
            else:
                chosen_step = chosen_step or selection.step.name
                name = CHOSEN if selection.step.name == chosen_step else selection.step.name
            fraction = how["fraction"] if how["fraction"] is not None else selection.artifact.fraction
            arms.append(_Arm(made, asked, selection, name, float(fraction)))
        return arms

    def _accuracies(self) -> dict[str, dict[str, float]]:
        # Subject → part of the data ("" for all of it) → accuracy.
        found: dict[str, dict[str, float]] = {}
        for made in self.made:
            if isinstance(made.artifact, Report):
                for row in made.artifact.rows:
                    if row.metric == "accuracy":
                        found.setdefault(row.subject, {})[row.group] = row.value
        return found

    def judged(self, name: str) -> list[_Arm]:
        """The trainings of an arm that were evaluated."""
        return [arm for arm in self.arms if arm.name == name and _subject(arm) in self.accuracies]

    def choices(self) -> list[_Arm]:
        """One training for each fraction that was chosen and evaluated, in the order asked."""
        return list({arm.fraction: arm for arm in reversed(self.judged(CHOSEN))}.values())[::-1]

    def table(self) -> Made | None:
        """The scores that the choice was made by."""
        selection = self.choices()[0].selection
        assert selection is not None
        scores = self._asked(selection)["scores"]
        return None if scores is None else self.by_digest.get(scores["digest"])

    def findings(self, command: str) -> Findings:
        """What the page shows."""
        choices, data = self.choices(), self.data
        selection = choices[0].selection
        assert selection is not None
        scored = self.table()
        table: ScoreTable | None = None if scored is None else scored.artifact
        watched = self._watched(scored)
        evaluated = [made for made in self.made if isinstance(made.artifact, Report) and made.artifact.of("accuracy")]
        tested = evaluated[0].artifact.of("accuracy")[0]
        training = build("training", _without_version(choices[0].asked["training"]))
        return Findings(
            data=data.name.partition(":")[0],
            labels=data.labels,
            classes=data.classes,
            outcomes=self.outcomes(),
            kept=tuple(Kept(arm.fraction, self._positions(arm)) for arm in choices),
            scorer="no score" if table is None else captions.title("scorer", table.notes["scorer"]),
            selector=captions.title("selector", selection.artifact.asked["selector"]),
            budget=training.budget,
            scorer_words="" if table is None else captions.scorer_words(table),
            selector_words=captions.selector_words(selection.artifact),
            model=captions.settings(choices[0].asked["model"]),
            training=captions.training_words(choices[0].asked["training"]),
            shape=data.shape,
            test=tested.data,
            test_size=tested.n,
            scores=None if table is None else table.of(data.ids),
            important="none" if table is None else table.important,
            never_learned=_never_learned(watched),
            keys=data.ids.keys,
            map=_data_map(watched),
            images=data.read,
            suspects=_suspects(watched, data),
            steps=tuple(self._step(made, scored) for made in self.made),
            provenance=self._provenance(command, choices[0]),
            why_missing={} if watched else {"map": "No training on the whole data was recorded."},
        )

    def outcomes(self) -> tuple[Outcome, ...]:
        """What every training that was evaluated has reached."""
        return tuple(self._outcome(arm) for arm in self.arms if _subject(arm) in self.accuracies)

    def _outcome(self, arm: _Arm) -> Outcome:
        reached = self.accuracies[_subject(arm)]
        classes = [reached[name] for name in self.data.classes if name in reached]
        kept = len(self.data) if arm.selection is None else len(arm.selection.artifact)
        plan = build("training", _without_version(arm.asked["training"])).plan(kept=kept, whole=len(self.data))
        return Outcome(
            arm=arm.name,
            fraction=arm.fraction,
            seed=int(arm.asked["seed"]),
            accuracy=reached[""],
            by_class=tuple(classes) if len(classes) == len(self.data.classes) else None,
            steps=plan.steps,
            epochs=plan.epochs,
            seconds=arm.made.seconds,
        )

    def _positions(self, arm: _Arm) -> np.ndarray:
        assert arm.selection is not None
        return self.data.ids.positions_of(arm.selection.artifact.ids, "the data", "the selection")

    def _watched(self, scored: Made | None) -> list[TrainingDynamics]:
        """Recorded dynamics of the whole data: of the trainings that the scores come from, else of any."""
        recorded = [
            made
            for made in self.made
            if isinstance(made.artifact, Trained)
            and made.artifact.dynamics is not None
            and len(made.artifact.dynamics.ids) == len(self.data)
        ]
        of_scores = [made for made in recorded if scored is not None and made.link in self._behind(scored)]
        return [made.artifact.dynamics for made in of_scores or recorded]

    def _behind(self, made: Made) -> set[str]:
        """The links of everything that a result was made from."""
        wanted = {part["digest"] for part in _artifacts_in(self._asked(made))}
        links: set[str] = set()
        for other in self.made:
            if wanted & _digests(other.artifact):
                links |= {other.link} | self._behind(other)
        return links

    def _step(self, made: Made, scored: Made | None) -> Step:
        price = set() if scored is None else {scored.link} | self._behind(scored)
        choosing = {arm.selection.link for arm in self.arms if arm.selection is not None and arm.name == CHOSEN}
        return Step(made.link, made.step.verb, made.seconds, made.reused, made.link in price | choosing, made.address)

    def _provenance(self, command: str, arm: _Arm) -> Provenance:
        made = self.store.find(arm.made.address).made
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

    def write_kept(self, arm: _Arm, name: str) -> list[Path]:
        """Writes what one choice kept: a table, and the bare ids one a line, both best first."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        assert arm.selection is not None
        selection: Selection = arm.selection.artifact
        positions = self._positions(arm)
        columns: dict[str, Any] = {
            "id": selection.to_uids(),
            "rank": np.arange(1, len(selection) + 1),
            "label": self.data.labels[positions],
            "class": np.array(self.data.classes, dtype=object)[self.data.labels[positions]],
        }
        if (scored := self.table()) is not None:
            columns["score"] = scored.artifact.of(selection.ids)
        files = [self.run.folder / f"{name}.parquet", self.run.folder / f"{name}.txt"]
        pq.write_table(pa.table(columns), files[0], compression="zstd")
        files[1].write_text("".join(f"{key}\n" for key in selection.to_uids()), encoding="utf-8")
        return files


def _subject(arm: _Arm) -> str:
    return arm.made.artifact.checkpoint.digest()[:16]


def _digests(artifact: Any) -> set[str]:
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


def _never_learned(watched: list[TrainingDynamics]) -> np.ndarray | None:
    if not watched or "correct" not in watched[0].quantities:
        return None
    learned = np.zeros(len(watched[0].ids), bool)
    for dynamics in watched:
        for epoch in dynamics:
            learned |= np.nan_to_num(epoch["correct"]) > 0.5
    return ~learned


def _mean(scorer: AbstractDynamicsScorer, watched: list[TrainingDynamics]) -> np.ndarray:
    """The mean over runs; NaN, which the page leaves out, for an example that a run never presented."""
    values = []
    for dynamics in watched:
        state = scorer.init(len(dynamics.ids))
        for epoch in dynamics:
            state = scorer.update(state, epoch)
        values.append(scorer.finish(state))
    return np.mean(values, axis=0)


def _data_map(watched: list[TrainingDynamics]) -> DataMap | None:
    if not watched or not {"confidence", "correct"} <= set(watched[0].quantities):
        return None
    scorers = (RecordedMean("confidence"), Variability(), Correctness())
    confidence, variability, correctness = (_mean(scorer, watched) for scorer in scorers)
    epochs = " and ".join(sorted({str(len(dynamics)) for dynamics in watched}))
    runs = f" of {len(watched)} trainings" if len(watched) > 1 else ""
    return DataMap(confidence, variability, correctness, epochs=f"{epochs} epochs{runs}")


def _suspects(watched: list[TrainingDynamics], data: Any) -> Suspects | None:
    if not watched or "margin" not in watched[0].quantities:
        return None
    margins = _mean(Aum(), watched)
    lowest = np.argsort(margins, kind="stable")[: min(SUSPECTS, math.ceil(len(data) / 20))]
    return Suspects(
        # A label that training comes to prefer over the given one has a negative margin; others are no suspects.
        positions=lowest[margins[lowest] < 0],
        by="a negative area under the margin (Pleiss et al. 2020): over training, another class had the larger logit",
        corrupted=data.corrupted,
        clean=data.clean_labels,
    )


def _without_version(identity: Any) -> Any:
    if isinstance(identity, Mapping):
        return {name: _without_version(part) for name, part in identity.items() if name != "version"}
    return [_without_version(part) for part in identity] if isinstance(identity, list) else identity
