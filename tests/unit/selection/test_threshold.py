from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import ExampleIds, Pool, ScoreTable
from paredown.errors import MethodError
from paredown.selection import Candidates, OfClasses, Threshold, choose
from paredown.verbs import select

VALUES = st.lists(st.floats(-1e300, 1e300) | st.sampled_from([0.0, 1.0, -1.0]), min_size=1, max_size=30)
BOUND = st.floats(-1e300, 1e300) | st.sampled_from([0.0, 1.0, -1.0])


def candidates(values: Any) -> Candidates:
    return Candidates(np.arange(len(values)), np.asarray(values, np.float64))


@given(VALUES, BOUND, BOUND)
def test_it_keeps_exactly_what_passes(values: list[float], one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    for selector, passing in (
        (Threshold(at_least=low), [low <= value for value in values]),
        (Threshold(at_most=high), [value <= high for value in values]),
        (Threshold(at_least=low, at_most=high), [low <= value <= high for value in values]),
    ):
        assert selector.size(candidates(values)) == sum(passing)
        if any(passing):
            assert sorted(choose(selector, candidates(values))) == np.flatnonzero(passing).tolist()
        # Whatever the count, those that pass come first.
        order = choose(selector, candidates(values), len(values))
        assert np.array(passing)[order].tolist() == sorted(passing, reverse=True)


def test_the_farthest_inside_comes_first_and_the_nearest_outside_follows() -> None:
    values = [0.1, 0.9, 0.5, 0.5, 0.3]
    assert choose(Threshold(at_least=0.4), candidates(values), 5).tolist() == [1, 2, 3, 4, 0]
    assert choose(Threshold(at_most=0.4), candidates(values), 5).tolist() == [0, 4, 2, 3, 1]
    assert choose(Threshold(at_least=0.25, at_most=0.75), candidates(values), 5).tolist() == [2, 3, 4, 0, 1]


def test_infinite_values_pass_or_do_not() -> None:
    values = [-np.inf, 0.0, np.inf]
    assert choose(Threshold(at_least=0), candidates(values)).tolist() == [2, 1]
    assert choose(Threshold(at_least=0, at_most=1), candidates(values)).tolist() == [1]


def test_filters_compose_and_say_what_they_kept() -> None:
    pool = Pool(("made",), 40, "0" * 64)
    draw = np.random.default_rng(0)
    tables = [
        ScoreTable(ExampleIds.of_pool(pool), draw.random(40), name=name, important="none", low=0, high=1)
        for name in ("size", "similarity")
    ]
    first = select({"name": "threshold", "at_least": 0.3}, scores=tables[0])
    both = select({"name": "threshold", "at_least": 0.5}, scores=tables[1], within=first)
    wanted = np.flatnonzero((tables[0].values >= 0.3) & (tables[1].values >= 0.5))
    assert sorted(both.ids.keys.tolist()) == wanted.tolist()
    assert (both.base, both.fraction) == (40, len(wanted) / 40)
    fewer = select({"name": "threshold", "at_least": 0.5}, scores=tables[1], within=first, count=3)
    assert fewer.ids.keys.tolist() == both.ids.keys[:3].tolist()


def test_by_class_each_class_keeps_what_passes() -> None:
    labelled = Candidates(np.arange(6), np.array([0.0, 1, 0, 1, 1, 1]), labels=np.array([0, 0, 1, 1, 2, 2]))
    assert sorted(choose(Threshold(at_least=1), labelled, by_class=True)) == [1, 3, 4, 5]


def test_bounds_that_make_no_sense() -> None:
    with pytest.raises(MethodError, match="without a bound everything passes"):
        Threshold()
    with pytest.raises(MethodError, match=r"Threshold\(at_least=2, at_most=1\): nothing lies between"):
        Threshold(at_least=2, at_most=1)
    for by_class in (False, True):
        some = Candidates(np.arange(3), np.array([1.0, 2, 3]), labels=np.zeros(3, np.int64))
        with pytest.raises(MethodError, match="keeps none of the 3 candidates, whose scores lie from 1 to 3"):
            choose(Threshold(at_least=5), some, by_class=by_class)


def test_some_classes_are_kept_whole_and_confine_others() -> None:
    labels = np.array([2, 0, 1, 2, 0, 1, 1])
    given = Candidates(np.arange(7), labels=labels)
    assert choose(OfClasses((2, 1)), given).tolist() == [0, 2, 3, 5, 6]
    assert choose(OfClasses((0,)), given, 4).tolist() == [1, 4, 0, 2]
    data = {"name": "synthetic", "n": 40, "classes": 4}
    phase = select({"name": "classes", "classes": [3, 1]}, data=data)
    assert len(phase) == 20
    kept = select("random", data=data, within=phase, count=5)
    assert np.isin(kept.ids.keys, phase.ids.keys).all()
    assert set(kept.ids.keys % 4) <= {1, 3}


def test_classes_that_cannot_be_are_said() -> None:
    for wrong in ((), (1, 1), (-1,)):
        with pytest.raises(MethodError, match="name at least one class, each once"):
            OfClasses(wrong)
    with pytest.raises(MethodError, match="OfClasses keeps none of the 7 candidates"):
        choose(OfClasses((9,)), Candidates(np.arange(7), labels=np.zeros(7, np.int64)))
