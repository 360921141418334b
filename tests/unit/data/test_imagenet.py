"""ImageNet's layouts: folders by class, the archives' own folders, and Parquet shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.photographs import as_bytes, imagenet_folder, photograph

from paredown.data import Augmentation, StoredImages, Streamed, open_data
from paredown.errors import DataError, MethodError


def opened(path: Path | None, **fields: object) -> StoredImages:
    found = open_data({"name": "imagenet", **({"path": str(path)} if path else {}), **fields})
    assert isinstance(found, StoredImages)
    return found


def test_classes_are_the_folders_in_order(tmp_path: Path) -> None:
    train, test = (opened(imagenet_folder(tmp_path / split), split=split) for split in ("train", "validation"))
    assert (train.name, test.name) == ("imagenet:train", "imagenet:validation") and (len(train), len(test)) == (12, 6)
    assert train.classes == test.classes == ("n01440000", "n01440001", "n01440002")
    np.testing.assert_array_equal(train.labels, np.repeat([0, 1, 2], 4))
    assert train.shape == (3, 224, 224) and train.square.resize == 256
    assert train.augmentation == Augmentation(area=0.08, flip=True)
    assert train.mean == (0.485, 0.456, 0.406) and train.std == (0.229, 0.224, 0.225)
    assert train.paths is not None and train.paths[4] == "train/n01440001/n01440001_0.JPEG"
    assert Streamed(train, "cpu").batch(np.arange(2))[0].shape == (2, 3, 224, 224)


@pytest.mark.parametrize("below", ["imagenet", "ILSVRC2012/ILSVRC/Data/CLS-LOC"])
def test_it_is_found_in_the_usual_places(tmp_path: Path, below: str, monkeypatch: pytest.MonkeyPatch) -> None:
    imagenet_folder(tmp_path / below)
    (tmp_path / below / "test").mkdir()
    (tmp_path / below / "test" / "ILSVRC2012_test_00000001.JPEG").write_bytes(as_bytes(photograph(30, 30)))
    monkeypatch.setenv("PAREDOWN_DATA", str(tmp_path))
    assert len(opened(None)) == 12


def shards(root: Path, *, folder: str = "") -> Path:
    names = {"huggingface": json.dumps({"info": {"features": {"label": {"names": ["tench", "goldfish"]}}}})}
    for part, count in (("train", 2), ("validation", 1)):
        for shard in range(count):
            rows = [as_bytes(photograph(60, 40, 10 * shard + row)) for row in range(6)]
            table = pa.table({"image": [{"bytes": row, "path": ""} for row in rows], "label": [0, 1] * 3})
            file = root / folder / f"{part}-{shard:05d}-of-{count:05d}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table.replace_schema_metadata(names), file, row_group_size=2)
    return root


@pytest.mark.parametrize("folder", ["", "data"])
def test_shards_are_rows_of_one_pool(tmp_path: Path, folder: str) -> None:
    root = shards(tmp_path, folder=folder)
    train, test = opened(root, size=32, resize=36), opened(root, split="validation", size=32, resize=36)
    assert train.classes == ("tench", "goldfish") and (len(train), len(test)) == (12, 6)
    assert (train.name, test.name) == ("imagenet:train", "imagenet:validation")
    np.testing.assert_array_equal(train.read(np.arange(6)), test.read(np.arange(6)))
    assert train.ids.pool.fingerprint != test.ids.pool.fingerprint
    assert train.ids.pool.fingerprint == opened(root, size=16, resize=16).ids.pool.fingerprint


def test_what_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PAREDOWN_DATA", raising=False)
    with pytest.raises(DataError, match=r"ImageNet: not found in .*imagenet.*no address to download from"):
        opened(None)
    with pytest.raises(DataError, match=r"ImageNet\(path=.*the folder holds no train/ and val/"):
        opened(tmp_path)
    root = imagenet_folder(tmp_path / "flat")
    (root / "val" / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"")
    for folder in [entry for entry in (root / "val").iterdir() if entry.is_dir()]:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    with pytest.raises(DataError, match=r"val/ holds images but no class folders"):
        opened(root)


def test_a_square_larger_than_the_image_is_refused() -> None:
    with pytest.raises(MethodError, match=r"ImageNet\(size=300, resize=256\)"):
        open_data({"name": "imagenet", "path": "x", "size": 300})
