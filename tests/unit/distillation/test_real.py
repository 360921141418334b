"""Batches of real images: every image once a pass, cut anywhere, whitened, whether they are kept or made each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from paredown.data import ImageDataset
from paredown.distillation import real as module
from paredown.distillation.base import Task
from paredown.distillation.real import RealImages
from paredown.models.widening import WideningConvNet
from paredown.training.devices import Place

HERE = Place(torch.device("cpu"))


def data(count: int = 23, *, whiten: bool = True) -> ImageDataset:
    rng = np.random.default_rng(3)
    pixels = (rng.integers(0, 200, (count, 1, 1, 3)) + rng.integers(0, 56, (count, 4, 4, 3))).astype(np.uint8)
    made = ImageDataset.from_arrays(pixels, np.arange(count) % 3, name="small")
    return replace(made, whiten="zca") if whiten else made


def real(rows: np.ndarray, batch: int, *, whiten: bool = True, place: Place = HERE, seed: int = 0) -> RealImages:
    examples = data(whiten=whiten)
    network = WideningConvNet(width=2, depth=1).start(examples, 0)
    task = Task(examples, rows, rows[:3], seed=seed)
    return RealImages(task, rows, network, batch_size=batch, place=place)


def test_batches_straddle_passes_and_each_pass_has_every_image_once() -> None:
    rows = np.arange(2, 22)
    examples = real(rows, 8)
    stream = np.concatenate([examples.rows_of(step) for step in range(5)])
    assert {len(examples.rows_of(step)) for step in range(5)} == {8}
    first, second = stream[:20], stream[20:40]
    assert sorted(first) == sorted(second) == list(range(20)) and not np.array_equal(first, second)
    # A step alone gives what it gives in its turn.
    for step in (4, 1, 2):
        assert np.array_equal(real(rows, 8).rows_of(step), stream[8 * step : 8 * step + 8])
    assert not np.array_equal(real(rows, 8, seed=1).rows_of(0), stream[:8])


def test_fewer_images_than_a_batch_are_all_taken_once() -> None:
    examples = real(np.arange(20), 1024)
    assert all(sorted(examples.rows_of(step)) == list(range(20)) for step in range(3))


def test_a_batch_is_whitened_and_its_labels_are_centred() -> None:
    rows = np.arange(2, 22)
    images, aims, where = real(rows, 8).batch(3)
    examples = data()
    assert examples.whitening is not None
    pixels = examples.images[where.numpy()].transpose(0, 3, 1, 2) / 255
    np.testing.assert_allclose(images, examples.whitening.apply(pixels), atol=1e-4)
    np.testing.assert_allclose(aims, np.eye(3)[examples.labels[where.numpy()]] - 1 / 3, atol=1e-6)
    assert set(where.tolist()) <= set(rows.tolist())


def test_without_whitening_they_are_normalised() -> None:
    examples = data(whiten=False)
    images, _, where = real(np.arange(20), 8, whiten=False).batch(0)
    pixels = examples.images[where.numpy()].transpose(0, 3, 1, 2) / 255
    mean, std = (np.array(part)[:, None, None] for part in (examples.mean, examples.std))
    np.testing.assert_allclose(images, (pixels - mean) / std, atol=1e-5)


@pytest.mark.parametrize("bfloat16", [False, True])
def test_kept_in_memory_or_made_each_time_they_are_the_same(monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    place = Place(torch.device("cpu"), bfloat16)
    kept = real(np.arange(20), 8, place=place)
    monkeypatch.setattr(module, "RESIDENT", 0)
    made = real(np.arange(20), 8, place=place)
    assert kept._resident is not None and made._resident is None
    for step in range(3):
        a, b = kept.batch(step)[0], made.batch(step)[0]
        assert a.dtype == b.dtype == (torch.bfloat16 if bfloat16 else torch.float32)
        assert a.is_contiguous(memory_format=torch.channels_last)
        np.testing.assert_allclose(a.float(), b.float(), atol=2e-2 if bfloat16 else 1e-5)
