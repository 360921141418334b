"""Penultimate features: what the last layer of a trained network sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.data.dataset import AbstractDataset, LearnableDataset
from paredown.data.device import choose
from paredown.data.loader import runs
from paredown.embedding.base import AbstractEncoder, assemble, made_by
from paredown.errors import MethodError
from paredown.models.build import form_of, inputs, load
from paredown.models.taps import features
from paredown.runtime import Runtime


@dataclass(frozen=True)
class Penultimate(AbstractEncoder):
    """The input of the last linear layer of a checkpoint, in inference mode: float32, shape (N, F).

    Args:
        metric: the distance that is meant between the vectors; "cosine" divides each by its length.
    """

    metric: Literal["euclidean", "cosine"] = "euclidean"

    needs: ClassVar[frozenset[str]] = frozenset({"checkpoint", "data"})

    def embed(
        self,
        data: AbstractDataset,
        *,
        checkpoint: Checkpoint | None = None,
        runtime: Runtime,
        folder: Path | None = None,
    ) -> EmbeddingMatrix:
        if checkpoint is None:
            raise MethodError("Penultimate: features are a network's, and no checkpoint was given. Give checkpoint=.")
        if not isinstance(data, LearnableDataset) or data.shape != checkpoint.shape:
            raise MethodError(
                f"Penultimate: {data.name} has {data.form}, and the checkpoint takes {form_of(checkpoint.shape)}. "
                "Embed data of the kind that it was trained on."
            )
        network = load(checkpoint, choose(runtime.device))
        examples = inputs(network, data, workers=runtime.workers)

        def produce(start: int) -> Iterator[np.ndarray]:
            for x, _ in examples.batches(runs(len(data), runtime.batch_size, start=start)):
                with torch.no_grad():
                    vectors = features(network, x)[0].float()
                    if self.metric == "cosine":
                        vectors = torch.nn.functional.normalize(vectors, dim=1)
                yield vectors.cpu().numpy()

        return assemble(
            data.ids,
            produce,
            metric=self.metric,
            normalised=self.metric == "cosine",
            encoder=made_by(self, checkpoint),
            runtime=runtime,
            folder=folder,
        )
