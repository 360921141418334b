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
from paredown.models.constant_width import DcConvNet, KipConvNet
from paredown.models.convnet import ConvNet, SimpleCnn
from paredown.models.flat import AlexNet, FlatResNet18, Vgg11
from paredown.models.pretrained import Pretrained
from paredown.models.resnet import PreActResNet18, ResNet18, ResNet34, ResNet50
from paredown.models.small import SmallResNet
from paredown.models.state_dicts import load_published
from paredown.models.taps import features, last_linear
from paredown.models.transformer import Transformer
from paredown.models.vgg import Vgg16Bn
from paredown.models.wide_resnet import PreActSwish, WideResNet
from paredown.models.widening import WideningConvNet

__all__ = [
    "AbstractModel",
    "AbstractNetwork",
    "AlexNet",
    "ConvNet",
    "DcConvNet",
    "Factory",
    "FlatResNet18",
    "KipConvNet",
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
    "Vgg11",
    "Vgg16Bn",
    "WideResNet",
    "WideningConvNet",
    "checkpoint_of",
    "features",
    "inputs",
    "last_linear",
    "load",
    "load_published",
    "network",
    "save",
]
