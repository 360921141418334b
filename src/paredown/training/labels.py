"""Labels of a batch: classes, int64 (B,), or learnt rows of numbers, float (B, C); each as the other."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def hard(y: Tensor) -> Tensor:
    """Gives classes, int64 (B,): of learnt labels the class that stands highest, the first of equal ones."""
    return y if y.dim() == 1 else y.argmax(dim=1)


def targets(y: Tensor, classes: int) -> Tensor:
    """Gives what a regression aims at, float (B, C): learnt labels as they are, a class as its one-hot row less 1/C."""
    return y if y.dim() == 2 else functional.one_hot(y, classes).float() - 1 / classes
