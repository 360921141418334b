"""The four published architectures, whole on torch's meta device and narrow with numbers."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

from paredown.artifacts import Layer
from paredown.models import Network, ResNet18, ResNet50, Vgg16Bn, WideResNet, network
from paredown.models.build import AbstractModel
from paredown.sparsity.groups import Group, groups_of
from paredown.sparsity.layers import layers_of

SMALL, LARGE = (3, 32, 32), (3, 224, 224)
WHOLE: dict[str, tuple[Any, tuple[int, int, int], int]] = {
    "vgg16_bn": (Vgg16Bn(), SMALL, 10),
    "resnet18": (ResNet18(), SMALL, 10),
    "wrn_28_4": (WideResNet(28, 4, "relu"), SMALL, 10),
    "ResNet50": (ResNet50(stem="large"), LARGE, 1000),
}
NARROW: dict[str, Any] = {
    "vgg16_bn": Vgg16Bn(width=8),
    "resnet18": ResNet18(width=8),
    "wrn_28_4": WideResNet(10, 2, "relu"),
    "ResNet50": ResNet50(stages=(1, 2, 1), width=4),
}


def body(name: str) -> nn.Module:
    """Gives a whole architecture without numbers."""
    model, shape, classes = WHOLE[name]
    with torch.device("meta"):
        return model.build(shape, classes)


@functools.cache
def described(name: str) -> tuple[tuple[Layer, ...], tuple[Group, ...]]:
    """Gives layers and groups of a whole architecture."""
    made = body(name)
    return layers_of(made, WHOLE[name][1]), groups_of(made, WHOLE[name][1])


def narrow(name: str | AbstractModel, seed: int = 0) -> Network:
    """Gives a narrow network of an architecture; its normalisations hold statistics that are not those of a new one."""
    model = NARROW[name] if isinstance(name, str) else name
    made = network(model, (3, 16, 16), 5, mean=(0.5,) * 3, std=(0.25,) * 3, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                assert value is not None
                value.data = torch.rand(value.shape, generator=draw) + low
            module.running_var = torch.rand(module.num_features, generator=draw) + 0.5
    return made.eval()
