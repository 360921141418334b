"""Graphs of neighbours: whole, measured, and the same however they are made."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracles.neighbors import nearest

from paredown import NeighborGraph, Runtime, Store, connect
from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool
from paredown.artifacts.shards import Rows, shard_file
from paredown.errors import ArtifactError, MethodError
from paredown.neighbors import AbstractIndex, Exact, Ivf, connected, graph
from paredown.verbs import VERBS

CPU = Runtime(device="cpu")
EVERY = [Exact(), Ivf(), Ivf(lists=30, probes=2)]


def matrix(size: int, metric: Any = "euclidean", *, dtype: Any = np.float32, seed: int = 0) -> EmbeddingMatrix:
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((20, 6))
    vectors = (centres[rng.integers(0, 20, size)] + rng.standard_normal((size, 6))).astype(dtype)
    return EmbeddingMatrix(ExampleIds.of_pool(Pool(("made",), size, "0" * 64)), vectors, metric=metric)


def same(first: NeighborGraph, second: NeighborGraph) -> None:
    np.testing.assert_array_equal(np.asarray(first.neighbors), np.asarray(second.neighbors))
    np.testing.assert_array_equal(np.asarray(first.distances), np.asarray(second.distances))
    assert first.header() == second.header()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_exact_graph_is_that_of_all_pairs(metric: str) -> None:
    embeddings = matrix(80, metric)
    made = connect(embeddings, neighbors=4, runtime=CPU)
    positions, distances = nearest(np.asarray(embeddings.vectors), 4, metric)
    np.testing.assert_array_equal(made.neighbors, positions)
    np.testing.assert_allclose(made.distances, distances, rtol=1e-5, atol=1e-7)
    assert made.recall == 1
    assert made.made == {"index": "exact"}
    assert made.metric == metric


@pytest.mark.parametrize("index", EVERY, ids=repr)
def test_a_graph_on_disk_is_the_graph_in_memory_whatever_the_shards(index: AbstractIndex, tmp_path: Path) -> None:
    embeddings = matrix(500)
    held = connected(embeddings, index, 3, runtime=CPU, folder=None)
    for shard in (500, 128):
        folder = tmp_path / str(shard)
        made = connected(embeddings, index, 3, runtime=CPU, folder=folder, shard=shard)
        assert isinstance(made.neighbors, Rows)
        same(made, held)
        opened = NeighborGraph.open(folder)
        same(opened, held)
        assert opened.digest() == held.digest()
        assert {path.name for path in folder.iterdir() if path.is_dir()} == set()
    small = connected(embeddings, index, 3, runtime=Runtime(device="cpu", block_mb=1, threads=1), folder=None)
    np.testing.assert_array_equal(small.neighbors, held.neighbors)


@pytest.mark.parametrize("index", EVERY, ids=repr)
def test_what_an_interruption_left_is_used(index: AbstractIndex, tmp_path: Path, monkeypatch: Any) -> None:
    embeddings = matrix(500)
    whole = connected(embeddings, index, 3, runtime=CPU, folder=tmp_path / "whole", shard=100)
    calls = 0
    search = type(index).nearest

    def stops(self: Any, state: Any, queries: np.ndarray, k: int) -> Any:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return search(self, state, queries, k)

    monkeypatch.setattr(type(index), "nearest", stops)
    with pytest.raises(KeyboardInterrupt):
        connected(embeddings, index, 3, runtime=CPU, folder=tmp_path / "twice", shard=100)
    resumed = connected(embeddings, index, 3, runtime=CPU, folder=tmp_path / "twice", shard=100)
    assert calls == 6  # three shards were whole
    same(resumed, whole)
    for path in sorted((tmp_path / "whole").rglob("*")):
        assert path.read_bytes() == (tmp_path / "twice" / path.relative_to(tmp_path / "whole")).read_bytes()


def test_a_graph_whose_shards_are_all_there_is_not_searched_again(tmp_path: Path, monkeypatch: Any) -> None:
    embeddings = matrix(300)
    whole = connected(embeddings, Ivf(), 3, runtime=CPU, folder=tmp_path, shard=100)
    (tmp_path / "meta.json").unlink()

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("searched again")

    monkeypatch.setattr(Ivf, "prepare", never)
    same(connected(embeddings, Ivf(), 3, runtime=CPU, folder=tmp_path, shard=100), whole)


def test_a_missing_or_truncated_shard_is_named(tmp_path: Path) -> None:
    connected(matrix(300), Exact(), 3, runtime=CPU, folder=tmp_path / "whole", shard=100)
    shutil.copytree(tmp_path / "whole", tmp_path / "missing")
    shard_file(tmp_path / "missing", 2).unlink()
    with pytest.raises(ArtifactError, match=r"2 shards hold 200 rows, and there should be 300.*shard-00002"):
        NeighborGraph.open(tmp_path / "missing")
    truncated = shard_file(tmp_path / "whole", 1)
    truncated.write_bytes(truncated.read_bytes()[:-8])
    with pytest.raises(ArtifactError, match=r"shard-00001\.safetensors is damaged \(it is truncated\)"):
        NeighborGraph.open(tmp_path / "whole")


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_recall_is_the_share_of_true_neighbours(metric: str, dtype: Any) -> None:
    embeddings = matrix(3000, metric, dtype=dtype)
    true = connected(embeddings, Exact(), 5, runtime=CPU, folder=None)
    recalls = []
    for probes in (1, 3, 40):
        made = connected(embeddings, Ivf(lists=40, probes=probes), 5, runtime=CPU, folder=None)
        rows = np.asarray(made.neighbors)
        share = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(rows.tolist(), true.neighbors.tolist(), strict=True)])
        assert made.recall == pytest.approx(share, abs=0.03)  # measured on a third of them
        recalls.append(made.recall)
    assert recalls[0] < recalls[1] < recalls[2] == 1


def test_among_equal_neighbours_any_counts_for_recall() -> None:
    embeddings = matrix(60)
    same_vectors = EmbeddingMatrix(embeddings.ids, np.repeat(embeddings.vectors[:6], 10, axis=0), metric="euclidean")
    assert connected(same_vectors, Ivf(lists=6, probes=1), 5, runtime=CPU, folder=None).recall == 1


def test_where_lists_are_empty_neighbours_are_missing_and_stand_last() -> None:
    vectors = np.concatenate([np.zeros((3, 2)), 100 + np.arange(80).reshape(40, 2) / 8]).astype(np.float32)
    embeddings = EmbeddingMatrix(ExampleIds.of_pool(Pool(("made",), 43, "0" * 64)), vectors, metric="euclidean")
    made = connected(embeddings, Ivf(lists=2, probes=1), 5, runtime=CPU, folder=None)
    assert made.neighbors[0].tolist() == [1, 2, -1, -1, -1]
    assert made.distances[0].tolist() == [0, 0, np.inf, np.inf, np.inf]
    assert made.recall == pytest.approx(1 - 9 / (43 * 5))


@pytest.mark.parametrize(
    ("k", "words"),
    [
        (0, r"connect\(neighbors=0\): a graph without neighbours"),
        (-1, r"connect\(neighbors=-1\)"),
        (30, r"connect\(neighbors=30\): there are 30 examples, so one has 29 others\. Ask for fewer"),
    ],
)
def test_a_number_of_neighbours_that_cannot_be_is_refused(k: int, words: str) -> None:
    with pytest.raises(MethodError, match=words):
        connect(matrix(30), neighbors=k, runtime=CPU)


def test_all_the_others_can_be_neighbours() -> None:
    made = connect(matrix(30), neighbors=29, runtime=CPU)
    assert (np.sort(made.neighbors, axis=1)[:, 1:] > np.sort(made.neighbors, axis=1)[:, :-1]).all()


def test_vectors_without_neighbours_are_named_by_id() -> None:
    embeddings = matrix(30, "cosine")
    embeddings.ids = embeddings.ids.take(np.arange(29, -1, -1))
    embeddings.vectors[4] = 0
    with pytest.raises(MethodError, match="vector of id 25 is zero"):
        connect(embeddings, runtime=CPU)
    embeddings.vectors[3, 2] = np.nan
    with pytest.raises(MethodError, match="vector of id 26 holds NaN or infinity"):
        connect(embeddings, runtime=CPU)


def test_factors_of_outer_products_are_refused() -> None:
    plain = matrix(30)
    factors = EmbeddingMatrix(plain.ids, plain.vectors, metric="euclidean", factors=(2, 4))
    with pytest.raises(MethodError, match="the factors of outer products"):
        connect(factors, runtime=CPU)


@pytest.mark.parametrize("field", ["lists", "probes", "sample", "rerank"])
def test_a_field_below_one_is_refused(field: str) -> None:
    with pytest.raises(MethodError, match=rf"Ivf\({field}=0\): nothing would be found"):
        Ivf(**{field: 0})


def test_a_long_search_is_announced(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    connect(matrix(30), runtime=CPU)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(graph, "WORTH_SAYING", 0)
    connect(matrix(30), runtime=CPU)
    assert "exact search among 30 examples will take about 1 s and 512 MiB of memory" in capsys.readouterr().err
    connect(matrix(30), runtime=Runtime(device="cpu", progress=False))
    assert capsys.readouterr().err == ""


def test_the_store_keeps_a_graph_and_its_settings(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.make(VERBS["connect"], embeddings=matrix(200), index={"name": "ivf", "lists": 4}, neighbors=3)
    assert isinstance(made, NeighborGraph)
    assert made.made == {"index": "ivf", "lists": 4, "probes": 16, "codes": 0, "sample": 64, "rerank": 8}
    assert "recall 1.000" in made.describe()
    store.verify(str(made.address))


@dataclass(frozen=True)
class Blind(AbstractIndex):
    """Finds nothing."""

    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Any:
        return None

    def nearest(self, state: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((len(queries), k), -1), np.full((len(queries), k), np.inf, np.float32)


def test_an_index_of_ones_own_is_measured_like_ours() -> None:
    made = connect(matrix(50), Blind(), runtime=CPU)
    assert made.recall == 0
    assert (made.neighbors == -1).all()
