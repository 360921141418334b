"""What a searcher is: it proposes strategies, is told what each is worth, and leaves the best and a table of all.

A search that was killed begins again and is told what stands in its table instead of evaluating: whatever a searcher
draws is a function of the seed and of the number of the episode, so that it proposes the same again.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from paredown.artifacts.base import write_json
from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import ArtifactError, MethodError
from paredown.method import Method
from paredown.progress import AbstractBar
from paredown.progress import bar as open_bar
from paredown.searching.episodes import Episode, EpisodeTable, Outcome, best_of
from paredown.searching.problem import Problem

HEADER = "search.json"
"""What is searched, by whom: a folder with another one is not gone on with."""

Reward = Callable[[PruningStrategy], Outcome]


@dataclass(frozen=True)
class Found:
    """What a search leaves.

    Args:
        strategy: the best, with its budget, and in its notes the reward.
        episodes: every evaluation, in order.
    """

    strategy: PruningStrategy
    episodes: tuple[Episode, ...]

    @property
    def best(self) -> Episode:
        """The evaluation of the best strategy: the first of the largest reward."""
        return best_of(self.episodes)


class AbstractSearcher(Method):
    """A way to search: write `explore`."""

    kind: ClassVar[str] = "searcher"
    paper: ClassVar[str] = ""
    decides: ClassVar[bool] = False
    """Whether it knows its one strategy without looking at rewards; it then makes one evaluation."""

    @abstractmethod
    def explore(self, problem: Problem, judge: Judge, *, evaluations: int, seed: int) -> None:
        """Proposes strategies to the judge, one after the other, `evaluations` in all.

        What it draws must be a function of the seed and of the number of the episode alone.

        Args:
            problem: the walk, and what is known of the network.
            judge: called with a strategy, gives its reward.
            evaluations: how many strategies may be judged.
            seed: of what is drawn.
        """

    def search(
        self,
        problem: Problem,
        reward: Reward,
        *,
        evaluations: int = 400,
        seed: int = 0,
        folder: str | Path | None = None,
        told: Mapping[str, Any] | None = None,
        shown: bool = False,
    ) -> Found:
        """Gives the best strategy of as many as may be evaluated, and the table of all.

        Args:
            problem: the walk, and what is known of the network.
            reward: of a strategy; the same strategy is not evaluated twice.
            evaluations: how many strategies are proposed; a searcher that `decides` proposes one.
            seed: of what the searcher draws.
            folder: keeps `episodes.csv`, and `strategy.json` with the best so far; a search in it that was killed goes
                on.
            told: what besides the problem, the searcher and the seed decides the rewards, as plain data; a search is
                not gone on with under another.
            shown: draw a progress bar when the output is a terminal.

        Raises:
            MethodError: no evaluation is allowed, or a reward is not a number.
            ArtifactError: the folder holds another search.
        """
        if evaluations < 1:
            raise MethodError(f"A search of {evaluations} evaluations finds nothing. Allow at least 1.")
        total = 1 if self.decides else evaluations
        place = None if folder is None else Path(folder)
        if place is not None:
            header = {"searcher": self.identity(), "problem": problem.plain(), "seed": seed, "told": dict(told or {})}
            _begin(place, header)
        table = EpisodeTable(place)
        with open_bar("searching", total, done=len(table.rows), unit="evaluations", shown=shown) as bar:
            judge = Judge(problem, reward, table, folder=place, bar=bar, measure=self.name, limit=total)
            self.explore(problem, judge, evaluations=total, seed=seed)
        return judge.end()


class Judge:
    """Tells a searcher what its strategies are worth, and keeps the table and the best.

    Args:
        problem: what is searched.
        reward: of a strategy.
        table: its rows, as far as there are, are given as answers before anything is evaluated.
        folder: where the best so far is written.
        bar: moved on.
        measure: what the strategies say made them.
        limit: how many strategies may be judged.
    """

    def __init__(
        self,
        problem: Problem,
        reward: Reward,
        table: EpisodeTable,
        *,
        folder: Path | None,
        bar: AbstractBar,
        measure: str,
        limit: int,
    ) -> None:
        self.problem, self.reward, self.table, self.folder = problem, reward, table, folder
        self.bar, self.measure, self.limit = bar, measure, limit
        self.number = 0
        self.best: tuple[float, int, PruningStrategy] | None = None
        self._known: dict[tuple[float, ...], Outcome] = {}
        self._stored = len(table.rows)

    def __call__(self, strategy: PruningStrategy) -> float:
        """Gives the reward of a strategy.

        Raises:
            MethodError: it is for another architecture, the reward is not a number, or there were enough.
            ArtifactError: another strategy stands in the table at this place.
        """
        if self.number == self.limit:
            raise MethodError(f"The search may evaluate {self.limit} strategies, and another is proposed.")
        self.number += 1
        shares = tuple(strategy.to_list(self.problem.layers))
        if self.number <= self._stored:
            row = self.table.rows[self.number - 1]
            if row.shares != shares:
                raise ArtifactError(
                    f"{self.folder}: strategy {self.number} of its table is not what the search proposes there. The "
                    "folder was made by another version; remove it and search again."
                )
            outcome = Outcome(row.reward, row.clean_accuracy, row.adversarial_accuracy)
        else:
            outcome = self._known.get(shares) or self.reward(strategy)
            if not math.isfinite(outcome.reward):
                raise MethodError(
                    f"The reward of strategy {self.number} is {outcome.reward}, so it cannot be compared. Look at what "
                    "the network gives when so much of it is pruned."
                )
            self._add(strategy, shares, outcome)
        self._known[shares] = outcome
        if self.best is None or outcome.reward > self.best[0]:
            self.best = (outcome.reward, self.number, strategy)
            if self.number > self._stored:
                self._write()
        self.bar.move(self.number)
        return outcome.reward

    def _add(self, strategy: PruningStrategy, shares: tuple[float, ...], outcome: Outcome) -> None:
        ratio = strategy.budget.got if strategy.budget is not None else None
        if ratio is None:
            raise MethodError("A strategy was proposed whose cost is not known. Give it a budget with what it costs.")
        dense = float(self.problem.dense)
        row = Episode(
            self.number, float(outcome.reward), ratio, outcome.clean, outcome.robust, dense, ratio * dense, shares
        )
        self.table.append(row)

    def end(self) -> Found:
        """Gives the best strategy and all rows, once every strategy was judged."""
        assert self.best is not None, "a searcher proposes at least one strategy"
        self._write()
        return Found(self._noted(), tuple(self.table.rows))

    def _noted(self) -> PruningStrategy:
        assert self.best is not None
        reward, number, found = self.best
        note = f"reward {reward:.6g}, evaluation {number} of {self.limit}"
        return PruningStrategy(
            found.shares,
            granularity=found.granularity,
            fingerprint=found.fingerprint,
            measure=self.measure,
            budget=found.budget,
            notes=(*found.notes, note),
        )

    def _write(self) -> None:
        if self.folder is not None:
            self._noted().write(self.folder)


def _begin(folder: Path, header: Mapping[str, Any]) -> None:
    """Writes what is searched, or compares it with what the folder was begun with."""
    path = folder / HEADER
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, header)
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged. Remove the folder and search again.") from error
    if held != json.loads(json.dumps(header)):
        other = next((key for key in header if held.get(key) != json.loads(json.dumps(header[key]))), "")
        raise ArtifactError(f"{folder} holds a search with another {other}. Choose another folder or remove that one.")
