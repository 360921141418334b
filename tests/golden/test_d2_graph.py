"""D2 against its published code: densities, orders of choice, and the whole path from scores to a coreset."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances

from paredown.errors import MethodError
from paredown.method import build
from paredown.neighbors import Neighbors
from paredown.selection import Candidates, choose
from paredown.selection.bins import Bins
from paredown.selection.message_passing import D2, OFFSET
from paredown.selection.messages import directed, greedy, lazy

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def published(neighbors: int = 5, gamma: float = 0.1, **fields: str) -> D2:
    return D2(neighbors=neighbors, gamma=gamma, compat="published", **fields)  # type: ignore[arg-type]


def runs(arrays: Mapping[str, np.ndarray]) -> list[str]:
    return [name.removesuffix("|order") for name in arrays if name.endswith("|order")]


def test_every_mode_of_the_sampler(golden: Golden) -> None:
    arrays = golden("d2", "graph_sampler")
    checked = 0
    for run in runs(arrays):
        score, forward, reverse, gamma, k = run.split("|")
        if forward == "median":
            continue
        selector = published(int(k[1:]), float(gamma[1:]), forward=forward, reverse=reverse)
        candidates = Candidates(np.arange(80), importance=arrays[score], embeddings=arrays["X"])
        edges = selector.edges(candidates)
        density, order = arrays[f"{run}|density"], arrays[f"{run}|order"]
        np.testing.assert_allclose(selector.density(candidates, edges), density, rtol=1e-9, err_msg=run)
        connect = arrays.get(f"{run}|connect")
        if connect is not None:
            np.testing.assert_array_equal(edges.degree, (connect > 0).sum(axis=1), err_msg=run)
        weighted = reverse == "weighted"
        chosen = greedy(edges, density, 40, gamma=selector.gamma, weighted=weighted)
        np.testing.assert_array_equal(chosen, order, err_msg=run)
        # The product of two that are each other's only neighbour is the same for both but for rounding, which our
        # distances, from differences, do not share.
        if not (forward == "product" and k == "k1"):
            np.testing.assert_array_equal(choose(selector, candidates, 40), order, err_msg=run)
        checked += 1
    assert checked == 28 - 3 + 2


def test_the_median_mode_is_not_offered() -> None:
    # The median of a matrix that is mostly zeros is zero: every edge vanishes and the score alone ranks.
    with pytest.raises(MethodError, match="not one of sum, product, none"):
        build("selector", {"name": "d2", "forward": "median"})


def test_until_nothing_is_left(golden: Golden) -> None:
    arrays = golden("d2", "graph_sampler_full")
    features = golden("d2", "graph_sampler")
    for gamma, name in ((0.1, "order_g0p1"), (1.0, "order_g1")):
        candidates = Candidates(np.arange(80), importance=features["forgetting"], embeddings=features["X"])
        selector = published(gamma=gamma)
        np.testing.assert_allclose(
            selector.density(candidates, selector.edges(candidates)), arrays["density"], rtol=1e-9
        )
        np.testing.assert_array_equal(choose(selector, candidates, 80), arrays[name])


def test_single_precision(golden: Golden) -> None:
    arrays = golden("d2", "graph_sampler_float32")
    candidates = Candidates(np.arange(80), importance=arrays["forgetting"], embeddings=arrays["X"])
    selector = published()
    density = selector.density(candidates, selector.edges(candidates))
    np.testing.assert_allclose(density, arrays["density"], rtol=1e-5)
    np.testing.assert_array_equal(choose(selector, candidates, len(arrays["order"])), arrays["order"])


def test_ties(golden: Golden) -> None:
    arrays = golden("d2", "graph_sampler_ties")
    connect, distance = arrays["connect"], pairwise_distances(arrays["X"])
    # Which of several equal points are neighbours is left to the search, so the edges are taken as they were.
    rows = [np.flatnonzero(row > 0) for row in connect]
    near = np.full((len(rows), max(len(row) for row in rows)), -1)
    length = np.full(near.shape, np.inf)
    for i, row in enumerate(rows):
        near[i, : len(row)], length[i, : len(row)] = row, distance[i, row]
    order = arrays["order"]
    chosen = greedy(directed(near, length), arrays["density"], len(order), gamma=0.1, weighted=True)
    np.testing.assert_array_equal(chosen, order)


@pytest.mark.parametrize("forward", ["sum", "product"])
@pytest.mark.parametrize("reverse", ["weighted", "absolute"])
def test_a_graph_that_was_there_before(golden: Golden, forward: str, reverse: str) -> None:
    arrays = golden("d2", "graph_precomputed")
    # Column 0 is the example itself.
    graph = Neighbors(arrays["neighbors"][:, 1:], arrays["dists"][:, 1:])
    candidates = Candidates(np.arange(80), importance=arrays["score"], graph=graph)
    selector = published(int(arrays["k"]), float(arrays["gamma"]), forward=forward, reverse=reverse)
    density = selector.density(candidates, selector.edges(candidates))
    np.testing.assert_allclose(density, arrays[f"{forward}|{reverse}|density"], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(choose(selector, candidates, 60), arrays[f"{forward}|{reverse}|order"])


def test_class_mode(golden: Golden) -> None:
    # Kept back: D2 in bins that are labels, uniform budget.
    arrays = golden("d2", "d2_stratified_density")
    size = len(arrays["labels"])
    for key in ("forgetting", "aum"):
        scores = arrays[key].astype(np.float64)
        # Whether their arrays were made before or after the margins were moved to begin at 0 is not told.
        answers = []
        for importance in (scores, scores - scores.min()):
            candidates = Candidates(
                np.arange(size), importance=importance, labels=arrays["labels"], embeddings=arrays["X"]
            )
            answers.append(np.sort(choose(Bins(published()), candidates, 100)).tolist())
        assert arrays[f"density|{key}|uniform|sel_sorted"].tolist() in answers


def test_datacomp_messages(golden: Golden) -> None:
    arrays = golden("d2", "datacomp_forward")
    # Squared distances, less that of the first hit, which the script takes for the example itself.
    np.testing.assert_array_equal(arrays["I_raw"][:, 1:], arrays["neighbors"])
    squared = arrays["distances"].astype(np.float64)
    np.testing.assert_allclose(squared, arrays["D_raw"][:, 1:] - arrays["D_raw"][:, :1])
    graph = Neighbors(arrays["neighbors"], np.sqrt(squared))
    candidates = Candidates(np.arange(150), importance=arrays["clip"], graph=graph)
    selector = D2(neighbors=3, compat="datacomp")
    density = selector.density(candidates, selector.edges(candidates))
    np.testing.assert_allclose(density, arrays["graph_scores"], rtol=1e-6)
    np.testing.assert_allclose(arrays["clip"] + OFFSET, arrays["clip_scores"], rtol=1e-6)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.6, 0.9])
@pytest.mark.parametrize("gamma", [0.1, 1.0])
def test_datacomp_selection(golden: Golden, fraction: float, gamma: float) -> None:
    arrays = golden("d2", "datacomp_iterative")
    count = int(fraction * 200)
    edges = directed(arrays["neighbors"], arrays["distances"])
    published_order, exact = arrays[f"f{fraction}_g{gamma}"], arrays[f"exact_f{fraction}_g{gamma}"]
    np.testing.assert_array_equal(lazy(edges, arrays["graph_scores"], count, gamma=gamma), published_order)
    np.testing.assert_array_equal(greedy(edges, arrays["graph_scores"], count, gamma=gamma, weighted=True), exact)
    # The same through the methods, from similarities and distances.
    graph = Neighbors(arrays["neighbors"], np.sqrt(arrays["distances"].astype(np.float64)))
    candidates = Candidates(np.arange(200), importance=arrays["clip_scores"] - OFFSET, graph=graph)
    selector = D2(neighbors=4, gamma=gamma, compat="datacomp")
    np.testing.assert_array_equal(choose(selector, candidates, count), published_order)
    candidates = Candidates(np.arange(200), importance=arrays["clip_scores"], graph=graph)
    selector = D2(neighbors=4, gamma=gamma, power=2, compat="published")
    np.testing.assert_array_equal(choose(selector, candidates, count), exact)


def test_datacomp_selects_everything_where_the_script_fails(golden: Golden) -> None:
    arrays = golden("d2", "datacomp_iterative")
    assert "IndexError" in str(arrays["f1.0_g0.1_fail"])
    edges = directed(arrays["neighbors"], arrays["distances"])
    whole = lazy(edges, arrays["graph_scores"], 200, gamma=0.1)
    assert sorted(whole) == list(range(200))
    np.testing.assert_array_equal(whole[:180], arrays["f0.9_g0.1"])


def test_datacomp_without_reverse_messages_and_above_a_threshold(golden: Golden) -> None:
    arrays = golden("d2", "datacomp_iterative")
    edges = directed(arrays["neighbors"], arrays["distances"])
    ranked = greedy(edges, arrays["graph_scores"], 60, gamma=1e9, weighted=True)
    np.testing.assert_array_equal(ranked, arrays["graphscore_f0.3"])
    chosen = lazy(edges, arrays["graph_scores"], 60, gamma=1.0)
    similar = arrays["clip_scores"][chosen] >= 0.2 + OFFSET
    np.testing.assert_array_equal(chosen[similar], arrays["thresholded_f0.3_t0.2"])
