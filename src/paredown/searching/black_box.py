"""Searches that propose all shares at once: by chance, and `optuna`'s samplers on the same walk and the same wall."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from paredown.errors import require
from paredown.rng import key, stream
from paredown.searching.base import AbstractSearcher, Judge
from paredown.searching.problem import Problem
from paredown.searching.walk import rollout


@dataclass(frozen=True)
class RandomSearch(AbstractSearcher):
    """Random search: every action uniform in [0, 1], as the agent's first episodes are."""

    paper: ClassVar[str] = "Bergstra, Bengio 2012, Random Search for Hyper-Parameter Optimization"

    def explore(self, problem: Problem, judge: Judge, *, evaluations: int, seed: int) -> None:
        for episode in range(1, evaluations + 1):
            actions = stream(seed, "random-search", episode).random(len(problem.steps))
            judge(rollout(problem, actions).strategy(self.name))


class AbstractStudy(AbstractSearcher):
    """A sampler of `optuna`, which is asked and told one strategy after the other: write `sampler`."""

    @property
    def libraries(self) -> Mapping[str, str]:
        return {"optuna": "search"}

    @abstractmethod
    def sampler(self, optuna: Any, seed: int, actions: int) -> Any:
        """Gives the sampler.

        Args:
            optuna: the library.
            seed: for its draws, below 2^32.
            actions: how many numbers a proposal has.
        """

    def explore(self, problem: Problem, judge: Judge, *, evaluations: int, seed: int) -> None:
        optuna = require("optuna", "search")
        names = [f"{place:03d}-{step.layer.name}" for place, step in enumerate(problem.steps)]
        with _quiet(optuna):
            sampler = self.sampler(optuna, key(seed, self.name) % 2**32, len(names))
            study = optuna.create_study(direction="maximize", sampler=sampler)
            for _ in range(evaluations):
                trial = study.ask()
                actions = [trial.suggest_float(name, 0.0, 1.0) for name in names]
                study.tell(trial, judge(rollout(problem, actions).strategy(self.name)))


@dataclass(frozen=True)
class Tpe(AbstractStudy):
    """Tree-structured Parzen estimator: draws where good strategies were denser than bad ones, each layer by itself.

    Args:
        start: proposals by chance before the first that looks at rewards.
    """

    start: int = 10

    paper: ClassVar[str] = "Bergstra et al. 2011, Algorithms for Hyper-Parameter Optimization, section 4"

    def sampler(self, optuna: Any, seed: int, actions: int) -> Any:
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.start)


@dataclass(frozen=True)
class CmaEs(AbstractStudy):
    """CMA-ES: a normal distribution over all shares whose mean and covariance follow the better proposals.

    The mean begins in the middle of the actions, with a sixth of their range as standard deviation.
    """

    paper: ClassVar[str] = "Hansen, Ostermeier 2001, Completely Derandomized Self-Adaptation in Evolution Strategies"

    @property
    def libraries(self) -> Mapping[str, str]:
        return {"optuna": "search", "cmaes": "search"}

    def sampler(self, optuna: Any, seed: int, actions: int) -> Any:
        require("cmaes", "search")
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)


@contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Keeps `optuna` from writing about each study to standard error."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)
