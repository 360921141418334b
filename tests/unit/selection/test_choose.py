"""What every choice obeys: counts, order, classes, nested budgets, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paredown.artifacts import ExampleIds, Pool, Selection
from paredown.artifacts.apportion import apportion
from paredown.errors import MethodError
from paredown.method import build
from paredown.selection import (
    AbstractSelector,
    Candidates,
    FunctionSelector,
    Highest,
    HighestMagnitude,
    Lowest,
    LowestMagnitude,
    Random,
    Window,
    choose,
)

SELECTORS = [
    Highest(),
    Lowest(),
    HighestMagnitude(),
    LowestMagnitude(),
    Window(0.0),
    Window(0.3),
    Random(),
    Random(legacy_seed=3),
]
any_selector = pytest.mark.parametrize("selector", SELECTORS, ids=repr)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Candidates, int, int]:
    """Candidates with ties and infinities, a count that a window of 0.3 can give, and a seed."""
    size = draw(st.integers(2, 40))
    values = draw(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.5, np.inf]), min_size=size, max_size=size))
    labels = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    keys = draw(st.permutations(range(0, 3 * size, 3)))
    count = draw(st.integers(1, max(1, int(0.6 * size))))
    return Candidates(np.array(keys), np.array(values), labels=np.array(labels)), count, draw(st.integers(0, 5))


@any_selector
@settings(max_examples=40)
@given(case=cases())
def test_exactly_count_different_candidates(selector: AbstractSelector, case: tuple[Candidates, int, int]) -> None:
    candidates, count, seed = case
    chosen = choose(selector, candidates, count, seed=seed)
    assert len(np.unique(chosen)) == count
    assert chosen.min() >= 0 and chosen.max() < len(candidates)


@any_selector
@settings(max_examples=40)
@given(case=cases())
def test_a_smaller_budget_is_the_beginning_of_a_larger(
    selector: AbstractSelector, case: tuple[Candidates, int, int]
) -> None:
    candidates, count, seed = case
    smaller = max(1, count // 2)
    whole = choose(selector, candidates, count, seed=seed)
    np.testing.assert_array_equal(choose(selector, candidates, smaller, seed=seed), whole[:smaller])


@any_selector
@settings(max_examples=40)
@given(case=cases(), order=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(
    selector: AbstractSelector, case: tuple[Candidates, int, int], order: object
) -> None:
    candidates, count, seed = case
    rows = np.arange(len(candidates))
    order.shuffle(rows)  # type: ignore[attr-defined]
    shuffled = candidates.take(rows)
    np.testing.assert_array_equal(
        shuffled.keys[choose(selector, shuffled, count, seed=seed)],
        candidates.keys[choose(selector, candidates, count, seed=seed)],
    )


@given(case=cases())
def test_by_class_each_class_gets_its_share_at_every_length(case: tuple[Candidates, int, int]) -> None:
    candidates, count, seed = case
    assert candidates.labels is not None
    chosen = choose(Highest(), candidates, count, by_class=True, seed=seed)
    classes, sizes = np.unique(candidates.labels, return_counts=True)
    for length in range(1, count + 1):
        got = [(candidates.labels[chosen[:length]] == label).sum() for label in classes]
        np.testing.assert_array_equal(got, apportion(sizes, length))


@pytest.mark.parametrize("selector", [Highest(), Lowest(), HighestMagnitude(), LowestMagnitude(), Random()], ids=repr)
@settings(max_examples=40)
@given(case=cases())
def test_with_fraction_is_selecting_at_that_fraction(
    selector: AbstractSelector, case: tuple[Candidates, int, int]
) -> None:
    candidates, count, seed = case
    assert candidates.labels is not None
    ids = ExampleIds(candidates.keys, Pool(("a",), 3 * len(candidates), "0" * 64))
    chosen = choose(selector, candidates, count, by_class=True, seed=seed)
    selection = Selection(ids.take(chosen), base=len(candidates), stratum=candidates.labels[chosen])
    smaller = max(1, count // 2)
    direct = choose(selector, candidates, smaller, by_class=True, seed=seed)
    fewer = selection.with_fraction(smaller / len(candidates))
    np.testing.assert_array_equal(fewer.ids.keys, candidates.keys[direct])
    np.testing.assert_array_equal(fewer.stratum, candidates.labels[direct])


def test_by_class_is_the_choice_of_each_class_alone() -> None:
    values = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 9.0])
    labels = np.array([0, 0, 0, 0, 1, 1])
    chosen = choose(Highest(), Candidates(np.arange(6), values, labels=labels), 3, by_class=True)
    assert chosen.tolist() == [0, 5, 2]


def test_random_follows_the_seed_and_is_even() -> None:
    candidates = Candidates(np.arange(10))
    draws = [tuple(choose(Random(), candidates, 3, seed=seed)) for seed in range(600)]
    assert draws[0] == tuple(choose(Random(), candidates, 3, seed=0))
    counts = np.bincount(np.array(draws).ravel(), minlength=10)
    # 180 expected of each, standard deviation 11.2: five of them.
    assert np.abs(counts - 180).max() < 56


def test_highest_and_lowest_share_one_order() -> None:
    candidates = Candidates(np.arange(9), np.zeros(9))
    highest, lowest = choose(Highest(), candidates, 4), choose(Lowest(), candidates, 5)
    assert sorted([*highest, *lowest]) == list(range(9))


def test_ties_go_by_id_and_not_by_row() -> None:
    candidates = Candidates(np.array([30, 10, 20]), np.zeros(3))
    assert candidates.keys[choose(Lowest(), candidates, 3)].tolist() == [10, 20, 30]


def test_sixteen_byte_ids_order_ties() -> None:
    keys = np.array([(1, 5), (0, 7), (1, 2)], dtype=[("high", "<u8"), ("low", "<u8")])
    assert choose(Lowest(), Candidates(keys, np.zeros(3)), 3).tolist() == [1, 2, 0]


def test_infinities_stand_at_their_ends() -> None:
    candidates = Candidates(np.arange(4), np.array([0.0, np.inf, -np.inf, 1.0]))
    assert choose(Highest(), candidates, 4).tolist() == [1, 3, 0, 2]


@pytest.mark.parametrize("size", [7, 20, 97, 1000, 50_000])
def test_a_window_can_start_at_every_place(size: int) -> None:
    candidates = Candidates(np.arange(size), np.arange(size) / size)
    for start in {0, 1, size // 3, size // 2, size - 1}:
        assert choose(Window(offset=start / size), candidates, 1)[0] == start


@any_selector
def test_plain_data_gives_the_selector_back(selector: AbstractSelector) -> None:
    assert build("selector", selector.plain()) == selector


def middle_first(candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.argsort(np.abs(np.arange(len(candidates)) - len(candidates) // 2), kind="stable")[:count]


def test_a_function_is_a_selector() -> None:
    selector = FunctionSelector(middle_first)
    assert choose(selector, Candidates(np.arange(5)), 3).tolist() == [2, 1, 3]
    assert build("selector", selector.plain()) == selector


def test_a_function_without_a_name_is_refused() -> None:
    with pytest.raises(MethodError, match=r"<lambda> cannot be imported by name.*def at the top of a module"):
        FunctionSelector(lambda candidates, count, rng: np.arange(count))


@dataclass(frozen=True)
class Important(AbstractSelector):
    needs: ClassVar[frozenset[str]] = frozenset({"importance"})

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        assert candidates.importance is not None
        return np.argsort(-candidates.importance)[:count]


@dataclass(frozen=True)
class Wrong(AbstractSelector):
    how: str = "twice"

    needs: ClassVar[frozenset[str]] = frozenset()

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        return {
            "twice": np.zeros(count, np.int64),
            "short": np.arange(count - 1),
            "float": np.arange(count) / 2,
            "outside": np.arange(count) + len(candidates) - 1,
        }[self.how]


@pytest.mark.parametrize(
    ("selector", "candidates", "count", "by_class", "sentence"),
    [
        (Highest(), Candidates(np.arange(4), np.zeros(4)), 0, False, "0 examples cannot be chosen, because nothing"),
        (Highest(), Candidates(np.arange(4), np.zeros(4)), -1, False, "-1 examples cannot"),
        (Highest(), Candidates(np.arange(4), np.zeros(4)), 5, False, r"5 examples cannot.*there are 4 candidates"),
        (Highest(), Candidates(np.arange(4)), 2, False, r"Highest needs values.*Pass scores="),
        (Highest(), Candidates(np.arange(4), np.zeros(4)), 2, True, r"class by class, needs labels.*Pass data="),
        (
            Lowest(),
            Candidates(np.array([7, 8]), np.array([1.0, np.nan])),
            1,
            False,
            r"Lowest: 1 of 2 scores are NaN; the first is that of id 8",
        ),
        (Important(), Candidates(np.arange(4), np.zeros(4)), 2, False, "this score has no direction"),
        (Important(), Candidates(np.arange(4)), 2, False, r"Important needs importance.*Pass scores="),
        (
            Window(offset=0.5),
            Candidates(np.arange(10), np.zeros(10)),
            6,
            False,
            r"Window\(offset=0.5\): 5 of 10 candidates are left out, so 6 cannot be chosen",
        ),
        (Wrong("twice"), Candidates(np.arange(4)), 2, False, "Wrong chose an example twice"),
        (Wrong("short"), Candidates(np.arange(4)), 2, False, r"gave int64 of shape \(1,\), and 2 whole numbers"),
        (Wrong("float"), Candidates(np.arange(4)), 2, False, "gave float64"),
        (Wrong("outside"), Candidates(np.arange(4)), 2, False, "outside the 4 candidates"),
    ],
)
def test_what_is_refused(
    selector: AbstractSelector, candidates: Candidates, count: int, by_class: bool, sentence: str
) -> None:
    with pytest.raises(MethodError, match=sentence):
        choose(selector, candidates, count, by_class=by_class)


def test_importance_is_used_when_there_is_one() -> None:
    candidates = Candidates(np.arange(3), values=np.array([1.0, 2.0, 3.0]), importance=np.array([-1.0, -2.0, -3.0]))
    assert choose(Important(), candidates, 1).tolist() == [0]


@pytest.mark.parametrize("offset", [-0.1, 1.0, 2.0])
def test_a_window_leaves_out_a_share(offset: float) -> None:
    with pytest.raises(MethodError, match=r"Window\(offset=.*not a share"):
        Window(offset=offset)


def test_a_legacy_seed_is_one_that_numpy_takes() -> None:
    with pytest.raises(MethodError, match=r"legacy_seed=-1"):
        Random(legacy_seed=-1)


def test_columns_pair_up() -> None:
    with pytest.raises(MethodError, match="4 keys and 3 values"):
        Candidates(np.arange(4), np.zeros(3))
