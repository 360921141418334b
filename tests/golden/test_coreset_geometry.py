"""k-centre, moderate coresets and AUCpr against what the original code of D2 gave."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from paredown.neighbors.coverage import aucpr
from paredown.selection import Candidates, KCenter, Moderate, choose
from paredown.selection.moderate import from_center

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def test_k_center_in_order(golden: Golden) -> None:
    arrays = golden("d2", "kcenter_aucpr")
    for points in (arrays["X"], arrays["X"].astype(np.float32)):
        candidates = Candidates(np.arange(50), embeddings=points)
        np.testing.assert_array_equal(choose(KCenter(start="first"), candidates, 15), arrays["kcenter15"])


@pytest.mark.parametrize(("chosen", "name"), [(range(5), "aucpr_first5_vs_rest"), (None, "aucpr_kc15")])
def test_aucpr(golden: Golden, chosen: range | None, name: str) -> None:
    arrays = golden("d2", "kcenter_aucpr")
    rows = arrays["kcenter15"] if chosen is None else np.array(chosen)
    found = aucpr(arrays["X"][rows], np.delete(arrays["X"], rows, axis=0))
    assert found == pytest.approx(float(arrays[name]), rel=1e-6)


def test_distances_to_the_median_of_the_class(golden: Golden) -> None:
    arrays = golden("d2", "monotonic_moderate")
    found = from_center(arrays["features"], arrays["targets"])
    np.testing.assert_allclose(found, arrays["moderate_dist"], rtol=1e-12)


def test_the_original_keeps_what_moderate_leaves_out(golden: Golden) -> None:
    arrays = golden("d2", "monotonic_moderate")
    size, tails = len(arrays["targets"]), arrays["moderate_0.3"]
    candidates = Candidates(np.arange(size), labels=arrays["targets"], embeddings=arrays["features"])
    assert len(tails) == 90
    middle = choose(Moderate(), candidates, size - len(tails))
    np.testing.assert_array_equal(np.sort([*middle, *tails]), np.arange(size))
    # Right way round: the share 0.3 itself is the middle of the distances, and none of it is in the original's.
    kept = choose(Moderate(), candidates, len(tails))
    assert not set(kept) & set(tails)
    ranks = np.argsort(np.argsort(arrays["moderate_dist"]))[kept]
    assert sorted(ranks) == list(range(105, 195))
