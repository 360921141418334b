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
from paredown.models.pretrained import Pretrained
from paredown.models.resnet import PreActResNet18, ResNet18, ResNet34, ResNet50
from paredown.models.small import SmallResNet
from paredown.models.state_dicts import load_published
from paredown.models.taps import features, last_linear
from paredown.models.transformer import Transformer
from paredown.models.wide_resnet import PreActSwish, WideResNet

__all__ = [
    "AbstractModel",
    "AbstractNetwork",
    "ConvNet",
    "Factory",
    "Network",
    "PreActResNet18",
    "PreActSwish",
    "Pretrained",
    "ResNet18",
    "ResNet34",
    "ResNet50",
    "SimpleCnn",
    "SmallResNet",
    "Transformer",
    "WideResNet",
    "checkpoint_of",
    "features",
    "inputs",
    "last_linear",
    "load",
    "load_published",
    "network",
    "save",
]
