"""Rules that need no search: uniform, ERK, LAMP and one threshold over all magnitudes, each brought to the budget.

The rule says how layers stand to each other; `sparsity.budget.fitted` scales its shares until one unit more would pass
the budget. With groups of channels a group has the mean share of the layers that read it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from paredown.artifacts.layers import Layer
from paredown.errors import MethodError
from paredown.searching.base import AbstractSearcher, Judge
from paredown.searching.problem import Problem
from paredown.sparsity.budget import fitted, spending
from paredown.sparsity.groups import group_scores

HALVINGS = 60


class AbstractRule(AbstractSearcher):
    """A rule that gives the one strategy: write `wishes`."""

    decides: ClassVar[bool] = True

    @abstractmethod
    def wishes(self, problem: Problem) -> Mapping[str, float]:
        """Gives a share above 0 for each layer; only how they stand to each other counts."""

    def explore(self, problem: Problem, judge: Judge, *, evaluations: int, seed: int) -> None:
        judge(
            fitted(
                problem.layers,
                self.wishes(problem),
                problem.wanted,
                granularity=problem.granularity,
                kind=problem.of,
                groups=problem.groups,
                table=problem.table,
                measure=self.name,
            )
        )


@dataclass(frozen=True)
class Uniform(AbstractRule):
    """Uniform: every layer keeps the same share; what reads the image keeps all of its channels."""

    def wishes(self, problem: Problem) -> Mapping[str, float]:
        return {layer.name: 1.0 for layer in problem.layers}


@dataclass(frozen=True)
class Erk(AbstractRule):
    """Erdős-Rényi-Kernel: large layers keep less.

    The density of a layer goes with (n_in + n_out + w + h) / (n_in · n_out · w · h), at most 1 (Evci et al. 2020,
    section 3). A share of channels is the root of a density, because removal takes from both sides of a layer.
    """

    paper: ClassVar[str] = "Evci et al. 2020, Rigging the Lottery: Making All Tickets Winners, section 3"

    def wishes(self, problem: Problem) -> Mapping[str, float]:
        power = 1.0 if problem.granularity == "weight" else 0.5
        return {layer.name: erk_density(layer) ** power for layer in problem.layers}


def erk_density(layer: Layer) -> float:
    """Gives (n_in + n_out + w + h) / (n_in · n_out · w · h) of a layer."""
    return (layer.shape[1] + layer.outputs + sum(layer.kernel)) / (
        layer.shape[1] * layer.outputs * np.prod(layer.kernel)
    )


@dataclass(frozen=True)
class Lamp(AbstractRule):
    """LAMP: one threshold over all layers on a weight's square as a share of the squares that are no smaller.

    score(u) = W_u² / Σ_{v: |W_v| ≥ |W_u|} W_v², within each layer (Lee et al. 2021, equation 1). Of channels and
    filters the squared norm stands in the place of W².
    """

    paper: ClassVar[str] = "Lee et al. 2021, Layer-adaptive Sparsity for the Magnitude-based Pruning, equation 1"

    def wishes(self, problem: Problem) -> Mapping[str, float]:
        return shares_above(problem, [lamp_scores(squares) for squares in unit_sums(problem, 2)])


def lamp_scores(squares: np.ndarray) -> np.ndarray:
    """Gives the scores of a layer's units from their squared magnitudes, shape (units,), ascending."""
    ordered = np.sort(np.asarray(squares, np.float64))
    rest = np.cumsum(ordered[::-1])[::-1]
    return np.divide(ordered, rest, out=np.zeros_like(ordered), where=rest > 0)


@dataclass(frozen=True)
class GlobalMagnitude(AbstractRule):
    """Global magnitude: one threshold over all layers on the magnitude of weights.

    Of channels and filters the mean magnitude of their weights counts, since a sum would go with the layer's size.
    """

    paper: ClassVar[str] = "Han et al. 2015, Learning both Weights and Connections for Efficient Neural Networks"

    def wishes(self, problem: Problem) -> Mapping[str, float]:
        sizes = unit_sizes(problem)
        means = [np.sort(sums / size) for sums, size in zip(unit_sums(problem, 1), sizes, strict=True)]
        return shares_above(problem, means)


def unit_sums(problem: Problem, power: int) -> list[np.ndarray]:
    """Gives Σ |w|^power over the weights of each unit: for each layer, or each group, an array of shape (units,).

    Raises:
        MethodError: the weights of the network are not known to the problem.
    """
    if not problem.weights:
        raise MethodError("This rule ranks weights, and the problem has none. Give it those of the network.")
    raised = {name: weight.detach().abs().double() ** power for name, weight in problem.weights.items()}
    inputs = {name: values.transpose(0, 1).flatten(1).sum(1) for name, values in raised.items()}
    found: list[Tensor]
    if problem.groups is None:
        chosen = raised if problem.granularity == "weight" else inputs
        found = [chosen[layer.name].reshape(-1) for layer in problem.layers]
    elif problem.granularity == "channel":
        found = group_scores(problem.groups, inputs)
    else:
        filters = {name: values.flatten(1).sum(1) for name, values in raised.items()}
        found = [torch.stack([filters[name] for name in group.writers]).sum(0) for group in problem.groups]
    return [values.cpu().numpy() for values in found]


def unit_sizes(problem: Problem) -> list[int]:
    """Gives how many weights a unit of each layer, or each group, has."""
    named = {layer.name: layer for layer in problem.layers}
    if problem.groups is None:
        by_weight = problem.granularity == "weight"
        return [1 if by_weight else layer.weights // layer.shape[1] for layer in problem.layers]
    if problem.granularity == "channel":
        return [
            sum(place.repeat * named[place.module].weights // named[place.module].inputs for place in group.readers)
            for group in problem.groups
        ]
    return [sum(named[name].weights // named[name].outputs for name in group.writers) for group in problem.groups]


def shares_above(problem: Problem, scores: Sequence[np.ndarray]) -> dict[str, float]:
    """Gives the shares of units whose scores reach the lowest threshold that the budget allows, by layer.

    Args:
        problem: its budget, and what it costs.
        scores: ascending, for each layer or each group.
    """
    spend = spending(problem.layers, problem.granularity, problem.of, problem.groups, problem.table)
    sizes = [len(values) for values in scores]
    budget = problem.wanted * spend(sizes)
    low, high = 0.0, max(float(values[-1]) for values in scores)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if spend(_reaching(scores, middle)) <= budget else (middle, high)
    kept = [count / size for count, size in zip(_reaching(scores, high), sizes, strict=True)]
    if problem.groups is None:
        return {layer.name: share for layer, share in zip(problem.layers, kept, strict=True)}
    shares = dict.fromkeys((layer.name for layer in problem.layers), 1.0)
    for group, share in zip(problem.groups, kept, strict=True):
        readers = [place.module for place in group.readers]
        shares |= dict.fromkeys(readers if problem.granularity == "channel" else group.writers, share)
    return shares


def _reaching(scores: Sequence[np.ndarray], threshold: float) -> list[int]:
    return [max(1, len(values) - int(np.searchsorted(values, threshold))) for values in scores]
