"""Near-duplicates: groups linked by similarity, which of a group stays, and that none is missed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paredown.artifacts.shards import Rows, View
from paredown.errors import MethodError
from paredown.neighbors import nearest_neighbors
from paredown.selection import Candidates, NearDuplicates, choose, deduplicate
from paredown.selection.deduplicate import groups, linked


def slow(vectors: np.ndarray, threshold: float) -> list[int]:
    """Groups by spreading along pairs until nothing changes."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = unit @ unit.T >= threshold - 1e-9
    group = np.arange(len(vectors))
    while True:
        spread = np.array([group[row].min() for row in near])
        if (spread == group).all():
            return [sorted(set(group)).index(number) for number in group]
        group = spread


def heaps(size: int, copies: int, noise: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = np.repeat(rng.standard_normal((size, 16)), copies, axis=0)
    return (drawn + noise * rng.standard_normal(drawn.shape)) * rng.uniform(0.1, 10, (len(drawn), 1))


@settings(max_examples=80)
@given(
    numbers=st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2).filter(any), min_size=1, max_size=20),
    threshold=st.sampled_from([1.0, 0.99, 0.8, 0.5, 2**-0.5, 0.01]),
)
def test_groups_are_the_connected_ones(numbers: list[list[int]], threshold: float) -> None:
    # Many cosines stand exactly at a threshold, among them 1 and √½.
    vectors = np.array(numbers, np.float64)
    assert groups(vectors, threshold).tolist() == slow(vectors, threshold)


@pytest.mark.parametrize("tile", [1, 7, 64])
@pytest.mark.parametrize("kept", [0, 2**30])
def test_how_wide_a_block_is_changes_nothing(monkeypatch: pytest.MonkeyPatch, tile: int, kept: int) -> None:
    vectors = heaps(20, 3, 0.15).astype(np.float32)
    expected = slow(vectors.astype(np.float64), 0.97)
    assert 20 < max(expected) + 1 < 60
    monkeypatch.setattr(deduplicate, "TILE", tile)
    monkeypatch.setattr(deduplicate, "KEPT", kept)
    monkeypatch.setattr(deduplicate, "BLOCK", 200)
    monkeypatch.setattr(deduplicate, "PAIRS", 2)
    assert groups(vectors, 0.97).tolist() == expected
    assert groups(View(Rows([vectors[:11], vectors[11:]]), np.arange(60)), 0.97).tolist() == expected


def test_without_numba_the_loops_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = heaps(10, 3, 0.08)
    expected = groups(vectors, 0.97)
    for name in ("_join", "_roots"):
        monkeypatch.setattr(deduplicate, name, getattr(deduplicate, name).__wrapped__)
    np.testing.assert_array_equal(groups(vectors, 0.97), expected)


def test_a_chain_is_one_group() -> None:
    angles = np.arange(30) * 0.1
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert set(groups(ring, 0.99)) == {0}
    assert set(groups(ring[::2], 0.99)) == set(range(15))


def test_a_graph_shows_what_is_among_its_edges() -> None:
    vectors = heaps(15, 4, 0.01)
    whole = nearest_neighbors(vectors, 5, metric="cosine")
    np.testing.assert_array_equal(linked(whole, 0.95), groups(vectors, 0.95))
    from_graph = choose(NearDuplicates(), Candidates(np.arange(60), graph=whole))
    np.testing.assert_array_equal(from_graph, choose(NearDuplicates(), Candidates(np.arange(60), embeddings=vectors)))
    # Of six equal vectors, with one neighbour each, the pairs beyond it are not seen.
    alike = nearest_neighbors(np.repeat(np.eye(2), 6, axis=0), 1, metric="cosine")
    assert len(set(linked(alike, 0.95))) >= 2


@pytest.mark.parametrize("keep", ["important", "central", "first"])
def test_it_keeps_one_of_each_group(keep: Any) -> None:
    vectors = heaps(12, 4, 0.02)
    group = np.array(slow(vectors, 0.95))
    assert group.max() == 11
    importance = np.random.default_rng(3).random(48)
    candidates = Candidates(np.arange(48), importance, importance, embeddings=vectors)
    kept = choose(NearDuplicates(keep=keep), candidates)
    assert sorted(group[kept]) == list(range(12))
    assert (np.diff(importance[kept]) <= 0).all()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for row in kept:
        mine = np.flatnonzero(group == group[row])
        best = {
            "important": mine[importance[mine].argmax()],
            "central": mine[(unit[mine] @ unit[mine].mean(axis=0)).argmax()],
            "first": mine[0],
        }[keep]
        assert row == best


