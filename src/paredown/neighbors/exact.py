"""Exact search: blocks of a product of matrices, on any device, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from paredown.data.device import choose, fast_bfloat16
from paredown.errors import MethodError
from paredown.estimate import Estimate
from paredown.neighbors.base import AbstractIndex, Neighbors, refuse_bad_vectors, slices, spread, without_self
from paredown.neighbors.bounds import full_precision, largest, lower, operand, product_rate
from paredown.neighbors.settle import merged, reach, settled
from paredown.neighbors.space import KEPT_BYTES, Space, space_of

COLUMNS = 24 * 1024
"""The most columns of one product."""

TILE_BYTES = 8 * 2**20
"""The answers of one product on one core: they are looked at more than once, so they should not leave its cache."""


@dataclass(frozen=True)
class Exact(AbstractIndex):
    """Exact: every query against every vector, 2·Q·N·D operations.

    A product of matrices finds a few candidates for each query and proves that no other vector can be nearer
    (`neighbors.bounds`); their distances are then computed from the differences of coordinates, so that duplicates have
    distance 0. Where the proof fails, as among many equal vectors, all that could be nearer are looked at. Ties of
    equal distance go to the lower position. Neither the device nor a block changes more than the last digit of a
    distance.
    """

    exact: ClassVar[bool] = True
    together: ClassVar[int] = 4096

    def estimate(self, size: int, width: int) -> Estimate:
        return Estimate(2.0 * size**2 * (width + 64), 2.0 * size * width + 2**29, rate=product_rate())

    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Search:
        # The columns of the product are needed for every query, the points themselves for a few candidates.
        columns = len(vectors) * (vectors.shape[1] + 8) * 4
        space = space_of(vectors, metric=metric, device=device, kept_bytes=max(0, KEPT_BYTES - columns))
        narrow = device.type == "cpu" and space.dtype == torch.float32 and fast_bfloat16(device)
        return Search(space, narrow, block_mb * 2**20, KEPT_BYTES - space.copied)

    def nearest(self, state: Search, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(state.space))
        found = []
        with full_precision():
            for part in slices(len(queries), self.together):
                points = state.space.points(queries[part])
                found.append(_nearest(state, points, k))
        positions = torch.cat([part for part, _ in found]) if found else torch.empty(0, k, dtype=torch.int64)
        distances = torch.cat([part for _, part in found]) if found else torch.empty(0, k)
        return positions.cpu().numpy(), state.space.reported(distances)


@dataclass(eq=False)
class Search:
    """Some points, and what the product needs of them.

    Args:
        space: the points.
        narrow: whether bfloat16 finds the candidates; no longer once it has turned out too coarse for them.
        block_bytes: what a block may take.
        room: bytes of columns that may be kept.
        kept: the columns of the product, where they fit.
    """

    space: Space
    narrow: bool
    block_bytes: int
    room: int
    kept: dict[bool, list[torch.Tensor]] = field(default_factory=dict)

    def columns(self, narrow: bool) -> Iterator[tuple[int, torch.Tensor]]:
        """Gives the first position and the operand of consecutive blocks of points."""
        size = len(self.space)
        step = -(-size // -(-size // min(COLUMNS, max(1024, self.block_bytes // (16 * self.space.width)))))
        held = self.kept.get(narrow, [])
        for number, part in enumerate(slices(size, step)):
            if number < len(held):
                yield part.start, held[number]
                continue
            points = self.space.between(part.start, part.stop)
            made = operand(points, self.space.centre, narrow=narrow, query=False)
            others = sum(part.nbytes for part in self.kept.get(not narrow, []))
            if others + size * made.shape[1] * made.itemsize <= self.room:
                self.kept.setdefault(narrow, []).append(made)
            yield part.start, made


def nearest_neighbors(
    vectors: Any, k: int, *, metric: str = "euclidean", device: str = "cpu", keys: np.ndarray | None = None
) -> Neighbors:
    """Gives the k nearest others of each vector, exactly, in memory.

    Args:
        vectors: (N, D), float16, float32 or float64; float64 is computed in float64.
        k: how many; cut to N - 1.
        metric: "euclidean" or "cosine".
        device: where to compute.
        keys: ids of the vectors, by which a message names one.

    Returns:
        Positions and distances, (N, k), nearest first, ties by position. An example is never its own neighbour, and an
        exact duplicate is one at distance 0.

    Raises:
        MethodError: k is below 1, or a vector has no neighbours.
    """
    if k < 1:
        raise MethodError(f"nearest_neighbors(k={k}): at least one neighbour is needed.")
    vectors = vectors if hasattr(vectors, "dtype") else np.asarray(vectors)
    refuse_bad_vectors(vectors, metric=metric, keys=keys)
    k = max(0, min(k, len(vectors) - 1))
    if k == 0:
        return Neighbors(np.empty((len(vectors), 0), np.int32), np.empty((len(vectors), 0), np.float32), metric)
    index = Exact()
    state = index.prepare(vectors, metric=metric, device=choose(device), block_mb=256, folder=None)
    positions = np.empty((len(vectors), k), np.int32 if len(vectors) < 2**31 else np.int64)
    distances: np.ndarray = np.empty(positions.shape, state.space.reported_type)
    for part in slices(len(vectors), index.together):
        rows = np.arange(part.start, part.stop)
        found = index.nearest(state, np.asarray(vectors[part]), k + 1)
        positions[part], distances[part] = without_self(*found, rows)
    return Neighbors(positions, distances, metric)


def _nearest(search: Search, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    narrow, size = search.narrow, len(search.space)
    count = min(size, 4 * k + 16 if narrow else k + 8)
    bounds, candidates = _candidates(search, queries, count, narrow=narrow)
    positions, distances = settled(search.space, queries, bounds, candidates, k)
    if count == size:
        return positions, distances
    (doubtful,) = (bounds[:, -1] <= reach(search.space, distances)).nonzero(as_tuple=True)
    if len(doubtful):
        found = _surely(search, queries[doubtful], reach(search.space, distances[doubtful]), k)
        positions[doubtful], distances[doubtful] = found
        # In such cases a product in float32 alone is faster than both.
        search.narrow = narrow and len(doubtful) < len(queries) / 2
    return positions, distances


def _candidates(
    search: Search, queries: torch.Tensor, count: int, *, narrow: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    # The smallest lower bounds of squared distances, ascending, and whose they are.
    rows = operand(queries, search.space.centre, narrow=narrow, query=True)
    shape = (len(queries), count)
    answers = torch.full(shape, -torch.inf, dtype=rows.dtype, device=rows.device)
    positions = torch.zeros(shape, dtype=torch.int64, device=rows.device)
    room = min(search.block_bytes // 2, TILE_BYTES) if rows.device.type == "cpu" else search.block_bytes
    for start, columns in search.columns(narrow):

        def look(part: slice, start: int = start, columns: torch.Tensor = columns) -> None:
            best, where = largest(rows[part] @ columns.T, count)
            best, where = torch.cat([answers[part], best], 1), torch.cat([positions[part], where + start], 1)
            answers[part], order = best.topk(count, dim=1, sorted=False)
            positions[part] = where.gather(1, order)

        spread(look, slices(len(rows), max(64, room // (len(columns) * rows.itemsize))), rows.device)
    answers, order = answers.sort(dim=1, descending=True)
    return lower(answers), positions.gather(1, order)


def _surely(search: Search, queries: torch.Tensor, limits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    # The k nearest of each query, among all points that are not surely farther than its limit.
    rows = operand(queries, search.space.centre, narrow=False, query=True)
    distances = torch.full((len(rows), k), torch.inf, dtype=rows.dtype, device=rows.device)
    positions = torch.full((len(rows), k), len(search.space), dtype=torch.int64, device=rows.device)
    for start, block in search.columns(False):
        for inner in slices(len(block), 2048):
            columns, first = block[inner], start + inner.start
            # Positions ascend, and of equal distances the lower position counts: k duplicates cannot be beaten.
            (left,) = (distances[:, -1] > 0).nonzero(as_tuple=True)
            for part in slices(len(left), max(1, search.block_bytes // (64 * len(columns)))):
                these = left[part]
                query, column = (rows[these] @ columns.T >= -limits[these, None] / 2).nonzero(as_tuple=True)
                positions[these], distances[these] = merged(
                    search.space, queries[these], positions[these], distances[these], query, first + column
                )
                limits[these] = torch.minimum(limits[these], reach(search.space, distances[these]))
    return positions, distances
