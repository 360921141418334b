"""Scores: one number an example."""

from paredown.scoring.base import (
    AbstractDataScorer,
    AbstractDynamicsScorer,
    AbstractEmbeddingScorer,
    AbstractFeatureScorer,
    AbstractModelScorer,
    AbstractScorer,
    FunctionScorer,
    score_data,
    score_dynamics,
    score_embeddings,
    score_features,
    score_model,
)
from paredown.scoring.clusters import Cluster
from paredown.scoring.columns import Column, Imported
from paredown.scoring.contrast import Cal
from paredown.scoring.dynamics import Aum, Correctness, Forgetting, ForgettingEvents, RecordedMean, Variability
from paredown.scoring.errors import Confidence, El1n, El2n, Entropy, Loss, MaxMargin, SumMargin
from paredown.scoring.extrapolation import AbstractExtrapolation, KernelRidge, NearestMean
from paredown.scoring.gradients import Grand, LastLayerGrand
from paredown.scoring.graph_network import GraphNetwork
from paredown.scoring.metadata import AspectRatio, CaptionLength, ImageSize
from paredown.scoring.plain import InputNorm, Random
from paredown.scoring.prototypes import Prototypicality
from paredown.scoring.similarity import NearestSimilarity
from paredown.scoring.spectrum import Spectral
from paredown.scoring.windows import Dual, DynamicUncertainty, Tdds

__all__ = [
    "AbstractDataScorer",
    "AbstractDynamicsScorer",
    "AbstractEmbeddingScorer",
    "AbstractExtrapolation",
    "AbstractFeatureScorer",
    "AbstractModelScorer",
    "AbstractScorer",
    "AspectRatio",
    "Aum",
    "Cal",
    "CaptionLength",
    "Cluster",
    "Column",
    "Confidence",
    "Correctness",
    "Dual",
    "DynamicUncertainty",
    "El1n",
    "El2n",
    "Entropy",
    "Forgetting",
    "ForgettingEvents",
    "FunctionScorer",
    "Grand",
    "GraphNetwork",
    "ImageSize",
    "Imported",
    "InputNorm",
    "KernelRidge",
    "LastLayerGrand",
    "Loss",
    "MaxMargin",
    "NearestMean",
    "NearestSimilarity",
    "Prototypicality",
    "Random",
    "RecordedMean",
    "Spectral",
    "SumMargin",
    "Tdds",
    "Variability",
    "score_data",
    "score_dynamics",
    "score_embeddings",
    "score_features",
    "score_model",
]
