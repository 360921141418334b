"""Exact search finds what going through all pairs finds, whatever the type, the blocks and the filter's precision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.neighbors import distance, nearest

from paredown.artifacts.shards import ShardWriter, open_shards
from paredown.errors import MethodError
from paredown.neighbors import Exact, bounds, exact, nearest_neighbors, space
from paredown.neighbors.base import without_self

METRICS = ["euclidean", "cosine"]
TYPES = [np.float16, np.float32, np.float64]


@pytest.fixture(params=[False, True], ids=["float32", "bfloat16"], autouse=True, scope="module")
def narrow(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Both filters are tested on every machine: bfloat16 is emulated where it is not fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "fast_bfloat16", lambda device: request.param)
        yield bool(request.param)


def check(vectors: np.ndarray, k: int, metric: str, tolerance: float) -> None:
    """Compares with the oracle: the distances, that each is that of its neighbour, and the order of exact ties."""
    found = nearest_neighbors(vectors, k, metric=metric)
    positions, distances = nearest(vectors, k, metric)
    assert found.positions.shape == positions.shape
    np.testing.assert_allclose(found.distances, distances, rtol=tolerance, atol=tolerance)
    for i, row in enumerate(found.positions):
        assert i not in row
        assert len(set(row.tolist())) == len(row)
        own = [distance(vectors[i], vectors[j], metric) for j in row]
        np.testing.assert_allclose(own, distances[i], rtol=tolerance, atol=tolerance)
        ties = np.flatnonzero(np.diff(found.distances[i]) == 0)
        assert (row[ties] < row[ties + 1]).all()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", TYPES)
def test_what_all_pairs_give(metric: str, dtype: Any) -> None:
    vectors = np.random.default_rng(0).standard_normal((150, 12)).astype(dtype)
    check(vectors, 5, metric, 1e-12 if dtype == np.float64 else 1e-6)
    np.testing.assert_array_equal(
        nearest_neighbors(vectors, 5, metric=metric).positions, nearest(vectors, 5, metric)[0]
    )


whole_numbers = st.integers(-2, 2).map(float)
any_numbers = st.floats(-1000, 1000, width=32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, str]:
    """Vectors with many duplicates and ties, or none; one to forty of them, also far from the origin."""
    size, width = draw(st.integers(1, 40)), draw(st.integers(1, 6))
    numbers = draw(st.sampled_from([whole_numbers, any_numbers]))
    row = st.lists(numbers, min_size=width, max_size=width)
    vectors = np.array(draw(st.lists(row, min_size=size, max_size=size)), dtype=np.float32)
    vectors += np.float32(draw(st.sampled_from([0, 0, 100, 4096])))
    metric = draw(st.sampled_from(METRICS))
    if metric == "cosine":
        vectors[(vectors == 0).all(axis=1)] = 1
    return vectors, draw(st.integers(1, 45)), metric


@settings(max_examples=150)
@given(case=cases())
def test_ties_duplicates_and_every_size(narrow: bool, case: tuple[np.ndarray, int, str]) -> None:
    vectors, k, metric = case
    check(vectors, k, metric, 2e-6)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), spread=st.sampled_from([1.0, 0.01, 1e-4]), size=st.integers(200, 700))
def test_clusters_in_which_the_filter_cannot_tell_who_is_near(
    narrow: bool, seed: int, spread: float, size: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((3, 8))[rng.integers(0, 3, size)] + spread * rng.standard_normal((size, 8))
    vectors = vectors.astype(np.float32)
    wide = vectors.astype(np.float64)
    found = nearest_neighbors(vectors, 4)
    apart = np.sqrt(((wide[:, None] - wide[None]) ** 2).sum(-1))
    np.fill_diagonal(apart, np.inf)
    np.testing.assert_allclose(found.distances, np.sort(apart, axis=1)[:, :4], rtol=1e-5)


def test_neighbours_are_the_same_whatever_the_blocks(narrow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    vectors = rng.integers(-3, 4, (900, 6)).astype(np.float16)  # ties in plenty
    whole = nearest_neighbors(vectors, 7)
    for together, columns, tile in ((64, 100, 4096), (1, 900, 10**6), (1000, 7, 1)):
        monkeypatch.setattr(Exact, "together", together)
        monkeypatch.setattr(exact, "COLUMNS", columns)
        monkeypatch.setattr(exact, "TILE_BYTES", tile)
        again = nearest_neighbors(vectors, 7)
        np.testing.assert_array_equal(again.positions, whole.positions)
        np.testing.assert_array_equal(again.distances, whole.distances)


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_on_disk_have_the_neighbours_of_those_in_memory(
    metric: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(2).standard_normal((500, 10)).astype(np.float16)
    whole = nearest_neighbors(vectors, 3, metric=metric)
    writer = ShardWriter(tmp_path, total=500, size=120)
    writer.put(vectors=vectors)
    rows = open_shards(tmp_path, ["vectors"], rows=500)["vectors"]
    monkeypatch.setattr(space.space_of, "__kwdefaults__", {"kept_bytes": 0})
    monkeypatch.setattr(exact, "KEPT_BYTES", 0)
    again = nearest_neighbors(rows, 3, metric=metric)
    np.testing.assert_array_equal(again.positions, whole.positions)
    np.testing.assert_allclose(again.distances, whole.distances, rtol=1e-6)


def test_duplicates_are_neighbours_at_distance_zero_and_the_lowest_positions_count() -> None:
    vectors = np.full((2100, 20), 0.1, np.float32) * np.arange(1, 21, dtype=np.float32)
    found = nearest_neighbors(vectors, 3)
    assert not found.distances.any()
    assert found.positions[0].tolist() == [1, 2, 3]
    assert found.positions[2].tolist() == [0, 1, 3]
    assert (found.positions[4:] == [0, 1, 2]).all()


@pytest.mark.parametrize("magnitude", [1e-30, 1e-6, 1e6, 1e30])
def test_neither_tiny_nor_huge_vectors_lose_their_neighbours(magnitude: float) -> None:
    vectors = np.random.default_rng(3).standard_normal((80, 5)).astype(np.float32)
    scaled = vectors * np.float32(magnitude)
    found = nearest_neighbors(scaled, 4)
    positions, distances = nearest(scaled, 4)
    np.testing.assert_array_equal(found.positions, positions)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-5)


def test_a_near_duplicate_far_from_the_origin_keeps_its_small_distance() -> None:
    rng = np.random.default_rng(4)
    vectors = (1000 + rng.standard_normal((50, 6))).astype(np.float32)
    vectors[7] = vectors[3]
    vectors[7, 0] = np.nextafter(vectors[3, 0], np.float32(np.inf))
    found = nearest_neighbors(vectors, 1)
    assert found.positions[7, 0] == 3
    assert found.distances[7, 0] == vectors[7, 0] - vectors[3, 0]


def test_float64_vectors_are_compared_in_float64() -> None:
    vectors = np.zeros((3, 2))
    vectors[1, 0], vectors[2, 0] = 1e-12, -3e-12
    found = nearest_neighbors(1 + vectors, 1)
    assert found.distances.dtype == np.float64
    assert found.positions[:, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(("size", "shape"), [(0, (0, 0)), (1, (1, 0)), (2, (2, 1)), (4, (4, 3))])
def test_few_vectors_have_few_neighbours(size: int, shape: tuple[int, int]) -> None:
    found = nearest_neighbors(np.arange(3 * size, dtype=np.float32).reshape(size, 3), 5)
    assert found.positions.shape == found.distances.shape == shape


def test_arrays_that_may_not_be_written_are_read() -> None:
    vectors = np.random.default_rng(5).standard_normal((60, 4)).astype(np.float32)
    whole = nearest_neighbors(vectors, 2)
    vectors.setflags(write=False)
    np.testing.assert_array_equal(nearest_neighbors(vectors, 2).positions, whole.positions)
    turned = np.asfortranarray(vectors)
    np.testing.assert_array_equal(nearest_neighbors(turned, 2).positions, whole.positions)


def test_a_vector_that_has_no_neighbours_is_named_by_its_id() -> None:
    vectors = np.ones((5, 2), np.float16)
    keys = np.array([10, 20, 30, 40, 50])
    vectors[3, 1] = np.nan
    with pytest.raises(MethodError, match="vector of id 40 holds NaN or infinity"):
        nearest_neighbors(vectors, 1, keys=keys)
    vectors[3] = np.inf
    with pytest.raises(MethodError, match="vector of id 3 holds NaN or infinity"):
        nearest_neighbors(vectors, 1)
    vectors[3] = 0
    with pytest.raises(MethodError, match="vector of id 40 is zero, so it has no direction"):
        nearest_neighbors(vectors, 1, keys=keys, metric="cosine")
    assert nearest_neighbors(vectors, 1).positions[3, 0] == 0


def test_no_neighbours_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(MethodError, match=r"nearest_neighbors\(k=0\)"):
        nearest_neighbors(np.ones((3, 2), np.float32), 0)


def test_a_query_that_is_no_vector_of_the_index_is_answered_too() -> None:
    rng = np.random.default_rng(6)
    vectors, queries = rng.standard_normal((70, 4)).astype(np.float32), rng.standard_normal((9, 4)).astype(np.float32)
    index = Exact()
    state = index.prepare(vectors, metric="euclidean", device=torch.device("cpu"), block_mb=1, folder=None)
    positions, distances = index.nearest(state, queries, 3)
    apart = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    np.testing.assert_array_equal(positions, np.argsort(apart, axis=1, kind="stable")[:, :3])
    np.testing.assert_allclose(distances, np.sort(apart, axis=1)[:, :3], rtol=1e-5)


def test_precision_that_somebody_has_lowered_is_given_back_and_not_used() -> None:
    vectors = np.random.default_rng(7).standard_normal((300, 30)).astype(np.float32)
    whole = nearest_neighbors(vectors, 3)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        again = nearest_neighbors(vectors, 3)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(again.positions, whole.positions)


def test_its_own_position_is_taken_out_wherever_it_stands() -> None:
    positions = np.array([[0, 2, 1], [0, 2, 1], [0, 1, 3]])
    distances = np.arange(9.0).reshape(3, 3)
    kept, apart = without_self(positions, distances, np.arange(3))
    assert kept.tolist() == [[2, 1], [0, 2], [0, 1]]
    assert apart.tolist() == [[1, 2], [3, 4], [6, 7]]


@settings(max_examples=60)
@given(seed=st.integers(0, 1000), offset=st.sampled_from([0.0, 3.0, 50.0]), width=st.sampled_from([3, 40, 520]))
def test_bounds_are_never_above_the_distance(narrow: bool, seed: int, offset: float, width: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = np.exp(rng.uniform(-8, 8, (30, 1)))  # points of very different lengths beside each other
    points = torch.from_numpy((offset + sizes * rng.standard_normal((30, width))).astype(np.float32))
    centre = points.mean(0)
    rows = bounds.operand(points, centre, narrow=narrow, query=True)
    columns = bounds.operand(points, centre, narrow=narrow, query=False)
    below = bounds.lower(rows @ columns.T).double()
    true = (points.double()[:, None] - points.double()[None]).square().sum(-1)
    assert (below <= true)[below > 0].all()
    length = (points - centre).double().square().sum(1)
    assert (true - below <= (0.05 if narrow else 0.001) * (length[:, None] + length[None]) + 0.01 * true).all()


@pytest.mark.parametrize("columns", [1, 15, 16, 100, 1000, 1003])
@pytest.mark.parametrize("count", [1, 7, 40])
def test_the_largest_of_a_row_are_found_by_groups(columns: int, count: int) -> None:
    answers = torch.from_numpy(np.random.default_rng(columns).permutation(20 * columns).reshape(20, columns)).float()
    values, where = bounds.largest(answers, count)
    expected = answers.topk(min(count, columns), dim=1)
    assert torch.equal(values.sort(dim=1, descending=True).values, expected.values)
    assert torch.equal(answers.gather(1, where), values)
