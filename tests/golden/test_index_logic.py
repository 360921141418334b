"""Which rows are kept, against the original's answers; it sorts its answers, so sets are compared in ascending order.

Two differences are ours by choice: ties go by id (the original left them to an unstable sort), and what the original
answered silently (NaN, a window past the end, keeping 0) is refused in words.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from paredown.errors import MethodError
from paredown.selection import (
    AbstractSelector,
    Candidates,
    Highest,
    HighestMagnitude,
    Lowest,
    LowestMagnitude,
    Random,
    Window,
    choose,
)

Golden = Callable[[str, str], Mapping[str, np.ndarray]]
RULES: dict[str, AbstractSelector] = {
    "keep_max_scores": Highest(),
    "keep_min_scores": Lowest(),
    "keep_max_abs_scores": HighestMagnitude(),
    "keep_min_abs_scores": LowestMagnitude(),
}


def kept(selector: AbstractSelector, scores: np.ndarray, count: int) -> np.ndarray:
    return np.sort(choose(selector, Candidates(np.arange(len(scores)), scores), count))


@pytest.mark.parametrize("rule", ["keep_max_scores", "keep_min_scores"])
def test_rules_by_value(golden: Golden, rule: str) -> None:
    arrays = golden("diet", "index_logic")
    counts = [int(name.partition(":")[2]) for name in arrays if name.startswith(f"{rule}:")]
    assert len(counts) >= 4
    for count in counts:
        if count:
            np.testing.assert_array_equal(kept(RULES[rule], arrays["scores"], count), arrays[f"{rule}:{count}"])


@pytest.mark.parametrize("rule", ["keep_max_abs_scores", "keep_min_abs_scores"])
def test_rules_by_magnitude(golden: Golden, rule: str) -> None:
    # The scores come in pairs ±s: only the magnitudes that are kept are told, which of a pair was left to the sort.
    arrays = golden("diet", "index_logic")
    magnitudes = np.abs(arrays["scores"])
    for count in (1, 5, 8, 20):
        ours, theirs = kept(RULES[rule], arrays["scores"], count), arrays[f"{rule}:{count}"]
        np.testing.assert_array_equal(np.sort(magnitudes[ours]), np.sort(magnitudes[theirs]))


def test_windows(golden: Golden) -> None:
    arrays = golden("diet", "index_logic")
    windows = [name for name in arrays if name.startswith("offset:")]
    assert len(windows) >= 6
    for name in windows:
        size, offset = (int(number) for number in re.findall(r"\d+", name))
        if offset + size <= 20:
            ours = kept(Window(offset=offset / 20), arrays["scores"], size)
            np.testing.assert_array_equal(ours, arrays[name])
        elif offset < 20:
            assert len(arrays[name]) < size
            with pytest.raises(MethodError, match="cannot be chosen from the rest"):
                kept(Window(offset=offset / 20), arrays["scores"], size)


def test_ties_go_by_id(golden: Golden) -> None:
    arrays = golden("diet", "index_logic")
    np.testing.assert_array_equal(kept(Highest(), arrays["scores_ties"], 8), arrays["ties_keep_max:8_stable"])


def test_nan_is_refused_and_infinity_is_the_end(golden: Golden) -> None:
    arrays = golden("diet", "index_logic")
    scores = arrays["scores_infnan"]
    with pytest.raises(MethodError, match=r"1 of 20 scores are NaN; the first is that of id 11"):
        kept(Highest(), scores, 4)
    # The original puts NaN above infinity; with the largest of all numbers in its place the answers agree again.
    scores = np.where(np.isnan(scores), np.inf, scores)
    np.testing.assert_array_equal(kept(Highest(), scores, 4), arrays["infnan_keep_max:4"])
    np.testing.assert_array_equal(kept(Window(offset=15 / 20), scores, 4), arrays["infnan_offset:size4:offset15"])


def test_keeping_none_is_refused(golden: Golden) -> None:
    arrays = golden("diet", "index_logic")
    assert len(arrays["keep_max_scores:0"]) == 20
    with pytest.raises(MethodError, match="0 examples cannot be chosen"):
        kept(Highest(), arrays["scores"], 0)


def test_random_subsets(golden: Golden) -> None:
    arrays = golden("diet", "random_subset")
    ours = kept(Random(legacy_seed=4426), np.zeros(20), 7)
    np.testing.assert_array_equal(ours, arrays["n20_size7_seed4426"])
    for run, seed in enumerate(arrays["seeds_run0_1_2_subset"]):
        for size in (25000, 5000):
            ours = kept(Random(legacy_seed=int(seed)), np.zeros(50000), size)
            told = f"n50000_size{size}_run{run}"
            np.testing.assert_array_equal(ours[:20], arrays[f"{told}_first20"])
            assert ours.sum() == arrays[f"{told}_sum"]
            assert hashlib.sha256(ours.astype("<i4").tobytes()).hexdigest() == arrays[f"{told}_sha256_int32le"]
