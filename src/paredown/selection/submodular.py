"""Submodular selection: what each next example adds to how well the chosen stand for all, which only ever shrinks.

Three functions of the similarities s_ij between examples (Wei, Iyer, Bilmes 2015; Lin, Bilmes 2011), maximised
greedily, which for the monotone ones reaches 1 - 1/e of the best (Nemhauser, Wolsey, Fisher 1978). Similarities are
those of the k nearest neighbours, an edge of either direction joining both, and 0 elsewhere; see
`selection.similarity`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.errors import MethodError
from paredown.selection.base import AbstractSelector, Estimate
from paredown.selection.candidates import Candidates
from paredown.selection.greedy import COVERED, CUT, LAZY, NAIVE, SAMPLED, SATURATED, Similarities, choose
from paredown.selection.similarity import UNIT, similarities

Optimizer = Literal["lazy", "stochastic", "naive"]
_WAYS = {"lazy": LAZY, "naive": NAIVE, "stochastic": SAMPLED}


@dataclass(frozen=True)
class FacilityLocation(AbstractSelector):
    """Facility location: examples to which every example is similar, f(S) = Σ_i max_{j ∈ S} s_ij.

    Wei, Iyer, Bilmes 2015, section 3. When every example has its like among the chosen and nothing can be gained, the
    choice begins anew among the rest, as if none were chosen. Ties go to the lowest id.

    Args:
        neighbors: k; of a given graph the first k columns. Euclidean: s = exp(-d² / (2 h²)), h the mean distance over
            the graph. Cosine: s = max(0, cos). An example is similar to itself by 1.
        optimizer: "lazy" computes only gains that could be the largest (Minoux 1978) and gives what "naive", which
            computes all, gives; "stochastic" takes the best of a sample of N/K · log(1/ε) (Mirzasoleiman et al. 2015).
        epsilon: ε of "stochastic".
        dense: use the similarities of all pairs, 4·N² bytes, of up to 32,768 examples.
    """

    neighbors: int = 20
    optimizer: Optimizer = "lazy"
    epsilon: float = 0.1
    dense: bool = False

    either: ClassVar[frozenset[str]] = frozenset({"graph", "embeddings"})
    needs: ClassVar[frozenset[str]] = frozenset()
    paper: ClassVar[str] = "Wei, Iyer, Bilmes 2015, Submodularity in Data Subset Selection and Active Learning"

    def __post_init__(self) -> None:
        _check(self)

    @property
    def nested(self) -> bool:
        """Whether each beginning of an answer is the whole answer to that smaller count."""
        return self.optimizer != "stochastic"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return _chosen(self, candidates, count, rng, COVERED)

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        return _estimate(self, candidates, count)


@dataclass(frozen=True)
class GraphCut(AbstractSelector):
    """Graph cut: examples similar to many and not to each other, f(S) = Σ_i Σ_{j ∈ S} s_ij - λ Σ_{i, j ∈ S} s_ij.

    Wei, Iyer, Bilmes 2015, section 3; Iyer et al. 2021 for λ. It cannot fall as long as λ ≤ 1/2; beyond, an example may
    take away more than it adds, and the count that was asked for is chosen nevertheless. Ties go to the lowest id.

    Args:
        neighbors, optimizer, epsilon, dense: as in `FacilityLocation`.
        diversity: λ, what similarity among the chosen costs.
    """

    neighbors: int = 20
    optimizer: Optimizer = "lazy"
    epsilon: float = 0.1
    dense: bool = False
    diversity: float = 0.5

    either: ClassVar[frozenset[str]] = frozenset({"graph", "embeddings"})
    needs: ClassVar[frozenset[str]] = frozenset()
    paper: ClassVar[str] = "Wei, Iyer, Bilmes 2015, Submodularity in Data Subset Selection and Active Learning"

    def __post_init__(self) -> None:
        _check(self)
        if self.diversity < 0:
            raise MethodError(
                f"GraphCut(diversity={self.diversity:g}): below 0 similar examples would be sought together, and no "
                "greedy choice is then near the best. Use 0 or more, at most 0.5 for a sum that never falls."
            )

    @property
    def nested(self) -> bool:
        """Whether each beginning of an answer is the whole answer to that smaller count."""
        return self.optimizer != "stochastic"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return _chosen(self, candidates, count, rng, CUT, penalty=self.diversity)

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        return _estimate(self, candidates, count)


@dataclass(frozen=True)
class SaturatedCoverage(AbstractSelector):
    """Saturated coverage: everything covered up to a share, f(S) = Σ_i min(Σ_{j ∈ S} s_ij, α Σ_j s_ij).

    Lin, Bilmes 2011, section 4.1. When every example is saturated and nothing can be gained, the choice begins anew
    among the rest, as if none were chosen. Ties go to the lowest id.

    Args:
        neighbors, optimizer, epsilon, dense: as in `FacilityLocation`.
        saturation: α, the share of its similarity to all at which an example is covered, in (0, 1]. Near the share
            that is kept it spreads the choice; at 1 only the total similarity counts.
    """

    neighbors: int = 20
    optimizer: Optimizer = "lazy"
    epsilon: float = 0.1
    dense: bool = False
    saturation: float = 0.1

    either: ClassVar[frozenset[str]] = frozenset({"graph", "embeddings"})
    needs: ClassVar[frozenset[str]] = frozenset()
    paper: ClassVar[str] = "Lin, Bilmes 2011, A Class of Submodular Functions for Document Summarization, section 4.1"

    def __post_init__(self) -> None:
        _check(self)
        if not 0 < self.saturation <= 1:
            raise MethodError(
                f"SaturatedCoverage(saturation={self.saturation:g}): not a share at which an example is covered. "
                "Use a number above 0, at most 1."
            )

    @property
    def nested(self) -> bool:
        """Whether each beginning of an answer is the whole answer to that smaller count."""
        return self.optimizer != "stochastic"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return _chosen(self, candidates, count, rng, SATURATED, saturation=self.saturation)

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        return _estimate(self, candidates, count)


Submodular = FacilityLocation | GraphCut | SaturatedCoverage


def greedily(
    given: Similarities,
    count: int,
    *,
    rule: int,
    way: int = LAZY,
    penalty: float = 0.0,
    saturation: float = 1.0,
    epsilon: float = 0.1,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Gives the greedy choice, and what each added when it was chosen; int64 and float64, (count,).

    Args:
        given: s, with 1 for each example itself.
        count: how many, at most N.
        rule: `COVERED` (facility location), `SATURATED` or `CUT`.
        way: `LAZY`, `NAIVE` or `SAMPLED`.
        penalty: λ of `CUT`.
        saturation: α of `SATURATED`.
        epsilon, rng: of `SAMPLED`.
    """
    size, dense = len(given), not len(given.columns)
    totals = given.totals()
    chosen, gained = np.empty(count, np.int64), np.empty(count)
    sample, draws = 0, np.empty(0)
    if way == SAMPLED:
        assert rng is not None, "a sample is drawn"
        sample = min(size, math.ceil(size / count * math.log(1 / epsilon)))
        draws = rng.random(count * sample)
    done = 0
    while done < count:
        if rule == SATURATED:
            state = np.floor(saturation * totals * UNIT) / UNIT
        else:
            state = np.zeros(size, np.float32 if rule == COVERED else np.float64)
        gains = totals.copy()  # no gain is larger
        rest = np.delete(np.arange(size), chosen[:done])
        rest = rest[np.argsort(-gains[rest], kind="stable")]
        done = choose(
            given.starts,
            given.columns,
            given.values,
            dense,
            rule,
            penalty,
            totals,
            state,
            way,
            draws,
            sample,
            rest,
            gains,
            chosen,
            gained,
            done,
        )
    return chosen, gained


