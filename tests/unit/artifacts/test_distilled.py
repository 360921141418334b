"""A distilled set: the way back to pixels, its pictures, what other libraries get, and how sets join."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from paredown.artifacts import DistilledSet, ExampleIds, Pool
from paredown.artifacts.pictures import film, grid
from paredown.artifacts.whitening import Whitening
from paredown.errors import ArtifactError, DataError, PoolMismatch

POOL = Pool(("cats:train",), 50, "0" * 64)
NAMES = ("cat", "dog", "owl")
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)


def whitening(shape: tuple[int, int, int] = (3, 2, 2)) -> Whitening:
    channels, height, width = shape
    size = channels * height * width
    rng = np.random.default_rng(0)
    turned, _ = np.linalg.qr(rng.normal(size=(size, size)))
    scales = np.linspace(0.5, 2, size)
    matrix = (turned * scales) @ turned.T
    inverse = (turned / scales) @ turned.T
    center = rng.normal(size=(height, width, channels)).astype(np.float32)
    return Whitening(MEAN, STD, center, matrix.astype(np.float32), inverse.astype(np.float32))


def made(rows: list[int], highest: list[int], **changes: Any) -> DistilledSet:
    rng = np.random.default_rng(rows[0])
    labels = np.eye(3, dtype=np.float32)[highest] + rng.normal(0, 0.1, (len(rows), 3)).astype(np.float32)
    settings: dict[str, Any] = {
        "classes": NAMES, "mean": MEAN, "std": STD, "step": 7,
        "ids": ExampleIds(np.array(rows, np.int64), POOL), "asked": {"distiller": {"name": "feature-regression"}},
    }  # fmt: skip
    images = rng.normal(size=(len(rows), 3, 2, 2)).astype(np.float32)
    return DistilledSet(images, labels, **(settings | changes))


def test_pixels_are_what_the_space_says() -> None:
    plain, white = made([4, 1], [0, 2]), made([4, 1], [0, 2], whitening=whitening())
    expected = plain.images * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
    np.testing.assert_allclose(plain.pixels(), expected, atol=1e-6)
    np.testing.assert_allclose(whitening().apply(white.pixels()), white.images, atol=1e-4)
    assert white.pixels().dtype == np.float32


def test_pictures_are_cut_off_at_black_and_white() -> None:
    found = made([4, 1], [0, 2], mean=(0.0, 1.0, 0.5), std=(10.0, 10.0, 0.0))
    pictures = found.pictures()
    assert pictures.shape == (2, 2, 2, 3) and pictures.dtype == np.uint8
    assert set(np.unique(pictures[..., :2])) <= {*range(256)} and (pictures[..., 2] == 128).all()
    assert (pictures[found.images.transpose(0, 2, 3, 1)[..., 0] < 0][:, 0] == 0).all()


def test_saved_and_opened_it_is_the_same_and_its_picture_lies_beside_it(tmp_path: Path) -> None:
    white = made([4, 1, 9], [0, 2, 2], whitening=whitening(), notes={"mirrored": True})
    white.save(tmp_path / "set")
    opened = DistilledSet.open(tmp_path / "set")
    assert opened == white and opened.digest() == white.digest() and opened.notes == {"mirrored": True}
    assert (tmp_path / "set" / "grid.png").read_bytes() == white.grid()
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [
        "grid.png", "meta.json", "set.safetensors", "whitening.safetensors",
    ]  # fmt: skip
    assert white.describe() == (
        "3 distilled images of 3×2×2 in 2 of 3 classes of cats:train (feature-regression, 7 steps, whitened)"
    )


def test_the_space_is_part_of_the_content() -> None:
    plain, white = made([4, 1], [0, 2]), made([4, 1], [0, 2], whitening=whitening())
    assert plain != white and np.array_equal(plain.images, white.images)
    assert not plain.same_space(white) and white.same_space(made([8], [1], whitening=whitening()))


def test_torch_gets_pixels_and_learnt_labels() -> None:
    white = made([4, 1], [0, 2], whitening=whitening())
    (x, y), data = next(iter(torch.utils.data.DataLoader(white.to_torch(), batch_size=2))), white.to_torch()
    assert len(data) == 2 and x.dtype == y.dtype == torch.float32
    np.testing.assert_array_equal(x.numpy(), white.pixels())
    np.testing.assert_array_equal(y.numpy(), white.labels)


@pytest.mark.filterwarnings("default")
def test_hugging_face_gets_pictures_classes_and_exact_pixels() -> None:
    pytest.importorskip("datasets", reason="datasets is not installed")
    white = made([4, 1], [0, 2], whitening=whitening())
    rows = white.to_hf()
    assert rows.features["label"].names == list(NAMES) and rows["label"] == [0, 2]
    assert np.array_equal(np.asarray(rows[1]["image"]), white.pictures()[1])
    np.testing.assert_array_equal(np.asarray(rows[0]["pixels"], np.float32), white.pixels()[0])
    np.testing.assert_array_equal(np.asarray(rows[0]["soft_label"], np.float32), white.labels[0])


def test_hard_labels_are_centred_one_hot_rows_of_the_highest() -> None:
    hard = made([4, 1], [0, 2]).with_hard_labels()
    np.testing.assert_allclose(hard.labels, np.eye(3)[[0, 2]] - 1 / 3, atol=1e-6)
    assert hard.notes == {"labels": "hard"} and np.array_equal(hard.images, made([4, 1], [0, 2]).images)


def test_sets_of_one_space_join() -> None:
    first, second = made([4, 1], [0, 0]), made([8], [2])
    both = DistilledSet.union([first, second])
    assert len(both) == 3 and both.ids.keys.tolist() == [4, 1, 8] and both.classes == NAMES
    assert both.notes == {"union": [first.digest(), second.digest()]}


def test_sets_that_do_not_belong_together_are_refused() -> None:
    first = made([4, 1], [0, 0])
    with pytest.raises(DataError, match="different whitenings, means or deviations do not join"):
        DistilledSet.union([first, made([8], [2], whitening=whitening())])
    with pytest.raises(DataError, match="of 3×2×2 in 3 classes and of 3×2×2 in 4 classes do not join"):
        four = np.zeros((1, 4), np.float32)
        other = DistilledSet(
            np.zeros((1, 3, 2, 2)), four, classes="abcd", mean=MEAN, std=STD, step=1,
            ids=ExampleIds(np.array([8]), POOL),
        )  # fmt: skip
        DistilledSet.union([first, other])
    with pytest.raises(DataError, match="Two of the distilled sets begin with the same image"):
        DistilledSet.union([first, made([1], [2])])
    with pytest.raises(PoolMismatch):
        DistilledSet.union([first, made([8], [2], ids=ExampleIds(np.array([8]), Pool(("dogs",), 50, "1" * 64)))])
    with pytest.raises(DataError, match="needs at least one set"):
        DistilledSet.union([])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"classes": ("cat", "dog")}, r"2 images, labels of shape \(2, 3\), 2 ids and 2 classes do not belong"),
        ({"ids": ExampleIds(np.array([1]), POOL)}, "1 ids"),
        ({"whitening": whitening((3, 4, 4))}, "images of 3×2×2 and a whitening of images of 3×4×4"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ArtifactError, match=sentence):
        made([4, 1], [0, 2], **changes)


def test_numbers_that_are_not_finite_are_refused() -> None:
    images = np.full((1, 3, 2, 2), np.nan, np.float32)
    with pytest.raises(ArtifactError, match="not finite, so nothing can be learnt"):
        DistilledSet(
            images, np.zeros((1, 3)), classes=NAMES, mean=MEAN, std=STD, step=1, ids=ExampleIds(np.array([8]), POOL)
        )


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def test_a_grid_has_a_row_a_class_and_ten_pictures_in_it_at_most() -> None:
    pictures = np.zeros((25, 28, 28, 1), np.uint8)
    pictures[:12] = 255
    labels = np.repeat([0, 2], [12, 13])
    drawn = picture(grid(pictures, labels, NAMES))
    assert drawn.mode == "RGB" and drawn.height == 2 + 2 * 58 and 10 * 58 < drawn.width < 10 * 58 + 60
    pixels = np.asarray(drawn)
    assert (pixels[30, -300:-4] == 255).all() and (pixels[30 + 58, -30] == 0).all()
    assert grid(pictures, labels, NAMES) == grid(pictures, labels, NAMES)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_many_classes_are_shown_one_picture_each(channels: int) -> None:
    pictures = np.zeros((260, 64, 64, channels), np.uint8)
    drawn = picture(grid(pictures, np.arange(260) // 2, [str(number) for number in range(130)]))
    assert drawn.size == (2 + 10 * 66, 2 + 10 * 66)


def test_a_film_shows_every_frame() -> None:
    frames = []
    for level in (0, 128, 255):
        frames.append(grid(np.full((3, 8, 8, 3), level, np.uint8), np.arange(3), NAMES))
    shown = picture(film(frames))
    assert shown.format == "GIF" and shown.n_frames == 3 and shown.size == picture(frames[0]).size  # type: ignore[attr-defined]
    assert film(frames) == film(frames)
