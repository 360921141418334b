"""Whitening where a network is: its first layer, part of its weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.whitening import Whitening, sub_images
from paredown.data.normalised import mapped


class WhiteningLayer(nn.Module):
    """x ↦ (x - mean) · matrix on the rows of images or of their sub-images; nothing in it learns.

    It computes in its own precision also where the rest of a network does not: the directions in which images differ
    least are amplified the most, and rounding errors with them.

    Args:
        center: mean of the normalised images, (H, W, C).
        matrix: (D, D); see `Whitening`.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, center: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", center)
        self.register_buffer("matrix", matrix)
        self.blocks = sub_images(center.numel(), len(matrix))

    @classmethod
    def of(cls, whitening: Whitening) -> WhiteningLayer:
        """Makes the layer of a whitening."""
        return cls(torch.from_numpy(whitening.center.copy()), torch.from_numpy(whitening.matrix.copy()))

    @classmethod
    def empty(cls, weights: Mapping[str, np.ndarray], prefix: str = "whitening.") -> WhiteningLayer | None:
        """Makes the layer into which some weights fit; none where they have no such layer."""
        if f"{prefix}mean" not in weights or f"{prefix}matrix" not in weights:
            return None
        shapes = (weights[f"{prefix}{name}"].shape for name in ("mean", "matrix"))
        return cls(*(torch.zeros(shape) for shape in shapes))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return mapped(x.to(self.mean.dtype) - self.mean.permute(2, 0, 1), self.matrix, self.blocks)
