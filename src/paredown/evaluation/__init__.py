"""Evaluation: what a network can do, and whether one choice of data is better than another."""

from paredown.evaluation.accuracy import Accuracy
from paredown.evaluation.agreement import Overlap
from paredown.evaluation.balance import ClassBalance
from paredown.evaluation.base import AbstractProbe, AbstractSelectionProbe
from paredown.evaluation.comparison import Paired, Summary, paired, summary
from paredown.evaluation.ranking import class_shares, correlation, overlap, shared_share, spearman
from paredown.evaluation.robust import RobustAccuracy
from paredown.evaluation.spacing import Coverage, Redundancy

__all__ = [
    "AbstractProbe",
    "AbstractSelectionProbe",
    "Accuracy",
    "ClassBalance",
    "Coverage",
    "Overlap",
    "Paired",
    "Redundancy",
    "RobustAccuracy",
    "Summary",
    "class_shares",
    "correlation",
    "overlap",
    "paired",
    "shared_share",
    "spearman",
    "summary",
]
