"""Lists of near vectors: whole, in order, and the same from a disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paredown import Runtime
from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool
from paredown.artifacts.shards import Rows, ShardWriter, open_shards
from paredown.neighbors import Ivf, connected, lists
from paredown.neighbors.lists import Grouping, lists_of, number_of_lists
from paredown.neighbors.space import space_of

CPU = torch.device("cpu")


def clusters(size: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = 10 * rng.standard_normal((8, 5))
    return (centres[np.arange(size) % 8] + 0.1 * rng.standard_normal((size, 5))).astype(np.float32)


@pytest.mark.parametrize(
    ("asked", "size", "expected"),
    [(None, 1_000_000, 4000), (None, 100, 2), (None, 1, 1), (7, 100, 7), (50, 20, 20), (None, 12_800_000, 14311)],
)
def test_how_many_lists(asked: int | None, size: int, expected: int) -> None:
    assert number_of_lists(asked, size) == expected


def test_near_vectors_share_a_list() -> None:
    vectors = clusters(400)
    centres, which = Grouping(8, 50, 20).of(
        space_of(vectors, metric="euclidean", device=CPU), narrow=False, folder=None
    )
    apart = np.linalg.norm(vectors[:, None] - centres.numpy()[None], axis=2)
    assert (apart.argmin(axis=1) == which).all()
    assert np.median(apart.min(axis=1)) < 1


def test_more_lists_than_different_vectors_leave_some_empty() -> None:
    vectors = np.repeat(clusters(8), 20, axis=0)
    found = lists_of(vectors, Grouping(30, 100, 5), metric="euclidean", device=CPU, folder=None)
    sizes = np.diff(found.starts)
    assert sizes.sum() == 160
    assert (sizes == 0).any()
    assert np.array_equal(np.sort(found.order), np.arange(160))


def test_vectors_stand_list_by_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = clusters(300)
    held = lists_of(vectors, Grouping(6, 50, 5), metric="euclidean", device=CPU, folder=None)
    np.testing.assert_array_equal(held.space.vectors, vectors[held.order])
    monkeypatch.setattr(lists, "KEPT_BYTES", 0)
    monkeypatch.setattr(lists, "READ_BYTES", 1)
    monkeypatch.setattr(ShardWriter.__init__, "__kwdefaults__", {"size": 70})
    laid = lists_of(vectors, Grouping(6, 50, 5), metric="euclidean", device=CPU, folder=tmp_path)
    assert isinstance(laid.space.vectors, Rows)
    np.testing.assert_array_equal(laid.space.vectors[:], vectors[held.order])
    # What an interruption left of the copy is gone on with.
    (tmp_path / "shard-00004.safetensors").unlink()
    again = lists_of(vectors, Grouping(6, 50, 5), metric="euclidean", device=CPU, folder=tmp_path)
    np.testing.assert_array_equal(again.space.vectors[:], vectors[held.order])
    assert open_shards(tmp_path, ["vectors"], rows=300)["vectors"].shape == (300, 5)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_search_beyond_memory_finds_the_same(metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ExampleIds.of_pool(Pool(("made",), 700, "0" * 64))
    rng = np.random.default_rng(0)
    embeddings = EmbeddingMatrix(ids, rng.standard_normal((700, 6)).astype(np.float16), metric=metric)  # type: ignore[arg-type]
    embeddings.save(tmp_path / "vectors")
    index, runtime = Ivf(lists=20, probes=5), Runtime(device="cpu")
    held = connected(embeddings, index, 4, runtime=runtime, folder=None)
    monkeypatch.setattr(lists, "KEPT_BYTES", 0)
    stored = EmbeddingMatrix.open(tmp_path / "vectors")
    made = connected(stored, index, 4, runtime=runtime, folder=tmp_path / "graph", shard=150)
    np.testing.assert_array_equal(np.asarray(made.neighbors), held.neighbors)
    np.testing.assert_allclose(np.asarray(made.distances), held.distances, rtol=1e-6, atol=1e-7)
    assert made.recall == held.recall


def test_lists_do_not_depend_on_what_came_before() -> None:
    vectors = clusters(300)
    first, second = (
        lists_of(vectors, Grouping(10, 20, 5), metric="euclidean", device=CPU, folder=None) for _ in range(2)
    )
    np.testing.assert_array_equal(first.order, second.order)
