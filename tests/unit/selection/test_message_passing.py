"""D2: the graph, the messages and the choice, against dense matrices and argmax."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles import d2 as oracle

from paredown.errors import MethodError
from paredown.method import build
from paredown.neighbors import Neighbors, nearest_neighbors
from paredown.selection import Candidates, choose
from paredown.selection.message_passing import D2
from paredown.selection.messages import Edges, directed, greedy, heard, lazy, mutual


def candidates_of(size: int = 60, width: int = 5, seed: int = 0) -> Candidates:
    rng = np.random.default_rng(seed)
    return Candidates(
        np.arange(size), importance=rng.standard_normal(size), embeddings=rng.standard_normal((size, width))
    )


def dense(edges: Edges) -> tuple[np.ndarray, np.ndarray]:
    """Whether there is an edge from row to column, and its length."""
    there, length = np.zeros((len(edges), len(edges))), np.zeros((len(edges), len(edges)))
    rows = np.repeat(np.arange(len(edges)), edges.degree)
    there[rows, edges.target], length[rows, edges.target] = 1, edges.length
    return there, length


@st.composite
def graphs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours with gaps, and lengths with ties that may differ between the two directions."""
    size, k = draw(st.integers(2, 14)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    k = min(k, size - 1)
    near = np.stack([rng.permutation(np.delete(np.arange(size), i))[:k] for i in range(size)])
    near[rng.random(near.shape) < 0.2] = -1
    return near.astype(np.int32), rng.choice([0.0, 0.5, 1.0, 3.0], near.shape)


@given(graph=graphs())
def test_an_edge_stands_wherever_one_is_a_neighbour_of_the_other(graph: tuple[np.ndarray, np.ndarray]) -> None:
    near, length = graph
    wanted = np.full((len(near), len(near)), np.inf)
    for i, j in zip(*np.nonzero(near >= 0), strict=True):
        both = min(wanted[i, near[i, j]], length[i, j])
        wanted[i, near[i, j]] = wanted[near[i, j], i] = both
    edges = mutual(near, length)
    there, distance = dense(edges)
    np.testing.assert_array_equal(there > 0, np.isfinite(wanted))
    np.testing.assert_array_equal(distance[there > 0], wanted[there > 0])
    assert edges.degree.sum() == there.sum(), "an edge stands twice"


@settings(max_examples=150)
@given(
    graph=graphs(),
    numbers=st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 1.0]), min_size=14, max_size=14),
    gamma=st.sampled_from([0.0, 0.1, 1.0]),
    weighted=st.booleans(),
    both_ways=st.booleans(),
)
def test_the_heap_chooses_what_argmax_chooses(
    graph: tuple[np.ndarray, np.ndarray], numbers: list[float], gamma: float, weighted: bool, both_ways: bool
) -> None:
    edges = (mutual if both_ways else directed)(*graph)
    density = np.array(numbers[: len(edges)])
    there, length = dense(edges)
    taken = np.exp(-gamma * length) if weighted else None
    wanted = oracle.selected(there, density, len(edges), taken=taken)
    before = density.copy()
    np.testing.assert_array_equal(greedy(edges, density, len(edges), gamma=gamma, weighted=weighted), wanted)
    np.testing.assert_array_equal(density, before)


def lazily(edges: Edges, density: np.ndarray, count: int, gamma: float) -> list[int]:
    """DataComp's choice as it is described, with lists."""
    there, length = dense(edges)
    left, line = density.copy(), [int(i) for i in np.argsort(-density, kind="stable")]
    parked: list[int] = []
    chosen: list[int] = []
    while len(chosen) < count:
        best = max(parked, key=lambda i: left[i]) if parked else -1
        if parked and (not line or left[best] >= left[line[0]]):
            parked.remove(best)
        elif len(line) > 1 and left[line[0]] < left[line[1]]:
            parked.append(line.pop(0))
            continue
        else:
            best = line.pop(0)
        chosen.append(best)
        left[there[best] > 0] -= left[best] * np.exp(-gamma * length[best][there[best] > 0])
    return chosen


@settings(max_examples=150)
@given(graph=graphs(), seed=st.integers(0, 1000), gamma=st.sampled_from([0.0, 0.1, 1.0]))
def test_the_lazy_choice_is_the_one_with_lists(graph: tuple[np.ndarray, np.ndarray], seed: int, gamma: float) -> None:
    edges = directed(*graph)
    density = np.random.default_rng(seed).choice([-1.0, 0.0, 0.3, 1.0, 1.2, 5.0], len(edges))
    whole = lazily(edges, density, len(edges), gamma)
    assert lazy(edges, density, len(edges), gamma=gamma).tolist() == whole
    assert lazy(edges, density, 1, gamma=gamma).tolist() == whole[:1]


