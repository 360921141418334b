"""Scores: one number an example."""

from paredown.scoring.base import (
    AbstractDataScorer,
    AbstractDynamicsScorer,
    AbstractModelScorer,
    AbstractScorer,
    FunctionScorer,
    score_data,
    score_dynamics,
    score_model,
)
from paredown.scoring.dynamics import Aum, Correctness, Forgetting, ForgettingEvents, RecordedMean, Variability
from paredown.scoring.errors import Confidence, El1n, El2n, Entropy, Loss, MaxMargin, SumMargin
from paredown.scoring.gradients import Grand, LastLayerGrand
from paredown.scoring.plain import InputNorm, Random

__all__ = [
    "AbstractDataScorer",
    "AbstractDynamicsScorer",
    "AbstractModelScorer",
    "AbstractScorer",
    "Aum",
    "Confidence",
    "Correctness",
    "El1n",
    "El2n",
    "Entropy",
    "Forgetting",
    "ForgettingEvents",
    "FunctionScorer",
    "Grand",
    "InputNorm",
    "LastLayerGrand",
    "Loss",
    "MaxMargin",
    "Random",
    "RecordedMean",
    "SumMargin",
    "Variability",
    "score_data",
    "score_dynamics",
    "score_model",
]