def test_a_count_takes_representatives_first_then_the_others() -> None:
    candidates = Candidates(np.arange(20), np.arange(20.0), np.arange(20.0), embeddings=heaps(5, 4, 0.01))
    kept = choose(NearDuplicates(), candidates)
    assert kept.tolist() == [19, 15, 11, 7, 3]
    every = choose(NearDuplicates(), candidates, 20)
    assert every.tolist() == [*kept, *(row for row in range(19, -1, -1) if row not in kept)]
    np.testing.assert_array_equal(choose(NearDuplicates(), candidates, 3), kept[:3])


def test_without_importance_the_lowest_id_stays() -> None:
    keys = np.array([40, 10, 30, 20])
    vectors = np.array([[1.0, 0], [2, 0], [0, 1], [0, 3]])
    for keep in ("important", "central", "first"):
        kept = choose(NearDuplicates(keep=keep), Candidates(keys, embeddings=vectors))
        assert keys[kept].tolist() == [10, 20]


def test_class_by_class_only_those_of_one_class_are_duplicates() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    candidates = Candidates(np.arange(4), labels=np.array([0, 0, 1, 1]), embeddings=vectors)
    assert sorted(choose(NearDuplicates(), candidates, by_class=True)) == [0, 2, 3]
    assert sorted(choose(NearDuplicates(), candidates)) == [0, 3]


def test_the_groups_are_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(deduplicate, "groups", lambda *args, **more: calls.append(1) or groups(*args, **more))
    candidates = Candidates(np.arange(12), embeddings=heaps(4, 3, 0.01))
    assert len(choose(NearDuplicates(), candidates)) == 4 == NearDuplicates().size(candidates)
    assert len(calls) == 2  # once for each of the two


@pytest.mark.parametrize("threshold", [0.5, 1.0])
def test_everything_equal(monkeypatch: pytest.MonkeyPatch, threshold: float) -> None:
    monkeypatch.setattr(deduplicate, "TILE", 64)
    candidates = Candidates(np.arange(300), embeddings=np.full((300, 3), 0.1, np.float32))
    assert choose(NearDuplicates(threshold=threshold), candidates).tolist() == [0]
    assert choose(NearDuplicates(threshold=threshold), candidates, 300).tolist() == list(range(300))


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01])
def test_a_threshold_is_a_similarity(threshold: float) -> None:
    with pytest.raises(MethodError, match=r"NearDuplicates\(threshold=.*not a cosine similarity"):
        NearDuplicates(threshold=threshold)


def test_what_is_refused() -> None:
    vectors, graph = np.eye(4), nearest_neighbors(np.eye(4), 2)
    with pytest.raises(MethodError, match="NearDuplicates needs embeddings or graph, and select"):
        choose(NearDuplicates(), Candidates(np.arange(4)))
    with pytest.raises(MethodError, match="distances of this graph are Euclidean"):
        choose(NearDuplicates(), Candidates(np.arange(4), graph=graph))
    cosine = nearest_neighbors(np.eye(4), 2, metric="cosine")
    with pytest.raises(MethodError, match=r"NearDuplicates\(keep=central\): the centre of a group is a mean"):
        choose(NearDuplicates(keep="central"), Candidates(np.arange(4), graph=cosine))
    with pytest.raises(MethodError, match="vector of id 13 is zero, so it has no direction"):
        choose(NearDuplicates(), Candidates(np.arange(10, 14), embeddings=vectors - np.eye(4)[3]))
    with pytest.raises(MethodError, match="hold the two factors of each gradient"):
        choose(NearDuplicates(), Candidates(np.arange(4), embeddings=vectors, factors=(2, 2)))


def test_what_it_will_cost_is_said_where_pairs_are_compared() -> None:
    candidates = Candidates(np.arange(100), embeddings=np.zeros((100, 8)))
    estimate = NearDuplicates().estimate(candidates, 5)
    assert estimate is not None and estimate.operations >= 100 * 100 * 8
    graph = nearest_neighbors(np.eye(4), 2, metric="cosine")
    assert NearDuplicates().estimate(Candidates(np.arange(4), graph=graph), 2) is None
