"""One's own data: Parquet, folders of images, .npz; and the two sources that need no file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.wrong_inputs import encoded, image_folder, npz_file, parquet_file, pictures

from paredown.data import Augmentation, ImageDataset, find_source, open_data
from paredown.data.digits import Digits
from paredown.data.folder import Folder
from paredown.data.npz import Npz
from paredown.data.parquet import Parquet
from paredown.data.source import held_out
from paredown.data.synthetic import Synthetic
from paredown.errors import DataError, MethodError


def opened(data: object, **fields: object) -> ImageDataset:
    found = open_data(data, **fields)  # type: ignore[arg-type]
    assert isinstance(found, ImageDataset)
    return found


# Hold-out ------------------------------------------------------------------------------------------------------------


def test_digits_train_and_test_part_the_rows_class_by_class() -> None:
    train, test, whole = (opened("digits", split=split) for split in ("train", "test", "all"))
    assert len(train) + len(test) == len(whole) == 1797
    np.testing.assert_allclose(np.bincount(test.labels) / np.bincount(whole.labels), 0.2, atol=0.01)
    assert len({train.ids.pool.fingerprint, test.ids.pool.fingerprint, whole.ids.pool.fingerprint}) == 3
    assert whole.images.max() == 255 and train.augmentation == Augmentation(crop=1)
    # The draw is fixed for good: scores made on one machine belong to the same images on another.
    assert held_out(whole.labels, "test")[:6].tolist() == FIRST_HELD_OUT
    assert train.ids.pool.fingerprint == opened(Digits()).ids.pool.fingerprint


FIRST_HELD_OUT = [4, 10, 13, 18, 21, 23]


def test_a_class_of_one_is_for_training() -> None:
    labels = np.array([0, 0, 0, 1])
    assert 3 in held_out(labels, "train") and len(held_out(labels, "test")) == 1
    np.testing.assert_array_equal(held_out(labels, "all"), np.arange(4))


# Synthetic -----------------------------------------------------------------------------------------------------------


def test_synthetic_examples_scatter_around_shared_prototypes() -> None:
    train, test = (opened(Synthetic(split=split, n=400, spread=0.5)) for split in ("train", "test"))  # type: ignore[arg-type]
    assert not np.array_equal(train.images, test.images)
    prototypes = [train.images[train.labels == label].mean(0) for label in range(4)]
    nearest = [np.argmin([np.square(image - p).sum() for p in prototypes]) for image in test.images.astype(float)]
    assert (np.array(nearest) == test.labels).mean() > 0.99
    exact = opened("synthetic", spread=0, n=8, channels=1)
    np.testing.assert_array_equal(exact.images[:4], exact.images[4:])
    assert exact.shape == (1, 8, 8)


def test_senseless_synthetic_data_are_refused() -> None:
    with pytest.raises(MethodError, match=r"Synthetic\(n=3\): at least 4"):
        Synthetic(n=3)


# Parquet -------------------------------------------------------------------------------------------------------------


def features(names: list[str]) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}})}


def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    images = pictures(30)
    for shard in (2, 0, 1):
        part = [encoded(image) for image in images[shard * 10 : shard * 10 + 10]]
        file = tmp_path / "data" / f"train-{shard:05d}-of-00003.parquet"
        file.parent.mkdir(exist_ok=True)
        parquet_file(file, part, metadata=features(["cat", "dog"]))
    parquet_file(tmp_path / "data" / "test-00000-of-00001.parquet")
    data = opened(str(tmp_path))
    np.testing.assert_array_equal(data.images, images)
    np.testing.assert_array_equal(data.labels, np.tile([0, 1], 15))
    assert data.classes == ("cat", "dog") and data.name == f"{tmp_path.name}:train"
    assert len(opened(str(tmp_path), split="test")) == 10
    with pytest.raises(DataError, match="no split 'validation', only test, train"):
        open_data(str(tmp_path), split="validation")


def test_parts_may_be_sub_folders_and_validation_serves_as_test(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        (tmp_path / "default" / part).mkdir(parents=True)
        parquet_file(tmp_path / "default" / part / "0000.parquet")
    assert len(opened(str(tmp_path))) == 10
    assert opened(str(tmp_path), split="test").name.endswith(":validation")


def test_a_single_file_is_all_there_is(tmp_path: Path) -> None:
    file = parquet_file(tmp_path / "train.parquet", [encoded(image) for image in pictures(20)])
    train, test, whole = (opened(str(file), split=split) for split in ("train", "test", "all"))
    assert (len(train), len(test), len(whole)) == (16, 4, 20)
    np.testing.assert_array_equal(train.images, whole.images[held_out(whole.labels, "train")])


def test_raw_bytes_text_labels_and_columns_by_name(tmp_path: Path) -> None:
    table = {"picture_a": [encoded(i, "BMP") for i in pictures(10)], "kind": ["dog", "cat"] * 5, "label": [0] * 10}
    pq.write_table(pa.table(table), tmp_path / "data.parquet")
    data = opened(Parquet(str(tmp_path / "data.parquet"), split="all", image_column="picture_a", label_column="kind"))
    np.testing.assert_array_equal(data.images, pictures(10))
    assert data.classes == ("cat", "dog") and data.labels[:2].tolist() == [1, 0]
    with pytest.raises(DataError, match=r"no column 'knd'. Did you mean 'kind'"):
        open_data(str(tmp_path / "data.parquet"), image_column="picture_a", label_column="knd")


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ([0, 1, None, 1, 0, 1, 0, 1, 0, 1], "label of row 2 is None"),
        ([0.5, 1.0] * 5, "label of row 0 is 0.5"),
        ([0, 3] * 5, "label 3 of row 1 is out of range"),
        ([None] * 10, "has no labels"),
    ],
)
def test_wrong_labels_are_refused(tmp_path: Path, labels: list[Any], match: str) -> None:
    parquet_file(tmp_path / "data.parquet", labels=labels, metadata=features(["cat", "dog"]))
    with pytest.raises(DataError, match=match):
        open_data(str(tmp_path / "data.parquet"))


@pytest.mark.parametrize(
    ("column", "match"),
    [
        (pa.array([{"bytes": None, "path": "a.png"}] * 2, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
         "names image files but does not hold them"),
        (pa.array([1, 2]), "type int64 does not hold encoded images"),
        (pa.array([encoded(pictures(1)[0]), None]), "image of row 1 in data.parquet is missing"),
    ],
)  # fmt: skip
def test_columns_without_images_are_refused(tmp_path: Path, column: pa.Array, match: str) -> None:
    pq.write_table(pa.table({"image": column, "label": [0, 1]}), tmp_path / "data.parquet")
    with pytest.raises(DataError, match=match):
        open_data(str(tmp_path / "data.parquet"), split="all")


def test_shards_with_other_columns_and_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no .parquet file"):
        Parquet(str(tmp_path)).load()
    with pytest.raises(DataError, match="no such file or folder"):
        Parquet(str(tmp_path / "none")).load()
    parquet_file(tmp_path / "a.parquet")
    pq.write_table(pa.table({"image": [b""]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet has no column 'label'"):
        open_data(str(tmp_path))


def test_grey_images_have_one_channel_unless_one_is_coloured(tmp_path: Path) -> None:
    grey = pictures(10)[..., 0]
    images: list[bytes | None] = [encoded(image) for image in grey]
    data = opened(str(parquet_file(tmp_path / "grey.parquet", images)), split="all")
    np.testing.assert_array_equal(data.images[..., 0], grey)
    assert data.shape == (1, 8, 8) and not data.augmentation.flip
    images[6] = encoded(pictures(10)[6])
    mixed = opened(str(parquet_file(tmp_path / "mixed.parquet", images)), split="all")
    assert mixed.shape == (3, 8, 8)
    np.testing.assert_array_equal(mixed.images[6], pictures(10)[6])
    np.testing.assert_array_equal(mixed.images[5], np.repeat(grey[5][..., None], 3, axis=2))


# Folder --------------------------------------------------------------------------------------------------------------


def test_a_folder_of_classes_has_rows_by_path(tmp_path: Path) -> None:
    whole = opened(str(image_folder(tmp_path / "pets")), split="all")
    np.testing.assert_array_equal(whole.images, np.concatenate([pictures(5), pictures(5, seed=1)]))
    assert whole.classes == ("cat", "dog") and whole.paths is not None and whole.paths[6] == "dog/001.png"
    train, test = (opened(str(tmp_path / "pets"), split=split) for split in ("train", "test"))
    assert train.name == "pets:train" and len(train) == 8 and len(test) == 2
    assert train.paths is not None and test.paths is not None
    assert sorted(train.paths + test.paths) == sorted(whole.paths)


def test_a_folder_with_parts(tmp_path: Path) -> None:
    image_folder(tmp_path / "train")
    image_folder(tmp_path / "val", each=2)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    assert len(opened(str(tmp_path))) == 10
    test = opened(str(tmp_path), split="test")
    assert len(test) == 4 and test.paths is not None and test.paths[0] == "val/cat/000.png"
    image_folder(tmp_path / "test", classes=("cat", "cow", "dog"))
    with pytest.raises(DataError, match="class 'cow' of test is not among the 2 classes"):
        open_data(str(tmp_path), split="test")


def test_size_brings_all_images_to_one_square(tmp_path: Path) -> None:
    image_folder(tmp_path / "pets")
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 6:24] = 200  # the central square and what the filter sees around it
    (tmp_path / "pets" / "dog" / "000.png").write_bytes(encoded(wide))
    data = opened(str(tmp_path / "pets"), size=5, split="all")
    assert data.shape == (3, 5, 5)
    np.testing.assert_array_equal(data.images[5], np.full((5, 5, 3), 200))
    assert data.identity() != opened(str(tmp_path / "pets"), size=6, split="all").identity()
    assert data.ids.pool == opened(str(tmp_path / "pets"), size=6, split="all").ids.pool


def test_a_name_or_a_byte_changed_is_another_pool(tmp_path: Path) -> None:
    first = opened(str(image_folder(tmp_path / "pets"))).ids.pool.fingerprint
    (tmp_path / "pets" / "cat" / "000.png").rename(tmp_path / "pets" / "cat" / "0000.png")
    second = opened(str(tmp_path / "pets")).ids.pool.fingerprint
    (tmp_path / "pets" / "cat" / "0000.png").write_bytes(encoded(pictures(1, seed=9)[0]))
    assert len({first, second, opened(str(tmp_path / "pets")).ids.pool.fingerprint}) == 3


def test_workers_do_not_change_what_is_read(tmp_path: Path) -> None:
    image_folder(tmp_path / "pets", each=90)
    one, four = (opened(str(tmp_path / "pets"), workers=workers) for workers in (1, 4))
    np.testing.assert_array_equal(one.images, four.images)


def test_transparent_and_palette_images_become_colour(tmp_path: Path) -> None:
    image_folder(tmp_path / "pets")
    picture = Image.fromarray(pictures(1)[0])
    picture.convert("RGBA").save(tmp_path / "pets" / "dog" / "000.png")
    picture.quantize(16).save(tmp_path / "pets" / "dog" / "001.png", transparency=b"\x00\x80")
    data = opened(str(tmp_path / "pets"), split="all")
    np.testing.assert_array_equal(data.images[5], pictures(1)[0])
    np.testing.assert_array_equal(data.images[6], np.asarray(picture.quantize(16).convert("RGB")))


def test_deep_images_and_wrong_folders_are_refused(tmp_path: Path) -> None:
    image_folder(tmp_path / "pets")
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "pets" / "cat" / "000.png")
    with pytest.raises(DataError, match=r"cat/000.png has more than 8 bits"):
        open_data(str(tmp_path / "pets"), split="all")
    with pytest.raises(DataError, match="there is no such folder"):
        Folder(str(tmp_path / "none")).load()
    (tmp_path / "flat").mkdir()
    with pytest.raises(DataError, match="flat has no sub-folders"):
        Folder(str(tmp_path / "flat")).load()
    with pytest.raises(MethodError, match=r"Folder\(size=0\)"):
        Folder(str(tmp_path), size=0)
    with pytest.raises(MethodError, match=r"Parquet\(size=0\)"):
        Parquet(str(tmp_path), size=0)


# Npz -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [("x_train", "y_train", "x_test", "y_test"), ("train_images", "train_labels", "test_images", "test_labels"),
     ("X_train", "Y_train", "X_val", "Y_val"), ("images_train", "labels_train", "images_test", "labels_test")],
)  # fmt: skip
def test_arrays_for_training_and_testing_by_their_usual_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    arrays = (pictures(20), np.arange(20) % 2, pictures(6, seed=1), np.zeros((6, 1), int))
    np.savez(tmp_path / "data.npz", **dict(zip(names, arrays, strict=True)))
    train, test = (opened(str(tmp_path / "data.npz"), split=split) for split in ("train", "test"))
    np.testing.assert_array_equal(train.images, arrays[0])
    np.testing.assert_array_equal(test.images, arrays[2])
    assert test.classes == train.classes == ("0", "1") and train.name == "data:train"


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (pictures(20)[..., 0], pictures(20)[..., :1]),
        (pictures(20).transpose(0, 3, 1, 2), pictures(20)),
        (pictures(20).astype(np.int64), pictures(20)),
        (pictures(20).astype(np.float32), pictures(20)),
        (pictures(20) / 255, pictures(20)),
        (pictures(20)[..., 0] > 127, (pictures(20)[..., :1] > 127).astype(np.uint8)),
    ],
    ids=["grey", "channels first", "integers", "floats to 255", "floats to 1", "bits"],
)
def test_images_in_any_layout_and_type(tmp_path: Path, images: np.ndarray, expected: np.ndarray) -> None:
    data = opened(str(npz_file(tmp_path / "data.npz", x=images)), split="all")
    np.testing.assert_array_equal(data.images, expected)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.eye(2)[np.arange(20) % 2], ("0", "1")),
        ((np.arange(20) % 2).astype(float), ("0", "1")),
        (np.array(["apple", "pear"] * 10), ("apple", "pear")),
    ],
    ids=["one-hot", "floats", "text"],
)
def test_labels_in_any_type(tmp_path: Path, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    data = opened(str(npz_file(tmp_path / "data.npz", y=labels)), split="all")
    np.testing.assert_array_equal(data.labels, np.arange(20) % 2)
    assert data.classes == classes
    assert opened(str(npz_file(tmp_path / "data.npz", class_names=["a", "b"])), split="all").classes == ("a", "b")


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"y": np.ones((20, 2))}, "'y' has several labels a row"),
        ({"y": np.full(20, 0.5)}, "'y' holds 0.5 in row 0"),
        ({"y": np.zeros((20, 2, 2))}, r"'y' of type float64 and shape \(20, 2, 2\)"),
        ({"x": pictures(20).reshape(20, -1)}, r"'x' of type uint8 and shape \(20, 192\) is not images"),
        ({"x": None, "x_train": pictures(4)}, "'x_train' has no labels beside it. Add 'y_train'"),
        ({"x": None}, "no images among its arrays"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        open_data(str(npz_file(tmp_path / "data.npz", **arrays)))


def test_npy_and_missing_files_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, pictures(2))
    with pytest.raises(DataError, match="one nameless array"):
        open_data(str(tmp_path / "data.npz"))
    with pytest.raises(DataError, match="no such file"):
        Npz(str(tmp_path / "none.npz")).load()


# Opening -------------------------------------------------------------------------------------------------------------


def test_a_name_may_be_a_path_and_a_path_may_stand_alone(tmp_path: Path) -> None:
    file = str(npz_file(tmp_path / "data.npz"))
    sources = [find_source(file), find_source({"name": file}), find_source({"path": file}), find_source(Path(file))]
    assert sources == [Npz(file)] * 4
    assert find_source(Npz(file), split="test") == Npz(file, split="test")
    assert find_source("paredown.data.digits:Digits") == Digits()
    with pytest.raises(DataError, match="need a name or a path"):
        find_source({"split": "test"})
    with pytest.raises(MethodError, match=r"Digits has no field 'splt'. Did you mean 'split'"):
        find_source("digits", splt="test")
    with pytest.raises(DataError, match=r"Digits: there is no split 'tst', only train, test, all"):
        Digits(split="tst").load()  # type: ignore[arg-type]
