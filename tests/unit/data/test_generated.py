"""Generated images in one `.npz`: mapped where they can be, read where not, refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.wrong_inputs import pictures

from paredown.data import ImageDataset, OnDevice, open_data
from paredown.data.generated import GeneratedImages
from paredown.errors import DataError
from paredown.testing import check_source

IMAGES, LABELS = pictures(40, 32), np.arange(40, dtype=np.int32) // 4


def stored(folder: Path, *, packed: bool = False, **arrays: Any) -> str:
    held = {"image": IMAGES, "label": LABELS} | arrays
    (np.savez_compressed if packed else np.savez)(folder / "40.npz", **held)
    return str(folder / "40.npz")


def opened(path: str, **fields: Any) -> ImageDataset:
    found = open_data("generated-images", path=path, **fields)
    assert isinstance(found, ImageDataset)
    return found


def held_in_file(array: Any) -> bool:
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and array.filename is not None:
            return True
        array = array.base
    return False


def test_it_is_mapped_and_not_read(tmp_path: Path) -> None:
    data = opened(stored(tmp_path))
    assert held_in_file(data.images)
    np.testing.assert_array_equal(data.read(np.array([3, 39, 0])), IMAGES[[3, 39, 0]])
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.name == "40:train" and data.classes[3] == "cat" and data.shape == (3, 32, 32)
    x, y = OnDevice(data, "cpu").batch(np.array([5, 8]))
    np.testing.assert_array_equal((x * 255).round().permute(0, 2, 3, 1).to(torch.uint8).numpy(), IMAGES[[5, 8]])
    assert y.tolist() == [1, 2]
    check_source(GeneratedImages(stored(tmp_path)))


def test_nothing_that_is_written_reaches_the_file(tmp_path: Path) -> None:
    path = stored(tmp_path)
    opened(path).images[0] = 7
    np.testing.assert_array_equal(opened(path).images, IMAGES)


@pytest.mark.parametrize("fields", [{"packed": True}, {"image": np.asfortranarray(IMAGES)}], ids=["packed", "columns"])
def test_what_cannot_be_mapped_is_read_and_is_the_same_pool(tmp_path: Path, fields: dict[str, Any]) -> None:
    (tmp_path / "other").mkdir()
    mapped = opened(stored(tmp_path))
    read = opened(stored(tmp_path / "other", **fields))
    assert not held_in_file(read.images)
    np.testing.assert_array_equal(read.images, mapped.images)
    assert read.ids.pool == mapped.ids.pool


def test_a_part_of_the_rows(tmp_path: Path) -> None:
    mixed = np.arange(40) % 10
    path = stored(tmp_path, label=mixed)
    part = opened(path, start=5, count=20)
    np.testing.assert_array_equal(part.images, IMAGES[5:25])
    np.testing.assert_array_equal(part.labels, mixed[5:25])
    assert len(opened(path, start=30)) == 10
    assert part.ids.pool.fingerprint != opened(path).ids.pool.fingerprint


def test_it_can_stand_beside_others_in_a_pool(tmp_path: Path) -> None:
    whole = opened(stored(tmp_path, label=np.arange(40) % 10))
    (tmp_path / "other").mkdir()
    other = opened(stored(tmp_path / "other", image=IMAGES[::-1], label=np.arange(40) % 10))
    assert len(open_data([whole, other])) == 80


@pytest.mark.parametrize(
    ("arrays", "fields", "words"),
    [
        ({"image": IMAGES / 255}, {}, r"'image' is float64 of shape \(40, 32, 32, 3\)"),
        ({"image": IMAGES[:, :16]}, {}, r"'image' is uint8 of shape \(40, 16, 32, 3\)"),
        ({"label": LABELS[:30]}, {}, r"'label' is int32 of shape \(30,\) beside 40 images"),
        ({"label": LABELS / 1.0}, {}, "'label' is float64"),
        ({"label": LABELS + 1}, {}, "label 10 of row 36 in train is out of range"),
        ({"label": LABELS % 9}, {}, r"class 9 \('truck'\) has no example"),
        ({}, {"count": 20}, "rows 0 to 20 hold no dog, because the file goes class by class"),
        ({}, {"start": 30, "count": 20}, "rows 30 to 50 are wanted, and the file has 40"),
        ({}, {"start": -1}, "rows -1 to 40 are wanted"),
        ({}, {"count": 0}, "rows 0 to 0 are wanted"),
        ({"label": LABELS.astype(object)}, {}, "holds no plain arrays of numbers"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, arrays: Any, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        opened(stored(tmp_path, **arrays), **fields)


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = Path(stored(tmp_path))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(DataError, match="the file is damaged"):
        opened(str(path))
    with pytest.raises(DataError, match="no such file"):
        opened(str(tmp_path / "none.npz"))
    np.savez(tmp_path / "other.npz", x=IMAGES)
    with pytest.raises(DataError, match="no array 'image'; the file holds x"):
        opened(str(tmp_path / "other.npz"))
