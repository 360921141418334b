"""Augmentation moves pixels exactly as padding, cutting and mirroring would, image by image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.wrong_inputs import pictures

from paredown.data import Augmentation
from paredown.data.augment import draws, windows
from paredown.errors import MethodError


def batch(count: int = 32, height: int = 7, width: int = 9) -> torch.Tensor:
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def applied(augmentation: Augmentation, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmentation.apply(images, torch.Generator().manual_seed(seed))


def shifts(image: np.ndarray, crop: int, mode: str) -> dict[bytes, tuple[int, int, bool]]:
    """Slow and obvious: every shifted and mirrored version of one (C, H, W) image, by its bytes."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (crop, crop), (crop, crop)), mode=mode)  # type: ignore[call-overload]
    found = {}
    for top in range(2 * crop + 1):
        for left in range(2 * crop + 1):
            cut = padded[:, top : top + height, left : left + width]
            found[np.ascontiguousarray(cut).tobytes()] = (top, left, False)
            found[np.ascontiguousarray(cut[:, :, ::-1]).tobytes()] = (top, left, True)
    return found


@pytest.mark.parametrize(("padding", "mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_each_image_is_a_window_of_the_padded_one(padding: str, mode: str) -> None:
    images = batch()
    out = applied(Augmentation(crop=3, flip=True, padding=padding), images)  # type: ignore[arg-type]
    drawn = [
        shifts(before, 3, mode)[np.ascontiguousarray(after).tobytes()]
        for before, after in zip(images.numpy(), out.numpy(), strict=True)
    ]
    assert out.dtype == torch.uint8 and out.shape == images.shape
    assert len({(top, left) for top, left, _ in drawn}) > 15  # 49 shifts, 32 images
    assert 8 <= sum(mirrored for *_, mirrored in drawn) <= 24


def test_per_batch_shares_one_shift_but_not_the_flips() -> None:
    images = batch()
    out = applied(Augmentation(crop=3, flip=True, per="batch"), images)
    drawn = [
        shifts(before, 3, "reflect")[np.ascontiguousarray(after).tobytes()]
        for before, after in zip(images.numpy(), out.numpy(), strict=True)
    ]
    assert len({(top, left) for top, left, _ in drawn}) == 1
    assert 8 <= sum(mirrored for *_, mirrored in drawn) <= 24


@given(crop=st.integers(0, 4), flip=st.booleans(), cutout=st.integers(0, 5), seed=st.integers(0, 99))
def test_type_and_memory_layout_do_not_matter(crop: int, flip: bool, cutout: int, seed: int) -> None:
    augmentation, images = Augmentation(crop=crop, flip=flip, cutout=cutout), batch(8)
    out = applied(augmentation, images, seed)
    assert torch.equal(out, applied(augmentation, images.contiguous(), seed))
    np.testing.assert_allclose(applied(augmentation, images.float(), seed), out.float(), atol=0.5)


def test_the_generator_alone_decides() -> None:
    augmentation, images = Augmentation(crop=3, flip=True, cutout=2), batch()
    assert torch.equal(applied(augmentation, images, 5), applied(augmentation, images, 5))
    assert not torch.equal(applied(augmentation, images, 5), applied(augmentation, images, 6))


def test_cutout_gives_one_square_the_mean_colour() -> None:
    images = batch(64, 12, 12)
    out = applied(Augmentation(cutout=4), images)
    for before, after in zip(images.numpy(), out.numpy(), strict=True):
        mean = before.reshape(3, -1).mean(1).round()
        rows, columns = np.nonzero((before != after).any(0))
        assert 1 <= np.ptp(rows) + 1 <= 4 and 1 <= np.ptp(columns) + 1 <= 4
        inside = after[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        np.testing.assert_allclose(inside - mean[:, None, None], 0, atol=1)


# Windows -------------------------------------------------------------------------------------------------------------


def drawn(count: int = 4000, seed: int = 0) -> np.ndarray:
    return draws(count, torch.Generator().manual_seed(seed))


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([0.08, 0.5, 1.0]), st.integers(0, 50))
def test_a_window_lies_in_its_image(width: int, height: int, least: float, seed: int) -> None:
    found = windows(drawn(20, seed), np.tile((width, height), (20, 1)), least=least)
    left, top, right, bottom = found.T
    assert (left >= 0).all() and (top >= 0).all() and (right <= width).all() and (bottom <= height).all()
    assert (right > left).all() and (bottom > top).all()


def one_by_one(numbers: np.ndarray, width: int, height: int, least: float) -> tuple[int, int, int, int] | None:
    """Slow and obvious: the first of the windows that fits."""
    for share, shape, across, down in numbers.astype(float):
        area = width * height * (least + (1 - least) * share)
        ratio = math.exp(math.log(3 / 4) + (math.log(4 / 3) - math.log(3 / 4)) * shape)
        wide, tall = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = int(across * (width - wide + 1)), int(down * (height - tall + 1))
            return left, top, left + wide, top + tall
    return None


def test_the_first_window_that_fits_is_taken() -> None:
    numbers = drawn(600)
    sizes = np.random.default_rng(0).integers(2, 500, (600, 2))
    found = windows(numbers, sizes, least=0.08)
    slow = [one_by_one(numbers[row], *sizes[row].tolist(), 0.08) for row in range(600)]
    assert sum(box is None for box in slow) < 200
    assert all(box is None or tuple(found[row].tolist()) == box for row, box in enumerate(slow))


def test_windows_lie_anywhere_and_have_any_shape_that_is_allowed() -> None:
    found = windows(drawn(), np.tile((500, 375), (4000, 1)), least=0.08).astype(float)
    wide, tall = found[:, 2] - found[:, 0], found[:, 3] - found[:, 1]
    assert (wide / tall).min() > 0.73 and (wide / tall).max() < 1.36 and abs(np.log(wide / tall).mean()) < 0.05
    assert 0.078 < (wide * tall).min() / (500 * 375) < 0.1 and (wide * tall).max() / (500 * 375) > 0.95
    free = np.stack([500 - wide, 375 - tall], axis=1)
    places = found[:, :2] / np.maximum(free, 1)
    assert places.min() == 0 and places.max() == 1 and np.abs(places[(free > 9).all(1)].mean(0) - 0.5).max() < 0.03


def test_where_no_window_fits_the_largest_of_the_centre_is_taken() -> None:
    found = windows(drawn(3), np.array([(300, 30), (30, 300), (32, 32)]), least=1.0)
    assert found[0].tolist() == [130, 0, 170, 30] and found[1].tolist() == [0, 130, 30, 170]
    assert found[2].tolist() == [0, 0, 32, 32]


def test_windows_of_a_batch_are_cut_out_and_brought_to_size() -> None:
    images, augmentation = batch(16, 24, 36), Augmentation(area=0.3)
    out = applied(augmentation, images)
    boxes = windows(drawn(16), np.tile((36, 24), (16, 1)), least=0.3)
    assert out.dtype == torch.uint8 and out.shape == images.shape and augmentation.changes
    for before, after, box in zip(images, out, boxes, strict=True):
        exact = Image.fromarray(before.permute(1, 2, 0).numpy()).resize(
            (36, 24), Image.Resampling.BILINEAR, box=tuple(box.tolist())
        )
        np.testing.assert_allclose(after.permute(1, 2, 0), np.asarray(exact), atol=3)
    floats = applied(augmentation, images.float())
    np.testing.assert_allclose(floats, out.float(), atol=0.51)


def test_a_window_of_everything_changes_nothing() -> None:
    images = batch(4, 9, 9)
    assert torch.equal(applied(Augmentation(area=1.0), images), images)


def test_flips_alone_are_those_beside_a_crop() -> None:
    images = batch(64)
    out = applied(Augmentation(flip=True), images)
    mirrored = [torch.equal(after, before.flip(2)) for before, after in zip(images, out, strict=True)]
    same = [torch.equal(after, before) for before, after in zip(images, out, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 20 <= sum(mirrored) <= 44
    expected = torch.randint(0, 2, (64, 1), generator=torch.Generator().manual_seed(0), dtype=torch.bool)
    assert mirrored == expected.flatten().tolist()


def test_nothing_asked_is_nothing_done() -> None:
    images = batch()
    assert applied(Augmentation(), images) is images
    assert not Augmentation().changes and Augmentation(cutout=1).changes


def test_grey_images_keep_their_one_channel() -> None:
    images = torch.from_numpy(pictures(4)[..., :1]).permute(0, 3, 1, 2)
    assert applied(Augmentation(crop=2, flip=True), images).shape == (4, 1, 8, 8)


def test_senseless_settings_are_refused() -> None:
    with pytest.raises(MethodError, match=r"Augmentation\(crop=-1\)"):
        Augmentation(crop=-1)
    with pytest.raises(MethodError, match=r"Augmentation\(area=0\): a share of the image lies above 0"):
        Augmentation(area=0)
    with pytest.raises(MethodError, match=r"images of 7×9 cannot be shifted so far. Use a crop below 7"):
        applied(Augmentation(crop=7), batch())
