"""Stored images reach a GPU as they reach a CPU, and decoding goes on while the GPU works."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paredown.data import Augmentation, ImagePool, OnDevice, StoredImages, Streamed, loader, open_data, pooled
from paredown.data.loader import GPU_SHARE

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.mark.parametrize("augmentation", [None, Augmentation(crop=2, flip=True), Augmentation(area=0.3, flip=True)])
def test_batches_are_those_of_a_cpu(augmentation: Augmentation | None) -> None:
    data = open_data("synthetic", n=256, size=32, stored=True)
    assert isinstance(data, StoredImages)
    parts = [(np.random.default_rng(seed).permutation(256)[:64], seed) for seed in range(12)]
    here, there = (Streamed(data, device, workers=3).ahead(parts, augmentation) for device in ("cpu", "cuda"))
    for near, far in zip(here, there, strict=True):
        assert far.device.type == "cuda" and far.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(far.cpu(), near)


def test_batches_lie_in_pinned_memory_until_they_are_copied() -> None:
    data = open_data("synthetic", n=64, size=32, stored=True)
    assert isinstance(data, StoredImages)
    x, y = Streamed(data, "cuda").batch(np.arange(64))
    torch.cuda.synchronize()
    np.testing.assert_allclose(x.permute(0, 2, 3, 1).cpu(), data.read(np.arange(64)) / 255, rtol=1e-5)
    np.testing.assert_array_equal(y.cpu(), data.labels)


@pytest.mark.parametrize("share", [GPU_SHARE, 0.0], ids=["on the device", "in host memory"])
def test_a_pool_reaches_a_gpu_as_it_reaches_a_cpu(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(loader, "GPU_SHARE", share)
    data = pooled([open_data("synthetic", n=n, size=32, seed=n) for n in (40, 300)])
    assert isinstance(data, ImagePool)
    positions = np.random.default_rng(0).permutation(340)[:64]
    there, here = OnDevice(data, "cuda"), OnDevice(data, "cpu")
    for augmentation in (None, Augmentation(crop=2, flip=True)):
        far = there.augmented(positions, augmentation, 3)
        assert far.device.type == "cuda" and far.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(far.cpu(), here.augmented(positions, augmentation, 3))
    assert there.labels(positions).tolist() == here.labels(positions).tolist()
