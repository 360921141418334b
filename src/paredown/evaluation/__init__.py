"""Evaluation: what a network can do, and whether one choice of data is better than another."""

from paredown.evaluation.accuracy import Accuracy
from paredown.evaluation.agreement import Overlap
from paredown.evaluation.attacked import AttackedAccuracy
from paredown.evaluation.balance import ClassBalance
from paredown.evaluation.base import (
    AbstractContrastProbe,
    AbstractProbe,
    AbstractSelectionProbe,
    AbstractTrainingSetProbe,
)
from paredown.evaluation.class_incremental import ClassIncremental, class_order, class_phases
from paredown.evaluation.comparison import Paired, Summary, paired, summary
from paredown.evaluation.cost import Cost
from paredown.evaluation.detection import area, detected
from paredown.evaluation.label_robustness import (
    LabelRobustness,
    augmentation_robust_score,
    hard_label_recovery,
    improvement_over_random,
    label_robust_score,
)
from paredown.evaluation.membership import Membership
from paredown.evaluation.ranking import class_shares, correlation, overlap, shared_share, spearman
from paredown.evaluation.robust import RobustAccuracy
from paredown.evaluation.spacing import Coverage, Redundancy

__all__ = [
    "AbstractContrastProbe",
    "AbstractProbe",
    "AbstractSelectionProbe",
    "AbstractTrainingSetProbe",
    "Accuracy",
    "AttackedAccuracy",
    "ClassBalance",
    "ClassIncremental",
    "Cost",
    "Coverage",
    "LabelRobustness",
    "Membership",
    "Overlap",
    "Paired",
    "Redundancy",
    "RobustAccuracy",
    "Summary",
    "area",
    "augmentation_robust_score",
    "class_order",
    "class_phases",
    "class_shares",
    "correlation",
    "detected",
    "hard_label_recovery",
    "improvement_over_random",
    "label_robust_score",
    "overlap",
    "paired",
    "shared_share",
    "spearman",
    "summary",
]
