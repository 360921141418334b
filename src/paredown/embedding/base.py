"""What an encoder is: one vector an example."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.data.dataset import ImageDataset
from paredown.method import Method
from paredown.runtime import Runtime


class AbstractEncoder(Method):
    """Makes one vector of each example: write `embed` and say in `needs` whether it takes a checkpoint."""

    kind: ClassVar[str] = "encoder"
    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def embed(self, data: ImageDataset, *, checkpoint: Checkpoint | None, runtime: Runtime) -> EmbeddingMatrix:
        """Gives the vectors of un-augmented examples, in the order of `data.ids`.

        Args:
            data: what to embed.
            checkpoint: a network, where `needs` names it; None otherwise.
            runtime: its device and batch size.
        """
