"""Inverted lists by faiss: near, then exact; and a word where faiss is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.oracles.neighbors import distance

from paredown import Runtime, connect
from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool
from paredown.errors import MethodError, MissingExtra
from paredown.neighbors import Ivf, connected
from paredown.neighbors.approximate import number_of_lists

CPU = Runtime(device="cpu")


def matrix(size: int, width: int, metric: Any) -> EmbeddingMatrix:
    rng = np.random.default_rng(0)
    centres = 3 * rng.standard_normal((40, width))
    vectors = (centres[rng.integers(0, 40, size)] + rng.standard_normal((size, width))).astype(np.float16)
    return EmbeddingMatrix(ExampleIds.of_pool(Pool(("made",), size, "0" * 64)), vectors, metric=metric)


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [(None, 1_000_000, 4000), (None, 100, 2), (None, 1, 1), (7, 100, 7), (50, 20, 20), (None, 12_800_000, 14311)],
)
def test_how_many_lists(asked: int | None, size: int, expected: int) -> None:
    assert number_of_lists(asked, size) == expected


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("codes", [0, 8])
def test_lists_find_most_neighbours_and_their_exact_distances(metric: str, codes: int, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    embeddings = matrix(2000, 20, metric)
    made = connected(embeddings, Ivf(codes=codes), 5, runtime=CPU, folder=None)
    assert made.recall is not None and made.recall > 0.8
    for row in range(0, 2000, 100):
        pairs = zip(made.neighbors[row], made.distances[row], strict=True)
        vectors = embeddings.vectors
        own = [(distance(vectors[row], vectors[j], metric), d) for j, d in pairs]
        np.testing.assert_allclose(*np.array(own).T, rtol=1e-3)
    stored = connected(embeddings, Ivf(codes=codes), 5, runtime=CPU, folder=tmp_path, shard=700)
    np.testing.assert_array_equal(np.asarray(stored.neighbors), made.neighbors)


def test_more_bytes_and_more_candidates_find_more() -> None:
    pytest.importorskip("faiss")
    embeddings = matrix(1500, 24, "euclidean")
    recalls = [
        connected(embeddings, index, 5, runtime=CPU, folder=None).recall
        for index in (Ivf(codes=2, rerank=1), Ivf(codes=2, rerank=10), Ivf(codes=24, rerank=10))
    ]
    assert recalls == sorted(recalls)
    assert recalls[0] != recalls[-1]


def test_without_faiss_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"pip install 'paredown\[faiss\]'"):
        connect(matrix(50, 4, "euclidean"), "ivf", runtime=CPU)


@pytest.mark.parametrize("field", ["lists", "probes", "codes", "sample", "rerank"])
def test_a_field_below_one_is_refused(field: str) -> None:
    with pytest.raises(MethodError, match=rf"Ivf\({field}=-1\)"):
        Ivf(**{field: -1})
