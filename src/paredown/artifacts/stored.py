"""Opening an artifact without knowing its kind, or as the kind that is needed."""

from __future__ import annotations

from pathlib import Path

from paredown.artifacts.base import Artifact, read_header
from paredown.artifacts.checkpoint import Checkpoint, Trained
from paredown.artifacts.distilled import DistilledSet
from paredown.artifacts.dynamics import TrainingDynamics
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.artifacts.exported import Exported
from paredown.artifacts.graph import NeighborGraph
from paredown.artifacts.masks import MaskSet
from paredown.artifacts.pruned import Pruned
from paredown.artifacts.report import Report
from paredown.artifacts.scores import ScoreTable
from paredown.artifacts.selection import Selection
from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import ArtifactError

KINDS: dict[str, type[Artifact]] = {
    kind.__name__: kind
    for kind in (
        Checkpoint,
        DistilledSet,
        EmbeddingMatrix,
        Exported,
        MaskSet,
        NeighborGraph,
        Pruned,
        PruningStrategy,
        Report,
        ScoreTable,
        Selection,
        Trained,
        TrainingDynamics,
    )
}


def open_artifact(folder: str | Path) -> Artifact:
    """Opens whatever artifact a folder holds.

    Raises:
        ArtifactError: it holds none, or one that this version does not know.
    """
    kind = read_header(Path(folder)).get("artifact")
    if kind not in KINDS:
        raise ArtifactError(f"{folder} holds a {kind}, which this version of paredown does not know. Update paredown.")
    return KINDS[str(kind)].open(folder)


def part_of(artifact: Artifact, kind: type[Artifact]) -> Artifact:
    """Gives the artifact itself, or the part of a `Trained` or a `Pruned` that is of the kind that is needed.

    Raises:
        ArtifactError: it is of another kind, or the training recorded none.
    """
    if isinstance(artifact, kind):
        return artifact
    if isinstance(artifact, Trained) and kind is Checkpoint:
        return artifact.checkpoint
    if isinstance(artifact, Pruned) and kind in (Checkpoint, MaskSet):
        return artifact.checkpoint if kind is Checkpoint else artifact.masks
    if isinstance(artifact, Trained) and kind is TrainingDynamics:
        if artifact.dynamics is None:
            raise ArtifactError("The training recorded no dynamics. Train again with record=.")
        return artifact.dynamics
    raise ArtifactError(f"A {type(artifact).__name__} was given, and a {kind.__name__} is needed here.")
