"""Generated images in one `.npz`: mapped where they can be, read where not, refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.wrong_inputs import pictures

from paredown.data import ImageDataset, ImagePool, OnDevice, open_data, pooled, write_generated
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


def halves(folder: Path, **fields: Any) -> list[str]:
    """Two files that go class by class, so that each holds half of the classes."""
    paths = []
    for number, rows in enumerate((slice(0, 20), slice(20, 40))):
        (folder / str(number)).mkdir()
        paths.append(stored(folder / str(number), image=IMAGES[rows], label=LABELS[rows], **fields))
    return paths


def test_several_files_follow_each_other_and_stay_where_they_are(tmp_path: Path) -> None:
    paths = halves(tmp_path)
    data = open_data("generated-images", path=paths)
    assert isinstance(data, ImagePool) and len(data) == 40 and data.shape == (3, 32, 32)
    assert all(held_in_file(block) for block in data.blocks)
    np.testing.assert_array_equal(data.labels, LABELS)
    rows = np.array([39, 0, 19, 20, 5])
    np.testing.assert_array_equal(data.read(rows), IMAGES[rows])
    x, y = OnDevice(data, "cpu").batch(rows)
    np.testing.assert_array_equal((x * 255).round().permute(0, 2, 3, 1).to(torch.uint8).numpy(), IMAGES[rows])
    np.testing.assert_array_equal(y, LABELS[rows])
    check_source(GeneratedImages(tuple(paths)))
    noisy = open_data("generated-images", path=paths, noise={"name": "label-noise", "fraction": 0.5})
    assert isinstance(noisy, ImagePool) and noisy.corrupted is not None and noisy.corrupted.sum() == 20


def test_a_part_of_the_rows_of_several_files(tmp_path: Path) -> None:
    mixed = np.arange(20) % 10
    for number in range(2):
        (tmp_path / str(number)).mkdir()
    paths = [stored(tmp_path / str(n), image=IMAGES[20 * n : 20 * n + 20], label=mixed) for n in range(2)]
    part = open_data("generated-images", path=paths, start=7, count=25)
    assert isinstance(part, ImagePool)
    np.testing.assert_array_equal(part.read(np.arange(25)), IMAGES[7:32])
    one = opened(paths, start=25)  # type: ignore[arg-type]
    np.testing.assert_array_equal(one.images, IMAGES[25:])
    assert one.ids.pool == opened(paths[1], start=5).ids.pool, "of one file a part is the same however it is asked for"
    with pytest.raises(DataError, match="rows 30 to 50 are wanted, and the 2 files have 40"):
        open_data("generated-images", path=paths, start=30, count=20)


def test_a_fault_in_one_of_several_files_is_told_with_its_name(tmp_path: Path) -> None:
    first, second = halves(tmp_path)
    np.savez(second, image=IMAGES[20:], label=LABELS[:7])
    with pytest.raises(DataError, match=r"1/40.npz'\): 'label' is int32 of shape \(7,\) beside 20 images"):
        open_data("generated-images", path=[first, second])
    with pytest.raises(DataError, match="cannot hold the same data twice"):
        open_data("generated-images", path=[first, first, stored(tmp_path)])
    with pytest.raises(DataError, match="there is no file to read"):
        open_data("generated-images", path=[])


def test_it_can_stand_beside_others_in_a_pool_without_a_copy(tmp_path: Path) -> None:
    whole = opened(stored(tmp_path, label=np.arange(40) % 10))
    (tmp_path / "other").mkdir()
    other = opened(stored(tmp_path / "other", image=IMAGES[::-1], label=np.arange(40) % 10))
    both = open_data([whole, other])
    assert isinstance(both, ImagePool) and len(both) == 80
    assert [np.shares_memory(*pair) for pair in zip(both.blocks, (whole.images, other.images), strict=True)] == [
        True
    ] * 2
    assert len(pooled([both, opened(stored(tmp_path, image=IMAGES // 2), start=0)]).blocks) == 3  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="the same data twice"):
        pooled([both, other])


def test_images_without_labels_wait_for_someone_to_label_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", image=IMAGES)
    with pytest.raises(DataError, match=r"no array 'label'; the file holds image.*pseudo-labelled"):
        opened(str(tmp_path / "bare.npz"))
    source = GeneratedImages(str(tmp_path / "bare.npz"))
    bare = source.unlabelled(0)
    np.testing.assert_array_equal(bare.read(np.arange(40)), IMAGES)  # type: ignore[attr-defined]
    labelled = GeneratedImages(stored(tmp_path))
    assert labelled.unlabelled(0).ids.pool == labelled.load().ids.pool


def test_what_is_written_is_read_the_same(tmp_path: Path) -> None:
    data = open_data("generated-images", path=halves(tmp_path))
    assert isinstance(data, ImagePool)
    path = write_generated(data, tmp_path / "both.npz")
    with np.load(path) as held:
        np.testing.assert_array_equal(held["image"], IMAGES)
        assert held["label"].dtype == np.int64 and held["label"].tolist() == LABELS.tolist()
    again = opened(str(path))
    assert held_in_file(again.images) and again.labels.tolist() == LABELS.tolist()
    before = path.read_bytes()
    assert write_generated(again, path).read_bytes() == before
    assert sorted(found.name for found in tmp_path.iterdir()) == ["0", "1", "both.npz"]
    with pytest.raises(DataError, match="images of 3×8×8, and a file of generated images holds images of 3×32×32"):
        write_generated(ImageDataset.from_arrays(pictures(4), np.arange(4) % 2, name="small"), tmp_path / "no.npz")


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
