"""Images that stay encoded: the square is that of the usual resizing and cutting, whatever the file or table."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.photographs import as_bytes, imagenet_folder, photograph
from tests.wrong_inputs import encoded as as_png
from tests.wrong_inputs import pictures

from paredown.data import Augmentation, ImageDataset, LabelNoise, Square, StoredImages, open_data
from paredown.data import images as decoding
from paredown.data.encoded import Held, TableRows
from paredown.errors import DataError, MethodError

ORIENTATION = 0x0112


def opened(data: object, **fields: object) -> StoredImages:
    found = open_data(data, **fields)  # type: ignore[arg-type]
    assert isinstance(found, StoredImages)
    return found


def squared(stored: list[bytes], square: Square) -> np.ndarray:
    out = np.empty((len(stored), square.size, square.size, 3), np.uint8)
    square.decode(Held(tuple(stored)), range(len(stored)), out, where="here")
    return out


def slow(image: Image.Image, square: Square) -> np.ndarray:
    """The usual way: bring the whole image to size, then cut out the middle."""
    by = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}[square.filter]
    if square.resize is None:
        return np.asarray(image.resize((square.size, square.size), by))
    short = min(image.size)
    width, height = (int(square.resize * side / short) for side in image.size)
    left, top = round((width - square.size) / 2), round((height - square.size) / 2)
    whole = image.resize((width, height), by)
    return np.asarray(whole.crop((left, top, left + square.size, top + square.size)))


# Decoding ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(90, 67), (67, 90), (41, 200), (64, 64), (300, 299), (32, 500)])
@pytest.mark.parametrize(
    "square", [Square(28, 32), Square(28, 28, "bicubic"), Square(40, 64, "bicubic"), Square(30, None)]
)
def test_one_resizing_gives_what_resizing_and_cutting_give(size: tuple[int, int], square: Square) -> None:
    image = photograph(*size)
    found = squared([as_bytes(image, "PNG")], square)[0]
    difference = np.abs(found.astype(int) - slow(image, square))
    assert difference.max() <= 2 and difference.mean() < 0.4  # half a pixel off gives a mean above 1


def test_a_large_jpeg_decoded_small_shows_the_same() -> None:
    stored, square = as_bytes(photograph(1600, 1200)), Square(56, 64)
    whole = slow(Image.open(io.BytesIO(stored)).convert("RGB"), square).astype(int)
    assert np.abs(squared([stored], square)[0] - whole).mean() < 1


def test_no_part_of_an_image_is_decoded_below_the_detail_that_the_square_needs() -> None:
    # A window of 120 pixels for a square of 56 has its own detail, whatever the size of the rest.
    stored = as_bytes(photograph(960, 960))
    out = np.empty((1, 56, 56, 3), np.uint8)
    window = np.array([[100.0, 200, 220, 320]])
    Square(56, 64).decode(Held((stored,)), [0], out, where="here", boxes=lambda sizes: window)
    exact = Image.open(io.BytesIO(stored)).resize((56, 56), Image.Resampling.BILINEAR, box=(100, 200, 220, 320))
    np.testing.assert_allclose(out[0], np.asarray(exact), atol=1)


@pytest.mark.parametrize(
    ("mode", "kind", "like"),
    [("L", "JPEG", "L"), ("CMYK", "JPEG", "RGB"), ("P", "PNG", "RGB"), ("1", "PNG", "L"), ("LA", "PNG", "L"),
     ("RGBA", "PNG", "RGB"), ("P", "GIF", "RGB")],
)  # fmt: skip
def test_every_usual_mode_becomes_colour(mode: str, kind: str, like: str) -> None:
    image = photograph(64, 48)
    found = squared([as_bytes(image.convert(mode), kind)], Square(32, 36))[0]
    wanted = slow(image.convert(mode).convert("RGB"), Square(32, 36)).astype(int)
    assert np.abs(found - wanted).mean() < 6
    if like == "L":
        assert np.ptp(found, axis=2).max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_stands_upright(orientation: int) -> None:
    upright, square = photograph(80, 48), Square(32, 40)
    turns = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM], 5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE], 8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    lying = upright
    for turn in turns[orientation]:
        lying = lying.transpose(turn)
    about = Image.Exif()
    about[ORIENTATION] = orientation
    found = squared([as_bytes(lying, "PNG", exif=about)], square)[0]
    assert np.abs(found.astype(int) - slow(upright, square)).max() <= 1


def test_a_senseless_orientation_is_none() -> None:
    about = Image.Exif()
    about[ORIENTATION] = 77
    image = photograph(64, 64)
    found = squared([as_bytes(image, "PNG", exif=about)], Square(64, 64))[0]
    np.testing.assert_array_equal(found, np.asarray(image))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Tag data larger")  # of Pillow, which then goes on
@pytest.mark.parametrize("about", [b"garbage garbage", b"MM\0*\0\0\0\x08\0\x05\x01\x12", b"II*\0\xff\xff\0\0", b""])
def test_damaged_exif_data_do_not_stop_an_image(about: bytes) -> None:
    image = photograph(64, 64)
    stored = as_bytes(image, "JPEG", exif=b"Exif\0\0" + about, quality=100, subsampling=0)
    assert np.abs(squared([stored], Square(64, 64))[0].astype(int) - np.asarray(image)).mean() < 2


def test_senseless_squares_are_refused() -> None:
    with pytest.raises(MethodError, match=r"Square\(size=0\): images need a side"):
        Square(0)
    with pytest.raises(MethodError, match=r"Square\(size=64, resize=32\): a square cannot be cut out of something"):
        Square(64, 32)


# Folders and tables --------------------------------------------------------------------------------------------------


def test_a_folder_keeps_its_images_in_their_files(tmp_path: Path) -> None:
    root = imagenet_folder(tmp_path / "photos")
    data, memory = opened(str(root), size=24, stored=True), open_data(str(root), size=24)
    assert isinstance(memory, ImageDataset)
    assert data.shape == (3, 24, 24) == memory.shape and len(data) == 12 and data.name == "photos:train"
    np.testing.assert_array_equal(data.labels, memory.labels)
    assert data.classes == memory.classes and data.paths == memory.paths
    # Here the middle lies on whole pixels of the resized image, there it need not: half a pixel at most.
    assert np.abs(data.read(np.arange(12)).astype(int) - memory.images).mean() < 4
    assert data.augmentation == Augmentation(area=0.08, flip=True) and data.mean == (0.485, 0.456, 0.406)
    assert opened(str(root), size=24, stored=True, split="test").name == "photos:validation"
    image, label = data[5]
    np.testing.assert_allclose(image.permute(1, 2, 0) * 255, data.read(np.array([5]))[0], atol=1e-3)
    assert label == data.labels[5] and image.shape == (3, 24, 24)


def test_a_pool_of_files_is_known_by_paths_and_sizes(tmp_path: Path) -> None:
    root = imagenet_folder(tmp_path / "photos")
    first = opened(str(root), size=24, stored=True)
    moved = root.rename(tmp_path / "moved")
    assert opened(str(moved), size=24, stored=True).ids.pool.fingerprint == first.ids.pool.fingerprint
    small = opened(str(moved), size=16, stored=True)
    assert small.ids.pool.fingerprint == first.ids.pool.fingerprint and small.identity() != first.identity()
    assert first.at(Square(24, None)).identity() != first.identity()
    next(moved.rglob("*.JPEG")).write_bytes(as_bytes(photograph(20, 20)))
    assert opened(str(moved), size=24, stored=True).ids.pool.fingerprint != first.ids.pool.fingerprint


def test_label_noise_keeps_pool_and_images() -> None:
    clean = opened("synthetic", n=40, stored=True)
    noisy = opened("synthetic", n=40, stored=True, noise=LabelNoise(fraction=0.5))
    assert noisy.ids.pool == clean.ids.pool and noisy.identity() != clean.identity()
    assert noisy.corrupted is not None and noisy.clean_labels is not None
    np.testing.assert_array_equal(noisy.labels != clean.labels, noisy.corrupted)
    np.testing.assert_array_equal(noisy.clean_labels, clean.labels)
    assert "20 labels changed" in repr(noisy)


def test_synthetic_images_are_the_same_stored() -> None:
    memory = open_data("synthetic", n=12)
    assert isinstance(memory, ImageDataset)
    np.testing.assert_array_equal(opened("synthetic", n=12, stored=True).read(np.arange(12)), memory.images)


def table(file: Path, images: list[bytes | None], labels: list[int], *, struct: bool = True) -> None:
    column = [{"bytes": image, "path": "x"} for image in images] if struct else images
    file.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(pa.table({"image": column, "label": labels}), file, row_group_size=3)


@pytest.mark.parametrize("struct", [True, False])
def test_tables_give_any_row_in_any_order(tmp_path: Path, struct: bool) -> None:
    images = pictures(16, 12)
    for shard in range(2):
        part = [as_png(image) for image in images[shard * 8 : shard * 8 + 8]]
        table(tmp_path / f"train-{shard:05d}-of-00002.parquet", part, [0, 1] * 4, struct=struct)
    table(tmp_path / "test-00000-of-00001.parquet", [as_png(images[0])] * 2, [0, 1], struct=struct)
    data = opened(str(tmp_path), size=12, stored=True)
    order = np.array([15, 0, 7, 8, 3, 3, 14])
    np.testing.assert_array_equal(data.read(order), images[order])
    np.testing.assert_array_equal(data.labels, np.tile([0, 1], 8))
    assert data.encoded.called(9) == "the image of row 1 in train-00001-of-00002.parquet"
    assert opened(str(tmp_path), size=12, stored=True, split="test").shape == (3, 12, 12)


def test_a_share_that_is_held_out_reads_its_own_rows(tmp_path: Path) -> None:
    images = pictures(20, 12)
    table(tmp_path / "one.parquet", [as_png(image) for image in images], [0, 1] * 10)
    train, memory = (
        opened(str(tmp_path / "one.parquet"), size=12, stored=True),
        open_data(str(tmp_path / "one.parquet")),
    )
    assert isinstance(memory, ImageDataset) and len(train) == 16
    np.testing.assert_array_equal(train.read(np.arange(16)), memory.images)


def test_row_groups_beyond_the_memory_for_them_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paredown.data.encoded.HELD_GROUPS", 1500)
    images = [as_png(image) for image in pictures(24, 12)]
    table(tmp_path / "a.parquet", images, [0] * 24)
    rows = TableRows("here", (tmp_path / "a.parquet",), "image.bytes")
    order = np.random.default_rng(0).permutation(24)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(rows.stored, order.tolist() * 3)) == [images[row] for row in order] * 3


# What is wrong -------------------------------------------------------------------------------------------------------


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    root = imagenet_folder(tmp_path / "photos")
    data = opened(str(root), size=24, stored=True)
    assert data.paths is not None
    file = root / data.paths[7]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"n01440001_3.JPEG cannot be decoded, because .*truncated.*Replace or remove"):
        data.read(np.arange(12))
    file.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"n01440001_3.JPEG cannot be decoded, because its format is not known"):
        data.read(np.arange(12))
    file.unlink()
    with pytest.raises(DataError, match=r"n01440001_3.JPEG cannot be read \(No such file.*Bring it back"):
        data.read(np.arange(12))


def test_deep_images_are_refused() -> None:
    deep = Image.fromarray(np.zeros((8, 8), np.uint16))
    with pytest.raises(DataError, match=r"image 0 has more than 8 bits a pixel"):
        squared([as_bytes(deep, "PNG")], Square(8, 8))


def test_rows_without_an_image_are_named(tmp_path: Path) -> None:
    table(tmp_path / "a.parquet", [as_png(pictures(1)[0]), None, as_png(pictures(1)[0])], [0, 0, 0])
    data = opened(str(tmp_path / "a.parquet"), size=8, stored=True, split="all")
    with pytest.raises(DataError, match=r"row 1 in a.parquet is missing from column 'image.bytes'"):
        data.read(np.arange(3))
    pq.write_table(pa.table({"image": ["a", "b"], "label": [0, 0]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"of type string does not hold encoded images"):
        opened(str(tmp_path / "b.parquet"), size=8, stored=True, image_column="image", name="parquet")


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    table(file, [as_png(image) for image in pictures(30, 16)], [0, 1] * 15)
    rows = TableRows("here", (file,), "image.bytes")
    whole = bytearray(file.read_bytes())
    whole[4:200] = b"\xff" * 196
    file.write_bytes(bytes(whole))
    with pytest.raises(DataError, match=r"here: a.parquet is damaged \(.*Copy it again"):
        rows.stored(0)
    file.write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"here: a.parquet is truncated or is no Parquet file"):
        TableRows("here", (file,), "image.bytes")


def test_stored_images_need_a_size(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"Folder\(stored=True\): .*Set size, such as 224"):
        open_data(str(imagenet_folder(tmp_path / "photos")), stored=True)
    with pytest.raises(MethodError, match=r"Parquet\(stored=True\)"):
        open_data({"name": "parquet", "path": "x", "stored": True})


def test_images_beyond_the_machine_are_refused_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = imagenet_folder(tmp_path / "photos")
    monkeypatch.setattr(decoding, "memory", lambda: 12 * 24 * 24 * 3 * 2 - 1)
    with pytest.raises(DataError, match=r"its images would take 0 GiB of memory.*Set stored=true"):
        open_data(str(root), size=24)
    assert len(opened(str(root), size=24, stored=True)) == 12


def test_rows_that_do_not_pair_up_are_refused() -> None:
    data = opened("synthetic", n=8, stored=True)
    with pytest.raises(DataError, match="8 images, 7 labels and 8 ids do not pair up"):
        replace(data, labels=data.labels[:7])
    with pytest.raises(DataError, match="label 9 of row 2 is out of range"):
        replace(data, labels=np.where(np.arange(8) == 2, 9, 0))
    none = np.arange(0)
    with pytest.raises(DataError, match="there are no images"):
        replace(data, rows=none, labels=none, ids=data.ids.take(none))


def test_stored_images_are_no_part_of_a_pool() -> None:
    with pytest.raises(DataError, match=r"synthetic:train cannot be part of a pool, because only images in memory can"):
        open_data(["digits", {"name": "synthetic", "stored": True}])
