"""Budgets and strata of the published code of D2 and of CCS."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from paredown.selection import Candidates, Highest, Lowest, choose, decide
from paredown.selection.budget import as_published, uniform
from paredown.selection.coverage import Ccs
from paredown.selection.coverage import as_published as published_strata

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def test_allocations(golden: Golden) -> None:
    arrays = golden("d2", "bin_allocate")
    modes = set()
    for case in range(int(arrays["ncases"])):
        count, bins = int(arrays[f"c{case}_num"]), arrays[f"c{case}_bins"]
        mode, initial, out = (arrays[f"c{case}_{part}"] for part in ("mode", "init", "out"))
        modes.add(str(mode))
        budget = uniform(bins, count) if mode == "uniform" else as_published(bins, initial, count)
        np.testing.assert_array_equal(budget, out, err_msg=f"case {case}, {mode}")
    assert modes == {"uniform", "confidence", "aucpr"}


@pytest.mark.parametrize("score", ["aum", "forgetting"])
def test_strata_and_their_budgets(golden: Golden, score: str) -> None:
    arrays = golden("d2", "ccs_stratified")
    values = arrays[score]
    sizes = np.bincount(published_strata(values, 50), minlength=51)
    assert sizes[50] == 0
    for count in (30, 90, 210):
        np.testing.assert_array_equal(sizes[:50], arrays[f"{score}_n{count}_strata"])
        chosen = decide(Ccs(compat="published"), Candidates(np.arange(len(values)), values), count)
        assert chosen.stratum is not None
        # Which ones inside a stratum was left to torch's generator.
        np.testing.assert_array_equal(np.bincount(chosen.stratum, minlength=50), arrays[f"{score}_n{count}_budget"])
        theirs = published_strata(values, 50)[arrays[f"{score}_n{count}_sel"]]
        np.testing.assert_array_equal(np.bincount(theirs, minlength=50), arrays[f"{score}_n{count}_budget"])


def test_the_cut_of_the_hardest_is_a_selection(golden: Golden) -> None:
    arrays = golden("d2", "ccs_stratified")
    kept = choose(Highest(), Candidates(np.arange(300), arrays["aum"]), 240)
    # They list the survivors hardest first.
    np.testing.assert_array_equal(kept[::-1], arrays["mis60_easy_index"])


@pytest.mark.parametrize("descending", [0, 1])
def test_plain_ranking(golden: Golden, descending: int) -> None:
    arrays = golden("d2", "monotonic_moderate")
    scores, labels, share = arrays["score"], arrays["targets"], float(arrays["ratio"])
    # Their descending sort is stable, so ties go to the lowest id, as in ascending order of the negative.
    candidates = Candidates(np.arange(300), -scores if descending else scores)
    whole = choose(Lowest(), candidates, int(300 * share))
    np.testing.assert_array_equal(whole, arrays[f"d2_desc{descending}_cb0"])
    np.testing.assert_array_equal(whole, arrays[f"ccs_desc{descending}_cb0"])
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]

    def class_by_class(counts: list[int]) -> np.ndarray:
        pairs = zip(members, counts, strict=True)
        return np.concatenate([rows[choose(Lowest(), candidates.take(rows), count)] for rows, count in pairs])

    by_size = class_by_class([int(np.float32(len(rows)) * share) for rows in members])
    np.testing.assert_array_equal(by_size, arrays[f"d2_desc{descending}_cb1"])
    # CCS takes the share of the last class from every class.
    by_last = class_by_class([int(len(members[-1]) * share)] * len(members))
    np.testing.assert_array_equal(by_last, arrays[f"ccs_desc{descending}_cb1"])


def test_strata_of_d2(golden: Golden) -> None:
    # Kept back: D2's own strata, ten of them, for 100 examples.
    arrays = golden("d2", "d2_stratified_density")
    checked = 0
    for name in arrays:
        kind, key, *rest = name.split("|")
        if kind != "strat" or rest[-1] != "pool_sizes":
            continue
        scores = arrays[key].astype(np.float32)
        if key == "aum" and rest[0] == "graph":
            scores = -(scores - scores.min())  # where the best are in no stratum
        sizes = np.bincount(published_strata(scores, 10), minlength=11)[:10]
        np.testing.assert_array_equal(sizes, arrays[name], err_msg=name)
        budget = arrays[name.replace("pool_sizes", "budget")]
        if "uniform" in rest:
            np.testing.assert_array_equal(uniform(sizes, min(100, int(sizes.sum()))), budget, err_msg=name)
        checked += 1
    assert checked
