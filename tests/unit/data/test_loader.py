"""Epochs are permutations that seed and number decide; batches carry the right rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paredown.data import Augmentation, ImageDataset, ImagePool, OnDevice, batches, epoch_order, open_data, pooled


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 500))
def test_an_epoch_shows_each_position_once(seed: int, epoch: int) -> None:
    positions = np.arange(0, 60, 3)
    order = epoch_order(positions, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.sort(order), positions)
    np.testing.assert_array_equal(order, epoch_order(positions, seed=seed, epoch=epoch))


def test_epochs_and_seeds_differ() -> None:
    orders = [tuple(epoch_order(np.arange(50), seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)]
    assert len(set(orders)) == 4


@pytest.mark.parametrize(
    ("count", "drop_last", "sizes"),
    [(17, True, [5, 5, 5]), (17, False, [5, 5, 5, 2]), (15, True, [5, 5, 5]), (3, True, [3]), (0, True, [])],
)
def test_batches_drop_an_incomplete_last_one_but_never_everything(
    count: int, drop_last: bool, sizes: list[int]
) -> None:
    parts = list(batches(np.arange(count), 5, drop_last=drop_last))
    assert [len(part) for part in parts] == sizes
    np.testing.assert_array_equal(np.concatenate([*parts, []]), np.arange(sum(sizes)))


def test_a_batch_holds_the_images_and_labels_of_its_positions() -> None:
    data = open_data("synthetic", n=40)
    assert isinstance(data, ImageDataset)
    device, positions = OnDevice(data, "cpu"), np.array([7, 3, 30])
    x, y = device.batch(positions)
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(x.permute(0, 2, 3, 1), data.images[positions] / 255, rtol=1e-6)
    np.testing.assert_array_equal(y, data.labels[positions])
    raw = device.raw(positions)
    assert raw.dtype == torch.uint8 and raw.shape == (3, 3, 8, 8)
    np.testing.assert_array_equal(raw.permute(0, 2, 3, 1), data.images[positions])


def test_a_pool_gives_what_a_copy_of_its_members_would() -> None:
    members = [open_data("synthetic", n=n, seed=n) for n in (12, 5, 30)]
    pool = pooled(members)
    assert isinstance(pool, ImagePool) and all(isinstance(member, ImageDataset) for member in members)
    copied = replace(members[0], images=np.concatenate(pool.blocks), labels=pool.labels, ids=pool.ids)  # type: ignore[type-var]
    augmentation = Augmentation(crop=2, flip=True, cutout=3)
    draw = np.random.default_rng(0)
    for positions in (
        draw.permutation(47),
        np.array([46, 0, 12, 11]),
        np.array([13, 16]),
        np.arange(47),
        np.array([40]),
    ):
        np.testing.assert_array_equal(pool.read(positions), copied.read(positions))
        ours, theirs = (OnDevice(data, "cpu") for data in (pool, copied))
        assert ours.raw(positions).is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(ours.batch(positions), theirs.batch(positions), rtol=0, atol=0)
        moved = [there.augmented(positions, augmentation, 7) for there in (ours, theirs)]
        torch.testing.assert_close(*moved, rtol=0, atol=0)
