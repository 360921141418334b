"""The loops of D2: a graph as an array of edges, messages over it, and the choice that damps what is near.

Edges lie row by row: those of node i are the entries `begin[i]` to `begin[i + 1]` of `target` (the other end) and of
`length` (what stands in the exponent of the kernel: the distance, scaled, to its power). An edge costs 12 bytes an end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paredown.compiled import compiled, inline


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of N nodes, row by row.

    Args:
        begin: where the edges of each node begin, int64, shape (N + 1,).
        target: the node at the other end, shape (E,).
        length: d^p, float64, shape (E,); the weight of an edge is exp(-γ · length).
    """

    begin: np.ndarray
    target: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.begin) - 1

    @property
    def degree(self) -> np.ndarray:
        """How many edges each node has, int64, shape (N,)."""
        return np.diff(self.begin)


def directed(neighbors: np.ndarray, length: np.ndarray) -> Edges:
    """Gives the edges as they are: each node sends and hears along its own neighbours only.

    Args:
        neighbors: positions, shape (N, k); -1 where there is none.
        length: shape (N, k).
    """
    there = neighbors >= 0
    begin = np.concatenate([[0], np.cumsum(there.sum(axis=1))])
    return Edges(begin, neighbors[there], length[there].astype(np.float64, copy=False))


def mutual(neighbors: np.ndarray, length: np.ndarray) -> Edges:
    """Gives an undirected graph: an edge wherever one of two is among the other's neighbours.

    Where both are and the lengths differ, as an approximate search may leave them, the shorter counts.

    Args:
        neighbors: positions, shape (N, k); -1 where there is none.
        length: shape (N, k).
    """
    begin = np.zeros(len(neighbors) + 1, dtype=np.int64)
    target, distance = np.empty(0, neighbors.dtype), np.empty(0)
    _join(neighbors, length, begin[1:], target, distance, False)
    np.cumsum(begin, out=begin)
    target, distance = np.empty(begin[-1], neighbors.dtype), np.empty(begin[-1])
    _join(neighbors, length, begin[:-1].copy(), target, distance, True)
    return Edges(begin, target, distance)


@compiled
def _join(
    neighbors: np.ndarray, length: np.ndarray, cursor: np.ndarray, target: np.ndarray, distance: np.ndarray, fill: bool
) -> None:
    """Counts the edges of each node in `cursor`, or writes them from there on."""
    for i in range(neighbors.shape[0]):
        for column in range(neighbors.shape[1]):
            j = neighbors[i, column]
            if j < 0:
                continue
            shortest = length[i, column]
            seen = False
            for back in range(neighbors.shape[1]):
                if neighbors[j, back] == i:
                    seen = j < i
                    shortest = min(shortest, length[j, back])
            if seen:  # it was made from the other end
                continue
            if fill:
                target[cursor[i]], distance[cursor[i]] = j, shortest
                target[cursor[j]], distance[cursor[j]] = i, shortest
            cursor[i] += 1
            cursor[j] += 1


def heard(edges: Edges, sent: np.ndarray, gamma: float) -> np.ndarray:
    """Gives what each node hears: Σ_j exp(-γ · length_ij) · sent_j over its edges, float64, shape (N,)."""
    total = np.zeros(len(edges))
    _hear(edges.begin, edges.target, edges.length, np.asarray(sent, np.float64), float(gamma), total)
    return total


@compiled
def _hear(
    begin: np.ndarray, target: np.ndarray, length: np.ndarray, sent: np.ndarray, gamma: float, total: np.ndarray
) -> None:
    for i in range(len(total)):
        for edge in range(begin[i], begin[i + 1]):
            total[i] += np.exp(-gamma * length[edge]) * sent[target[edge]]


def greedy(edges: Edges, density: np.ndarray, count: int, *, gamma: float, weighted: bool) -> np.ndarray:
    """Gives nodes in the order of greedy choice with reverse messages.

    Again and again the node i of the highest density is chosen, of equal ones the first, and each of its neighbours
    loses exp(-γ · length_ij) · density_i. The density of i may be negative when all is damped; then they gain.

    Args:
        edges: the graph.
        density: after the forward pass, shape (N,); it is not changed.
        count: how many to choose, at most N.
        gamma: γ_r; the larger, the less is taken from neighbours.
        weighted: whether the message falls with the distance; else all of density_i is taken from each neighbour.

    Returns:
        int64 positions, shape (count,). The heap makes it O(N log N + count · degree · log N).
    """
    left = np.array(density, dtype=np.float64)
    # In descending order, so it is a heap; the sort is stable, so of equal ones the first comes first.
    heap = np.argsort(-left, kind="stable").astype(edges.target.dtype)
    place = np.empty_like(heap)
    place[heap] = np.arange(len(heap))
    chosen = np.empty(count, dtype=np.int64)
    _choose(edges.begin, edges.target, edges.length, left, heap, place, chosen, float(gamma), weighted)
    return chosen


