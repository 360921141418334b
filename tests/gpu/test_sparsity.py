"""Masks on a GPU are those of the CPU, and a masked network trains there."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.unit.sparsity.networks import narrow

from paredown.artifacts import PruningStrategy
from paredown.sparsity.apply import masked, zeros_hold
from paredown.sparsity.latency import latency_of
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import magnitude_masks, mask_set, ranks, top, weights_of

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here"),
]


@pytest.mark.parametrize("levels", [5, 10**6])
def test_the_same_masks(levels: int) -> None:
    scores = torch.randint(-levels, levels, (300, 40), generator=torch.Generator().manual_seed(0)).float()
    for count in (1, 500, 6000, 11_999):
        assert torch.equal(top(scores.cuda(), count).cpu(), top(scores, count))
    assert torch.equal(ranks(scores.cuda()).cpu(), ranks(scores))


def test_a_masked_network_trains_and_is_timed() -> None:
    made = narrow("resnet18").train()
    layers = layers_of(made)
    strategy = PruningStrategy.uniform(layers, 0.3, granularity="weight")
    masks = mask_set(magnitude_masks(weights_of(made, layers), layers, strategy), strategy.fingerprint)
    made.cuda()
    assert layers_of(made) == layers
    masked(made, masks)
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(made(torch.rand(4, 3, 16, 16, device="cuda")), torch.arange(4, device="cuda")).backward()
        optimizer.step()
    assert zeros_hold(made, masks)
    assert latency_of(made, repeats=3, warm_up=1).device != "cpu"
