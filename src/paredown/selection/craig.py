"""CRAIG: medoids of the gradients, each standing for those that lie nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paredown.errors import MethodError
from paredown.estimate import Estimate
from paredown.neighbors.base import slices
from paredown.neighbors.products import distances
from paredown.selection.base import AbstractSelector, Candidates, Choice
from paredown.selection.greedy import COVERED, Similarities
from paredown.selection.last_layer import Gradients, gradients
from paredown.selection.similarity import LARGEST, UNIT
from paredown.selection.submodular import greedily

BLOCK = 512
"""Gradients whose distances to all others are computed together."""


@dataclass(frozen=True)
class Craig(AbstractSelector):
    """CRAIG: examples whose weighted gradients stand for those of all, by facility location.

    Greedily maximises F(S) = Σ_i max_{j ∈ S} (d_max - d_ij), d_ij = ‖g_i - g_j‖₂ between gradients of the last layer.
    Mirzasoleiman et al. 2020, section 3 (equations 11 and 14). The weight γ_j of a chosen example is the number of
    candidates to which no other chosen one is nearer, ties to the one chosen first; it belongs to the count, the order
    does not. Meant class by class, as in the paper.

    Lazy greedy (Minoux 1978), with the same answer as computing every gain anew. All pairs are held: 4·n² bytes and
    2·n²·(C + F) operations for the n candidates (of a class, where it goes class by class); above 4 GiB it refuses.
    Each gain costs n steps, and a few are computed for each pick. Where every gradient has its like among the chosen,
    the choice begins anew among the rest.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Mirzasoleiman et al. 2020, Coresets for Data-efficient Training of Machine Learning Models"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> Choice:
        size = len(candidates)
        if 4 * size**2 > LARGEST:
            raise MethodError(
                f"Craig: the distances between all {size:,} candidates take {4 * size**2 / 2**30:.0f} GiB, and at most "
                f"{LARGEST / 2**30:.0f} are held. Choose class by class (by_class=True), or from fewer (within=)."
            )
        given = gradients("Craig", candidates)
        similar = similarities(given)
        chosen, _ = greedily(similar, count, rule=COVERED)
        return Choice(given.order[chosen], represented(similar.values.reshape(size, size), chosen))

    def estimate(self, candidates: Candidates, count: int) -> Estimate:
        size = len(candidates)
        return Estimate(2.0 * size**2 * sum(candidates.factors) + 20.0 * count * size, 4.0 * size**2)


def similarities(given: Gradients) -> Similarities:
    """Gives 1 - d_ij / d_max of all pairs of gradients, in [0, 1], rounded to multiples of 2⁻²⁴."""
    size = len(given)
    made = np.empty((size, size), np.float32)
    errors, inputs = given.errors.double(), given.inputs.double()
    for part in slices(size, BLOCK):
        made[part] = distances(errors[part], inputs[part], errors, inputs).cpu().numpy()
    np.fill_diagonal(made, 0.0)
    longest = float(made.max()) or 1.0
    for part in slices(size, BLOCK):
        made[part] = np.rint((1 - made[part].astype(np.float64) / longest) * UNIT) / UNIT
    return Similarities(np.arange(size + 1) * size, np.empty(0, np.int32), made.reshape(-1))


def represented(similar: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Gives how many rows each chosen one is the most similar of, of equal ones the first; float64, sums to N.

    Args:
        similar: (N, N).
        chosen: rows; each stands for itself, also where another chosen one is equal to it.
    """
    nearest, owner = np.zeros(len(similar), np.float32), np.zeros(len(similar), np.int64)
    for number, row in enumerate(chosen):
        better = similar[row] > nearest
        owner[better], nearest[better] = number, similar[row][better]
    owner[chosen] = np.arange(len(chosen))
    return np.bincount(owner, minlength=len(chosen)).astype(np.float64)
