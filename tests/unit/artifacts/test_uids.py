from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import ExampleIds, Pool, Selection
from paredown.artifacts.uids import (
    NATIVE,
    from_bytes,
    from_hex,
    places,
    ranked,
    read_uids,
    repeated,
    to_bytes,
    to_hex,
    told,
    write_uids,
)
from paredown.errors import ArtifactError, PoolMismatch

# Few different halves, so that equal ones are common.
HALF = st.sampled_from([0, 1, 2, 2**32, 2**63, 2**64 - 1])
PAIRS = st.lists(st.tuples(HALF, HALF), unique=True, min_size=1, max_size=36)


def keys_of(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, dtype=NATIVE)


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_digits_and_keys_are_the_same_thing(stored: list[bytes]) -> None:
    texts = np.array([uid.hex() for uid in stored], dtype="<U32")
    keys = from_hex(texts)
    assert keys.tolist() == [(int(text[:16], 16), int(text[16:], 16)) for text in texts.tolist()]
    np.testing.assert_array_equal(to_hex(keys), texts)
    np.testing.assert_array_equal(from_hex(np.char.upper(texts)), keys)
    assert to_bytes(keys).tobytes() == b"".join(stored)
    np.testing.assert_array_equal(from_bytes(to_bytes(keys)), keys)


@given(PAIRS)
def test_the_order_of_keys_is_that_of_their_digits(pairs: list[tuple[int, int]]) -> None:
    keys = keys_of(pairs)
    assert keys[ranked(keys)].tolist() == sorted(pairs)
    assert to_hex(keys[ranked(keys)]).tolist() == sorted(to_hex(keys).tolist())


@given(PAIRS, st.lists(st.tuples(HALF, HALF), max_size=20))
def test_finding_keys_among_others(pairs: list[tuple[int, int]], wanted: list[tuple[int, int]]) -> None:
    lined = keys_of(sorted(pairs))
    found = places(lined, keys_of(wanted))
    assert found.tolist() == [sorted(pairs).index(pair) if pair in pairs else -1 for pair in wanted]


@given(st.lists(st.tuples(HALF, HALF), max_size=20))
def test_what_stands_twice(pairs: list[tuple[int, int]]) -> None:
    assert repeated(keys_of(pairs)).tolist() == sorted({pair for pair in pairs if pairs.count(pair) > 1})
    numbers = np.array([low % 7 for _, low in pairs], np.int64)
    assert repeated(numbers).tolist() == sorted({n for n in numbers.tolist() if (numbers == n).sum() > 1})


def test_wrong_digits_are_named() -> None:
    with pytest.raises(ArtifactError, match=r"Uid 'abc' of row 1 has 3 letters, and a uid has 32"):
        from_hex(np.array(["0" * 32, "abc"]))
    for letter in ("g", "é", "/", ":"):
        with pytest.raises(ArtifactError, match="of row 1 is not 32 hexadecimal digits"):
            from_hex(np.array(["0" * 32, letter + "0" * 31]))


def test_ids_in_words() -> None:
    assert told(keys_of([(1, 255)])[0]) == "000000000000000100000000000000ff"
    assert told(np.int64(7)) == "7"


def test_files_of_uids(tmp_path: Path) -> None:
    keys = keys_of([(3, 1), (1, 9), (1, 2)])
    path = write_uids(tmp_path / "uids.npy", keys)
    assert np.load(path).tolist() == [(1, 2), (1, 9), (3, 1)]
    np.testing.assert_array_equal(read_uids(path), np.sort(keys))
    np.save(tmp_path / "numbers.npy", np.arange(4))
    with pytest.raises(ArtifactError, match="holds no uids: they are pairs of 64-bit numbers, and this is int64"):
        read_uids(tmp_path / "numbers.npy")
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(ArtifactError, match=r"uids\.npy cannot be read as uids"):
        read_uids(path)


def test_a_table_of_uids_holds_the_bytes_of_their_digits(tmp_path: Path) -> None:
    ids = ExampleIds(keys_of([(3, 1), (1, 9)]), Pool(("pool",), 2, "0" * 64))
    ids.write(tmp_path / "ids.parquet")
    column = pq.read_table(tmp_path / "ids.parquet").column("id")
    assert [uid.as_py().hex() for uid in column] == to_hex(ids.keys).tolist()


def test_a_selection_whose_files_disagree_is_refused(tmp_path: Path) -> None:
    ids = ExampleIds(keys_of([(3, 1), (1, 9), (1, 2)]), Pool(("pool",), 3, "0" * 64))
    folder = Selection(ids.take(np.array([0, 2])), base=3).save(tmp_path / "kept")
    write_uids(folder / "uids.npy", ids.keys[:2])
    with pytest.raises(ArtifactError, match=r"uids\.npy names other examples than kept\.parquet"):
        Selection.open(folder)


def test_an_id_that_is_missing_is_named_by_its_digits() -> None:
    ids = ExampleIds(keys_of([(3, 1), (1, 9), (1, 2)]), Pool(("pool",), 3, "0" * 64))
    with pytest.raises(
        PoolMismatch, match=r"1 of 3 ids of the others .* the first is 00000000000000030000000000000001"
    ):
        ids.take(np.array([1, 2])).positions_of(ids)
    assert ids.take(np.array([1, 2])).holds(ids).tolist() == [False, True, True]


def test_a_million_uids_are_joined_in_well_under_two_seconds() -> None:
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 2**64 - 1, (1_000_000, 2), dtype=np.uint64).view(NATIVE).reshape(-1)
    ids, order = ExampleIds(keys, Pool(("pool",), len(keys), "0" * 64)), rng.permutation(len(keys))
    start = time.process_time()
    found = ids.positions_of(ids.take(order))
    assert time.process_time() - start < 2
    np.testing.assert_array_equal(found, order)
