from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.pools import columns, write_pool, write_shard

from paredown.artifacts.uids import to_bytes, to_hex
from paredown.data import ImageDataset, open_data
from paredown.data.datacomp import DataCompPool
from paredown.errors import DataError, MethodError
from paredown.runtime import Runtime
from paredown.scoring import Column, Imported, score_data
from paredown.verbs import score

QUIET = Runtime(progress=False)


@pytest.fixture
def pool(tmp_path: Path) -> DataCompPool:
    return write_pool(tmp_path / "pool")


def images(count: int = 6) -> ImageDataset:
    return ImageDataset.from_arrays(np.zeros((count, 4, 4, 1), np.uint8), np.arange(count) % 2)


def test_a_column_is_a_score_with_the_direction_it_is_given(pool: DataCompPool, tmp_path: Path) -> None:
    data = open_data(tmp_path / "pool")
    table = score(Column("clip_l14_similarity_score", important="high", lowest=-1, highest=1), data=data)
    np.testing.assert_array_equal(table.values, pool.column("clip_l14_similarity_score").astype(np.float64))
    assert (table.important, table.low, table.high) == ("high", -1.0, 1.0)
    np.testing.assert_array_equal(table.ids.positions_of(pool.ids), np.arange(60))
    sizes = score({"name": "column", "column": "original_width"}, data=data)
    assert (sizes.important, sizes.high) == ("none", np.inf)
    np.testing.assert_array_equal(sizes.values, pool.column("original_width"))


def test_a_column_that_cannot_be_a_score(pool: DataCompPool, tmp_path: Path) -> None:
    table, key = columns(pool), to_hex(pool.ids.keys[[7]])[0]
    gaps = table["clip_l14_similarity_score"].copy()
    gaps[[7, 9]] = np.nan
    missing = pa.array([None if row in (7, 8) else row for row in range(60)])
    write_shard(tmp_path / "gaps", "a", table | {"gaps": gaps, "missing": missing}, {})
    data = open_data(tmp_path / "gaps")
    for name in ("gaps", "missing"):
        with pytest.raises(
            MethodError, match=f"2 of 60 values of datacomp are missing .* the first is that of id {key}"
        ):
            score_data(Column(name), data, runtime=QUIET)
    with pytest.raises(MethodError, match="'text' of datacomp is string, and one number an example is needed"):
        score_data(Column("text"), data, runtime=QUIET)
    with pytest.raises(MethodError, match=r"'l14_img' of .* is float16, and one number an example is needed"):
        score_data(Column("l14_img"), pool, runtime=QUIET)
    with pytest.raises(DataError, match="no column 'clip', because these data have none"):
        score_data(Column("clip"), images(), runtime=QUIET)


def write(path: Path, ids: Any, values: Any) -> str:
    """Writes ids and values in the form that the ending says."""
    ids = ids if isinstance(ids, pa.Array) else pa.array(ids)
    table = pa.table({"id": ids, "note": ["n"] * len(ids), "value": values})
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    elif path.suffix == ".npz":
        np.savez(path, id=np.array(ids.to_pylist()), value=values)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in table.to_pylist()) + "\n\n")
    elif path.stem == "object":
        path.write_text(json.dumps({str(key): value for key, value in zip(ids.to_pylist(), values, strict=True)}))
    else:
        path.write_text(json.dumps(table.to_pylist()))
    return str(path)


FORMS = ["a.parquet", "a.csv", "a.npz", "a.jsonl", "a.json", "object.json"]


