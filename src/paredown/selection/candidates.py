"""What a selector may look at, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from paredown.artifacts import EmbeddingMatrix, ExampleIds, NeighborGraph, ScoreTable, Selection
from paredown.artifacts.shards import Rows, View
from paredown.data.dataset import AbstractDataset
from paredown.errors import MethodError
from paredown.neighbors.base import Neighbors

IN_MEMORY = 2 * 2**30
"""Bytes of vectors up to which candidates hold them in memory; more are read as they are needed."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a selector may look at: one row for each example that it may choose.

    Args:
        keys: ids, int64 or 16-byte, shape (N,), each at most once; ties are broken by them.
        values: the score, shape (N,).
        importance: the score turned so that high means important, shape (N,); none where the score has no direction.
        labels: class numbers, shape (N,).
        embeddings: vectors, shape (N, D); where they are too large for memory they are read as they are indexed.
        graph: the nearest neighbours of each candidate among the candidates.
        bins: the number of the bin that each belongs to, int64, shape (N,).
        metric: the distance that is meant between the embeddings.
        factors: the widths of the two parts of each vector, where it stands for their outer product.
        device: where a selector may compute: "cpu", "cuda", "auto".
    """

    keys: np.ndarray
    values: np.ndarray | None = None
    importance: np.ndarray | None = None
    labels: np.ndarray | None = None
    embeddings: np.ndarray | View | None = None
    graph: Neighbors | None = None
    bins: np.ndarray | None = None
    metric: str = field(default="euclidean", kw_only=True)
    factors: tuple[int, ...] = field(default=(), kw_only=True)
    device: str = field(default="cpu", kw_only=True)

    def __post_init__(self) -> None:
        for name in self.columns():
            column = getattr(self, name)
            if column is not None and len(column) != len(self.keys):
                raise MethodError(
                    f"Candidates: {len(self.keys)} keys and {len(column)} {name}. Give one row for each example."
                )

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def columns(cls) -> tuple[str, ...]:
        """The names of what has one row a candidate."""
        return tuple(entry.name for entry in fields(cls) if not entry.kw_only)

    def take(self, positions: np.ndarray) -> Candidates:
        """Gives some of the candidates, in that order; of the graph, the edges between them."""
        taken: dict[str, Any] = {"metric": self.metric, "factors": self.factors, "device": self.device}
        for name in self.columns():
            column = getattr(self, name)
            taken[name] = column.take(positions) if isinstance(column, Neighbors) else pick(column, positions)
        return Candidates(**taken)

    def beginning(self, size: int) -> Candidates:
        """Gives the first so many candidates without reading anything, for what goes by sizes alone."""
        if size >= len(self):
            return self
        columns = {name: getattr(self, name) for name in self.columns()}
        return replace(self, **{name: _first(column, size) for name, column in columns.items()})


@dataclass(frozen=True, eq=False)
class Choice:
    """What a selector answers, where it has more to say than an order.

    Args:
        positions: of the chosen among the candidates, best first.
        weight: how much each chosen example counts in training, shape (K,).
        stratum: the stratum that each was chosen from, int64, shape (K,).
    """

    positions: np.ndarray
    weight: np.ndarray | None = None
    stratum: np.ndarray | None = None


def _first(column: Any, size: int) -> Any:
    if isinstance(column, Neighbors):
        return Neighbors(column.positions[:size], column.distances[:size], column.metric)
    if isinstance(column, View):
        return View(column.rows, column.positions[:size])
    return None if column is None else column[:size]


def pick(rows: Any, positions: np.ndarray) -> Any:
    """Gives some rows: in memory where they fit, else a view that reads them as they are indexed."""
    if rows is None:
        return None
    if isinstance(rows, View):
        rows, positions = rows.rows, rows.positions[positions]
    if isinstance(rows, Rows):
        width = int(np.prod(rows.shape[1:], dtype=np.int64)) * rows.itemsize
        if width * len(positions) > IN_MEMORY:
            return View(rows, positions)
    return rows[positions]


def gather(
    *,
    scores: ScoreTable | None = None,
    data: AbstractDataset | None = None,
    embeddings: EmbeddingMatrix | None = None,
    graph: NeighborGraph | None = None,
    bins: ScoreTable | None = None,
    within: Selection | None = None,
    device: str = "cpu",
) -> tuple[Candidates, ExampleIds, int]:
    """Puts what is known of some examples side by side.

    Returns:
        The candidates, their ids, and how many examples the whole data has.

    Raises:
        PoolMismatch: two of the inputs are of different pools, or one lacks an example that another has.
        MethodError: nothing was given, or bins that are not whole numbers.
    """
    sources: dict[str, Any] = {
        "the scores": scores,
        "the embeddings": embeddings,
        "the graph": graph,
        "the data": data,
        "the bins": bins,
    }
    given = {name: part for name, part in sources.items() if part is not None}
    if not given:
        raise MethodError(
            "select needs scores=, embeddings=, graph= or data= to know what there is to choose from, and has none."
        )
    first, whole = next(iter(given.items()))
    for name, part in given.items():
        whole.ids.same_pool(part.ids, first, name)
    ids = whole.ids if within is None else within.ids

    def rows(name: str) -> np.ndarray:
        return sources[name].ids.positions_of(ids, name, "the candidates")

    values = None if scores is None else scores.values[rows("the scores")]
    directed = scores is not None and scores.important != "none"
    numbers = None
    if bins is not None:
        numbers = bins.values[rows("the bins")]
        if not np.array_equal(numbers, np.floor(numbers)):
            raise MethodError("select(bins=…): bins are whole numbers, and these are not. Give one number a bin.")
        numbers = numbers.astype(np.int64)
    neighbors = None
    if graph is not None:
        neighbors = Neighbors(graph.neighbors, graph.distances, graph.metric).take(rows("the graph"))
    labels = None if data is None or data.labels is None else data.labels[rows("the data")]
    candidates = Candidates(
        ids.keys,
        values=values,
        importance=scores.importance()[rows("the scores")] if scores is not None and directed else None,
        labels=labels,
        embeddings=None if embeddings is None else pick(embeddings.vectors, rows("the embeddings")),
        graph=neighbors,
        bins=numbers,
        metric="euclidean" if embeddings is None else embeddings.metric,
        factors=() if embeddings is None else embeddings.factors,
        device=device,
    )
    return candidates, ids, len(whole.ids)
