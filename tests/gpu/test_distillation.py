"""Distillation on a GPU: what a CPU gives up to rounding, CUDA graphs, memory that grows with the features alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from paredown import distill
from paredown.distillation import FeatureRegression
from paredown.distillation import features as module
from paredown.distillation.features import Extractor
from paredown.models.widening import WideningConvNet
from paredown.runtime import Runtime
from paredown.training.devices import Place

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
METHOD = FeatureRegression(
    model=WideningConvNet(width=16, depth=1), steps=20, batch_size=128, online_networks=2, online_steps=8, lr=0.01
)
GPU = Runtime(device="cuda", precision="float32", progress=False)
SHAPE = (3, 32, 32)


def test_a_gpu_learns_what_a_cpu_learns() -> None:
    there = distill("digits", METHOD, per_class=1, runtime=GPU)
    here = distill("digits", METHOD, per_class=1, runtime=replace(GPU, device="cpu"))
    assert there.ids.keys.tolist() == here.ids.keys.tolist()
    assert np.abs(there.images - here.images).max() < 0.05 * np.abs(here.images).max()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore")
def test_graphs_give_what_plain_steps_give(precision: str) -> None:
    place = Place(torch.device("cuda"), precision == "bfloat16")
    bodies = [WideningConvNet(width=16).build(SHAPE, 10).cuda().eval() for _ in range(2)]
    plain, graphs = (Extractor(bodies[0], SHAPE, place, compiled=compiled) for compiled in (False, True))
    x = torch.randn(100, *SHAPE, device="cuda")
    for body in (*bodies, bodies[0]):
        for extractor in (plain, graphs):
            extractor.load(body)
        a, b = plain.of(x), graphs.of(x)
        assert float((a - b).norm() / a.norm()) < 2e-2
        gradients = []
        for extractor in (plain, graphs):
            leaf = x.clone().requires_grad_()
            found = extractor.with_gradient(leaf, mirrored=True)
            found.square().mean().backward()
            assert leaf.grad is not None
            gradients.append(leaf.grad)
        assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 5e-2


def test_memory_grows_with_the_features_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD", 0)
    monkeypatch.setattr(module, "AT_ONCE_ON_GPU", 128 * 32 * 32)
    extractor = Extractor(WideningConvNet(width=64).build(SHAPE, 10).cuda(), SHAPE, Place(torch.device("cuda"), True))

    def peak(count: int) -> int:
        x = torch.randn(count, *SHAPE, device="cuda", requires_grad=True)
        torch.cuda.reset_peak_memory_stats()
        extractor.with_gradient(x, mirrored=False).square().mean().backward()
        return torch.cuda.max_memory_allocated()

    first, second, third = (peak(count) for count in (512, 1024, 2048))
    per_image = (third - second) / 1024
    assert per_image < 150_000 and third - second < 2.5 * (second - first)
