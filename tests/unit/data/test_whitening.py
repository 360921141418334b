"""ZCA whitening: its properties, where it is kept, what is refused, and that data without it are what they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.artifacts.whitening import Whitening, images_of, rows_of
from paredown.data import ImageDataset, ImagePool, open_data, pooled, whitening
from paredown.data.whitening import REGULARISER, fitted, whitening_of, zca
from paredown.errors import ArtifactError, DataError, MethodError


def images(count: int = 40, side: int = 6, channels: int = 3, seed: int = 0) -> ImageDataset:
    """Pixels that depend on each other, so that there is something to whiten."""
    draw = np.random.default_rng(seed)
    half = (side + 1) // 2
    coarse = draw.integers(40, 216, (count, half, half, channels)).repeat(2, axis=1).repeat(2, axis=2)
    smooth = coarse[:, :side, :side] + draw.integers(-30, 31, (count, side, side, 1))
    data = ImageDataset.from_arrays(np.clip(smooth, 0, 255).astype(np.uint8), np.arange(count) % 2)
    return replace(data, whiten="zca")


def pixels(data: ImageDataset) -> np.ndarray:
    return data.images.transpose(0, 3, 1, 2) / 255


@given(st.integers(2, 90), st.sampled_from([1, 3]), st.sampled_from([1, 2, 3]), st.integers(0, 99))
def test_there_and_back_is_where_one_was(count: int, channels: int, blocks: int, seed: int) -> None:
    data = images(count, channels=channels, seed=seed)
    found = fitted(data, blocks)
    assert (found.blocks, found.shape) == (blocks, data.shape)
    there = found.apply(pixels(data))
    assert there.dtype == np.float32 and there.flags.c_contiguous
    np.testing.assert_allclose(found.invert(there), pixels(data), atol=1e-5)
    np.testing.assert_allclose(there.mean(axis=0), 0, atol=1e-4)


def test_it_is_the_formula_written_out() -> None:
    data = images(400)
    x = ((data.images / 255 - data.mean) / data.std).reshape(400, -1)
    centered = x - x.mean(axis=0)
    covariance = centered.T @ centered / 400
    ridge = REGULARISER * np.trace(covariance) / len(covariance)
    values, vectors = np.linalg.eigh(covariance + ridge * np.eye(len(covariance)))
    expected = centered @ vectors @ np.diag(values**-0.5) @ vectors.T
    found = data.whitening
    assert found is not None
    out = found.apply(pixels(data)).transpose(0, 2, 3, 1).reshape(400, -1)
    np.testing.assert_allclose(out, expected, atol=1e-4)
    # What is left of a direction's variance is its share of what the ridge makes of it.
    shrunk = vectors @ np.diag((values - ridge) / values) @ vectors.T
    np.testing.assert_allclose(out.T @ out / 400, shrunk, atol=1e-4)


def test_neither_the_order_nor_the_blocks_change_a_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(90)
    turned = replace(data, images=data.images[::-1].copy())
    whole = fitted(data, 1)
    monkeypatch.setattr(whitening, "BLOCK", 7)
    for other in (fitted(turned, 1), fitted(data, 1)):
        np.testing.assert_array_equal(whole.matrix, other.matrix)
        np.testing.assert_array_equal(whole.center, other.center)


def test_directions_in_which_no_image_differs_are_left_alone() -> None:
    data = images(10)
    found = fitted(data, 1)
    rows = ((pixels(data) - pixels(data).mean(axis=0)).transpose(0, 2, 3, 1) / data.std).reshape(10, -1)
    rest = np.linalg.svd(rows)[2][9:].T
    np.testing.assert_allclose(found.matrix @ rest, rest, atol=1e-5)
    # With as many images as numbers, a pixel that never changes is known from them, and the ridge amplifies it.
    matrix, _ = zca(np.diag([1.0, 3.0, 0.0]), count=5)
    np.testing.assert_allclose(matrix[2, 2], (REGULARISER * 4 / 3) ** -0.5)


def test_sub_images_are_every_other_pixel() -> None:
    one = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    rows = rows_of(one, 2)
    np.testing.assert_array_equal(rows[1], one[0, 0::2, 1::2].reshape(-1))
    np.testing.assert_array_equal(rows[6], one[1, 1::2, 0::2].reshape(-1))
    np.testing.assert_array_equal(images_of(rows, (4, 6, 3), 2), one)
    np.testing.assert_array_equal(rows_of(one, 1), one.reshape(2, -1))


def test_large_images_share_the_matrix_of_their_sub_images(monkeypatch: pytest.MonkeyPatch) -> None:
    data = images(60)
    monkeypatch.setattr(whitening, "SIDE", 3)
    found = whitening_of(data)
    assert found.blocks == 2 and found.matrix.shape == (27, 27)
    x = (data.images / 255 - data.mean) / data.std
    x = x - x.mean(axis=0)
    parts = [x[:, a::2, b::2].reshape(60, -1) for a in (0, 1) for b in (0, 1)]
    matrix, inverse = zca(np.mean([part.T @ part / 60 for part in parts], axis=0), 60)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-5)
    np.testing.assert_allclose(found.inverse, inverse, atol=1e-5)


def test_what_cannot_be_whitened_is_refused() -> None:
    grey = ImageDataset.from_arrays(np.full((5, 4, 4, 3), 9, np.uint8), np.arange(5) % 2)
    with pytest.raises(DataError, match="all 5 images are alike, so there is nothing to whiten"):
        whitening_of(grey)
    with pytest.raises(DataError, match="one image has no covariance"):
        whitening_of(ImageDataset.from_arrays(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1, int)))
    large = ImageDataset.from_arrays(np.zeros((2, 65, 65, 1), np.uint8), np.arange(2))
    with pytest.raises(DataError, match="65×65 cannot be whitened, because they do not make 2×2 equal sub-images"):
        whitening_of(large)
    with pytest.raises(MethodError, match="whiten='pca'"):
        open_data("synthetic", whiten="pca")


def test_large_matrices_are_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(whitening, "KEPT_FROM", 100)
    assert images().whitening is not None
    (file,) = (tmp_path / "paredown" / "whitening").iterdir()
    first = whitening_of(images())

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was kept")

    with monkeypatch.context() as patch:
        patch.setattr(whitening, "fitted", never)
        np.testing.assert_array_equal(whitening_of(images()).matrix, first.matrix)
        with pytest.raises(AssertionError):
            whitening_of(images(seed=1))
        with pytest.raises(AssertionError):
            whitening_of(replace(images(), std=(0.5, 0.5, 0.5)))
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(whitening_of(images()).matrix, first.matrix)
    assert [kept.name for kept in file.parent.iterdir()] == [file.name] and len(file.read_bytes()) > 1000
    file.unlink()
    file.parent.rmdir()
    file.parent.touch()  # a folder that cannot be made keeps nothing, and does not stop the work
    np.testing.assert_array_equal(whitening_of(images()).matrix, first.matrix)


def test_small_matrices_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert images().whitening is not None and not list(tmp_path.iterdir())


def test_sources_are_what_they_were_without_it() -> None:
    plain, whitened = open_data("synthetic", n=40), open_data("synthetic", n=40, whiten="zca")
    assert isinstance(plain, ImageDataset) and isinstance(whitened, ImageDataset)
    assert "whiten" not in json.dumps(plain.identity()) and plain.whitening is None
    assert whitened.identity() == plain.identity() | {"whiten": "zca"}
    assert whitened.ids.pool == plain.ids.pool


def test_images_to_test_on_carry_none() -> None:
    test = open_data("synthetic", n=40, split="test", whiten="zca")
    assert isinstance(test, ImageDataset) and test.whiten is None and test.whitening is None
    assert test.identity() == open_data("synthetic", n=40, split="test").identity()


def test_stored_and_grey_images_are_whitened_alike() -> None:
    stored = open_data("synthetic", n=40, stored=True, whiten="zca")
    held = open_data("synthetic", n=40, whiten="zca")
    held = replace(held, mean=stored.mean, std=stored.std)
    np.testing.assert_array_equal(stored.whitening.matrix, held.whitening.matrix)
    assert open_data("synthetic", n=40, channels=1, whiten="zca").whitening.matrix.shape == (64, 64)


def test_label_noise_keeps_it_and_pools_agree_on_it() -> None:
    data = images()
    noisy = open_data("synthetic", n=40, whiten="zca", noise={"fraction": 0.5})
    assert isinstance(noisy, ImageDataset) and noisy.whitening is not None
    other = images(seed=1)
    both = pooled([data, other])
    assert isinstance(both, ImagePool) and both.whiten == "zca" and both.whitening is not None
    with pytest.raises(DataError, match="one is whitened and the other is not"):
        pooled([data, replace(other, whiten=None)])


def test_arrays_give_it_back_or_are_refused() -> None:
    found = images().whitening
    assert found is not None
    again = Whitening.of_arrays(found.arrays())
    assert again.mean == found.mean and np.array_equal(again.matrix, found.matrix)
    with pytest.raises(ArtifactError, match="there is no array 'inverse'"):
        Whitening.of_arrays({name: array for name, array in found.arrays().items() if name != "inverse"})
    with pytest.raises(ArtifactError, match="do not whiten images of 6×6×3"):
        replace(found, matrix=found.matrix[:50, :50], inverse=found.inverse[:50, :50])
    with pytest.raises(ArtifactError, match="1 means and 3 deviations do not normalise 3 channels"):
        replace(found, mean=(0.5,))
