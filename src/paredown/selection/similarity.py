"""From distances to similarities: of the nearest neighbours, or of all pairs where they fit."""

from __future__ import annotations

import numpy as np

from paredown.artifacts.shards import blocks
from paredown.artifacts.uids import ranked
from paredown.errors import MethodError
from paredown.neighbors import Neighbors, nearest_neighbors
from paredown.selection.candidates import Candidates
from paredown.selection.greedy import Similarities, symmetric
from paredown.selection.grid import Grid, in_order

LARGEST = 4 * 2**30
"""Bytes that the similarities of all pairs may take: those of 32,768 examples."""
UNIT = 2.0**24


def similarity(distances: np.ndarray, *, metric: str, scale: float) -> np.ndarray:
    """Gives the similarity of each distance, in [0, 1], float32, rounded to a multiple of 2⁻²⁴.

    Euclidean: exp(-d² / (2 h²)). Cosine, d = 1 - cos: max(0, 1 - d), which is cos.

    Args:
        distances: d, any shape; infinite where there is no example.
        metric: "euclidean" or "cosine".
        scale: h.
    """
    d = np.asarray(distances, np.float64)
    if metric == "cosine":
        similar = np.clip(1 - d, 0, 1)
    elif scale > 0:
        similar = np.exp(-0.5 * (d / scale) ** 2)
    else:
        similar = (d == 0).astype(np.float64)
    return (np.rint(similar * UNIT) / UNIT).astype(np.float32)


def of_neighbors(graph: Neighbors) -> Similarities:
    """Gives the similarities of a graph, symmetric: an edge of either direction joins both.

    h is the mean distance over all edges.

    Args:
        graph: k neighbours of each; some 30·N·k bytes are needed beside them.
    """
    size, width = len(graph), graph.width
    scale = _mean(graph.distances) if graph.metric == "euclidean" else 0.0
    similar = np.empty((size, width), np.float32)
    for start, part in blocks(graph.distances):
        similar[start : start + len(part)] = similarity(part, metric=graph.metric, scale=scale)
    entries = size + 2 * size * width
    starts, columns, values = np.empty(size + 1, np.int64), np.empty(entries, np.int32), np.empty(entries, np.float32)
    end = symmetric(np.asarray(graph.positions), similar, starts, columns, values)
    return Similarities(starts, columns[:end], values[:end])


def of_all_pairs(grid: Grid, width: int) -> Similarities:
    """Gives the similarities of all pairs, 4·N² bytes; h is the mean distance to the `width` nearest others.

    Args:
        grid: the vectors.
        width: how many neighbours h is taken over.
    """
    size = len(grid)
    values = np.empty((size, size), np.float32)
    near, width = 0.0, min(width, size - 1)
    for where, part in grid.parts(size):
        squared = np.empty((len(part), size))
        for other, rows in grid.parts(len(part)):
            squared[:, other] = (part @ rows.T).cpu().numpy()
        squared *= -2
        squared += grid.squares
        squared += grid.squares[where, None]
        np.sqrt(squared, out=squared)
        squared /= grid.scale
        values[where] = squared
        if width:
            near += float(np.partition(squared, width, axis=1)[:, : width + 1].sum())
    scale = near / (size * width) if width else 0.0
    for start, distances in blocks(values):
        # Of vectors of length 1 at distance d the cosine is 1 - d²/2.
        apart = distances.astype(np.float64) ** 2 / 2 if grid.metric == "cosine" else distances
        values[start : start + len(apart)] = similarity(apart, metric=grid.metric, scale=scale)
    np.fill_diagonal(values, 1.0)
    return Similarities(np.arange(size + 1) * size, np.empty(0, np.int32), values.reshape(-1))


def similarities(name: str, candidates: Candidates, *, neighbors: int, dense: bool) -> tuple[Similarities, np.ndarray]:
    """Gives the similarities between candidates, and their positions in the order of the keys, which is that of rows.

    Args:
        name: of the selector with its field, for the sentences.
        candidates: with a graph or embeddings.
        neighbors: how many of each example's neighbours count; a graph may hold fewer.
        dense: all pairs, whatever graph there is.

    Raises:
        MethodError: all pairs do not fit, or there are no embeddings to make them of.
    """
    order = ranked(candidates.keys)
    size = len(order)
    if dense:
        if candidates.embeddings is None:
            raise MethodError(
                f"{name}: all pairs are compared through embeddings, and only a graph was given. Pass embeddings= in "
                "place of graph=."
            )
        if 4 * size**2 > LARGEST:
            raise MethodError(
                f"{name}: the similarities of all pairs of {size:,} examples take {4 * size**2 / 2**30:,.0f} GiB, and "
                f"at most {LARGEST / 2**30:.0f} are held. Leave dense out, or choose class by class or from fewer."
            )
    if dense or candidates.graph is None:
        vectors, keys = in_order(candidates, order), candidates.keys[order]
        metric, device = candidates.metric, candidates.device
        if dense:
            return of_all_pairs(Grid(vectors, metric=metric, device=device, keys=keys), neighbors), order
        graph = nearest_neighbors(vectors, neighbors, metric=metric, device=device, keys=keys)
    else:
        graph = candidates.graph.take(order)
        graph = Neighbors(graph.positions[:, :neighbors], graph.distances[:, :neighbors], graph.metric)
    return of_neighbors(graph), order


def _mean(distances: np.ndarray) -> float:
    total, count = 0.0, 0
    for _, part in blocks(distances):
        finite = part[np.isfinite(part)]
        total, count = total + float(finite.sum(dtype=np.float64)), count + finite.size
    return total / count if count else 0.0