def _chosen(
    selector: Submodular,
    candidates: Candidates,
    count: int,
    rng: np.random.Generator,
    rule: int,
    *,
    penalty: float = 0.0,
    saturation: float = 1.0,
) -> np.ndarray:
    name = f"{type(selector).__name__}(dense=true)"
    given, order = similarities(name, candidates, neighbors=selector.neighbors, dense=selector.dense)
    way = _WAYS[selector.optimizer]
    chosen, _ = greedily(
        given, count, rule=rule, way=way, penalty=penalty, saturation=saturation, epsilon=selector.epsilon, rng=rng
    )
    return order[chosen]


def _check(selector: Submodular) -> None:
    name = type(selector).__name__
    if selector.neighbors < 1:
        raise MethodError(
            f"{name}(neighbors={selector.neighbors}): without neighbours nothing is similar. Use 1 or more."
        )
    if not 0 < selector.epsilon < 1:
        raise MethodError(
            f"{name}(epsilon={selector.epsilon:g}): not a share of the answer's worth to give up. Use a number between "
            "0 and 1, such as 0.1."
        )


def _estimate(selector: Submodular, candidates: Candidates, count: int) -> Estimate:
    size = len(candidates)
    row = size if selector.dense else 2 * selector.neighbors
    memory = 4.0 * size**2 if selector.dense else 30.0 * size * selector.neighbors
    evaluated = {"naive": size * count, "lazy": size + 25 * count, "stochastic": 3 * size}[selector.optimizer]
    operations = 500.0 * evaluated * row  # what a product would do while memory answers one step of a loop
    if candidates.embeddings is not None and (selector.dense or candidates.graph is None):
        operations += 2.0 * size**2 * candidates.embeddings.shape[1]
    return Estimate(operations, memory)
