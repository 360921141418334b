"""Ids: joins within a pool, refusals across pools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts import ExampleIds, Pool
from paredown.artifacts.ids import NATIVE
from paredown.errors import ArtifactError, PoolMismatch

POOL = Pool(("made:train",), 50, "a91c" * 16)


@given(st.permutations(range(50)), st.lists(st.integers(0, 49), max_size=20, unique=True))
def test_positions_of_finds_every_id(order: list[int], wanted: list[int]) -> None:
    ids = ExampleIds(np.array(order), POOL)
    positions = ids.positions_of(ExampleIds(np.array(wanted, np.int64), POOL))
    assert ids.keys[positions].tolist() == wanted


def test_ids_of_another_pool_do_not_join() -> None:
    other = Pool(("made:train", "generated:1m"), 60, "77e0" * 16)
    with pytest.raises(
        PoolMismatch, match=r"the scores index pool a91c… \(made:train, 50 examples\), the data pool 77e0"
    ):
        ExampleIds.of_pool(POOL).same_pool(ExampleIds.of_pool(other), "the scores", "the data")


def test_a_missing_id_is_named() -> None:
    few = ExampleIds(np.array([4, 2]), POOL)
    with pytest.raises(PoolMismatch, match="1 of 2 ids of the others are not among these ids; the first is 7"):
        few.positions_of(ExampleIds(np.array([2, 7]), POOL))


def test_positions_outside_the_pool_are_refused() -> None:
    with pytest.raises(PoolMismatch, match="Id 50 lies outside"):
        ExampleIds(np.array([50]), POOL)


def test_keys_stay_whole_numbers_above_2_to_the_24(tmp_path: Path) -> None:
    pool = Pool(("large",), 2**40, "b" * 64)
    ids = ExampleIds(np.array([2**24 + 1, 2**39 + 1]), pool)
    ids.write(tmp_path / "ids.parquet")
    back, _ = ExampleIds.read(tmp_path / "ids.parquet", pool)
    assert back.keys.tolist() == [2**24 + 1, 2**39 + 1]
    ids.write_keys(tmp_path / "ids.safetensors")
    assert ExampleIds.read_keys(tmp_path / "ids.safetensors", pool).keys.tolist() == [2**24 + 1, 2**39 + 1]


def test_sixteen_byte_ids_join_and_are_stored(tmp_path: Path) -> None:
    keys = np.array([(3, 1), (1, 9), (1, 2)], dtype=NATIVE)
    ids = ExampleIds(keys, Pool(("datacomp",), 3, "c" * 64))
    ids.write(tmp_path / "ids.parquet", {"value": np.array([0.5, 1.5, 2.5])})
    back, columns = ExampleIds.read(tmp_path / "ids.parquet", ids.pool)
    assert np.array_equal(back.keys, keys)
    assert columns["value"].tolist() == [0.5, 1.5, 2.5]
    ids.write_keys(tmp_path / "ids.safetensors")
    assert np.array_equal(ExampleIds.read_keys(tmp_path / "ids.safetensors", ids.pool).keys, keys)
    assert back.positions_of(ids.take(np.array([2, 0]))).tolist() == [2, 0]


@pytest.mark.parametrize("keys", [np.zeros((2, 2), int), np.array([0.5])])
def test_keys_of_another_shape_are_refused(keys: np.ndarray) -> None:
    with pytest.raises(ArtifactError, match="ExampleIds: keys are"):
        ExampleIds(keys, POOL)
