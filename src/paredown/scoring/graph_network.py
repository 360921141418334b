"""Scores of the untrained by a graph network: each example's own vector and those of its neighbours, three times over.

The network learns on the graph of the examples whose scores are known. Any other example joins it by edges to its
nearest known ones, and to nobody else: what is predicted of one does not depend on which others are asked for, so
millions go through block by block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from paredown.artifacts.shards import blocks
from paredown.errors import MethodError
from paredown.neighbors import AbstractIndex, Exact
from paredown.neighbors.base import as_tensor, slices, without_self
from paredown.rng import key, stream
from paredown.scoring.extrapolation import AbstractExtrapolation, Predict
from paredown.scoring.quality import correlation

LEAST = 50
"""Fewer known scores are too few to learn from some and to look at others."""

VALIDATION = 0.1
"""Share of the known scores that say which step was the best; they are not learnt from."""

LOOKS = 20
"""How often they are looked at, evenly over the steps."""

PARTS = 8
"""Neighbourhoods that make a batch, about."""

Layer = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class GraphNetwork(AbstractExtrapolation):
    """Graph network: three graph convolutions over the nearest neighbours, trained on the known scores.

    H₁ = ReLU(Â X W₁ + b₁), H₂ = ReLU(Â H₁ W₂ + b₂), f = Â H₂ w₃ + b₃; Kipf and Welling 2017, equation 2, as Schmidt et
    al. 2025 use it. Row i of A holds the example itself, with weight 1, and its k nearest known ones, with
    √exp(-d_ij / d̄), d̄ the mean of all those distances; Â_ij = A_ij / √(D_i D_j), D the sums of the rows. X are the
    vectors, brought to a mean of 0 and a mean square of 1. The squared error is minimised on nine tenths of the known
    scores, and those weights stay whose predictions correlate best with the last tenth. A batch holds a few
    neighbourhoods and the edges inside them (Chiang et al. 2019), the innermost sum all edges.

    Schmidt et al. put measured and unmeasured examples into one graph, where the unmeasured pass messages too; they
    draw neighbours at random in training, give each example its label beside its vector, take distances as they are,
    and keep the measured scores. Here the unmeasured see the measured alone, and labels are not asked for.

    Args:
        neighbors: k.
        width: of the first hidden layer; the second has half of it.
        dropout: share of the hidden numbers that a step leaves out.
        steps: of Adam.
        batch_size: known examples a step.
        lr: of Adam.
        index: how neighbours are searched.
    """

    neighbors: int = 10
    width: int = 512
    dropout: float = 0.5
    steps: int = 1000
    batch_size: int = 512
    lr: float = 1e-3
    index: AbstractIndex = Exact()  # noqa: RUF009  (frozen)

    paper: ClassVar[str] = "Schmidt et al. 2025, Effective Data Pruning through Score Extrapolation"
    draws: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, least in (("neighbors", 1), ("width", 2), ("steps", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise MethodError(f"GraphNetwork({name}={getattr(self, name)}): at least {least} is needed.")
        if not 0 <= self.dropout < 1 or self.lr <= 0:
            raise MethodError(
                f"GraphNetwork(dropout={self.dropout:g}, lr={self.lr:g}): a share below 1 is left out, and a step has "
                "a length above 0."
            )

    def learn(
        self, vectors: Any, values: np.ndarray, *, metric: str, device: torch.device, block_mb: int, seed: int
    ) -> Predict:
        least = max(LEAST, self.neighbors + 1)
        if len(values) < least:
            raise MethodError(
                f"GraphNetwork(neighbors={self.neighbors}): only {len(values)} examples have scores to learn from, and "
                f"at least {least} are needed. Measure more, or use nearest-mean."
            )
        middle, spread = float(values.mean()), float(values.std())
        if np.ptp(values) == 0:
            return lambda queries: np.full(len(queries), values[0])
        device = torch.device("cpu") if device.type == "mps" else device
        state = self.index.prepare(vectors, metric=metric, device=device, block_mb=block_mb, folder=None)
        near, apart = self._neighbors(state, vectors)
        scale = float(apart[np.isfinite(apart)].mean()) or 1.0
        edges, degrees = edges_of(near, apart, scale, device)
        features = Features.of(vectors, metric, device)
        points = features.all(vectors)
        targets = torch.from_numpy((values - middle) / spread).float().to(device)
        groups = self._groups(vectors, metric, device, seed)
        layers = self._trained(edges.summed(points, points), edges, groups, targets, seed)
        messages = messages_of(points, edges, layers)
        del points
        step = max(1, block_mb * 2**20 // (4 * (3 * self.width + features.width)))

        def predict(queries: np.ndarray) -> np.ndarray:
            found = np.empty(len(queries))
            for rows in slices(len(queries), step):
                near, apart = self.index.nearest(state, queries[rows], self.neighbors)
                joined, _ = edges_of(near, apart, scale, device, degrees)
                hidden = features.at(queries[rows])
                for number, (weight, bias) in enumerate(layers):
                    hidden = joined.summed(hidden @ weight, messages[number]) + bias
                    hidden = hidden.relu() if number < 2 else hidden
                found[rows] = middle + spread * hidden[:, 0].double().cpu().numpy()
            return found

        return predict

    def _neighbors(self, state: Any, vectors: Any) -> tuple[np.ndarray, np.ndarray]:
        # Of each known example among the others.
        found = []
        for rows in slices(len(vectors), self.index.together):
            seen = self.index.nearest(state, np.asarray(vectors[rows]), self.neighbors + 1)
            found.append(without_self(*seen, np.arange(rows.start, rows.stop)))
        near, apart = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return near, apart

    def _groups(self, vectors: Any, metric: str, device: torch.device, seed: int) -> list[np.ndarray]:
        """Gives neighbourhoods: to which of some known examples, drawn by chance, each is nearest."""
        size = len(vectors)
        drawn = stream(seed, "graph-network", "groups").permutation(size)[: max(1, PARTS * size // self.batch_size)]
        exact = Exact()
        state = exact.prepare(
            np.asarray(vectors[np.sort(drawn)]), metric=metric, device=device, block_mb=64, folder=None
        )
        nearest = [exact.nearest(state, np.asarray(vectors[rows]), 1)[0][:, 0] for rows in slices(size, exact.together)]
        group = np.concatenate(nearest)
        order = np.argsort(group, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(group[order])) + 1)

    def _batches(self, groups: list[np.ndarray], seed: int) -> Iterator[np.ndarray]:
        """Gives which examples each step learns from."""
        if sum(map(len, groups)) <= self.batch_size:
            while True:
                yield np.concatenate(groups)
        left, turn = np.empty(0, np.int64), 0
        while True:
            while len(left) < self.batch_size:
                order = stream(seed, "graph-network", "order", turn).permutation(len(groups))
                left, turn = np.concatenate([left, *(groups[number] for number in order)]), turn + 1
            # The end of one turn and the beginning of the next may both hold an example.
            batch, left = np.unique(left[: self.batch_size]), left[self.batch_size :]
            yield batch

    def _trained(
        self, inner: Tensor, edges: Edges, groups: list[np.ndarray], targets: Tensor, seed: int
    ) -> list[Layer]:
        """Gives the layers that predict the validation scores best.

        Args:
            inner: Â X, (N, D).
            edges: of all known examples.
            groups: of them, near each other.
            targets: their scores, (N,).
            seed: of weights, batches, dropout and who is held out.
        """
        device, size = inner.device, len(inner)
        out = stream(seed, "graph-network", "validation").permutation(size)[: math.ceil(VALIDATION * size)]
        learnt = torch.ones(size, dtype=torch.bool, device=device)
        learnt[torch.from_numpy(out).to(device)] = False
        truth = targets[~learnt].double().cpu().numpy()
        layers = self._start(inner.shape[1], device, seed)
        optimizer = torch.optim.Adam([part.requires_grad_() for layer in layers for part in layer], lr=self.lr)
        chance = torch.Generator(device).manual_seed(key(seed, "graph-network", "dropout"))
        best, kept = -math.inf, list[Layer]()
        place = torch.full((size,), -1, dtype=torch.int64, device=device)
        for step, chosen in zip(range(1, self.steps + 1), self._batches(groups, seed), strict=False):
            batch = torch.from_numpy(chosen).to(device)
            inside = edges.inside(batch, place)
            outputs = forward(inner[batch], inside, layers, lambda numbers: self._dropped(numbers, chance))
            known = learnt[batch]
            if known.any():
                optimizer.zero_grad()
                (outputs[known] - targets[batch][known]).square().mean().backward()
                optimizer.step()
            if step * LOOKS // self.steps > (step - 1) * LOOKS // self.steps:
                with torch.no_grad():
                    seen = forward(inner, edges, layers)[~learnt].double().cpu().numpy()
                if np.isfinite(seen).all() and (found := correlation(seen, truth)) > best:
                    best, kept = found, [(weight.detach().clone(), bias.detach().clone()) for weight, bias in layers]
        if not kept:
            raise MethodError(
                f"GraphNetwork(lr={self.lr:g}): its predictions are no numbers any more. Use a smaller lr."
            )
        return kept

    def _start(self, width: int, device: torch.device, seed: int) -> list[Layer]:
        chance = torch.Generator().manual_seed(key(seed, "graph-network", "weights"))
        layers = []
        for inputs, outputs in ((width, self.width), (self.width, self.width // 2), (self.width // 2, 1)):
            weight = torch.empty(inputs, outputs)
            torch.nn.init.xavier_uniform_(weight, generator=chance)
            layers.append((weight.to(device), torch.zeros(outputs, device=device)))
        return layers

    def _dropped(self, numbers: Tensor, chance: torch.Generator) -> Tensor:
        if not self.dropout:
            return numbers
        stays = torch.rand(numbers.shape, generator=chance, device=numbers.device) >= self.dropout
        return numbers * stays / (1 - self.dropout)


class Edges(NamedTuple):
    """From some examples to their neighbours among the known ones, and to themselves.

    Args:
        positions: of the neighbours, int64 (Q, k).
        weights: Â of each neighbour, (Q, k); 0 where there is none.
        own: Â of each example itself, (Q, 1).
    """

    positions: Tensor
    weights: Tensor
    own: Tensor

    def summed(self, mine: Tensor, known: Tensor) -> Tensor:
        """Gives the weighted sum of each example's own numbers (Q, F) and those of its neighbours, of (N, F)."""
        return self.own * mine + embedding_bag(self.positions, known, per_sample_weights=self.weights, mode="sum")

    def inside(self, batch: Tensor, place: Tensor) -> Edges:
        """Gives the edges between the examples of a batch, with as much weight as all of theirs together.

        Args:
            batch: which examples, (B,).
            place: room for a number for each known example, -1; it is given back so.
        """
        place[batch] = torch.arange(len(batch), device=batch.device)
        positions = place[self.positions[batch]]
        place[batch] = -1
        weights = self.weights[batch]
        left = weights * (positions >= 0)
        there = left.sum(dim=1, keepdim=True)
        share = torch.where(there > 0, weights.sum(dim=1, keepdim=True) / there.clamp(min=1e-30), 0.0)
        return Edges(positions.clamp(min=0), left * share, self.own[batch])


