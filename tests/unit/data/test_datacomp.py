from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.pools import VECTORS, columns, write_pool, write_shard

from paredown.artifacts.uids import to_hex
from paredown.cli import main
from paredown.data import open_data
from paredown.data.datacomp import DataComp, DataCompPool, SyntheticPairs
from paredown.data.metadata import in_order, read_member
from paredown.errors import DataError, MethodError

UIDS = [f"{number:032x}" for number in range(8)]


def opened(folder: Path, workers: int = 0) -> DataCompPool:
    data = open_data(folder, workers=workers)
    assert isinstance(data, DataCompPool)
    return data


@pytest.mark.parametrize("compressed", [False, True])
def test_a_folder_is_read_as_it_was_written(tmp_path: Path, compressed: bool) -> None:
    made, data = write_pool(tmp_path, compressed=compressed), opened(tmp_path)
    assert (len(data), data.noun, data.labels, data.classes) == (60, "pairs", None, ())
    np.testing.assert_array_equal(data.ids.keys, made.ids.keys)
    assert sorted(data.names) == sorted(made.names)
    for name, column in columns(made).items():
        np.testing.assert_array_equal(np.asarray(data.column(name)), column)
    for name in VECTORS:
        np.testing.assert_array_equal(data.column(name), made.column(name))
        assert data.column(name).dtype == np.float16
        from_the_middle = np.concatenate(list(data.parts(name, 17)))
        np.testing.assert_array_equal(from_the_middle, made.column(name)[17:])


def test_vectors_are_mapped_where_they_are_stored_as_they_are(tmp_path: Path) -> None:
    write_pool(tmp_path / "plain", shards=1)
    write_pool(tmp_path / "small", shards=1, compressed=True)
    assert isinstance(read_member(tmp_path / "plain" / "00000000.npz", "l14_img"), np.memmap)
    assert not isinstance(read_member(tmp_path / "small" / "00000000.npz", "l14_img"), np.memmap)


def test_numbers_come_as_numpy_and_text_as_arrow(tmp_path: Path) -> None:
    table: dict[str, Any] = {
        "uid": UIDS,
        "url": ["x"] * 8,
        "half": np.arange(8, dtype=np.float16),
        "whole": pa.array([1, None, *range(6)]),
        "true": [True] * 8,
        "boxes": [[1.0]] * 8,
    }
    write_shard(tmp_path, "a", table, {})
    data = opened(tmp_path)
    assert data.column("half").dtype == np.float16
    assert np.isnan(data.column("whole")).tolist() == [False, True, *[False] * 6]
    assert data.column("true").dtype == bool
    assert isinstance(data.column("url"), pa.ChunkedArray) and isinstance(data.column("boxes"), pa.ChunkedArray)


def test_neither_the_order_of_listing_nor_of_threads_matters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pool(tmp_path, n=200, shards=9)
    first = opened(tmp_path, workers=1)
    listed = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter(sorted(listed(self, pattern), reverse=True)))
    second = opened(tmp_path, workers=3)
    np.testing.assert_array_equal(first.ids.keys, second.ids.keys)
    assert first.identity() == second.identity()
    np.testing.assert_array_equal(first.column("l14_txt"), second.column("l14_txt"))


def test_the_pool_is_its_uids_and_the_identity_what_is_stored(tmp_path: Path) -> None:
    made = write_pool(tmp_path / "whole")
    whole = opened(tmp_path / "whole")
    assert whole.ids.pool.fingerprint == made.ids.pool.fingerprint
    table = columns(made)
    arrays = {name: made.column(name) for name in VECTORS}
    write_shard(tmp_path / "one", "all", table, arrays)
    write_shard(tmp_path / "bare", "all", {"uid": table["uid"], "url": table["uid"]}, {})
    changed = arrays | {"l14_img": arrays["l14_img"][::-1]}
    write_shard(tmp_path / "changed", "all", table, changed)
    others = {name: opened(tmp_path / name) for name in ("one", "bare", "changed")}
    for other in others.values():
        assert other.ids.pool == whole.ids.pool
        np.testing.assert_array_equal(other.ids.positions_of(whole.ids), np.arange(60))
    contents = {data.identity()["content"] for data in (whole, *others.values())}
    assert len(contents) == 4
    moved = shutil.copytree(tmp_path / "one", tmp_path / "elsewhere")
    assert opened(Path(moved)).identity() == others["one"].identity()
    fewer = {name: part[1:] for name, part in table.items()}
    write_shard(tmp_path / "fewer", "all", fewer, {})
    assert opened(tmp_path / "fewer").ids.pool.fingerprint != whole.ids.pool.fingerprint


