"""Agreement of scores and selections, beside scipy where it has the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import ExampleIds, Pool, ScoreTable, Selection
from paredown.errors import MethodError, PoolMismatch
from paredown.evaluation import class_shares, correlation, overlap, shared_share, spearman

POOL = Pool(("a",), 6, "a" * 64)


def table(scores: list[float], important: str = "high", keys: list[int] | None = None, pool: Pool = POOL) -> ScoreTable:
    ids = ExampleIds(np.array(keys if keys is not None else range(len(scores))), pool)
    return ScoreTable(ids, np.array(scores), name="s", important=important, low=-np.inf, high=np.inf)  # type: ignore[arg-type]


def selection(keys: list[int], pool: Pool = POOL) -> Selection:
    return Selection(ExampleIds(np.array(keys), pool), base=6)


@given(st.integers(3, 30).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-3, 3), min_size=n, max_size=n)] * 2)))
def test_spearman_is_that_of_scipy(pair: tuple[list[int], list[int]]) -> None:
    from scipy.stats import spearmanr

    a, b = (np.array(side, np.float64) for side in pair)
    if len(set(pair[0])) > 1 and len(set(pair[1])) > 1:
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    else:
        with pytest.raises(MethodError, match="puts nothing in order"):
            spearman(a, b)


def test_spearman_knows_infinity() -> None:
    assert spearman(np.array([0.0, 1.0, np.inf]), np.array([1.0, 2.0, 3.0])) == 1


def test_spearman_needs_pairs() -> None:
    with pytest.raises(MethodError, match=r"shape \(2,\) and \(3,\)"):
        spearman(np.zeros(2), np.zeros(3))


def test_scores_are_paired_by_id() -> None:
    first = table([1.0, 2.0, 3.0], keys=[0, 1, 2])
    second = table([30.0, 10.0, 20.0], keys=[2, 0, 1])
    assert correlation(first, second) == 1


def test_scores_of_other_data_are_refused() -> None:
    with pytest.raises(PoolMismatch):
        correlation(table([1.0, 2.0]), table([1.0, 2.0], pool=Pool(("b",), 6, "b" * 64)))


def test_the_most_important_go_by_direction() -> None:
    hard, easy = table([5.0, 4.0, 1.0, 0.0]), table([0.0, 1.0, 3.0, 2.0], important="low")
    assert shared_share(hard, easy, 0.5) == 1
    assert shared_share(hard, table([0.0, 1.0, 3.0, 2.0]), 0.5) == 0


def test_a_score_without_direction_has_no_most_important() -> None:
    with pytest.raises(MethodError, match="no direction"):
        shared_share(table([1.0, 2.0]), table([1.0, 2.0], important="none"), 0.5)


def test_overlap_counts_on_the_smaller() -> None:
    assert overlap(selection([5, 1, 2]), selection([2, 4])) == 0.5
    assert overlap(selection([2, 4]), selection([5, 1, 2])) == 0.5


def test_class_shares() -> None:
    assert class_shares(np.array([0, 2, 2, 2]), 4).tolist() == [0.25, 0, 0.75, 0]
    with pytest.raises(MethodError, match="no examples to count"):
        class_shares(np.array([], np.int64), 4)
