"""How a selection lies among the examples: how well it covers them, and how often it repeats itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts import EmbeddingMatrix, Selection
from paredown.data.dataset import AbstractDataset
from paredown.data.device import choose
from paredown.errors import MethodError
from paredown.evaluation.base import AbstractSelectionProbe
from paredown.neighbors import Exact
from paredown.neighbors.base import refuse_bad_vectors, slices, without_self
from paredown.neighbors.coverage import QUERIES, to_nearest
from paredown.rng import stream
from paredown.runtime import Runtime
from paredown.selection.candidates import pick


@dataclass(frozen=True)
class Coverage(AbstractSelectionProbe):
    """Coverage: how far the examples that were left out lie from the nearest chosen one.

    - `coverage`: the mean, AUCpr of Zheng, Liu, Lai, Prakash 2023 (ICLR), section 3: (1 / |V∖S|) Σ min_j d(x_i, x_j),
      j among the chosen S. Lower covers the data better; 0 where nothing was left out. The spread is its standard error
      over the examples.
    - `coverage radius`: the largest of these distances, which k-centre makes small; only where all are looked at.

    Distances are those of the embeddings' metric and have no scale of their own: compare selections of one size in one
    embedding. Cost: 2 · |V∖S| · |S| · D operations, in blocks.

    Args:
        sample: look at so many of the examples that were left out, drawn by chance; by default at all.
    """

    sample: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})

    def __post_init__(self) -> None:
        _check_sample(type(self).__name__, self.sample)

    def measure(
        self,
        selection: Selection,
        data: AbstractDataset,
        *,
        others: Sequence[Selection],
        embeddings: EmbeddingMatrix | None,
        runtime: Runtime,
        seed: int,
    ) -> list[Mapping[str, Any]]:
        matrix = _distances_of(embeddings, "Coverage")
        chosen = matrix.ids.positions_of(selection.ids, "the embeddings", "the selection")
        left = np.setdiff1d(matrix.ids.positions_of(data.ids, "the embeddings", "the data"), chosen)
        if len(left) == 0:
            nothing = {"value": 0.0, "n": 1, "spread": None}
            return [{"metric": "coverage", **nothing}, {"metric": "coverage radius", **nothing}]
        asked = _drawn(matrix, left, self.sample, seed, "coverage")
        distances = to_nearest(
            pick(matrix.vectors, chosen), pick(matrix.vectors, asked), metric=matrix.metric, device=runtime.device
        )
        rows: list[Mapping[str, Any]] = [_mean("coverage", distances)]
        if len(asked) == len(left):
            rows.append({"metric": "coverage radius", "value": float(distances.max()), "n": 1, "spread": None})
        return rows


@dataclass(frozen=True)
class Redundancy(AbstractSelectionProbe):
    """Redundancy: how near the chosen examples lie to each other.

    - `nearest kept`: the mean distance of a chosen example to the nearest other chosen one. Higher repeats itself less.
    - `redundant`: the share of the chosen for which that distance is at most m, the median of it among as many examples
      that are drawn by chance from the data. About a half for a random selection, less where the chosen keep apart,
      more where they crowd, 1 where all are alike.

    Spreads are standard errors over the examples. Cost: 4 · |S|² · D operations, in blocks.

    Args:
        sample: look at so many of the chosen, drawn by chance; by default at all. Others are searched among all.
    """

    sample: int | None = None

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})

    def __post_init__(self) -> None:
        _check_sample(type(self).__name__, self.sample)

    def measure(
        self,
        selection: Selection,
        data: AbstractDataset,
        *,
        others: Sequence[Selection],
        embeddings: EmbeddingMatrix | None,
        runtime: Runtime,
        seed: int,
    ) -> list[Mapping[str, Any]]:
        matrix = _distances_of(embeddings, "Redundancy")
        if len(selection) < 2:
            raise MethodError("Redundancy: one chosen example has no other beside it. Measure a larger selection.")
        chosen = matrix.ids.positions_of(selection.ids, "the embeddings", "the selection")
        everything = matrix.ids.positions_of(data.ids, "the embeddings", "the data")
        by_chance = _drawn(matrix, everything, len(chosen), seed, "redundancy", "by chance")
        own, chance = (
            nearest_other(matrix, _drawn(matrix, some, self.sample, seed, "redundancy"), some, runtime=runtime)
            for some in (chosen, by_chance)
        )
        share = float((own <= np.median(chance)).mean())
        error = math.sqrt(share * (1 - share) / len(own)) if len(own) > 1 else None
        return [
            _mean("nearest kept", own),
            {"metric": "redundant", "value": share, "n": len(own), "spread": error},
        ]


def nearest_other(matrix: EmbeddingMatrix, asked: np.ndarray, among: np.ndarray, *, runtime: Runtime) -> np.ndarray:
    """Gives the distance of some vectors to the nearest other one, float64, shape (len(asked),).

    Args:
        matrix: the vectors.
        asked: positions of some of those that are searched among.
        among: positions of those that are searched among, two at least.
        runtime: its device and the memory of a block.
    """
    vectors, index = pick(matrix.vectors, among), Exact()
    refuse_bad_vectors(vectors, metric=matrix.metric, keys=matrix.ids.keys[among])
    state = index.prepare(
        vectors, metric=matrix.metric, device=choose(runtime.device), block_mb=runtime.block_mb, folder=None
    )
    place = np.full(len(matrix.ids), -1, np.int64)
    place[among] = np.arange(len(among))
    found = np.empty(len(asked))
    for part in slices(len(asked), QUERIES):
        queries = np.asarray(matrix.vectors[asked[part]])
        found[part] = without_self(*index.nearest(state, queries, 2), place[asked[part]])[1][:, 0]
    return found


def _distances_of(embeddings: EmbeddingMatrix | None, name: str) -> EmbeddingMatrix:
    assert embeddings is not None, "measured() checks what a probe needs"
    if embeddings.factors:
        raise MethodError(
            f"{name}: these embeddings stand for outer products, between which no nearest one is searched. "
            "Embed with another encoder, such as penultimate."
        )
    return embeddings


def _check_sample(name: str, sample: int | None) -> None:
    if sample is not None and sample < 1:
        raise MethodError(f"{name}(sample={sample}): a mean needs at least one example. Leave it out to look at all.")


def _drawn(matrix: EmbeddingMatrix, positions: np.ndarray, count: int | None, seed: int, *names: str) -> np.ndarray:
    """Gives so many of some positions, drawn by chance whatever their order; all of them where there are no more."""
    if count is None or count >= len(positions):
        return positions
    by_id = positions[np.argsort(matrix.ids.keys[positions], kind="stable")]
    return stream(seed, *names).choice(by_id, count, replace=False)


def _mean(metric: str, values: np.ndarray) -> Mapping[str, Any]:
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return {"metric": metric, "value": float(values.mean()), "n": len(values), "spread": error}
