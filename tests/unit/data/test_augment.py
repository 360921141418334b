"""Augmentation moves pixels exactly as padding, cutting and mirroring would, image by image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.wrong_inputs import pictures

from paredown.data import Augmentation
from paredown.errors import MethodError


def batch(count: int = 32, height: int = 7, width: int = 9) -> torch.Tensor:
    images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def applied(augmentation: Augmentation, images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmentation.apply(images, torch.Generator().manual_seed(seed))


def windows(image: np.ndarray, crop: int, mode: str) -> dict[bytes, tuple[int, int, bool]]:
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
        windows(before, 3, mode)[np.ascontiguousarray(after).tobytes()]
        for before, after in zip(images.numpy(), out.numpy(), strict=True)
    ]
    assert out.dtype == torch.uint8 and out.shape == images.shape
    assert len({(top, left) for top, left, _ in drawn}) > 15  # 49 shifts, 32 images
    assert 8 <= sum(mirrored for *_, mirrored in drawn) <= 24


def test_per_batch_shares_one_shift_but_not_the_flips() -> None:
    images = batch()
    out = applied(Augmentation(crop=3, flip=True, per="batch"), images)
    drawn = [
        windows(before, 3, "reflect")[np.ascontiguousarray(after).tobytes()]
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
    with pytest.raises(MethodError, match=r"images of 7×9 cannot be shifted so far. Use a crop below 7"):
        applied(Augmentation(crop=7), batch())
