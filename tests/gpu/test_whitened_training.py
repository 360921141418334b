"""Whitening, differentiable augmentation and the networks of distillation give on a GPU what they give on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paredown.data import ImageDataset, OnDevice, open_data
from paredown.data.differentiable import Operation, SingleOperation
from paredown.models.norms import PopulationBatchNorm
from paredown.models.widening import WideningConvNet

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]
OPERATIONS: tuple[Operation, ...] = ("color", "crop", "rotate", "translate", "cutout", "flip", "scale")


def data() -> ImageDataset:
    found = open_data("synthetic", n=256, size=16, whiten="zca")
    assert isinstance(found, ImageDataset)
    return found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_device_sees_the_same_draws(operation: Operation) -> None:
    augmentation, positions = SingleOperation((operation,)), np.arange(64)
    near, far = (OnDevice(data(), device).augmented(positions, augmentation, seed=3) for device in ("cpu", "cuda"))
    torch.testing.assert_close(far.cpu(), near, atol=1e-4, rtol=1e-4)


def test_a_whitened_network_is_the_same() -> None:
    net = WideningConvNet(width=8).start(data(), seed=0).eval()
    x = OnDevice(data(), "cpu").batch(np.arange(64))[0]
    with torch.no_grad():
        near = net(x)
        far = net.cuda()(x.cuda())
        with torch.autocast("cuda", torch.bfloat16):
            assert net.first(x.cuda()).dtype == torch.float32
    torch.testing.assert_close(far.cpu(), near, atol=5e-3, rtol=5e-3)


def test_population_statistics_are_the_same() -> None:
    norm = PopulationBatchNorm(8, 0.9)
    x = torch.randn(16, 8, 5, 5, generator=torch.Generator().manual_seed(0)) * 2 + 3
    norm(x)
    near = norm.running_mean.clone(), norm.running_var.clone()
    norm.reset_running_stats()
    norm.cuda()(x.cuda())
    for a, b in zip(near, (norm.running_mean, norm.running_var), strict=True):
        torch.testing.assert_close(b.cpu(), a)