@pytest.mark.parametrize("forward", ["sum", "product", "none"])
@pytest.mark.parametrize("reverse", ["weighted", "absolute"])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_as_published_is_the_published_sampler(forward: str, reverse: str, gamma: float) -> None:
    candidates = candidates_of()
    assert candidates.importance is not None
    selector = D2(neighbors=4, gamma=gamma, forward=forward, reverse=reverse, compat="published")  # type: ignore[arg-type]
    wanted = oracle.published(
        candidates.embeddings,
        candidates.importance,
        60,
        k=4,
        gamma=gamma,
        forward=forward,
        weighted=reverse == "weighted",
    )
    np.testing.assert_array_equal(choose(selector, candidates, 60), wanted)


def test_the_default_is_the_equations_of_the_paper_with_distances_in_units_of_their_mean() -> None:
    candidates = candidates_of()
    vectors, importance = candidates.embeddings, candidates.importance
    assert importance is not None
    distance = np.linalg.norm(vectors[:, None] - vectors, axis=2)
    near = np.argsort(distance + np.diag(np.full(60, np.inf)), axis=1)[:, :5]
    there = np.zeros((60, 60))
    there[np.arange(60)[:, None], near] = 1
    scaled = distance / distance[there > 0].mean()
    there = np.maximum(there, there.T)
    shifted = importance - importance.min()
    density = shifted + (there * np.exp(-(scaled**2))) @ shifted
    wanted = oracle.selected(there, density, 60, taken=np.exp(-0.1 * scaled**2))
    np.testing.assert_array_equal(choose(D2(), candidates, 60), wanted)


def test_without_damping_the_order_is_that_of_density() -> None:
    candidates = candidates_of()
    selector = D2(gamma=1e9)
    density = selector.density(candidates, selector.edges(candidates))
    np.testing.assert_array_equal(choose(selector, candidates, 60), np.argsort(-density))


@pytest.mark.parametrize("compat", ["paper", "published", "datacomp"])
def test_moving_and_turning_the_vectors_changes_nothing(compat: str) -> None:
    candidates = candidates_of()
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    moved = replace(candidates, embeddings=candidates.embeddings @ turn + 10)
    selector = build("selector", {"name": "d2", "compat": compat})
    np.testing.assert_array_equal(choose(selector, candidates, 60), choose(selector, moved, 60))


def test_by_default_the_unit_of_the_vectors_changes_nothing() -> None:
    candidates = candidates_of()
    larger = replace(candidates, embeddings=1000 * candidates.embeddings)
    np.testing.assert_array_equal(choose(D2(), candidates, 60), choose(D2(), larger, 60))
    assert (choose(D2(scale="none"), candidates, 60) != choose(D2(scale="none"), larger, 60)).any()


@pytest.mark.parametrize("compat", ["paper", "published", "datacomp"])
@pytest.mark.parametrize("with_graph", [False, True])
def test_other_rows_give_the_same_examples(compat: str, with_graph: bool) -> None:
    candidates = candidates_of()
    if with_graph:
        candidates = replace(candidates, graph=nearest_neighbors(candidates.embeddings, 5), embeddings=None)
    order = np.random.default_rng(1).permutation(60)
    shuffled = candidates.take(order)
    selector = build("selector", {"name": "d2", "compat": compat})
    np.testing.assert_array_equal(shuffled.keys[choose(selector, shuffled, 40)], choose(selector, candidates, 40))


def test_ties_go_to_the_lowest_id_and_as_published_to_the_first_row() -> None:
    vectors = np.arange(0.0, 4000.0, 1000.0)[:, None]  # so far apart that no weight is left
    tied = Candidates(np.array([4, 3, 2, 1]), importance=np.zeros(4), embeddings=vectors)
    settings = {"neighbors": 1, "gamma": 1.0, "scale": "none"}
    assert tied.keys[choose(D2(**settings), tied, 4)][0] == 1  # type: ignore[arg-type]
    assert tied.keys[choose(D2(**settings, compat="published"), tied, 4)][0] == 4  # type: ignore[arg-type]


def test_a_graph_that_is_given_is_used_as_far_as_asked() -> None:
    candidates = candidates_of()
    found = choose(D2(neighbors=3), candidates, 60)
    for width in (3, 8):
        given = replace(candidates, graph=nearest_neighbors(candidates.embeddings, width), embeddings=None)
        np.testing.assert_array_equal(choose(D2(neighbors=3), given, 60), found)
    with pytest.raises(MethodError, match=r"D2\(neighbors=5\): the graph has 3 neighbours"):
        choose(D2(), replace(candidates, graph=nearest_neighbors(candidates.embeddings, 3)), 2)


def test_of_a_wider_graph_the_first_that_are_candidates_count() -> None:
    candidates = candidates_of()
    rows = np.arange(0, 60, 2)
    # 40 columns hold at least the ten nearest among any 30 of 60.
    given = replace(candidates, graph=nearest_neighbors(candidates.embeddings, 40), embeddings=None)
    np.testing.assert_array_equal(
        choose(D2(neighbors=10), given.take(rows), 20), choose(D2(neighbors=10), candidates.take(rows), 20)
    )


