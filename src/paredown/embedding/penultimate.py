"""Penultimate features: what the last layer of a trained network sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.data.dataset import ImageDataset
from paredown.data.loader import OnDevice
from paredown.embedding.base import AbstractEncoder
from paredown.errors import MethodError
from paredown.models.build import load
from paredown.models.taps import features
from paredown.runtime import Runtime
from paredown.training.devices import choose


@dataclass(frozen=True)
class Penultimate(AbstractEncoder):
    """The input of the last linear layer of a checkpoint, in inference mode: float32, shape (N, F).

    Args:
        metric: the distance that is meant between the vectors; "cosine" divides each by its length.
    """

    metric: Literal["euclidean", "cosine"] = "euclidean"

    needs: ClassVar[frozenset[str]] = frozenset({"checkpoint", "data"})

    def embed(self, data: ImageDataset, *, checkpoint: Checkpoint | None, runtime: Runtime) -> EmbeddingMatrix:
        if checkpoint is None:
            raise MethodError("Penultimate: features are a network's, and no checkpoint was given. Give checkpoint=.")
        if tuple(data.shape) != checkpoint.shape:
            raise MethodError(
                f"Penultimate: the data's images are {tuple(data.shape)} (channels, height, width), and the checkpoint "
                f"takes {checkpoint.shape}. Embed data of the kind that it was trained on."
            )
        device = choose(runtime.device)
        network, images = load(checkpoint, device), OnDevice(data, device)
        parts = []
        with torch.no_grad():
            for start in range(0, len(data), runtime.batch_size):
                rows = np.arange(start, min(start + runtime.batch_size, len(data)))
                vectors, _ = features(network, images.batch(rows)[0])
                if self.metric == "cosine":
                    vectors = torch.nn.functional.normalize(vectors, dim=1)
                parts.append(vectors.cpu().numpy())
        return EmbeddingMatrix(
            data.ids,
            np.concatenate(parts),
            metric=self.metric,
            normalised=self.metric == "cosine",
            encoder=self.name,
        )