def edges_of(
    near: np.ndarray, apart: np.ndarray, scale: float, device: torch.device, degrees: Tensor | None = None
) -> tuple[Edges, Tensor]:
    """Gives edges to neighbours, and the degree D of each example, (Q,).

    Args:
        near: positions among the known, (Q, k); -1 where there is none.
        apart: their distances.
        scale: by which distances are divided.
        device: where to compute.
        degrees: of the known; left out where the examples are the known ones themselves.
    """
    positions = torch.from_numpy(near.astype(np.int64)).to(device)
    distances = torch.from_numpy(apart.astype(np.float32)).to(device)
    weights = torch.where(positions >= 0, (distances / (-2 * scale)).exp(), 0.0)
    positions = positions.clamp(min=0)
    mine = 1 + weights.sum(dim=1)
    theirs = mine if degrees is None else degrees
    return Edges(positions, weights / (mine[:, None] * theirs[positions]).sqrt(), 1 / mine[:, None]), mine


class Features(NamedTuple):
    """Vectors as a network likes them: with a mean of 0 and a mean square of 1, over all numbers.

    Args:
        metric: "cosine" makes directions of the vectors first.
        middle: the mean vector of the known.
        scale: by which the rest is divided.
    """

    metric: str
    middle: Tensor
    scale: float

    @property
    def width(self) -> int:
        return len(self.middle)

    @classmethod
    def of(cls, vectors: Any, metric: str, device: torch.device) -> Features:
        """Looks at all known vectors, block by block."""
        raw = cls(metric, torch.zeros(vectors.shape[1], device=device), 1.0)
        total = torch.zeros(vectors.shape[1], dtype=torch.float64)
        for _, block in blocks(vectors):
            total += raw.at(block).double().sum(dim=0).cpu()
        centred = raw._replace(middle=(total / len(vectors)).float().to(device))
        squares = sum(float(centred.at(block).double().square().sum()) for _, block in blocks(vectors))
        return centred._replace(scale=math.sqrt(squares / (len(vectors) * vectors.shape[1])) or 1.0)

    def at(self, vectors: np.ndarray) -> Tensor:
        """Gives the features of some vectors, float32 (Q, D)."""
        read = as_tensor(np.asarray(vectors)).to(self.middle.device).double()
        if self.metric == "cosine":
            read = torch.nn.functional.normalize(read, dim=1)
        return (read.float() - self.middle) / self.scale

    def all(self, vectors: Any) -> Tensor:
        """Gives the features of all known examples."""
        made = torch.empty(vectors.shape, device=self.middle.device)
        for start, block in blocks(vectors):
            made[start : start + len(block)] = self.at(block)
        return made


def forward(inner: Tensor, edges: Edges, layers: list[Layer], dropped: Any = None) -> Tensor:
    """Gives the outputs (Q,) of examples whose edges lead to each other alone.

    Args:
        inner: Â X of them, (Q, D).
        edges: between them.
        layers: three.
        dropped: what becomes of hidden numbers in training.
    """
    (first, bias), *rest = layers
    hidden = (inner @ first + bias).relu()
    for weight, bias in rest:
        sent = (hidden if dropped is None else dropped(hidden)) @ weight
        hidden = edges.summed(sent, sent) + bias
        hidden = hidden.relu() if weight.shape[1] > 1 else hidden
    return hidden[:, 0]


def messages_of(points: Tensor, edges: Edges, layers: list[Layer]) -> list[Tensor]:
    """Gives what the known examples send to their neighbours, layer by layer: H W, (N, F) each."""
    messages, hidden = [], points
    for weight, bias in layers:
        messages.append(hidden @ weight)
        hidden = (edges.summed(messages[-1], messages[-1]) + bias).relu()
    return messages
