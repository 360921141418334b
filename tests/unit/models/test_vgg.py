"""VGG-16-BN as robust pruning has it: sizes, names, small versions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from paredown.errors import MethodError
from paredown.method import build
from paredown.models import Vgg16Bn, network


def test_sizes_and_names() -> None:
    with torch.device("meta"):
        body = Vgg16Bn().build((3, 32, 32), 10)
    weights = sum(m.weight.numel() for m in body.modules() if isinstance(m, nn.Conv2d | nn.Linear))
    assert weights == 15_302_848
    # Biases of three linear layers, two numbers a channel in thirteen normalisations.
    assert sum(value.numel() for value in body.parameters()) == weights + (256 + 256 + 10) + 2 * 4224
    assert all(m.bias is None for m in body.modules() if isinstance(m, nn.Conv2d))
    names = set(body.state_dict())
    assert {"features.0.weight", "features.1.running_mean", "features.40.weight", "classifier.4.bias"} <= names
    assert sum(isinstance(m, nn.MaxPool2d) for m in body.modules()) == 4
    assert build("model", "vgg16-bn") == Vgg16Bn()


def test_features_stand_channel_by_channel() -> None:
    body = Vgg16Bn(width=2, convs=(1,)).build((1, 4, 4), 3).eval()
    seen = []
    body.classifier.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        body(torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
        maps = body.features(torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)))
    pooled = torch.stack([maps[0, c, i : i + 2, j : j + 2].mean() for c in range(2) for i in (0, 2) for j in (0, 2)])
    torch.testing.assert_close(seen[0][0], pooled)


@pytest.mark.parametrize(("shape", "width"), [((1, 28, 28), 8), ((3, 32, 32), 4), ((3, 16, 16), 2)])
def test_small_ones(shape: tuple[int, int, int], width: int) -> None:
    made = network(Vgg16Bn(width=width), shape, 7, mean=(0.5,) * shape[0], std=(0.2,) * shape[0], seed=0)
    x = torch.rand(3, *shape)
    assert made(x).shape == (3, 7)
    assert Vgg16Bn(width=width).build(shape, 7).classifier[0].out_features == 4 * width
    assert Vgg16Bn(width=width, hidden=5).build(shape, 7).classifier[0].out_features == 5


@pytest.mark.parametrize("fields", [{"width": 0}, {"convs": ()}, {"convs": (1, 0)}, {"hidden": 0}])
def test_networks_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match=r"Vgg16Bn\(.*every block needs a convolution and a channel"):
        Vgg16Bn(**fields)
    with pytest.raises(MethodError, match=r"images of 8x8 pixels cannot be halved 4 times"):
        Vgg16Bn().build((3, 8, 8), 10)
