"""Weights of networks that flax trained, brought into ours: kernels HWIO → OIHW, the last layer's H,W,C → C,H,W."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
THEIRS = {"BatchNorm2d": "BatchNorm", "GroupNorm": "GroupNorm", "LayerNorm": "LayerNorm"}


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def images(array: np.ndarray) -> Tensor:
    """NHWC → NCHW."""
    return tensor(array.transpose(0, 3, 1, 2))


def flat(features: np.ndarray, channels: int) -> Tensor:
    """Features flattened as H,W,C in the order C,H,W."""
    side = round((features.shape[-1] / channels) ** 0.5)
    apart = features.reshape(*features.shape[:-1], side, side, channels)
    return tensor(np.moveaxis(apart, -1, -3).reshape(features.shape))


def fill(
    body: nn.Sequential, arrays: Mapping[str, np.ndarray], params: str = "params", stats: str = "batch_stats"
) -> None:
    """Writes the arrays into a network that is a row of layers, in the order in which each kind stands there."""
    convs = [layer for layer in body if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in body if isinstance(layer, NORMS)]
    linear = body[-1]
    assert isinstance(linear, nn.Linear)
    with torch.no_grad():
        for number, conv in enumerate(convs):
            conv.weight.copy_(tensor(arrays[f"{params}/Conv_{number}/kernel"].transpose(3, 2, 0, 1)))
            if conv.bias is not None:
                conv.bias.copy_(tensor(arrays[f"{params}/Conv_{number}/bias"]))
        for number, norm in enumerate(norms):
            theirs = f"{next(THEIRS[base.__name__] for base in type(norm).__mro__ if base.__name__ in THEIRS)}_{number}"
            norm.weight.copy_(tensor(arrays[f"{params}/{theirs}/scale"]))
            norm.bias.copy_(tensor(arrays[f"{params}/{theirs}/bias"]))
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.copy_(tensor(arrays[f"{stats}/{theirs}/mean"]))
                norm.running_var.copy_(tensor(arrays[f"{stats}/{theirs}/var"]))
        linear.weight.copy_(flat(arrays[f"{params}/Dense_0/kernel"].T, convs[-1].out_channels))
        linear.bias.copy_(tensor(arrays[f"{params}/Dense_0/bias"]))
