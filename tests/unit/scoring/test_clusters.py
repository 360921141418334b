from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool
from paredown.errors import DataError, MethodError
from paredown.runtime import Runtime
from paredown.scoring import Cluster
from paredown.verbs import score, select

DRAW = np.random.default_rng(0)


def matrix(metric: Literal["euclidean", "cosine"], size: int = 50, width: int = 7) -> EmbeddingMatrix:
    ids = ExampleIds.of_pool(Pool(("made",), size, "0" * 64))
    return EmbeddingMatrix(
        ids, np.random.default_rng(1).standard_normal((size, width)).astype(np.float32), metric=metric
    )


def saved(path: Path, array: Any) -> str:
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_nearest_centroid(metric: Literal["euclidean", "cosine"], tmp_path: Path) -> None:
    embeddings, centroids = matrix(metric), 3 * DRAW.standard_normal((9, 7)) * DRAW.random((9, 1))
    vectors = np.asarray(embeddings.vectors, np.float64)
    if metric == "euclidean":
        nearest = np.linalg.norm(vectors[:, None] - centroids, axis=2).argmin(axis=1)
    else:
        nearest = (vectors @ (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)).T).argmax(axis=1)
    path = saved(tmp_path / "c.npy", centroids)
    for block in (1, 256):
        runtime = Runtime(device="cpu", block_mb=block, progress=False)
        table = score(Cluster(path), embeddings=embeddings, runtime=runtime)
        np.testing.assert_array_equal(table.values, nearest)
    assert table.important == "none"
    wanted = saved(tmp_path / "w.npy", np.array([2, 5]))
    inside = score(Cluster(path, wanted), embeddings=embeddings)
    np.testing.assert_array_equal(inside.values, np.isin(nearest, [2, 5]))
    assert (inside.important, inside.low, inside.high) == ("high", 0.0, 1.0)
    kept = select({"name": "threshold", "at_least": 1}, scores=inside)
    assert sorted(kept.ids.keys.tolist()) == np.flatnonzero(np.isin(nearest, [2, 5])).tolist()


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    good = saved(tmp_path / "good.npy", np.eye(7))

    def refused(error: type[Exception], match: str, *files: str) -> None:
        with pytest.raises(error, match=match):
            score(Cluster(*files), embeddings=matrix("cosine"))

    refused(DataError, "the file cannot be read .*No such file", str(tmp_path / "none.npy"))
    refused(DataError, "it is no .npy", _npz(tmp_path / "a.npz"))
    refused(DataError, r"holds float64 of shape \(3,\)", saved(tmp_path / "flat.npy", np.zeros(3)))
    refused(DataError, r"holds int64", saved(tmp_path / "whole.npy", np.zeros((3, 7), np.int64)))
    refused(MethodError, "the centroids are 6 numbers wide and the embeddings 7", saved(tmp_path / "n.npy", np.eye(6)))
    refused(DataError, "lie from 0 to 6", good, saved(tmp_path / "w.npy", np.array([7])))
    refused(DataError, "lie from 0 to 6", good, saved(tmp_path / "w.npy", np.array([0.5])))


def _npz(path: Path) -> str:
    np.savez(path, x=np.eye(7))
    return str(path)


def test_an_address_knows_the_content_and_not_the_place(tmp_path: Path) -> None:
    first, second = (saved(tmp_path / f"{name}.npy", np.eye(7)) for name in "ab")
    assert Cluster(first).identity() == Cluster(second).identity() != Cluster(first, first).identity()
    saved(tmp_path / "b.npy", np.eye(7) * 2)
    assert Cluster(first).identity() != Cluster(second).identity()
    with pytest.raises(DataError, match=r"Cluster\(wanted='nowhere'\): there is no such file"):
        Cluster(first, "nowhere").identity()