@inline
def _settle(heap: np.ndarray, place: np.ndarray, value: np.ndarray, size: int, node: int) -> None:
    """Moves a node of a heap up or down to where its value belongs; of equal values the lower number is above."""
    at, mine = place[node], value[node]
    while at > 0:
        above = (at - 1) // 2
        other = heap[above]
        if value[other] > mine or (value[other] == mine and other < node):
            break
        heap[at] = other
        place[other] = at
        at = above
    while 2 * at + 1 < size:
        below = 2 * at + 1
        other = heap[below]
        if below + 1 < size:
            right = heap[below + 1]
            if value[right] > value[other] or (value[right] == value[other] and right < other):
                below, other = below + 1, right
        if mine > value[other] or (mine == value[other] and node < other):
            break
        heap[at] = other
        place[other] = at
        at = below
    heap[at] = node
    place[node] = at


@compiled
def _choose(
    begin: np.ndarray,
    target: np.ndarray,
    length: np.ndarray,
    left: np.ndarray,
    heap: np.ndarray,
    place: np.ndarray,
    chosen: np.ndarray,
    gamma: float,
    weighted: bool,
) -> None:
    size = len(heap)
    for turn in range(len(chosen)):
        best = heap[0]
        chosen[turn] = best
        place[best] = -1
        size -= 1
        if size > 0:
            place[heap[size]] = 0
            _settle(heap, place, left, size, heap[size])
        for edge in range(begin[best], begin[best + 1]):
            near = target[edge]
            if place[near] >= 0:
                weight = np.exp(-gamma * length[edge]) if weighted else 1.0
                left[near] -= weight * left[best]
                _settle(heap, place, left, size, near)


def lazy(edges: Edges, density: np.ndarray, count: int, *, gamma: float) -> np.ndarray:
    """Gives nodes in the order of DataComp's published script, which is greedy only against the next in line.

    Nodes stand in line by their first density. The first in line is chosen unless the next one now has more; then it
    is parked. A parked node is chosen as soon as none of the parked has more and the first in line does not either.

    Args:
        edges: the graph, directed in that script.
        density: after the forward pass, shape (N,); it is not changed.
        count: how many to choose; the script fails where that is N, this gives all.
        gamma: γ_r.

    Returns:
        int64 positions, shape (count,).
    """
    line = np.argsort(-density, kind="stable")
    rank = np.empty(len(line), dtype=edges.target.dtype)
    rank[line] = np.arange(len(line))
    chosen = np.empty(count, dtype=np.int64)
    place = np.full(len(line), -1, dtype=rank.dtype)
    begin = np.stack([edges.begin[:-1][line], edges.begin[1:][line]])
    _choose_lazily(
        begin, rank[edges.target], edges.length, density[line], np.empty_like(rank), place, chosen, float(gamma)
    )
    return line[chosen]


@compiled
def _choose_lazily(
    begin: np.ndarray,
    target: np.ndarray,
    length: np.ndarray,
    left: np.ndarray,
    parked: np.ndarray,
    place: np.ndarray,
    chosen: np.ndarray,
    gamma: float,
) -> None:
    """Nodes are numbered as they stand in line; `parked` is a heap of those that were passed over."""
    first, size = 0, 0
    for turn in range(len(chosen)):
        best = -1
        while best < 0:
            if size > 0 and (first == len(left) or left[parked[0]] >= left[first]):
                best = parked[0]
                place[best] = -1
                size -= 1
                if size > 0:
                    place[parked[size]] = 0
                    _settle(parked, place, left, size, parked[size])
            elif first + 1 < len(left) and left[first] < left[first + 1]:
                place[first] = size
                size += 1
                _settle(parked, place, left, size, first)
                first += 1
            else:
                best = first
                first += 1
        chosen[turn] = best
        for edge in range(begin[0, best], begin[1, best]):
            near = target[edge]
            left[near] -= np.exp(-gamma * length[edge]) * left[best]
            if place[near] >= 0:
                _settle(parked, place, left, size, near)
