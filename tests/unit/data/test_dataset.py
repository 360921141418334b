"""`ImageDataset`: what it checks, what identifies it; several as one pool."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tests.wrong_inputs import pictures

from paredown.data import Augmentation, ImageDataset, LabelNoise, open_data, pooled
from paredown.data.dataset import pixel_statistics
from paredown.data.fingerprint import fingerprint
from paredown.errors import DataError, MethodError, PoolMismatch


def made(count: int = 12, *, seed: int = 0, name: str = "mine") -> ImageDataset:
    return ImageDataset.from_arrays(pictures(count, seed=seed), np.arange(count) % 3, name=name)


def test_rows_stay_in_order_with_positions_as_ids() -> None:
    images, labels = pictures(12), np.arange(12) % 3
    data = ImageDataset.from_arrays(images, labels, classes=["a", "b", "c"])
    assert len(data) == 12 and data.shape == (3, 8, 8) and data.classes == ("a", "b", "c")
    np.testing.assert_array_equal(data.read(np.array([5, 2])), images[[5, 2]])
    np.testing.assert_array_equal(data.ids.keys, np.arange(12))
    assert data.labels.dtype == np.int64 and data.images.flags["C_CONTIGUOUS"]


def test_one_example_is_a_float_image_that_torch_collates() -> None:
    data = made()
    images, labels = next(iter(torch.utils.data.DataLoader(data, batch_size=4)))  # type: ignore[arg-type]
    assert images.shape == (4, 3, 8, 8) and images.dtype == torch.float32
    np.testing.assert_allclose(images[3].permute(1, 2, 0) * 255, data.images[3], atol=1e-4)
    assert labels.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"images": np.zeros((12, 8, 8, 3), np.float32)}, "not float32"),
        ({"images": np.zeros((12, 8, 8), np.uint8)}, r"shape \(12, 8, 8\)"),
        ({"images": np.zeros((0, 8, 8, 3), np.uint8)}, "no images"),
        ({"labels": np.zeros(12)}, "not float64"),
        ({"labels": np.zeros(11, int)}, "11 labels .* do not pair up"),
        ({"labels": np.full(12, 3)}, "label 3 of row 0 is out of range"),
    ],
)
def test_what_is_not_images_with_labels_is_refused(change: dict[str, np.ndarray], match: str) -> None:
    with pytest.raises(DataError, match=match):
        dataclasses.replace(made(), **change)


def test_content_decides_the_fingerprint() -> None:
    assert made().identity() == made().identity()
    assert made(seed=1).identity() != made().identity()
    assert fingerprint("a", "train", [b"xy", b"z"]) != fingerprint("a", "train", [b"x", b"yz"])
    assert fingerprint("a", "train", [b"x"]) != fingerprint("a", "test", [b"x"]) != fingerprint("b", "test", [b"x"])


def test_statistics_are_those_of_the_pixels() -> None:
    images = pictures(9)
    mean, std = pixel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)))
    assert pixel_statistics(np.full((2, 4, 4, 1), 7, np.uint8))[1] == (1 / 255,)


def test_noise_keeps_ids_and_remembers_what_it_changed() -> None:
    clean = open_data("digits")
    noisy = open_data("digits", noise={"pattern": "uniform", "fraction": 0.25, "seed": 3})
    assert isinstance(clean, ImageDataset) and isinstance(noisy, ImageDataset)
    assert clean.ids.pool == noisy.ids.pool  # scores of the clean run join the noisy data
    assert clean.identity() != noisy.identity()
    np.testing.assert_array_equal(noisy.clean_labels, clean.labels)
    np.testing.assert_array_equal(noisy.corrupted, noisy.labels != clean.labels)
    assert noisy.corrupted is not None and noisy.corrupted.sum() == len(clean) // 4
    assert noisy.identity() == clean.with_noise(LabelNoise("uniform", 0.25, 3)).identity()
    with pytest.raises(MethodError, match="already has noisy labels"):
        noisy.with_noise(LabelNoise())


def test_noise_is_for_training_rows() -> None:
    with pytest.raises(DataError, match="noise is for training labels"):
        open_data("digits", split="test", noise={"fraction": 0.1})


def test_a_pool_is_its_parts_one_after_the_other() -> None:
    first, second = made(5, name="a"), made(7, seed=1, name="b").with_noise(LabelNoise("asymmetric", 1.0))
    both = pooled([first, second])
    assert both.ids.pool.sources == ("a", "b") and both.name == "a + b" and len(both) == 12
    np.testing.assert_array_equal(both.ids.keys, np.arange(12))
    expected = [second.images[6], first.images[4], second.images[0]]
    np.testing.assert_array_equal(both.read(np.array([11, 4, 5])), expected)
    assert all(np.shares_memory(block, data.images) for block, data in zip(both.blocks, (first, second), strict=True))
    np.testing.assert_array_equal(both.corrupted, [False] * 5 + [True] * 7)
    np.testing.assert_array_equal(both.clean_labels, np.concatenate([first.labels, second.clean_labels]))
    with pytest.raises(PoolMismatch):
        both.ids.positions_of(first.ids)
    assert pooled([second, first]).ids.pool.fingerprint != both.ids.pool.fingerprint
    assert pooled([first]) is first


def test_a_list_of_data_opens_as_a_pool() -> None:
    both = open_data([{"name": "synthetic", "n": 8}, {"name": "synthetic", "n": 8, "seed": 1}])
    assert len(both) == 16 and both.ids.pool.sources == ("synthetic:train", "synthetic:train")


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (ImageDataset.from_arrays(pictures(6, 5), np.arange(6) % 3), "images of 5×5×3 and mine of 8×8×3"),
        (ImageDataset.from_arrays(pictures(6), np.arange(6) % 2), "different classes"),
        (made(), "the same data twice"),
    ],
)
def test_what_cannot_be_one_pool_is_refused(other: ImageDataset, match: str) -> None:
    with pytest.raises(DataError, match=match):
        pooled([made(), other])


def test_an_empty_pool_is_refused() -> None:
    with pytest.raises(DataError, match="the list is empty"):
        pooled([])


def test_an_open_data_set_passes_through_and_takes_no_fields() -> None:
    data = made()
    assert open_data(data) is data
    with pytest.raises(DataError, match="open already"):
        open_data(data, split="test")


def test_arrays_come_with_a_plain_augmentation() -> None:
    assert made().augmentation == Augmentation()
    assert "12 images 8×8×3, 3 classes" in repr(made())
