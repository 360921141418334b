"""Normalisation as the networks of distillation were published with it, by another library than torch.

There a batch normalisation keeps the variance with n in the denominator, where torch keeps that with n - 1; layer
normalisation takes the channels of each pixel, not the whole map; and the others divide by √(variance + 1e-6).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from paredown.errors import MethodError

ChannelNorm = Literal["batch", "layer", "group", "group1", "instance", "none"]

GROUPS = 32
EPSILON = 1e-6


class PopulationBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose running variance is that of the batch as a population: n in the denominator.

    In training mode the running statistics become (1 - momentum) · running + momentum · batch.

    Args:
        channels: of the maps.
        momentum: weight of the new batch; 0.9 forgets the past within a few batches.
    """

    def __init__(self, channels: int, momentum: float) -> None:
        super().__init__(channels, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.track_running_stats):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        # torch writes the statistics of the batch alone into buffers of momentum 1; its variance has n - 1.
        mean, variance = torch.zeros_like(self.running_mean), torch.zeros_like(self.running_var)
        out = F.batch_norm(x, mean, variance, self.weight, self.bias, training=True, momentum=1.0, eps=self.eps)
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * ((count - 1) / count), self.momentum)
        return out


class PixelLayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, shape (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def channel_norm(norm: ChannelNorm, channels: int, *, momentum: float) -> nn.Module:
    """Gives the layer that normalises maps of some channels.

    Args:
        norm: "batch"; "layer" over the channels of each pixel; "group" in 32 groups; "group1" in one; "instance" is
            one channel a group; "none".
        channels: of the maps.
        momentum: of batch normalisation, the weight of the new batch.

    Raises:
        MethodError: the channels do not make 32 groups.
    """
    if norm == "group" and channels % GROUPS:
        raise MethodError(
            f"norm='group': {channels} channels do not make {GROUPS} groups. Use a width that is a multiple of "
            f"{GROUPS}, or norm='group1'."
        )
    if norm == "batch":
        return PopulationBatchNorm(channels, momentum)
    if norm == "layer":
        return PixelLayerNorm(channels)
    if norm == "none":
        return nn.Identity()
    return nn.GroupNorm({"group": GROUPS, "group1": 1, "instance": channels}[norm], channels, eps=EPSILON)