def test_uids_stored_as_bytes_or_long_text_or_a_slice_of_either(tmp_path: Path) -> None:
    letters = pa.array(["ff" * 16, *UIDS])
    forms = {
        "large": letters.cast(pa.large_string())[1:],
        "bytes": pa.array([bytes.fromhex(uid) for uid in letters.to_pylist()], pa.binary(16))[1:],
        "capitals": pa.array([uid.upper() for uid in UIDS]),
    }
    for name, uids in forms.items():
        write_shard(tmp_path / name, "a", {"uid": uids, "url": UIDS}, {})
        assert to_hex(opened(tmp_path / name).ids.keys).tolist() == UIDS


def test_what_is_wrong_is_said_with_the_name_of_the_file(tmp_path: Path) -> None:
    def refused(match: str, path: Path) -> None:
        with pytest.raises(DataError, match=match):
            DataComp(str(path)).load()

    good = tmp_path / "good"
    write_pool(good)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(good, tmp_path / name))

    refused("there is no such folder", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    refused(r"the folder holds no \.parquet file", tmp_path / "empty")
    folder = copy("no-table")
    (folder / "00000002.parquet").unlink()
    refused(r"00000002\.npz has no 00000002\.parquet beside it", folder)
    folder = copy("no-arrays")
    (folder / "00000001.npz").unlink()
    refused(r"00000001\.parquet has no 00000001\.npz beside it, and other shards have one", folder)
    for ending, what in (("npz", "is truncated or is no .npz"), ("parquet", "is truncated or is no Parquet file")):
        folder = copy(f"short-{ending}")
        file = folder / f"00000003.{ending}"
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        refused(rf"00000003\.{ending} {what}", folder)
    folder = copy("lengths")
    shutil.copy(folder / "00000000.npz", folder / "00000001.npz")
    refused(r"00000001\.npz has \d+ rows of \w+, and 00000001\.parquet has \d+", folder)
    folder = copy("twice")
    for ending in ("npz", "parquet"):
        shutil.copy(folder / f"00000000.{ending}", folder / f"00000009.{ending}")
    refused(r"uid [0-9a-f]{32} stands in 00000000\.parquet and in 00000009\.parquet", folder)
    for name, uids, what in (
        ("width", [*UIDS, "abc"], r"has 'abc' in row 8, and a uid has 32"),
        ("digits", [*UIDS, "g" * 32], r"of row 8 is not 32 hexadecimal digits"),
        ("none", [*UIDS, None], r"lacks 1 of 9 uids"),
        ("numbers", [*range(8)], r"is int64, and uids are text"),
        ("same", [*UIDS, UIDS[3]], rf"uid {UIDS[3]} stands twice in a\.parquet"),
    ):
        write_shard(tmp_path / name, "a", {"uid": uids, "url": ["x"] * len(uids)}, {})
        refused(rf"a\.parquet.* {what}|{what}", tmp_path / name)
    write_shard(tmp_path / "rowless", "a", {"uid": pa.array([], pa.string())}, {})
    refused("there are no rows", tmp_path / "rowless")
    write_shard(tmp_path / "uidless", "a", {"id": UIDS}, {})
    refused(r"a\.parquet has no column 'uid' among id", tmp_path / "uidless")
    folder = tmp_path / "objects"
    write_shard(folder, "a", {"uid": UIDS}, {"x": np.array([{}] * 8, dtype=object)})
    refused(r"a\.npz is truncated or is no \.npz", folder)


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    write_pool(tmp_path, shards=2)
    with pytest.raises(DataError, match=r"no column 'clip_l14_score'. Did you mean 'clip_l14_similarity_score'?"):
        opened(tmp_path).column("clip_l14_score")
    with pytest.raises(DataError, match=r"no column 'qqq'. It has: uid,"):
        opened(tmp_path).column("qqq")
    table = pq.read_table(tmp_path / "00000001.parquet").drop_columns(["text"])
    pq.write_table(table, tmp_path / "00000001.parquet")
    with pytest.raises(DataError, match="00000001 has no 'text', which 00000000 has"):
        opened(tmp_path).column("text")


def test_damage_that_shows_only_in_reading(tmp_path: Path) -> None:
    write_pool(tmp_path, shards=1, compressed=True)
    data = opened(tmp_path)
    with zipfile.ZipFile(tmp_path / "00000000.npz") as file:
        at = next(entry for entry in file.infolist() if entry.filename == "l14_img.npy").header_offset + 80
    stored = bytearray((tmp_path / "00000000.npz").read_bytes())
    stored[at : at + 200] = bytes(200)
    (tmp_path / "00000000.npz").write_bytes(stored)
    with pytest.raises(DataError, match=r"array 'l14_img' cannot be read; the file is damaged"):
        data.column("l14_img")
    (tmp_path / "00000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"column 'text' cannot be read; the file is damaged"):
        data.column("text")


def test_a_folder_of_pairs_is_recognised_and_others_are_not(tmp_path: Path) -> None:
    write_pool(tmp_path / "pool")
    assert open_data(tmp_path / "pool").noun == "pairs"
    write_shard(tmp_path / "text", "a", {"uid": UIDS, "text": ["one", "two"] * 4, "label": [0, 1] * 4}, {})
    assert open_data(tmp_path / "text").noun == "sentences"


def test_a_pool_by_formula_is_the_same_each_time_and_refuses_nonsense() -> None:
    first, second, other = (SyntheticPairs(n=30, seed=seed).load() for seed in (0, 0, 1))
    assert first.identity() == second.identity() != other.identity()
    assert first.ids.pool.fingerprint != other.ids.pool.fingerprint
    for name in ("n", "clusters", "width"):
        with pytest.raises(MethodError, match=rf"SyntheticPairs\({name}=0\): at least [123] is needed"):
            SyntheticPairs(**{name: 0})


def test_threads_keep_the_order_and_pass_on_what_went_wrong() -> None:
    assert list(in_order(lambda number: number * 2, range(50), 3)) == list(range(0, 100, 2))

    def broken(number: int) -> int:
        if number == 7:
            raise DataError("seven")
        return number

    seen = []
    with pytest.raises(DataError, match="seven"):
        for number in in_order(broken, range(50), 2):
            seen.append(number)
    assert seen == list(range(7))


def test_the_command_line_goes_from_the_folder_to_the_file_of_uids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = write_pool(tmp_path / "pool")
    monkeypatch.chdir(tmp_path)

    def pare(words: str) -> str:
        assert main(words.split()) == 0
        return capsys.readouterr().out.splitlines()[-1]

    column = "--scorer column --scorer.column clip_l14_similarity_score --scorer.important high"
    scores = pare(f"score --data pool {column}")
    sizes = pare("score --data datacomp --data.path pool --scorer image-size")
    vectors = pare("embed --data pool --encoder stored --encoder.columns l14_img --encoder.columns l14_txt")
    best = pare(f"select --scores {scores} --selector highest --fraction 0.5")
    kept = pare(f"select --scores {sizes} --selector threshold --selector.at_least 200 --within {best}")
    spread = pare(f"select --data pool --embeddings {vectors} --selector random --count 5")
    similarity = made.column("clip_l14_similarity_score")
    smaller = np.minimum(made.column("original_width"), made.column("original_height"))
    wanted = [row for row in np.argsort(-similarity)[:30] if smaller[row] >= 200]
    uids = np.load(tmp_path / kept / "uids.npy")
    np.testing.assert_array_equal(uids, np.sort(made.ids.keys[wanted].view(uids.dtype)))
    assert len(np.load(tmp_path / spread / "uids.npy")) == 5
    whole = pare(f"select --scores {scores} --embeddings {vectors} --selector d2 --fraction 1")
    np.testing.assert_array_equal(np.load(tmp_path / whole / "uids.npy"), np.sort(made.ids.keys.view(uids.dtype)))
