"""The nouns: what is stored, opened and handed from verb to verb."""

from paredown.artifacts.base import Artifact
from paredown.artifacts.checkpoint import Checkpoint, Trained
from paredown.artifacts.distilled import DistilledSet
from paredown.artifacts.dynamics import (
    ADVERSARIAL_QUANTITIES,
    ALL_QUANTITIES,
    QUANTITIES,
    DynamicsWriter,
    TrainingDynamics,
)
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.artifacts.exported import Exported
from paredown.artifacts.graph import NeighborGraph
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.layers import GRANULARITIES, Granularity, Layer
from paredown.artifacts.masks import MaskSet
from paredown.artifacts.pruned import Pruned
from paredown.artifacts.report import Report, Row
from paredown.artifacts.scores import ScoreTable
from paredown.artifacts.selection import Selection
from paredown.artifacts.stored import open_artifact
from paredown.artifacts.strategy import Budget, PruningStrategy

__all__ = [
    "ADVERSARIAL_QUANTITIES",
    "ALL_QUANTITIES",
    "GRANULARITIES",
    "QUANTITIES",
    "Artifact",
    "Budget",
    "Checkpoint",
    "DistilledSet",
    "DynamicsWriter",
    "EmbeddingMatrix",
    "ExampleIds",
    "Exported",
    "Granularity",
    "Layer",
    "MaskSet",
    "NeighborGraph",
    "Pool",
    "Pruned",
    "PruningStrategy",
    "Report",
    "Row",
    "ScoreTable",
    "Selection",
    "Trained",
    "TrainingDynamics",
    "open_artifact",
]
