"""Near-duplicates: of each group of examples that say the same, one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from paredown.artifacts.uids import ranked
from paredown.compiled import compiled
from paredown.data.device import choose as device_of
from paredown.errors import MethodError
from paredown.neighbors import Neighbors
from paredown.neighbors.base import refuse_bad_vectors, slices
from paredown.neighbors.bounds import full_precision
from paredown.selection.base import AbstractSelector, Estimate
from paredown.selection.candidates import Candidates
from paredown.selection.grid import BLOCK, KEPT, directed, in_order

Keep = Literal["important", "central", "first"]

TILE = 1024
"""Vectors on each side of a block of products."""
SLACK = 1e-9
"""A similarity this little below the threshold reaches it: rounding must not part equal vectors."""
PAIRS = 8192
"""Pairs that are compared in float64 at a time, at first."""


@dataclass(frozen=True)
class NearDuplicates(AbstractSelector):
    """Near-duplicates: groups of examples linked by a cosine similarity of at least a threshold, and one of each.

    As in SemDeDup (Abbas et al. 2023, section 3), without its clusters: every pair is compared, so none is missed.
    Groups are the connected components: a chain of similar examples is one group although its ends may differ. How
    many are kept is the number of groups, unless a count is given: the ones that stay for each group come first, in the
    order of importance where there is one, else of their ids, then the others in the same way.

    Given a graph in place of embeddings, its edges are the pairs that can be found: those between an example and
    neighbours beyond the graph's k are not seen, so a group larger than k may fall apart.

    Args:
        threshold: cosine similarity from which two examples are near-duplicates, above 0, at most 1.
        keep: which of a group stays: "important", the most important, where there is a score with a direction, else as
            "first"; "central", the most similar to the mean of its group, needs embeddings; "first", the lowest id.
    """

    threshold: float = 0.95
    keep: Keep = "important"

    needs: ClassVar[frozenset[str]] = frozenset()
    either: ClassVar[frozenset[str]] = frozenset({"graph", "embeddings"})
    uses: ClassVar[frozenset[str]] = frozenset({"importance"})
    decides: ClassVar[bool] = True
    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Abbas et al. 2023, SemDeDup: Data-efficient Learning at Web-scale through Deduplication"

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise MethodError(
                f"NearDuplicates(threshold={self.threshold:g}): not a cosine similarity that near-duplicates reach. "
                "Use a number above 0, at most 1, such as 0.95."
            )

    def size(self, candidates: Candidates) -> int:
        return int(self._grouped(candidates, ranked(candidates.keys)).max()) + 1

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return self._ordered(candidates)[0][:count]

    def decided(self, candidates: Candidates, rng: np.random.Generator) -> np.ndarray:
        order, groups = self._ordered(candidates)
        return order[:groups]

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        if candidates.embeddings is None:
            return None
        size, width = candidates.embeddings.shape
        return Estimate(1.0 * size**2 * (width + 64), 4.0 * size * width, rate=60e9)

    def _grouped(self, candidates: Candidates, order: np.ndarray) -> np.ndarray:
        if candidates.embeddings is None:
            assert candidates.graph is not None, "choose() checks what a selector needs"
            return linked(candidates.graph.take(order), self.threshold)
        keys = candidates.keys[order]
        vectors = in_order(candidates, order)
        return groups(vectors, self.threshold, device=candidates.device, keys=keys)

    def _ordered(self, candidates: Candidates) -> tuple[np.ndarray, int]:
        """Gives all candidates in order, and how many groups there are."""
        order = ranked(candidates.keys)
        group = self._grouped(candidates, order)
        importance = None if candidates.importance is None else candidates.importance[order]
        worth = np.zeros(len(order)) if importance is None else importance
        rank = np.argsort(-worth, kind="stable")
        if self.keep == "central":
            if candidates.embeddings is None:
                raise MethodError(
                    "NearDuplicates(keep=central): the centre of a group is a mean of embeddings, and only a graph was "
                    "given. Pass embeddings= in place of graph=, or keep the important or the first."
                )
            among = np.argsort(-_to_center(in_order(candidates, order), group), kind="stable")
        else:
            among = rank if self.keep == "important" else np.arange(len(order))
        stays = np.zeros(len(order), bool)
        _, firsts = np.unique(group[among], return_index=True)
        stays[among[firsts]] = True
        return order[np.concatenate([rank[stays[rank]], rank[~stays[rank]]])], len(firsts)


def groups(vectors: Any, threshold: float, *, device: str = "cpu", keys: np.ndarray | None = None) -> np.ndarray:
    """Gives the group of each vector, int64 (N,), numbered in the order of their first members.

    Two vectors whose cosine similarity is at least the threshold are in one group, and so are those that are linked
    through others. N²·D operations in float32, in blocks; a pair that these cannot decide is compared in float64. Pairs
    are joined as they are found, so that memory does not grow with their number.

    Args:
        vectors: (N, D), an array or rows that are read as they are indexed.
        threshold: at most 1.
        device: where products are made.
        keys: of the vectors, for the sentence about one that cannot be used.

    Raises:
        MethodError: a vector is zero, NaN or infinite.
    """
    refuse_bad_vectors(vectors, metric="cosine", keys=keys)
    size, width = vectors.shape
    where = device_of(device)
    parent = np.arange(size)
    wrong = (width + 4) * 2.0**-24  # what the product of two vectors of length 1 can lose in float32
    held = _units(vectors, slice(0, size), where) if 4 * size * width <= KEPT else None
    for rows in slices(size, TILE if held is not None else max(TILE, BLOCK // width)):
        left = held[rows] if held is not None else _units(vectors, rows, where)
        for columns in slices(size - rows.start, TILE):
            columns = slice(rows.start + columns.start, rows.start + columns.stop)
            right = held[columns] if held is not None else _units(vectors, columns, where)
            with full_precision():
                product = left @ right.T
            hit = (product.amax(dim=1) >= threshold - wrong).nonzero()[:, 0]
            product = product[hit]
            near = (product >= threshold - wrong).nonzero()
            similar = product[near[:, 0], near[:, 1]].cpu().numpy()
            one, other = hit[near[:, 0]].cpu().numpy() + rows.start, near[:, 1].cpu().numpy() + columns.start
            sure = similar >= threshold + wrong
            _join(parent, one[sure], other[sure])
            _compare(parent, vectors, one[~sure], other[~sure], threshold)
    return np.unique(_roots(parent), return_inverse=True)[1]


def linked(graph: Neighbors, threshold: float) -> np.ndarray:
    """Gives the group of each example, int64 (N,), as `groups` does, by the edges of a graph alone.

    Args:
        graph: nearest neighbours by cosine; its distances are 1 - similarity.
        threshold: at most 1.

    Raises:
        MethodError: the distances are Euclidean.
    """
    if graph.metric != "cosine":
        raise MethodError(
            "NearDuplicates: a cosine similarity is compared, and the distances of this graph are Euclidean. Connect "
            "embeddings whose metric is cosine, or pass embeddings= in place of graph=."
        )
    parent = np.arange(len(graph))
    for rows in slices(len(graph), max(1, BLOCK // max(1, graph.width))):
        positions, distances = np.asarray(graph.positions[rows]), np.asarray(graph.distances[rows])
        row, column = np.nonzero((positions >= 0) & (distances <= 1 - threshold + 1e-6))
        _join(parent, row + rows.start, positions[row, column].astype(np.int64))
    return np.unique(_roots(parent), return_inverse=True)[1]


def _units(vectors: Any, where: slice, device: torch.device) -> torch.Tensor:
    made = torch.empty(where.stop - where.start, vectors.shape[1], device=device)
    for part in slices(where.stop - where.start, max(1, BLOCK // vectors.shape[1])):
        read = np.asarray(vectors[where.start + part.start : where.start + part.stop])
        made[part] = torch.from_numpy(directed(read, "cosine")).to(device).float()
    return made


def _compare(parent: np.ndarray, vectors: Any, one: np.ndarray, other: np.ndarray, threshold: float) -> None:
    """Joins those pairs that reach the threshold in float64; pairs that others have joined meanwhile need no look."""
    most = PAIRS
    while len(one):
        roots = _roots(parent)
        apart = roots[one] != roots[other]
        one, other = one[apart], other[apart]
        first, second = (directed(np.asarray(vectors[side[:most]]), "cosine") for side in (one, other))
        reached = (first * second).sum(axis=1) >= threshold - SLACK
        _join(parent, one[:most][reached], other[:most][reached])
        one, other = one[most:], other[most:]
        most = min(2 * most, BLOCK // vectors.shape[1] + 1)


@compiled
def _join(parent: np.ndarray, one: np.ndarray, other: np.ndarray) -> None:
    """Joins the groups of pairs; the root of a group is its lowest member."""
    for pair in range(len(one)):
        first, second = one[pair], other[pair]
        while parent[first] != first:
            parent[first] = parent[parent[first]]
            first = parent[first]
        while parent[second] != second:
            parent[second] = parent[parent[second]]
            second = parent[second]
        if first < second:
            parent[second] = first
        else:
            parent[first] = second


@compiled
def _roots(parent: np.ndarray) -> np.ndarray:
    """Gives the root of each; no parent stands above its child, so one pass finds it."""
    roots = parent.copy()
    for row in range(len(roots)):
        roots[row] = roots[roots[row]]
    return roots


def _to_center(vectors: Any, group: np.ndarray) -> np.ndarray:
    """Gives the inner product of each direction with the mean direction of its group, 0 where it is alone; (N,)."""
    sizes = np.bincount(group)
    rows = np.flatnonzero(sizes[group] > 1)
    number = np.unique(group[rows], return_inverse=True)[1]
    total = np.zeros((number.max(initial=-1) + 1, vectors.shape[1]))
    similar = np.zeros(len(group))
    parts = list(slices(len(rows), max(1, BLOCK // vectors.shape[1])))
    for part in parts:
        np.add.at(total, number[part], directed(np.asarray(vectors[rows[part]]), "cosine"))
    total /= np.maximum(np.bincount(number), 1)[:, None]
    for part in parts:
        similar[rows[part]] = (directed(np.asarray(vectors[rows[part]]), "cosine") * total[number[part]]).sum(axis=1)
    # Of two members both are equally central, whatever rounding says.
    return similar.round(9)
