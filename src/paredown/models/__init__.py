"""Networks: architectures as plain data, built, saved and loaded."""

from paredown.models.build import (
    AbstractModel,
    AbstractNetwork,
    Factory,
    Network,
    checkpoint_of,
    inputs,
    load,
    network,
    save,
)
from paredown.models.convnet import ConvNet, SimpleCnn
from paredown.models.resnet import PreActResNet18, ResNet18, ResNet50
from paredown.models.small import SmallResNet
from paredown.models.taps import features, last_linear

__all__ = [
    "AbstractModel",
    "AbstractNetwork",
    "ConvNet",
    "Factory",
    "Network",
    "PreActResNet18",
    "ResNet18",
    "ResNet50",
    "SimpleCnn",
    "SmallResNet",
    "checkpoint_of",
    "features",
    "inputs",
    "last_linear",
    "load",
    "network",
    "save",
]
