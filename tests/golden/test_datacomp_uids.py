"""The file of uids that DataComp's tools take: halves of the digits as numbers, ascending, as the original wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from paredown.artifacts import ExampleIds, Pool, Selection
from paredown.artifacts.uids import from_hex, read_uids, to_hex, write_uids

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def test_digits_to_pairs_of_numbers(golden: Golden, tmp_path: Path) -> None:
    arrays = golden("d2", "datacomp_forward")
    keys = from_hex(arrays["uid_hex"])
    np.testing.assert_array_equal(keys.view(arrays["uids"].dtype), arrays["uids"])
    np.testing.assert_array_equal(to_hex(arrays["uids"].view(keys.dtype)), arrays["uid_hex"])
    stored = np.load(write_uids(tmp_path / "uids.npy", keys))
    assert stored.dtype == np.dtype([("f0", "<u8"), ("f1", "<u8")]) == arrays["uids"].dtype
    np.testing.assert_array_equal(stored, np.sort(arrays["uids"]))


def test_a_saved_selection_of_uids(golden: Golden, tmp_path: Path) -> None:
    arrays = golden("d2", "datacomp_forward")
    keys = from_hex(arrays["uid_hex"])
    best = np.argsort(-arrays["graph_scores"])[:45]
    ids = ExampleIds(keys, Pool(("datacomp",), len(keys), "0" * 64))
    folder = Selection(ids.take(best), base=len(keys)).save(tmp_path / "kept")
    np.testing.assert_array_equal(np.load(folder / "uids.npy"), np.sort(arrays["uids"][best]))
    np.testing.assert_array_equal(to_hex(Selection.open(folder).to_uids()), arrays["uid_hex"][best])
    assert set(read_uids(folder / "uids.npy").tolist()) == set(arrays["uids"][best].tolist())