def test_cosine_distances_are_euclidean_between_directions() -> None:
    candidates = candidates_of()
    vectors = candidates.embeddings
    unit = replace(candidates, embeddings=vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    cosine = replace(candidates, metric="cosine")
    np.testing.assert_array_equal(choose(D2(), cosine, 60), choose(D2(), unit, 60))
    given = replace(candidates, graph=nearest_neighbors(vectors, 5, metric="cosine"), embeddings=None)
    np.testing.assert_array_equal(choose(D2(), given, 60), choose(D2(), unit, 60))


def test_given_and_as_published_edges_lead_one_way() -> None:
    near = Neighbors(np.array([[1], [2], [0]]), np.ones((3, 1), np.float32))
    candidates = Candidates(np.arange(3), importance=np.array([3.0, -1.0, 2.0]), graph=near)
    selector = D2(neighbors=1, compat="published")
    density = selector.density(candidates, selector.edges(candidates))
    kernel = np.exp(-1)
    # Nothing is raised to 1e-7 there: what the second sends is negative.
    np.testing.assert_allclose(density, [3 - kernel, -1 + 2 * kernel, 2 + 3 * kernel])


def test_an_edge_without_weight_is_none_as_published() -> None:
    vectors = np.array([[0.0], [1.0], [2000.0]])
    candidates = Candidates(np.arange(3), importance=np.ones(3), embeddings=vectors)
    selector = D2(neighbors=1, compat="published")
    assert selector.edges(candidates).degree.tolist() == [1, 1, 0]
    assert replace(selector, compat="paper").edges(candidates).degree.tolist() == [1, 2, 1]


def test_equal_importance_still_spreads_the_choice() -> None:
    rng = np.random.default_rng(0)
    crowds = np.repeat(rng.standard_normal((6, 4)) * 20, 10, axis=0) + rng.standard_normal((60, 4))
    candidates = Candidates(np.arange(60), importance=np.full(60, -7.0), embeddings=crowds)
    chosen = choose(D2(neighbors=9), candidates, 6)
    assert sorted(chosen // 10) == [0, 1, 2, 3, 4, 5]


def test_importance_can_be_ignored() -> None:
    candidates = candidates_of()
    selector = D2(forward="none")
    assert selector.needs == frozenset()
    without = replace(candidates, importance=None)
    np.testing.assert_array_equal(choose(selector, candidates, 9), choose(selector, without, 9))


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_fewer_candidates_than_neighbours(size: int) -> None:
    candidates = candidates_of(size)
    assert sorted(choose(D2(neighbors=5), candidates, size)) == list(range(size))
    assert len(choose(D2(neighbors=5), candidates, 1)) == 1


def test_what_compat_says_of_power_and_scale_can_be_overruled() -> None:
    assert (D2().power, D2().scale) == (2, "mean")
    published = D2(compat="published")
    assert (published.power, published.scale) == (1, "none")
    assert (D2(compat="published", power=2).power, D2(compat="datacomp").power) == (2, 2)
    assert build("selector", published.plain()) == published


def test_what_a_choice_costs_is_said_beforehand() -> None:
    candidates = candidates_of()
    given = replace(candidates, graph=nearest_neighbors(candidates.embeddings, 5))
    search, choice = D2().estimate(candidates, 10), D2().estimate(given, 10)
    assert search is not None and choice is not None
    assert search.operations > 2 * 60**2 * 5 and search.seconds > 0 and choice.memory < search.memory


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"neighbors": 0}, r"D2\(neighbors=0\): a graph needs at least one neighbour"),
        ({"gamma": -1.0}, r"D2\(gamma=-1\): messages must not grow"),
        ({"gamma_forward": -0.5}, r"D2\(gamma_forward=-0.5\): messages must not grow"),
        ({"gamma": float("nan")}, r"D2\(gamma=nan\): messages must not grow"),
        ({"compat": "datacomp", "forward": "product"}, "knows forward='sum' and reverse='weighted' only"),
        ({"forward": "median"}, r"forward='median'.*not one of sum, product, none"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        build("selector", {"name": "d2", **fields}) if "forward" in fields else D2(**fields)  # type: ignore[arg-type]


def test_what_cannot_be_worked_with_is_refused() -> None:
    candidates = candidates_of()
    with pytest.raises(MethodError, match="an importance is infinite"):
        choose(D2(), replace(candidates, importance=np.full(60, np.inf)), 2)
    with pytest.raises(MethodError, match="stands for an outer product"):
        choose(D2(), replace(candidates, factors=(2, 3)), 2)
    with pytest.raises(MethodError, match="D2 needs embeddings or graph"):
        choose(D2(), replace(candidates, embeddings=None), 2)


def test_heard_is_a_product_with_the_weights() -> None:
    edges = mutual(np.array([[1, 2], [0, -1], [1, 0]]), np.array([[1.0, 2.0], [1.0, 0.0], [0.5, 2.0]]))
    there, length = dense(edges)
    sent = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(heard(edges, sent, 0.7), (there * np.exp(-0.7 * length)) @ sent)