@pytest.mark.parametrize("form", FORMS)
def test_files_are_joined_by_id(form: str, pool: DataCompPool, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for data, ids in ((images(), list(range(6))), (pool, to_hex(pool.ids.keys).tolist())):
        values, order = draw.random(len(data)), draw.permutation(len(data))
        path = write(tmp_path / form, [ids[row] for row in order], values[order])
        np.testing.assert_array_equal(score_data(Imported(path), data, runtime=QUIET), values)


def test_ids_may_be_bytes_or_paths(pool: DataCompPool, tmp_path: Path) -> None:
    raw = pa.array([uid.tobytes() for uid in to_bytes(pool.ids.keys[::-1])], pa.binary(16))
    path = write(tmp_path / "a.parquet", raw, np.arange(60.0))
    np.testing.assert_array_equal(score_data(Imported(path), pool, runtime=QUIET), np.arange(60.0)[::-1])
    for name in ("train/cat/1.png", "train/cat/2.png", "train/dog/1.png", "val/cat/9.png", "val/dog/9.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(tmp_path / "photos" / name)
    data = open_data(tmp_path / "photos")
    for begin in ("train/", ""):
        paths = [f"{begin}dog/1.png", f"{begin}cat/1.png", f"{begin}cat/2.png"]
        path = write(tmp_path / "a.csv", paths, np.array([3.0, 1.0, 2.0]))
        np.testing.assert_array_equal(score_data(Imported(path), data, runtime=QUIET), [1, 2, 3])
    path = write(tmp_path / "a.csv", [*paths, "cat/7.png"], np.arange(4.0))
    with pytest.raises(DataError, match="1 of its 4 ids are not among"):
        score_data(Imported(path), data, runtime=QUIET)


def test_without_ids_the_order_is_that_of_the_data(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.float32))
    (tmp_path / "a.json").write_text("[0, 1, 2, 3, 4, 5]")
    np.savez(tmp_path / "a.npz", scores=np.arange(6))
    for name in ("a.npy", "a.json", "a.npz"):
        scored = score_data(Imported(str(tmp_path / name)), images(), runtime=QUIET)
        np.testing.assert_array_equal(scored, np.arange(6.0))
        with pytest.raises(DataError, match="6 values without ids, and arrays has 5 images"):
            score_data(Imported(str(tmp_path / name)), images(5), runtime=QUIET)


def test_an_infinite_score_is_refused_only_as_every_scorers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", range(6), [0.0, 1, np.inf, 3, 4, 5])
    with pytest.raises(MethodError, match="1 of 6 values are not finite"):
        score_data(Imported(path), images(), runtime=QUIET)


@pytest.mark.parametrize(
    ("ids", "values", "match"),
    [
        ([0, 1, 2, 3, 4], [0.0] * 5, "1 of 6 images of arrays have no value there; the first is id 5"),
        ([0, 1, 2, 3, 4, 5, 9, 8], [0.0] * 8, "2 of its 8 ids are not among arrays; the first is 9"),
        ([0, 1, 2, 3, 4, 5, 5], [0.0] * 7, "id 5 stands there twice; 1 ids do"),
        ([0, 1, 2, 3, 4, 5], [0.0] * 3 + [None] * 3, "3 of 6 values are missing; the first is that of id 3"),
        (["a", "b", "c", "d", "e", "f"], [0.0] * 6, "its ids are .*, and those of arrays are positions"),
        ([0.5, 1, 2, 3, 4, 5], [0.0] * 6, "its ids are float64, and those of arrays are positions"),
        ([0, 1, 2, 3, 4, 5], ["x"] * 6, "0 columns could hold the values"),
    ],
)
def test_ids_that_do_not_pair_up(ids: Any, values: Any, match: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ids, values)
    with pytest.raises(DataError, match=match):
        score_data(Imported(path), images(), runtime=QUIET)


def test_wrong_uids(pool: DataCompPool, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ["xyz"] * 60, np.zeros(60))
    with pytest.raises(DataError, match="Uid 'xyz' of row 0 has 3 letters"):
        score_data(Imported(path), pool, runtime=QUIET)
    path = write(tmp_path / "b.csv", range(60), np.zeros(60))
    with pytest.raises(DataError, match="its ids are int64, and those of synthetic-pairs are uids of 32"):
        score_data(Imported(path), pool, runtime=QUIET)


def test_columns_are_named_where_they_could_be_several(tmp_path: Path) -> None:
    table = {"where": np.arange(6)[::-1], "easy": np.arange(6.0), "hard": np.arange(6.0) + 10}
    np.savez(tmp_path / "a.npz", **table)
    path = str(tmp_path / "a.npz")

    def refused(match: str, **fields: Any) -> None:
        with pytest.raises(DataError, match=match):
            score_data(Imported(path, **fields), images(), runtime=QUIET)

    refused(r"3 columns could hold the values \(where, easy, hard\)")
    refused("no column 'heard'. Did you mean 'hard'?", column="heard")
    refused("no column 'qqq'. It has: where, easy, hard", id_column="qqq")
    scored = score_data(Imported(path, column="hard", id_column="where"), images(), runtime=QUIET)
    np.testing.assert_array_equal(scored, np.arange(6.0)[::-1] + 10)
    np.savez(tmp_path / "a.npz", id=np.arange(6), value=np.arange(5.0))
    refused("its columns differ in length")
    np.savez(tmp_path / "a.npz", id=np.arange(6), value=np.zeros((6, 2)))
    refused("holds float64 and not numbers", column="value")


SPOILT: list[tuple[str, Callable[[Path], Any], str]] = [
    ("a.txt", lambda path: path.write_text(""), r"a file of type '\.txt' is not read"),
    ("a.json", lambda path: path.write_text("{"), "cannot be read"),
    ("a.jsonl", lambda path: path.write_text("[]x"), "cannot be read"),
    ("a.parquet", lambda path: path.write_text("PAR1"), "cannot be read"),
    ("a.csv", lambda path: path.write_text(""), "cannot be read"),
    ("a.npz", lambda path: path.write_bytes(b"PK\x03\x04"), "cannot be read"),
    ("a.npy", lambda path: np.save(path, np.array([{}], dtype=object)), "cannot be read"),
    ("c.json", lambda path: path.write_text("3"), "cannot be read"),
    ("b.json", lambda path: path.write_text('[{"id": 1}, {"value": 2}]'), "cannot be read"),
]


@pytest.mark.parametrize(("name", "spoil", "match"), SPOILT, ids=[name for name, _, _ in SPOILT])
def test_files_that_cannot_be_read(name: str, spoil: Callable[[Path], Any], match: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(DataError, match="there is no such file"):
        score_data(Imported(str(path)), images(), runtime=QUIET)
    spoil(path)
    with pytest.raises(DataError, match=match):
        score_data(Imported(str(path)), images(), runtime=QUIET)


def test_an_address_knows_the_content_and_not_the_place(tmp_path: Path) -> None:
    first, second = tmp_path / "a.npy", tmp_path / "b.npy"
    for path in (first, second):
        np.save(path, np.arange(6))
    assert Imported(str(first)).identity() == Imported(str(second)).identity()
    np.save(second, np.arange(6) + 1)
    assert Imported(str(first)).identity() != Imported(str(second)).identity()
    with pytest.raises(DataError, match="there is no such file"):
        Imported(str(tmp_path / "c.npy")).identity()
