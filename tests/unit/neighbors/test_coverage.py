"""How far vectors lie from the nearest chosen."""

from __future__ import annotations

import numpy as np
import pytest

from paredown.artifacts.shards import Rows
from paredown.errors import MethodError
from paredown.neighbors import coverage
from paredown.neighbors.coverage import aucpr, to_nearest


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_distance_to_the_nearest(monkeypatch: pytest.MonkeyPatch, metric: str) -> None:
    rng = np.random.default_rng(0)
    chosen, others = rng.standard_normal((7, 3)), rng.standard_normal((40, 3))
    if metric == "euclidean":
        expected = np.linalg.norm(others[:, None] - chosen[None], axis=2).min(axis=1)
    else:
        unit = [points / np.linalg.norm(points, axis=1, keepdims=True) for points in (chosen, others)]
        expected = 1 - (unit[1] @ unit[0].T).max(axis=1)
    monkeypatch.setattr(coverage, "QUERIES", 16)
    np.testing.assert_allclose(to_nearest(chosen, others, metric=metric), expected, rtol=1e-9)
    assert aucpr(chosen, others, metric=metric) == pytest.approx(expected.mean())
    from_files = to_nearest(Rows([chosen[:2], chosen[2:]]), Rows([others[:9], others[9:]]), metric=metric)
    np.testing.assert_allclose(from_files, expected, rtol=1e-9)


def test_nothing_left_out_is_covered_and_nothing_chosen_covers_nothing() -> None:
    assert aucpr(np.ones((3, 2)), np.empty((0, 2))) == 0.0
    assert to_nearest(np.ones((3, 2)), np.ones((4, 2))).tolist() == [0.0] * 4
    with pytest.raises(MethodError, match="Nothing is chosen"):
        aucpr(np.empty((0, 2)), np.ones((3, 2)))


def test_a_vector_without_a_distance_is_refused() -> None:
    with pytest.raises(MethodError, match="holds NaN or infinity"):
        to_nearest(np.ones((1, 2)), np.array([[np.nan, 0.0]]))
