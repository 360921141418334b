"""Distillation: a few learnt images with learnt labels that train a network almost as well as the whole data."""

from paredown.distillation.base import AbstractDistiller, Task, distilled
from paredown.distillation.feature_regression import FeatureRegression
from paredown.distillation.lamb import Lamb
from paredown.distillation.loss import Parts, outer_loss
from paredown.distillation.semantic import InfiniteSemantic

__all__ = [
    "AbstractDistiller",
    "FeatureRegression",
    "InfiniteSemantic",
    "Lamb",
    "Parts",
    "Task",
    "distilled",
    "outer_loss",
]
