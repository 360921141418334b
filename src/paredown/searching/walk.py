"""A walk over the layers of a problem, and the settings from which a network's problem is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import nn

from paredown.artifacts.layers import Granularity, fingerprint
from paredown.artifacts.strategy import Budget, CostKind, PruningStrategy
from paredown.errors import MethodError
from paredown.method import Method
from paredown.searching.problem import Fit, Problem
from paredown.searching.state import COLUMNS, State
from paredown.searching.wall import Exact, Scaled
from paredown.sparsity.budget import strategy_of
from paredown.sparsity.cost import Accounting
from paredown.sparsity.groups import groups_of
from paredown.sparsity.latency import LatencyTable
from paredown.sparsity.layers import layers_of, shape_of
from paredown.sparsity.masks import weights_of

PUBLISHED_BOUNDS: dict[tuple[str, float], tuple[float, float]] = {
    ("channel", 0.5): (0.1, 1.0),
    ("channel", 0.1): (0.05, 0.5),
    ("weight", 0.1): (0.01, 0.8),
    ("weight", 0.01): (0.005, 0.5),
}
"""Bounds of a share with which the published strategies agree, by granularity and rate."""


class Walk:
    """A walk: one share after the other.

    Args:
        problem: what is walked.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.ledger = problem.ledger()
        self.shares: list[float] = []
        self.ceilings: list[float] = []

    @property
    def done(self) -> bool:
        """Whether every step was taken."""
        return len(self.shares) == len(self.problem.steps)

    def observe(self) -> np.ndarray:
        """Gives the state before the next step, float64 (11,); at the end that of the last step again."""
        problem, taken = self.problem, len(self.shares)
        entry = problem.steps[min(taken, len(problem.steps) - 1)].entry
        if problem.state == "as-coded" and not taken:
            entry = 0
        row = problem.rows[entry].copy()
        row[COLUMNS.index("reduced")] = self.ledger.removed()
        row[COLUMNS.index("rest")] = problem.rest(entry)
        row[COLUMNS.index("last-share")] = self.shares[-1] if self.shares else 1.0
        return row

    def take(self, action: float) -> float:
        """Takes a step and gives the share that its layers keep, or wish to keep where all are scaled at the end.

        Raises:
            MethodError: the action is no number in [0, 1], or the walk is over.
        """
        if self.done:
            raise MethodError(f"The walk has {len(self.problem.steps)} steps, and all were taken. Begin another.")
        if math.isnan(action) or not 0 <= action <= 1:
            raise MethodError(f"The action {action} of step {len(self.shares)} is no number in [0, 1].")
        self.ceilings.append(self.ledger.ceiling())
        wish = self.problem.lower + action * (self.problem.upper - self.problem.lower)
        found = self.ledger.take(wish)
        self.shares.append(found)
        if self.done and isinstance(self.ledger, Scaled):
            self.shares = self.ledger.shares()
        return found

    @property
    def ratio(self) -> float:
        """What the shares cost, of the dense network's cost."""
        return self.ledger.cost / self.ledger.dense

    def strategy(self, measure: str = "") -> PruningStrategy:
        """Gives the strategy of a walk that is over.

        Args:
            measure: what made the shares.
        """
        problem = self.problem
        budget = Budget(problem.of, problem.wanted, self.ratio, problem.accounting)
        if isinstance(self.ledger, Exact):
            ledger = self.ledger
            return strategy_of(
                problem.layers, ledger.counts, ledger.sizes, problem.groups, problem.granularity, budget, measure
            )
        shares = dict.fromkeys((layer.name for layer in problem.layers), 1.0)
        for step, share in zip(problem.steps, self.shares, strict=True):
            shares |= dict.fromkeys(step.decides, share)
        return PruningStrategy(
            shares,
            granularity=problem.granularity,
            fingerprint=fingerprint(problem.layers),
            measure=measure,
            budget=budget,
        )


def rollout(problem: Problem, actions: Sequence[float] | np.ndarray) -> Walk:
    """Gives the finished walk of some actions.

    Args:
        problem: what is walked.
        actions: one in [0, 1] for each step.

    Raises:
        MethodError: there are more or fewer, or one is not in [0, 1].
    """
    if len(actions) != len(problem.steps):
        raise MethodError(f"{len(actions)} actions, and the walk has {len(problem.steps)} steps. Give one for each.")
    walk = Walk(problem)
    for action in actions:
        walk.take(float(action))
    return walk


def usual_bounds(keep: float, granularity: Granularity, accounting: Accounting = "structural") -> tuple[float, float]:
    """Gives bounds of a share for a budget: those of the published strategies at their rates, else a rule like them.

    The rule lets a layer keep all, and no less than a tenth (single weights) or a fifth (channels, whose share is about
    the root of the cost) of what uniform pruning would keep.
    """
    if accounting == "published" and (granularity, keep) in PUBLISHED_BOUNDS:
        return PUBLISHED_BOUNDS[granularity, keep]
    if granularity == "weight":
        return keep / 10, 1.0
    return (keep if accounting == "published" else math.sqrt(keep)) / 5, 1.0


@dataclass(frozen=True)
class LayerWalk(Method):
    """How a network becomes a search problem.

    Args:
        accounting: `structural` counts what removal leaves, in whole units, and never passes the budget. `published`
            counts parameters as the published search does (Zhao et al., AutoML 2022); `keep` is then its target rate.
        fit: how the budget is met. `scale` takes the shares of a walk for wishes and multiplies all by one number, so
            that the whole budget is used and late layers are not left with what early ones did not take; `wall` cuts
            each at what later ones leave, as the published accounting does always.
        grouped: channels that go together are decided together, so that the strategy can be carried out by removal.
            Not with the published accounting, which decides every layer by itself.
        lower: the least share of a layer; none takes `usual_bounds`.
        upper: the largest.
        first: also decide which colours of the image are read, in channel mode without groups.
        state: what an agent sees; `as-coded` has the faults of the published code.
    """

    kind: ClassVar[str] = "walk"

    accounting: Accounting = "structural"
    fit: Fit = "scale"
    grouped: bool = True
    lower: float | None = None
    upper: float | None = None
    first: bool = False
    state: State = "fixed"

    def __post_init__(self) -> None:
        if self.accounting == "published" and self.grouped:
            object.__setattr__(self, "grouped", False)
        if self.accounting == "published" and self.fit == "scale":
            object.__setattr__(self, "fit", "wall")

    def problem(
        self,
        network: nn.Module,
        *,
        keep: float,
        of: CostKind = "parameters",
        granularity: Granularity = "channel",
        table: LatencyTable | None = None,
    ) -> Problem:
        """Gives the problem of a network.

        Args:
            network: its layers are named as its modules are, and it says which images it takes.
            keep: the budget, as a share of the dense network's cost.
            of: what is counted.
            granularity: what is pruned.
            table: measured seconds, for a budget of them.

        Raises:
            MethodError: as `Problem`; or channels cannot be followed through the network.
        """
        lower, upper = usual_bounds(keep, granularity, self.accounting)
        layers, shape = layers_of(network), shape_of(network, None)
        return Problem(
            layers=layers,
            granularity=granularity,
            keep=keep,
            side=shape[-1],
            of=of,
            lower=lower if self.lower is None else self.lower,
            upper=upper if self.upper is None else self.upper,
            groups=groups_of(network) if self.grouped and granularity in ("channel", "filter") else None,
            table=table,
            weights=weights_of(network, layers),
            accounting=self.accounting,
            fit=self.fit,
            first=self.first,
            state=self.state,
        )
