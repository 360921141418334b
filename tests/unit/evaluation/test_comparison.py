"""Means and paired differences, and words that claim no more than the seeds can carry."""

from __future__ import annotations

import numpy as np
import pytest

from paredown.errors import MethodError
from paredown.evaluation import paired, summary


def runs(*values: float) -> dict[int, float]:
    return dict(enumerate(values))


def test_summary() -> None:
    got = summary([0.8, 0.9, 1.0])
    assert (got.n, got.mean) == (3, pytest.approx(0.9))
    assert got.spread == pytest.approx(0.1)
    assert summary([0.5]).spread is None
    with pytest.raises(MethodError, match="no runs to summarise"):
        summary([])


def test_the_interval_is_students() -> None:
    from scipy import stats

    first, second = runs(0.91, 0.92, 0.90, 0.95), runs(0.90, 0.90, 0.91, 0.90)
    got = paired(first, second)
    differences = np.array([first[seed] - second[seed] for seed in first])
    expected = stats.ttest_1samp(differences, 0).confidence_interval(0.95)
    assert (got.low, got.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert got.error == pytest.approx(stats.sem(differences))
    assert (got.n, got.wins) == (4, 3)


def test_pairs_cancel_what_a_seed_shares() -> None:
    # The seeds differ by ten points, the pairs by one each time.
    first, second = runs(0.70, 0.801, 0.90), runs(0.69, 0.790, 0.891)
    got = paired(first, second)
    assert got.clear
    assert got.in_words("chosen", "random") == (
        "chosen is 1.00 points above random on average over 3 seeds (95 % interval +0.75 to +1.25): a clear difference."
    )


def test_pairs_go_by_seed_and_not_by_order() -> None:
    assert paired({3: 0.9, 7: 0.8}, {7: 0.8, 3: 0.9}).difference == 0


def test_noise_is_not_called_a_difference() -> None:
    got = paired(runs(0.9, 0.8, 0.85), runs(0.8, 0.9, 0.84))
    assert not got.clear
    assert got.in_words("chosen", "random").endswith(": no clear difference.")


def test_one_seed_has_no_interval() -> None:
    got = paired(runs(0.88), runs(0.90))
    assert (got.error, got.low, got.high, got.clear) == (None, None, None, False)
    assert got.in_words("chosen", "random") == (
        "chosen is 2.00 points below random on average over 1 seed; one pair cannot tell a difference from chance."
    )


def test_two_seeds_never_settle_it() -> None:
    got = paired(runs(0.95, 0.95), runs(0.90, 0.9001))
    assert got.low is not None and got.low > 0
    assert not got.clear
    assert "two pairs are too few to call it a difference" in got.in_words("chosen", "random")


def test_equal_means_are_called_equal() -> None:
    assert paired(runs(0.9), runs(0.9)).in_words("a", "b").startswith("a and b are equal on average")


def test_seeds_must_match() -> None:
    with pytest.raises(MethodError, match=r"seed 1 stands on one side only.*same seeds"):
        paired({0: 0.9, 1: 0.8}, {0: 0.9})
    with pytest.raises(MethodError, match="there are no seeds"):
        paired({}, {})
