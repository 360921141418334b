"""The whole path of D2's published code, from scores to a coreset: the cut of the hardest, bins, graph and budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from paredown.selection import D2, AbstractSelector, Bins, Candidates, Highest, Lowest, choose

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def published(**fields: str) -> D2:
    return D2(neighbors=5, gamma=0.1, compat="published", **fields)  # type: ignore[arg-type]


E2E: dict[str, AbstractSelector] = {
    "class_sum_w": Bins(published()),
    "class_product_w": Bins(published(forward="product")),
    "class_aum": Bins(published()),
    "class_mis0": Bins(published()),
    "graph_global": published(),
    "graph_aum": published(),
}


@pytest.mark.parametrize("name", list(E2E))
def test_end_to_end(golden: Golden, name: str) -> None:
    arrays = golden("d2", "select_coreset_e2e")
    aum = arrays["aum"]
    cut = 0 if name == "class_mis0" else 60
    # The share of the lowest margins is left out, and the others stand in the order of their margins from then on.
    easy = np.argsort(aum, kind="stable")[cut:]
    importance = aum - aum[easy].min() if name == "class_aum" else aum if name == "graph_aum" else arrays["forgetting"]
    candidates = Candidates(
        easy,
        importance=importance[easy],
        labels=arrays["labels"][easy],
        # Where nothing is left out, the original forgets to bring the features into that order.
        embeddings=arrays["X"][easy if cut else slice(None)],
    )
    chosen = choose(E2E[name], candidates, 180)
    np.testing.assert_array_equal(np.sort(easy[chosen]), arrays[f"{name}|idx"])


def test_ranking_end_to_end(golden: Golden) -> None:
    arrays = golden("d2", "select_coreset_e2e")
    chosen = choose(Lowest(), Candidates(np.arange(600), arrays["aum"]), 180)
    np.testing.assert_array_equal(np.sort(chosen), arrays["coreset_aum|idx"])


def test_ranking_end_to_end_with_ties(golden: Golden) -> None:
    # Which of the 96 that were forgotten four times is left to a sort that is not stable; with us ties go by id.
    arrays = golden("d2", "select_coreset_e2e")
    scores, theirs = arrays["forgetting"], arrays["coreset_forgetting|idx"]
    ours = np.sort(choose(Highest(), Candidates(np.arange(600), scores), 180))
    last = scores[theirs].min()
    np.testing.assert_array_equal(ours[scores[ours] > last], theirs[scores[theirs] > last])
    assert (scores[ours] == last).sum() == (scores[theirs] == last).sum() == 60


def test_ranking_end_to_end_class_by_class(golden: Golden) -> None:
    arrays = golden("d2", "select_coreset_e2e")
    labels, selector = arrays["labels"], Lowest()
    candidates = Candidates(np.arange(600), -arrays["el2n"])
    members = [np.flatnonzero(labels == label) for label in range(3)]
    chosen = [rows[choose(selector, candidates.take(rows), int(np.float32(len(rows)) * 0.3))] for rows in members]
    # 179 of the 180 asked for: the shares are rounded down.
    np.testing.assert_array_equal(np.sort(np.concatenate(chosen)), arrays["coreset_el2n_lb|idx"])
