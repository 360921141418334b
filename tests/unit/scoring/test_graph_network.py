"""The graph network beside the same with whole matrices, and what it learns."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError
from paredown.method import build
from paredown.neighbors import Ivf
from paredown.rng import stream
from paredown.scoring.graph_network import Edges, GraphNetwork, edges_of, forward
from paredown.scoring.quality import quality

CPU = torch.device("cpu")
SMALL = GraphNetwork(neighbors=4, width=8, steps=10)


def learnt(method: GraphNetwork, vectors: Any, values: np.ndarray, *, metric: str = "euclidean", seed: int = 0) -> Any:
    return method.learn(vectors, values, metric=metric, device=CPU, block_mb=64, seed=seed)


def smooth(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors near eight centres, and a score that changes smoothly between them."""
    rng = np.random.default_rng(seed)
    centres = 4 * np.random.default_rng(1).standard_normal((8, 5))
    vectors = centres[np.arange(size) % 8] + rng.standard_normal((size, 5))
    return vectors.astype(np.float32), np.sin(vectors[:, 0] / 3) + vectors[:, 1] / 10 + 2.0


def distances(first: np.ndarray, second: np.ndarray, metric: str) -> np.ndarray:
    if metric == "euclidean":
        return np.sqrt(((first[:, None] - second[None]) ** 2).sum(axis=2))
    first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second))
    return 1 - first @ second.T


