"""Neighbours found on a GPU are those found on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paredown import Runtime
from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool
from paredown.neighbors import Exact, Ivf, connected, nearest_neighbors

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_exact_neighbours(metric: str, dtype: type) -> None:
    vectors = np.random.default_rng(0).standard_normal((5000, 64)).astype(dtype)
    vectors[100:110] = vectors[7]
    there = nearest_neighbors(vectors, 5, metric=metric, device="cuda")
    here = nearest_neighbors(vectors, 5, metric=metric, device="cpu")
    np.testing.assert_allclose(there.distances, here.distances, rtol=1e-5, atol=1e-6)
    assert (there.positions == here.positions).mean() > 0.999


@pytest.mark.parametrize("index", [Exact(), Ivf(lists=50, probes=10)], ids=repr)
def test_graphs(index: Exact | Ivf) -> None:
    rng = np.random.default_rng(1)
    vectors = (rng.standard_normal((40, 32))[rng.integers(0, 40, 6000)] * 3 + rng.standard_normal((6000, 32))).astype(
        np.float16
    )
    embeddings = EmbeddingMatrix(ExampleIds.of_pool(Pool(("made",), 6000, "0" * 64)), vectors, metric="euclidean")
    made = connected(embeddings, index, 5, runtime=Runtime(device="cuda"), folder=None)
    assert made.recall is not None and made.recall > 0.95
