"""Facility location, graph cut, saturated coverage: against the whole function, lazily and in every other way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import submodular as oracle

from paredown.errors import MethodError
from paredown.neighbors import Neighbors
from paredown.selection import Candidates, FacilityLocation, GraphCut, SaturatedCoverage, choose, similarity
from paredown.selection.greedy import COVERED, CUT, LAZY, NAIVE, SAMPLED, SATURATED, Similarities
from paredown.selection.greedy import choose as loop
from paredown.selection.grid import Grid
from paredown.selection.similarity import of_all_pairs, of_neighbors
from paredown.selection.submodular import greedily

RULES: list[tuple[int, dict[str, float]]] = [
    (COVERED, {}),
    (CUT, {"penalty": 0.5}),
    (CUT, {"penalty": 1.25}),
    (SATURATED, {"saturation": 0.25}),
    (SATURATED, {"saturation": 1.0}),
]
any_rule = pytest.mark.parametrize(("rule", "fields"), RULES, ids=str)


@st.composite
def graphs(draw: st.DrawFn) -> Neighbors:
    """Small graphs with ties, duplicates at distance 0, missing neighbours and edges of one direction."""
    size, width = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    positions = draw(st.lists(st.integers(-1, size - 1), min_size=size * width, max_size=size * width))
    near = np.array(positions, np.int32).reshape(size, width)
    lengths = draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=size * width, max_size=size * width))
    apart = np.where(near >= 0, np.array(lengths, np.float32).reshape(size, width), np.float32(np.inf))
    return Neighbors(near, apart, draw(st.sampled_from(["euclidean", "cosine"])))


def matrix(given: Similarities) -> np.ndarray:
    size = len(given)
    if not len(given.columns):
        return given.values.reshape(size, size).astype(np.float64)
    whole = np.zeros((size, size))
    for row in range(size):
        part = slice(given.starts[row], given.starts[row + 1])
        whole[row, given.columns[part]] = given.values[part]
    return whole


def function_of(rule: int, similar: np.ndarray, fields: dict[str, float]) -> oracle.SetFunction:
    if rule == COVERED:
        return oracle.facility_location(similar)
    if rule == CUT:
        return oracle.graph_cut(similar, fields["penalty"])
    return oracle.saturated_coverage(similar, fields["saturation"])


@any_rule
@settings(max_examples=60)
@given(graph=graphs())
def test_lazy_and_naive_are_the_obvious_greedy(rule: int, fields: dict[str, float], graph: Neighbors) -> None:
    given_ = of_neighbors(graph)
    size, function = len(given_), function_of(rule, matrix(given_), fields)
    expected, gains = oracle.greedy(function, size, size, anew=rule != CUT)
    for way in (LAZY, NAIVE):
        chosen, gained = greedily(given_, size, rule=rule, way=way, **fields)
        assert chosen.tolist() == expected
        np.testing.assert_allclose(gained, gains, atol=1e-12)


@any_rule
@settings(max_examples=40)
@given(graph=graphs())
def test_gains_never_rise(rule: int, fields: dict[str, float], graph: Neighbors) -> None:
    given_ = of_neighbors(graph)
    chosen, gained = greedily(given_, len(given_), rule=rule, **fields)
    if rule != CUT:  # until everything is covered, and a new round begins
        function = function_of(rule, matrix(given_), fields)
        most = function(list(range(len(given_))))
        whole = np.flatnonzero(np.cumsum(gained) >= most)[0] + 1
        assert function(list(chosen[:whole])) == gained[:whole].sum() == most
        gained = gained[:whole]
    assert (np.diff(gained) <= 0).all()


@any_rule
@settings(max_examples=20)
@given(graph=graphs())
def test_without_numba_the_loops_give_the_same(rule: int, fields: dict[str, float], graph: Neighbors) -> None:
    plain = similarity.symmetric.__wrapped__  # type: ignore[attr-defined]
    size, width = graph.positions.shape
    scale = similarity._mean(graph.distances) if graph.metric == "euclidean" else 0.0
    alike = similarity.similarity(graph.distances, metric=graph.metric, scale=scale)
    entries = size + 2 * size * width
    starts, columns, values = np.empty(size + 1, np.int64), np.empty(entries, np.int32), np.empty(entries, np.float32)
    end = plain(graph.positions, alike, starts, columns, values)
    fast, slow = of_neighbors(graph), Similarities(starts, columns[:end], values[:end])
    for part in ("starts", "columns", "values"):
        np.testing.assert_array_equal(getattr(fast, part), getattr(slow, part))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("paredown.selection.submodular.choose", loop.__wrapped__)  # type: ignore[attr-defined]
        by_hand = greedily(fast, size, rule=rule, **fields)
    for one, other in zip(by_hand, greedily(fast, size, rule=rule, **fields), strict=True):
        np.testing.assert_array_equal(one, other)


@given(graph=graphs())
def test_the_graph_is_symmetric_and_holds_the_larger_similarity(graph: Neighbors) -> None:
    whole = matrix(of_neighbors(graph))
    finite = graph.distances[np.isfinite(graph.distances)]
    scale = float(finite.mean(dtype=np.float64)) if len(finite) else 0.0
    expected = np.eye(len(graph))
    for row, (near, apart) in enumerate(zip(graph.positions, graph.distances, strict=True)):
        for other, distance in zip(near[near >= 0], apart[near >= 0], strict=True):
            if other == row:
                continue
            value = max(0.0, 1 - distance)
            if graph.metric == "euclidean":
                value = np.exp(-(distance**2) / (2 * scale**2)) if scale else float(distance == 0)
            for pair in ((row, other), (other, row)):
                expected[pair] = max(expected[pair], value)
    np.testing.assert_array_equal(whole, whole.T)
    np.testing.assert_allclose(whole, expected, atol=2**-23)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_all_pairs_agree_with_the_neighbours(metric: str) -> None:
    vectors = np.random.default_rng(0).standard_normal((30, 4)).astype(np.float32)
    vectors[7] = vectors[3]
    candidates = Candidates(np.arange(30), embeddings=vectors, metric=metric)
    sparse, _ = similarity.similarities("", candidates, neighbors=5, dense=False)
    dense, _ = similarity.similarities("", candidates, neighbors=5, dense=True)
    near, every = matrix(sparse), matrix(dense)
    np.testing.assert_allclose(near[near > 0], every[near > 0], rtol=2e-5)
    np.testing.assert_array_equal(every, every.T)
    np.testing.assert_array_equal(every[3], every[7])
    assert (every[near == 0] > 0).any()


@pytest.mark.parametrize("name", [FacilityLocation, GraphCut, SaturatedCoverage])
def test_dense_is_greedy_on_all_pairs(name: Any) -> None:
    vectors = np.random.default_rng(1).standard_normal((12, 3))
    selector = name(dense=True)
    given_ = of_all_pairs(Grid(vectors, metric="euclidean"), 20)
    rule = {FacilityLocation: COVERED, GraphCut: CUT, SaturatedCoverage: SATURATED}[name]
    fields = {CUT: {"penalty": 0.5}, SATURATED: {"saturation": 0.1}}.get(rule, {})
    expected, _ = oracle.greedy(function_of(rule, matrix(given_), fields), 12, 12, anew=rule != CUT)
    assert choose(selector, Candidates(np.arange(12), embeddings=vectors), 12).tolist() == expected


@pytest.mark.parametrize("name", [FacilityLocation, GraphCut, SaturatedCoverage])
def test_a_sample_of_all_is_the_greedy_choice(name: Any) -> None:
    vectors = np.random.default_rng(2).standard_normal((40, 3))
    candidates = Candidates(np.arange(40), embeddings=vectors)
    # log(1/ε) so large that each sample holds everything that is left.
    every = name(optimizer="stochastic", epsilon=1e-9)
    np.testing.assert_array_equal(choose(every, candidates, 4), choose(name(), candidates, 4))
    assert not every.nested and name().nested and name(optimizer="naive").nested


def test_a_sample_gives_up_little() -> None:
    rng = np.random.default_rng(3)
    given_ = of_all_pairs(Grid(rng.standard_normal((300, 2)), metric="euclidean"), 10)
    function = oracle.facility_location(matrix(given_))
    best, _ = greedily(given_, 30, rule=COVERED)
    drawn, _ = greedily(given_, 30, rule=COVERED, way=SAMPLED, epsilon=0.1, rng=rng)
    by_chance = rng.permutation(300)[:30]
    assert function(list(best)) >= function(list(drawn)) > 0.9 * function(list(best)) > function(list(by_chance))


def test_facility_location_takes_one_of_each_heap_first() -> None:
    heaps = np.repeat(np.arange(4.0)[:, None] * 100, 5, axis=0) + np.random.default_rng(4).random((20, 1))
    chosen = choose(FacilityLocation(neighbors=4), Candidates(np.arange(20), embeddings=heaps), 4)
    assert sorted(chosen // 5) == [0, 1, 2, 3]


def test_when_all_is_covered_it_begins_anew() -> None:
    twice = np.repeat(np.array([[0.0], [10.0], [30.0]]), 2, axis=0)
    chosen = choose(FacilityLocation(), Candidates(np.arange(6), embeddings=twice), 6)
    # The first of each pair covers the pair; then the second ones are chosen in the same order.
    np.testing.assert_array_equal(chosen[3:], chosen[:3] + 1)


@pytest.mark.parametrize("selector", [FacilityLocation(), GraphCut(), SaturatedCoverage()], ids=repr)
def test_equal_vectors_go_by_id(selector: Any) -> None:
    keys = np.array([50, 20, 40, 10, 30])
    chosen = choose(selector, Candidates(keys, embeddings=np.ones((5, 3))), 5)
    assert keys[chosen].tolist() == [10, 20, 30, 40, 50]


@pytest.mark.parametrize("selector", [FacilityLocation(), GraphCut(), SaturatedCoverage()], ids=repr)
@pytest.mark.parametrize("dense", [False, True])
def test_one_candidate(selector: Any, dense: bool) -> None:
    alone = Candidates(np.array([7]), embeddings=np.ones((1, 3)))
    assert choose(type(selector)(dense=dense), alone, 1).tolist() == [0]


def test_a_given_graph_counts_as_far_as_its_first_columns() -> None:
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((50, 3))
    from_vectors = Candidates(np.arange(50), embeddings=vectors)
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    near = np.argsort(apart, axis=1)[:, 1:11]
    graph = Neighbors(near, np.take_along_axis(apart, near, 1).astype(np.float32))
    given_ = Candidates(np.arange(50), graph=graph)
    for k in (2, 10, 40):
        wide = choose(FacilityLocation(neighbors=k), given_, 20)
        np.testing.assert_array_equal(wide, choose(FacilityLocation(neighbors=min(k, 10)), from_vectors, 20))


def test_more_diversity_is_less_alike() -> None:
    rng = np.random.default_rng(6)
    vectors = rng.standard_normal((100, 2))
    given_ = of_all_pairs(Grid(vectors, metric="euclidean"), 10)
    whole = matrix(given_)
    alike = []
    for penalty in (0.0, 0.5, 2.0):
        chosen, _ = greedily(given_, 20, rule=CUT, penalty=penalty)
        alike.append(whole[np.ix_(chosen, chosen)].sum())
    assert alike[0] > alike[1] > alike[2]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FacilityLocation(neighbors=0), r"FacilityLocation\(neighbors=0\): without neighbours nothing"),
        (lambda: SaturatedCoverage(epsilon=1.0), r"SaturatedCoverage\(epsilon=1\): not a share"),
        (lambda: GraphCut(epsilon=0.0), r"GraphCut\(epsilon=0\): not a share"),
        (lambda: GraphCut(diversity=-0.5), r"GraphCut\(diversity=-0\.5\): below 0 similar examples"),
        (lambda: SaturatedCoverage(saturation=0.0), r"SaturatedCoverage\(saturation=0\): not a share"),
        (lambda: SaturatedCoverage(saturation=1.5), r"SaturatedCoverage\(saturation=1\.5\)"),
    ],
)
def test_fields_that_make_no_sense(make: Any, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        make()


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).standard_normal((6, 3))
    graph = Neighbors(np.full((6, 1), -1), np.full((6, 1), np.inf, np.float32))
    with pytest.raises(MethodError, match="FacilityLocation needs embeddings or graph, and select"):
        choose(FacilityLocation(), Candidates(np.arange(6)), 2)
    with pytest.raises(MethodError, match=r"GraphCut\(dense=true\): all pairs are compared through embeddings"):
        choose(GraphCut(dense=True), Candidates(np.arange(6), graph=graph), 2)
    with pytest.raises(MethodError, match="hold the two factors of each gradient"):
        choose(FacilityLocation(), Candidates(np.arange(6), embeddings=vectors, factors=(1, 2)), 2)
    monkeypatch.setattr(similarity, "LARGEST", 100)
    with pytest.raises(MethodError, match=r"all pairs of 6 examples take 0 GiB, and at most 0 are held"):
        choose(FacilityLocation(dense=True), Candidates(np.arange(6), embeddings=vectors), 2)


@pytest.mark.parametrize("optimizer", ["lazy", "naive", "stochastic"])
def test_what_it_will_cost_grows_with_the_work(optimizer: Any) -> None:
    vectors = np.zeros((1000, 8), np.float32)
    small, large = (Candidates(np.arange(n), embeddings=vectors[:n]) for n in (100, 1000))
    for selector in (FacilityLocation(optimizer=optimizer), GraphCut(optimizer=optimizer, dense=True)):
        one, other = selector.estimate(small, 10), selector.estimate(large, 10)
        assert one is not None and other is not None
        assert other.operations > 3 * one.operations and other.memory > 9 * one.memory
