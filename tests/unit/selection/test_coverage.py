"""CCS: strata of equal width, the budget among them, and the picker inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError
from paredown.method import build
from paredown.selection import Candidates, Highest, Window, choose, decide
from paredown.selection.budget import uniform
from paredown.selection.coverage import Ccs, as_published, equal_width
from paredown.selection.message_passing import D2


def scores(size: int = 200) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(size)


@given(values=st.lists(st.integers(-20, 20), min_size=1, max_size=60), strata=st.integers(1, 12))
def test_strata_are_intervals_of_equal_width(values: list[int], strata: int) -> None:
    stratum = equal_width(np.array(values), strata)
    low, high = min(values), max(values)
    for value, number in zip(values, stratum, strict=True):
        if low == high:
            assert number == 0
        elif value == high:
            assert number == strata - 1
        else:
            # In whole numbers, so that nothing is rounded: low + number · width ≤ value < low + (number + 1) · width.
            assert number * (high - low) <= (value - low) * strata < (number + 1) * (high - low)


def test_the_budget_is_uniform_over_the_strata_at_every_length() -> None:
    values = scores()
    sizes = np.bincount(equal_width(values, 10), minlength=10)
    chosen = decide(Ccs(strata=10), Candidates(np.arange(200), values), 120)
    assert chosen.stratum is not None
    np.testing.assert_array_equal(chosen.stratum, equal_width(values, 10)[chosen.positions])
    for count in (1, 9, 40, 120):
        np.testing.assert_array_equal(np.bincount(chosen.stratum[:count], minlength=10), uniform(sizes, count))


def test_inside_a_stratum_the_picker_decides() -> None:
    values = scores()
    chosen = decide(Ccs(strata=4, picker=Highest()), Candidates(np.arange(200), values), 20)
    for stratum in range(4):
        inside = np.flatnonzero(equal_width(values, 4) == stratum)
        best = inside[np.argsort(-values[inside])]
        mine = chosen.positions[chosen.stratum == stratum]
        np.testing.assert_array_equal(mine, best[: len(mine)])


def test_by_chance_inside_a_stratum_is_even() -> None:
    candidates = Candidates(np.arange(20), np.repeat([0.0, 1.0], 10))
    counts = np.zeros(20)
    for seed in range(400):
        counts[choose(Ccs(strata=2), candidates, 6, seed=seed)] += 1
    # 120 expected of each, standard deviation 9.2: five of them.
    assert np.abs(counts - 120).max() < 46


def test_a_constant_score_is_one_stratum() -> None:
    chosen = decide(Ccs(), Candidates(np.arange(9), np.full(9, -3.0)), 5)
    assert chosen.stratum is not None and set(chosen.stratum) == {0}


def test_more_strata_than_scores() -> None:
    chosen = decide(Ccs(strata=1000), Candidates(np.arange(30), np.arange(30) % 3), 6)
    assert np.bincount(chosen.positions % 3).tolist() == [2, 2, 2]


def test_the_highest_score_is_in_the_last_stratum_also_below_zero() -> None:
    values = np.array([-4.0, -3.0, -2.0, -1.0])
    assert equal_width(values, 3).tolist() == [0, 1, 2, 2]
    # The published limits end at 1.0001 · max, which is below max here.
    assert as_published(values, 3).tolist() == [0, 1, 2, 3]


def test_as_published_the_highest_come_when_all_others_are_gone() -> None:
    candidates = Candidates(np.arange(40), -np.arange(40.0))
    for seed in range(5):
        chosen = choose(Ccs(strata=4, compat="published"), candidates, 40, seed=seed)
        assert chosen[-1] == 0 and sorted(chosen) == list(range(40))


def test_d2_by_strata_is_a_composition() -> None:
    draw = np.random.default_rng(0).standard_normal
    candidates = Candidates(np.arange(60), draw(60), draw(60), embeddings=draw((60, 4)))
    selector = Ccs(strata=3, picker=D2(neighbors=3))
    assert {"values", "importance"} == selector.needs and selector.either == {"graph", "embeddings"}
    chosen = decide(selector, candidates, 12)
    assert candidates.values is not None
    inside = np.flatnonzero(equal_width(candidates.values, 3) == 1)
    alone = choose(D2(neighbors=3), candidates.take(inside), 4)
    np.testing.assert_array_equal(chosen.positions[chosen.stratum == 1], inside[alone])
    with pytest.raises(MethodError, match="Ccs needs embeddings or graph"):
        choose(selector, Candidates(np.arange(4), np.arange(4.0), np.arange(4.0)), 2)


def test_plain_data_gives_it_back() -> None:
    selector = build("selector", {"name": "ccs", "strata": "25", "picker": {"name": "window", "offset": 0.5}})
    assert selector == Ccs(strata=25, picker=Window(0.5))
    assert build("selector", selector.plain()) == selector


def test_what_is_refused() -> None:
    with pytest.raises(MethodError, match=r"Ccs\(strata=0\): scores cannot be cut into none"):
        Ccs(strata=0)
    with pytest.raises(MethodError, match="a score is infinite, so its range has no strata"):
        choose(Ccs(), Candidates(np.arange(3), np.array([0.0, 1.0, np.inf])), 2)
    with pytest.raises(MethodError, match="Ccs needs values"):
        choose(Ccs(), Candidates(np.arange(3)), 2)
