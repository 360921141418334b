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
from paredown.artifacts.graph import NeighborGraph
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.report import Report, Row
from paredown.artifacts.scores import ScoreTable
from paredown.artifacts.selection import Selection
from paredown.artifacts.stored import open_artifact

__all__ = [
    "ADVERSARIAL_QUANTITIES",
    "ALL_QUANTITIES",
    "QUANTITIES",
    "Artifact",
    "Checkpoint",
    "DistilledSet",
    "DynamicsWriter",
    "EmbeddingMatrix",
    "ExampleIds",
    "NeighborGraph",
    "Pool",
    "Report",
    "Row",
    "ScoreTable",
    "Selection",
    "Trained",
    "TrainingDynamics",
    "open_artifact",
]
