"""From embeddings to a graph of neighbours: shard by shard, with its recall measured."""

from __future__ import annotations

from pathlib import Path

from paredown.artifacts import EmbeddingMatrix, NeighborGraph
from paredown.neighbors.base import AbstractIndex
from paredown.runtime import Runtime


def connected(
    embeddings: EmbeddingMatrix, index: AbstractIndex, k: int, *, runtime: Runtime, folder: Path | None
) -> NeighborGraph:
    """Gives the k nearest others of every example."""
    raise NotImplementedError
