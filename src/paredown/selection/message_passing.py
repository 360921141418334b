"""D2: importance travels over the graph of nearest neighbours, then what is chosen damps what is near it.

Maharana, Yadav, Bansal 2024 (ICLR, arXiv 2310.07931). Where their paper and their code differ, this follows the paper;
`compat` follows the code, oddities included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.artifacts.uids import ranked
from paredown.data.device import choose as place
from paredown.errors import MethodError
from paredown.neighbors import Neighbors, nearest_neighbors
from paredown.selection.base import AbstractSelector, Candidates, Estimate
from paredown.selection.messages import Edges, directed, greedy, heard, lazy, mutual

LEAST = 1e-7
"""The published code raises every importance to this before it is sent."""
OFFSET = 0.115
"""What the published script for DataComp adds to every CLIP similarity."""
STEPS = 1e8
"""Steps of a heap a second."""

Compat = Literal["paper", "published", "datacomp"]


@dataclass(frozen=True)
class D2(AbstractSelector):
    """D2: difficult and diverse examples by message passing (Maharana, Yadav, Bansal 2024).

    Every example is a node, and an edge joins two of which one is among the other's k nearest neighbours. In the
    forward pass each node hears its neighbours' importance: ρ_i = s_i + Σ_j exp(-γ_f d_ij²) s_j. Then, again and again,
    the node i of the highest ρ is chosen, and each neighbour loses exp(-γ_r d_ij²) ρ_i: the reverse message. So the
    first of a crowded, difficult region speaks for it.

    Importance s is what `select` takes from the score's direction, moved so that the least important example has 0
    (for AUM: max - AUM); if all are equal, each counts 1. Distances are divided by their mean over the graph, so that
    γ means the same for every embedding. The paper has no such scale; without one, squared distances of wide vectors
    (d² ≈ 800 between neighbours in 512 standard normal dimensions) make every weight 0 and D2 a ranking by importance.

    A graph that is given may have more columns than `neighbors`: of each example the first that are candidates count,
    as many as `neighbors`. Without a graph the neighbours are found exactly, which takes 2 N² D operations; for more
    than some 100,000 examples make the graph with `connect`. Cosine distances c become √(2c), the Euclidean distance
    between the vectors made length 1. Ties go to the lowest id. An example may have fewer candidates around it than
    `neighbors`; then all are its neighbours.

    Args:
        neighbors: k.
        gamma: γ_r of the reverse messages, not negative. 0 takes all of ρ_i from every neighbour, and the larger it
            is, the less: at last the answer is that of ρ alone. The published runs on images have 0.1.
        gamma_forward: γ_f of the forward messages.
        power: p in d^p; the paper has 2, the published code 1. By default that of `compat`.
        scale: "mean" divides distances by their mean over the graph, "none" does not. By default "mean" for the paper
            and "none" for the published code.
        forward: "sum", as above; "product", ρ_i = s_i · Σ_j …; or "none", which ignores the importance: ρ_i is the
            mean of exp(-γ_r d_ij^p) over the edges of i, the graph density of Ebert, Fritz, Schiele 2012.
        reverse: "weighted", as above, or "absolute": each neighbour loses ρ_i whatever its distance.
        compat: "paper". "published" does as the code of the paper: the importance as it is, at least 1e-7 when it is
            sent; edges of weight 0 are none; a graph that was given stays directed and nothing is raised to 1e-7; ties
            go to the first row. "datacomp" does as its script for DataComp: 0.115 is added to the importance (CLIP
            similarity), the graph is directed, and the choice is greedy only against the next in line.

    Raises:
        MethodError: a field that makes no sense, a graph with too few columns, infinite importance, or embeddings that
            stand for outer products.
    """

    neighbors: int = 5
    gamma: float = 0.1
    gamma_forward: float = 1.0
    power: Literal[1, 2] | None = None
    scale: Literal["mean", "none"] | None = None
    forward: Literal["sum", "product", "none"] = "sum"
    reverse: Literal["weighted", "absolute"] = "weighted"
    compat: Compat = "paper"

    either: ClassVar[frozenset[str]] = frozenset({"graph", "embeddings"})
    draws: ClassVar[bool] = False
    paper: ClassVar[str] = "Maharana, Yadav, Bansal 2024, D2 Pruning, section 3"

    def __post_init__(self) -> None:
        if self.neighbors < 1:
            raise MethodError(f"D2(neighbors={self.neighbors}): a graph needs at least one neighbour. Use 1 or more.")
        for name in ("gamma", "gamma_forward"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise MethodError(
                    f"D2({name}={value:g}): messages must not grow with distance. Use a number from 0 up."
                )
        if self.compat == "datacomp" and (self.forward, self.reverse) != ("sum", "weighted"):
            raise MethodError("D2(compat='datacomp'): that script knows forward='sum' and reverse='weighted' only.")
        object.__setattr__(self, "power", self.power or (1 if self.compat == "published" else 2))
        object.__setattr__(self, "scale", self.scale or ("mean" if self.compat == "paper" else "none"))

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """The importance, unless it is ignored."""
        return frozenset() if self.forward == "none" else frozenset({"importance"})

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        # In the order of the ids, so that neither ties nor the rounding of sums depend on the order of the rows.
        order = ranked(candidates.keys) if self.compat == "paper" else np.arange(len(candidates))
        if not np.array_equal(order, np.arange(len(order))):
            candidates = candidates.take(order)
        edges = self.edges(candidates)
        density = self.density(candidates, edges)
        if self.compat == "datacomp":
            return order[lazy(edges, density, count, gamma=self.gamma)]
        return order[greedy(edges, density, count, gamma=self.gamma, weighted=self.reverse == "weighted")]

    def edges(self, candidates: Candidates) -> Edges:
        """Gives the graph over which messages travel; lengths are d^p, d scaled."""
        size, graph = len(candidates), candidates.graph
        k = min(self.neighbors, size - 1)
        if k < 1:
            return Edges(np.zeros(size + 1, np.int64), np.zeros(0, np.int32), np.zeros(0))
        near, distance = self._given(graph, k) if graph is not None else _found(candidates, k)
        distance = distance.astype(np.float64)
        if (candidates.metric if graph is None else graph.metric) == "cosine":
            distance = np.sqrt(2 * distance)
        near = near.astype(np.int32 if size < 2**31 else np.int64, copy=False)
        there = near >= 0
        if self.scale == "mean":
            mean = distance.mean(where=there) if there.any() else 0.0
            distance /= mean or 1.0
        if self.power == 2:
            np.square(distance, out=distance)
        if self.compat == "published":
            width = self.gamma if self.forward == "none" else self.gamma_forward
            near = np.where(there & (np.exp(-width * distance) > 0), near, -1)
        if self.compat == "datacomp" or (self.compat == "published" and graph is not None):
            return directed(near, distance)
        return mutual(near, distance)

    def density(self, candidates: Candidates, edges: Edges) -> np.ndarray:
        """Gives ρ of each candidate after the forward pass, float64, shape (N,)."""
        if self.forward == "none":
            return heard(edges, np.ones(len(edges)), self.gamma) / np.maximum(edges.degree, 1)
        assert candidates.importance is not None, "choose() checks what a selector needs"
        own = np.array(candidates.importance, dtype=np.float64)
        if not np.isfinite(own).all():
            raise MethodError(
                "D2: an importance is infinite, so every neighbour would hear infinity. "
                "Use a score that is finite, such as forgetting with never_learned='hardest'."
            )
        sent = own
        if self.compat == "paper":
            own -= own.min()
            if not own.any():
                own += 1
        elif self.compat == "datacomp":
            sent = own = np.maximum(own + OFFSET, LEAST)
        elif candidates.graph is None:
            sent = np.maximum(own, LEAST)
        messages = heard(edges, sent, self.gamma_forward)
        return own * messages if self.forward == "product" else own + messages

    def estimate(self, candidates: Candidates, count: int) -> Estimate | None:
        size, vectors = len(candidates), candidates.embeddings
        # An edge at both ends, the lists it is made from, and the heap.
        memory = size * (44.0 * self.neighbors + 40)
        steps = 4.0 * self.neighbors * (size + count) * np.log2(size + 1)
        if candidates.graph is not None or vectors is None or place(candidates.device).type != "cpu":
            return Estimate(steps, memory, rate=STEPS)
        search = 2.0 * size**2 * vectors.shape[1]
        return Estimate(search + steps * Estimate.rate / STEPS, memory + 4.0 * size * vectors.shape[1])

    def _given(self, graph: Neighbors, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Gives the first k candidates that each has in the graph, and the distances."""
        if graph.width < k:
            raise MethodError(
                f"D2(neighbors={self.neighbors}): the graph has {graph.width} neighbours an example. "
                f"Use neighbors={graph.width}, or connect with more."
            )
        near, distance = np.asarray(graph.positions), np.asarray(graph.distances)
        if graph.width == k:
            return near, distance
        # Those that are no candidates are -1, and come behind the others.
        first = np.argsort(near < 0, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, first, axis=1), np.take_along_axis(distance, first, axis=1)


def _found(candidates: Candidates, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives the k nearest of each vector, and the distances."""
    if candidates.factors:
        raise MethodError(
            "D2: each of these embeddings stands for an outer product, and no index searches among those. "
            "Embed with an encoder whose vectors stand for themselves, such as penultimate."
        )
    vectors, metric = candidates.embeddings, candidates.metric
    near = nearest_neighbors(vectors, k, metric=metric, device=candidates.device, keys=candidates.keys)
    return np.asarray(near.positions), np.asarray(near.distances)
