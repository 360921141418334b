"""Vectors as points of a Euclidean space, and distances between them that are right to the last digits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from paredown.artifacts.shards import blocks
from paredown.neighbors.base import as_tensor, slices, spread

KEPT_BYTES = 2 * 2**30
"""How much a search keeps in memory of what it would otherwise make again for each block of queries."""

_CACHE_BYTES = 2 * 2**20
_READ_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Space:
    """Points on a device: the vectors themselves, or their directions where the metric is cosine.

    Between directions the squared Euclidean distance is twice 1 - cosine similarity, so that one search serves both
    metrics, and a near-duplicate has a small distance instead of the difference of two large numbers.

    Args:
        vectors: (N, D): an array, or rows that are read when they are indexed.
        metric: "euclidean" or "cosine".
        device: where the points lie.
        dtype: float64 where the vectors are float64, else float32.
        scale: a power of two by which the points are multiplied, so that squares neither overflow nor vanish.
        largest: no point is longer than this.
        centre: the mean of the points, (D,).
        kept: all the points, where they fit.
        copied: bytes of them that are not the vectors themselves.
    """

    vectors: Any
    metric: str
    device: torch.device
    dtype: torch.dtype
    scale: float
    largest: float
    centre: torch.Tensor
    kept: torch.Tensor | None
    copied: int

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def reported_type(self) -> type:
        """The type of distances that are reported."""
        return np.float64 if self.dtype == torch.float64 else np.float32

    @property
    def width(self) -> int:
        """How many coordinates a point has, D."""
        return int(self.vectors.shape[1])

    def points(self, vectors: np.ndarray) -> torch.Tensor:
        """Gives the points of some vectors, (n, D)."""
        return _points(vectors, self.metric, self.scale, self.dtype, self.device)

    def at(self, positions: torch.Tensor) -> torch.Tensor:
        """Gives the points at some positions, with the shape of the positions before the coordinates."""
        if self.kept is not None:
            return self.kept[positions]
        read = self.points(self.vectors[positions.flatten().cpu().numpy()])
        return read.view(*positions.shape, self.width)

    def between(self, start: int, stop: int) -> torch.Tensor:
        """Gives consecutive points."""
        return self.kept[start:stop] if self.kept is not None else self.points(np.asarray(self.vectors[start:stop]))

    def distances(self, queries: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Gives the distances of each query from some points of its own, computed from the differences.

        A distance depends on its two points only, bit by bit: not on what is computed beside it.

        Args:
            queries: points, (Q, D).
            positions: which points, (Q, m).

        Returns:
            Euclidean distances between points, (Q, m); see `reported`.
        """
        found = torch.empty(positions.shape, dtype=self.dtype, device=self.device)

        def look(part: slice) -> None:
            found[part] = _apart(queries[part], self.at(positions[part]))

        spread(look, self._parts(len(queries), positions.shape[1]), self.device)
        return found

    def pairs(self, queries: torch.Tensor, query: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Gives the same distances for a list of pairs.

        Args:
            queries: points, (Q, D).
            query: which of them, (P,).
            positions: which point, (P,).
        """
        found = torch.empty(len(query), dtype=self.dtype, device=self.device)

        def look(part: slice) -> None:
            found[part] = _apart(queries[query[part]], self.at(positions[part])[:, None])[:, 0]

        spread(look, self._parts(len(query), 1), self.device)
        return found

    def _parts(self, rows: int, count: int) -> Iterator[slice]:
        # What is copied from memory should stay in the cache of a core; a disk is read in larger pieces.
        room = _CACHE_BYTES if self.kept is not None and self.device.type == "cpu" else _READ_BYTES
        return slices(rows, max(1, room // max(1, count * self.width * self.dtype.itemsize)))

    def reported(self, distances: torch.Tensor) -> np.ndarray:
        """Gives distances between points as distances of the metric."""
        found = distances.square() / 2 if self.metric == "cosine" else distances / self.scale
        return found.cpu().numpy()


def space_of(vectors: Any, *, metric: str, device: torch.device, kept_bytes: int = KEPT_BYTES) -> Space:
    """Makes a space of vectors: looks at all of them once, for their mean and their size.

    Args:
        vectors: (N, D), N at least 1.
        metric: "euclidean" or "cosine".
        device: where to compute.
        kept_bytes: keep the points in memory when they take no more.
    """
    dtype = torch.float32 if vectors.dtype in (np.float16, np.float32) else torch.float64
    scale = 1.0
    if metric == "euclidean":
        peak = max(float(as_tensor(block).abs().amax()) for _, block in blocks(vectors))
        largest = peak * math.sqrt(vectors.shape[1])
        # In between, squares and their rounding errors are ordinary numbers, also in bfloat16.
        if largest and not 2.0**-10 <= largest <= 2.0**40:
            scale = 2.0 ** -math.frexp(largest)[1]
    else:
        largest = 1.0
    size = len(vectors) * vectors.shape[1] * dtype.itemsize
    room = kept_bytes if device.type != "cuda" else torch.cuda.mem_get_info(device)[0] // 4
    as_it_is = metric == "euclidean" and scale == 1 and vectors.dtype == np.float32 and device.type == "cpu"
    shared = as_it_is and isinstance(vectors, np.ndarray)
    kept = None
    if shared:
        kept = _points(vectors, metric, scale, dtype, device)
    elif size <= room:
        kept = torch.empty(vectors.shape, dtype=dtype, device=device)
    total = torch.zeros(vectors.shape[1], dtype=torch.float64)
    for start, block in blocks(vectors, size=max(1, 2**21 // vectors.shape[1])):
        points = _points(block, metric, scale, dtype, device)
        if kept is not None and not shared:
            kept[start : start + len(block)] = points
        total += points.sum(0).cpu()
    centre = (total / max(1, len(vectors))).to(device, dtype)
    copied = 0 if kept is None or shared else size
    return Space(vectors, metric, device, dtype, scale, largest * scale, centre, kept, copied)


def _apart(queries: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Gives the distances of each query (Q, D) from its own points (Q, m, D), from the differences of coordinates."""
    return torch.cdist(queries[:, None], points, compute_mode="donot_use_mm_for_euclid_dist")[:, 0]


def _points(vectors: np.ndarray, metric: str, scale: float, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    read = as_tensor(vectors).to(device)
    if metric == "cosine":
        # In float64, so that a direction does not depend on the length that it is taken from.
        wide = read if device.type == "mps" else read.double()
        return (wide / torch.linalg.vector_norm(wide, dim=1, keepdim=True)).to(dtype)
    read = read.to(dtype)
    return read if scale == 1 else read * scale
