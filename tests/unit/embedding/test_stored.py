from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.pools import columns, write_pool, write_shard

from paredown import Store
from paredown.artifacts import shards
from paredown.artifacts.uids import told
from paredown.data import open_data
from paredown.data.datacomp import DataCompPool
from paredown.embedding import Stored
from paredown.errors import DataError, MethodError
from paredown.runtime import Runtime
from paredown.verbs import embed

QUIET = Runtime(progress=False)
ALONE = Runtime(progress=False, workers=1)
UIDS = [f"{number:032x}" for number in range(8)]


def unit(vectors: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def test_one_column_as_it_is(tmp_path: Path) -> None:
    made = write_pool(tmp_path)
    matrix = Stored(("l14_img",), normalise=False).embed(open_data(tmp_path), runtime=QUIET)
    assert (matrix.metric, matrix.normalised, matrix.vectors.dtype) == ("euclidean", False, np.float16)
    np.testing.assert_array_equal(matrix.vectors, made.column("l14_img"))
    np.testing.assert_array_equal(matrix.ids.keys, made.ids.keys)


def test_image_and_text_count_alike(tmp_path: Path) -> None:
    made = write_pool(tmp_path)
    matrix = Stored(("l14_img", "b32_txt")).embed(open_data(tmp_path), runtime=QUIET)
    assert (matrix.metric, matrix.normalised, matrix.vectors.dtype) == ("cosine", True, np.float16)
    image, text = unit(made.column("l14_img")), unit(made.column("b32_txt"))
    np.testing.assert_allclose(matrix.vectors, np.hstack([image, text]) / 2**0.5, atol=1e-3)
    likeness = matrix.vectors.astype(np.float64) @ matrix.vectors.T.astype(np.float64)
    np.testing.assert_allclose(likeness, (image @ image.T + text @ text.T) / 2, atol=3e-3)


@pytest.mark.parametrize("compressed", [False, True])
def test_neither_blocks_nor_threads_nor_files_change_a_bit(tmp_path: Path, compressed: bool) -> None:
    write_pool(tmp_path / "many", n=300, shards=7, compressed=compressed)
    write_pool(tmp_path / "one", n=300, shards=1)
    encoder = Stored(("l14_img", "l14_txt"))
    whole = encoder.embed(open_data(tmp_path / "one"), runtime=QUIET)
    for workers in (1, 3):
        runtime = Runtime(progress=False, workers=workers, block_mb=1)
        assert encoder.embed(open_data(tmp_path / "many", workers=workers), runtime=runtime) == whole


def test_a_kill_loses_no_whole_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards.ShardWriter.__init__, "__kwdefaults__", {"size": 32})
    write_pool(tmp_path / "pool", n=300, shards=12)
    data, encoder = open_data(tmp_path / "pool"), Stored(("l14_img", "b32_img"))
    whole = encoder.embed(data, runtime=QUIET)
    parts, read = DataCompPool.parts, []

    def until(stop: int) -> Any:
        def some(self: DataCompPool, name: str, start: int = 0) -> Iterator[Any]:
            read.append(start)
            for part in parts(self, name, start):
                start += len(part)
                yield part
                if start > stop:
                    raise KeyboardInterrupt

        return some

    for stop in (100, 200):
        monkeypatch.setattr(DataCompPool, "parts", until(stop))
        with pytest.raises(KeyboardInterrupt):
            encoder.embed(data, runtime=ALONE, folder=tmp_path / "made")
    monkeypatch.setattr(DataCompPool, "parts", until(1000))
    assert encoder.embed(data, runtime=ALONE, folder=tmp_path / "made") == whole
    begins = sorted(set(read))
    assert len(begins) == 3 and begins[0] == 0 and all(start % 32 == 0 for start in begins)
    assert [path.name for path in (tmp_path / "made").glob("*.new")] == []


def test_lists_in_parquet_are_vectors_too(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    flat = pa.array(vectors.reshape(-1))
    table = {
        "uid": UIDS,
        "url": UIDS,
        "fixed": pa.FixedSizeListArray.from_arrays(flat, 3),
        "free": pa.ListArray.from_arrays(np.arange(0, 25, 3, dtype=np.int32), flat),
        "double": pa.array(vectors.astype(np.float64).tolist()),
        "ragged": [[1.0] * (1 + number % 2) for number in range(8)],
        "text": UIDS,
    }
    write_shard(tmp_path, "a", table, {})
    data = open_data(tmp_path)
    for name in ("fixed", "free", "double"):
        matrix = Stored((name,), normalise=False).embed(data, runtime=QUIET)
        assert matrix.vectors.dtype == np.float32
        np.testing.assert_array_equal(matrix.vectors, vectors)
    for name, what in (("ragged", "list<"), ("text", "string")):
        with pytest.raises(MethodError, match=f"'{name}' of datacomp is {what}.*, and vectors are floats"):
            Stored((name,)).embed(data, runtime=QUIET)


def test_vectors_that_are_none_are_named(tmp_path: Path) -> None:
    made = write_pool(tmp_path / "pool")
    table, vectors = columns(made), made.column("l14_img").copy()
    vectors[41] = 0
    write_shard(tmp_path / "zero", "a", table, {"l14_img": vectors})
    data, key = open_data(tmp_path / "zero"), told(made.ids.keys[41])
    with pytest.raises(MethodError, match=f"'l14_img' of id {key} of datacomp is zero, so it has no direction"):
        Stored(("l14_img",)).embed(data, runtime=QUIET)
    assert not Stored(("l14_img",), normalise=False).embed(data, runtime=QUIET).vectors[41].any()
    vectors[41] = np.nan
    write_shard(tmp_path / "nan", "a", table, {"l14_img": vectors})
    with pytest.raises(MethodError, match=f"of id {key} of datacomp is not finite"):
        Stored(("l14_img",), normalise=False).embed(open_data(tmp_path / "nan"), runtime=QUIET)
    with pytest.raises(DataError, match=r"no column 'l14_image'. Did you mean 'l14_img'?"):
        Stored(("l14_image",)).embed(data, runtime=QUIET)


def test_columns_are_named_each_once() -> None:
    for wrong in ((), ("l14_img", "l14_img")):
        with pytest.raises(MethodError, match="at least one column is needed, each once"):
            Stored(wrong)


def test_an_address_knows_what_is_stored(tmp_path: Path) -> None:
    made, store = write_pool(tmp_path / "pool"), Store(tmp_path / "store")
    encoder = {"name": "stored", "columns": ["l14_img"]}
    first = store.make(embed, encoder=encoder, data=str(tmp_path / "pool"), runtime=QUIET)
    write_shard(tmp_path / "other", "a", columns(made), {"l14_img": made.column("l14_img")[::-1]})
    assert store.address(embed, encoder=encoder, data=str(tmp_path / "pool")) == first.address
    assert store.address(embed, encoder=encoder, data=str(tmp_path / "other")) != first.address
