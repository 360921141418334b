"""Labels as the numbers that a regression aims at, and how clearly a learnt label names its class."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional


def centred(labels: Tensor, classes: int) -> Tensor:
    """Gives one-hot vectors less 1/C, so that each sums to 0, float32 (n, C).

    Args:
        labels: int64 (n,).
        classes: C.
    """
    return functional.one_hot(labels, classes).float() - 1 / classes


def initial_labels(labels: Tensor, classes: int) -> Tensor:
    """Gives the labels that learnt images begin with: centred, divided by √(C/10), float32 (n, C)."""
    return centred(labels, classes) / math.sqrt(classes / 10)


def uncapped_margin(labels: Tensor) -> Tensor:
    """Gives how far the largest entry lies above the second, shape (n,).

    Args:
        labels: shape (n, C), of at least two classes.
    """
    # Sorted stably, so that on a tie the gradient goes the same way on every device.
    first, second = labels.sort(dim=1, descending=True, stable=True).values[:, :2].unbind(dim=1)
    return first - second


def label_margin(labels: Tensor) -> Tensor:
    """Gives −min(margin, 1/C), shape (n,): a loss that acts only on labels whose margin has fallen below 1/C.

    Args:
        labels: shape (n, C), of at least two classes.
    """
    return -uncapped_margin(labels).clamp_max(1 / labels.shape[1])