class Whole:
    """The equations with one matrix for all edges, in float64."""

    def __init__(self, vectors: np.ndarray, k: int, metric: str) -> None:
        self.vectors, self.k, self.metric = vectors.astype(np.float64), k, metric
        apart = distances(self.vectors, self.vectors, metric)
        np.fill_diagonal(apart, np.inf)
        near = np.argsort(apart, axis=1, kind="stable")[:, :k]
        self.scale = np.take_along_axis(apart, near, axis=1).mean()
        self.matrix = np.eye(len(vectors))
        for row, others in enumerate(near):
            self.matrix[row, others] = np.sqrt(np.exp(-apart[row, others] / self.scale))
        self.degree = self.matrix.sum(axis=1)
        self.matrix /= np.sqrt(self.degree[:, None] * self.degree)

    def points(self, vectors: np.ndarray) -> np.ndarray:
        known, asked = self.vectors, vectors.astype(np.float64)
        if self.metric == "cosine":
            known, asked = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (known, asked))
        centred = known - known.mean(axis=0)
        return (asked - known.mean(axis=0)) / np.sqrt((centred**2).mean())

    def known(self, layers: list[tuple[np.ndarray, np.ndarray]]) -> list[np.ndarray]:
        """The hidden numbers of the known examples before each layer, and the outputs."""
        found = [self.points(self.vectors)]
        for number, (weight, bias) in enumerate(layers):
            out = self.matrix @ found[-1] @ weight + bias
            found.append(np.maximum(out, 0) if number < 2 else out)
        return found

    def asked(self, queries: np.ndarray, layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        apart = distances(queries.astype(np.float64), self.vectors, self.metric)
        known, outputs = self.known(layers), []
        for row, query in enumerate(self.points(queries)):
            near = np.argsort(apart[row], kind="stable")[: self.k]
            weights = np.sqrt(np.exp(-apart[row, near] / self.scale))
            degree = 1 + weights.sum()
            weights /= np.sqrt(degree * self.degree[near])
            hidden = query
            for number, (weight, bias) in enumerate(layers):
                hidden = (hidden / degree + weights @ known[number][near]) @ weight + bias
                hidden = np.maximum(hidden, 0) if number < 2 else hidden
            outputs.append(hidden[0])
        return np.array(outputs)


def layers_of(method: GraphNetwork, width: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    made = method._start(width, CPU, seed=3)
    return [(weight, torch.randn(bias.shape, generator=torch.Generator().manual_seed(1)) / 4) for weight, bias in made]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_with_given_weights_it_is_the_equation(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    vectors, values = rng.standard_normal((70, 6)) + 1, rng.random(70)
    queries = np.concatenate([rng.standard_normal((9, 6)) + 1, vectors[:2]])
    layers = layers_of(SMALL, 6)
    whole = Whole(vectors, 4, metric)
    plain = [(weight.double().numpy(), bias.double().numpy()) for weight, bias in layers]

    def trained(self: GraphNetwork, inner: torch.Tensor, edges: Edges, *given: Any) -> Any:
        expected = whole.known(plain)[-1][:, 0]
        np.testing.assert_allclose(forward(inner, edges, layers).numpy(), expected, rtol=1e-4, atol=1e-5)
        return layers

    monkeypatch.setattr(GraphNetwork, "_trained", trained)
    found = learnt(SMALL, vectors, values, metric=metric)(queries)
    expected = values.mean() + values.std() * whole.asked(queries, plain)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@given(seed=st.integers(0, 1000), size=st.integers(2, 30))
def test_edges_inside_a_batch_weigh_as_much_as_all(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    near, apart = rng.integers(-1, 30, (30, 5)), rng.random((30, 5))
    apart[near < 0] = np.inf
    edges, degree = edges_of(near, apart, 1.0, CPU)
    place = torch.full((30,), -1)
    batch = torch.from_numpy(np.sort(rng.permutation(30)[:size]))
    inside = edges.inside(batch, place)
    assert (place == -1).all() and inside.positions.max() < size
    kept = torch.isin(edges.positions[batch], batch) & (edges.weights[batch] > 0)
    assert torch.equal(inside.weights > 0, kept)
    some = kept.any(dim=1)
    torch.testing.assert_close(inside.weights.sum(1)[some], edges.weights[batch].sum(1)[some])
    assert torch.equal(inside.own, 1 / degree[batch, None])


def test_a_turn_of_batches_has_every_example() -> None:
    method = GraphNetwork(batch_size=16)
    groups = np.split(np.arange(100), [3, 20, 41, 60, 90])
    seen = np.concatenate(list(islice(method._batches(groups, 0), 25)))
    assert len(seen) > 390 and (np.bincount(seen, minlength=100) >= 3).all()
    whole = next(method._batches(groups[:1], 0))
    assert whole.tolist() == [0, 1, 2]


def test_neighbourhoods_hold_what_is_near() -> None:
    vectors, _ = smooth(400, 0)
    groups = GraphNetwork(batch_size=64)._groups(vectors, "euclidean", CPU, 0)
    assert sorted(np.concatenate(groups).tolist()) == list(range(400)) and len(groups) == 50
    spread = np.mean([vectors[group].var(axis=0).mean() for group in groups])
    assert spread < vectors.var(axis=0).mean() / 8


def test_it_learns_a_smooth_score() -> None:
    (vectors, values), (queries, truth) = smooth(600, 0), smooth(200, 2)
    for batch_size in (1000, 100):
        method = GraphNetwork(width=64, steps=200, batch_size=batch_size, dropout=0.2)
        found = quality(learnt(method, vectors, values)(queries), truth)
        assert found.spearman > 0.85 and 0.7 < found.slope < 1.4


def test_the_weights_are_those_of_the_best_look(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, values = smooth(120, 0)
    from paredown.scoring import graph_network

    seen: list[np.ndarray] = []

    def falling(first: np.ndarray, second: np.ndarray) -> float:
        seen.append(first)
        return -float(len(seen))

    monkeypatch.setattr(graph_network, "correlation", falling)
    early = learnt(GraphNetwork(width=8, steps=40, batch_size=999), vectors, values)(vectors)
    assert len(seen) == graph_network.LOOKS
    monkeypatch.setattr(graph_network, "LOOKS", 1)
    after_two = learnt(GraphNetwork(width=8, steps=2, batch_size=999), vectors, values)(vectors)
    np.testing.assert_allclose(early, after_two, rtol=1e-6)


def test_validation_scores_are_not_learnt_from() -> None:
    vectors, values = smooth(100, 0)
    out = stream(0, "graph-network", "validation").permutation(100)[:10]
    changed = values.copy()
    changed[out] = changed[out[::-1]]  # the same mean and deviation, and in the same order wherever they are looked at
    method = GraphNetwork(width=8, steps=1, batch_size=999)
    np.testing.assert_array_equal(learnt(method, vectors, changed)(vectors), learnt(method, vectors, values)(vectors))


def test_another_seed_is_another_network() -> None:
    vectors, values = smooth(80, 0)
    found = [learnt(SMALL, vectors, values, seed=seed)(vectors[:9]) for seed in (0, 1)]
    assert not np.allclose(*found)


@pytest.mark.parametrize("vectors", [np.ones((60, 3)), np.repeat(np.eye(3), 20, axis=0)], ids=["one", "three"])
def test_equal_vectors_do_no_harm(vectors: np.ndarray) -> None:
    found = learnt(SMALL, vectors, np.arange(60) / 60)(vectors[:4])
    assert np.isfinite(found).all() and (np.abs(found - 0.5) < 2).all()


def test_lists_that_lack_neighbours_do_no_harm() -> None:
    vectors, values = smooth(300, 0)
    method = GraphNetwork(neighbors=20, width=16, steps=60, index=Ivf(lists=40, probes=1))
    assert np.isfinite(learnt(method, vectors, values)(vectors)).all()


def test_too_few_scores_are_refused() -> None:
    with pytest.raises(MethodError, match="only 30 examples have scores to learn from, and at least 50 are needed"):
        learnt(SMALL, np.ones((30, 3)), np.ones(30))
    with pytest.raises(MethodError, match="only 60 examples have scores to learn from, and at least 81 are needed"):
        learnt(GraphNetwork(neighbors=80), np.ones((60, 3)), np.ones(60))


def test_a_training_that_fails_says_so() -> None:
    vectors, values = smooth(80, 0)
    with pytest.raises(MethodError, match=r"GraphNetwork\(lr=1e\+30\): its predictions are no numbers any more"):
        learnt(GraphNetwork(width=8, steps=20, lr=1e30), vectors, values)


@pytest.mark.parametrize(
    "fields", [{"neighbors": 0}, {"width": 1}, {"dropout": 1.0}, {"steps": 0}, {"batch_size": 1}, {"lr": 0}], ids=str
)
def test_what_makes_no_sense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match=r"GraphNetwork\("):
        build("extrapolation", {"name": "graph-network"} | fields)
