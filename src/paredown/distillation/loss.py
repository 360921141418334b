"""The outer loss of distillation: how badly the learnt images, as a regression's support, predict real ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from paredown.distillation.labels import label_margin
from paredown.distillation.regression import dual, predictions, regression_errors
from paredown.distillation.semantic import InfiniteSemantic


@dataclass(frozen=True, eq=False)
class Parts:
    """What an outer loss is made of, without gradient.

    Args:
        regression: mean loss of the real examples that were kept, a scalar.
        margin: mean `label_margin` of the support, a scalar; 0 where it was not asked for.
        predictions: for every real example, shape (B, C).
        errors: half the squared error of every real example, shape (B,).
        kept: positions of those that count, hardest first, int64 (S,).
    """

    regression: Tensor
    margin: Tensor
    predictions: Tensor
    errors: Tensor
    kept: Tensor


def outer_loss(
    features_support: Tensor,
    labels_support: Tensor,
    features_target: Tensor,
    labels_target: Tensor,
    *,
    augmentation: InfiniteSemantic,
    ridge: float = 1e-6,
    margin: bool = True,
    hardness: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
    wait: bool = True,
) -> tuple[Tensor, Parts]:
    """Gives the loss that is minimised over the learnt images and labels, and its parts.

    Args:
        features_support: of the learnt images and, where wanted, their mirror images, shape (N, d).
        labels_support: learnt, repeated for mirror images, shape (N, C).
        features_target: of a batch of real images, shape (B, d); constants.
        labels_target: theirs, `centred`, shape (B, C); constants.
        augmentation: which of the batch count, and how.
        ridge: of the regression, relative to the mean of its diagonal.
        margin: add the mean `label_margin` of the labels.
        hardness: how hard each real example is, shape (B,); none takes its error under this regression.
        dtype: precision of the regression and the loss, float32 or float64.
        wait: as in `dual`.

    Raises:
        MethodError: the regression breaks down, or no example is kept.
    """
    support, labels = features_support.to(dtype), labels_support.to(dtype)
    targets, aims = features_target.detach().to(dtype), labels_target.detach().to(dtype)
    predicted = predictions(targets, support, dual(support, labels, ridge=ridge, wait=wait))
    errors = regression_errors(predicted.detach(), aims)
    kept = augmentation.kept(errors if hardness is None else hardness)
    # Neighbours are looked for in the precision of the features, of which more digits would not make them truer.
    regression = augmentation.losses((predicted - aims)[kept], features_target[kept]).mean()
    apart = label_margin(labels).mean() if margin else torch.zeros_like(regression)
    total = regression + apart
    return total, Parts(regression.detach(), apart.detach(), predicted.detach(), errors, kept)
