"""Gradients of the last layer: what an example's loss asks of the last linear layer, in two short vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.data.dataset import AbstractDataset, LearnableDataset
from paredown.data.device import choose
from paredown.data.loader import runs
from paredown.embedding.base import AbstractEncoder, assemble, made_by
from paredown.errors import MethodError
from paredown.models.build import form_of, inputs, load
from paredown.models.taps import features, last_linear
from paredown.runtime import Runtime


def last_layer_gradients(features: Tensor, logits: Tensor, labels: Tensor, *, bias: bool) -> Tensor:
    """Gives (δ, [h; 1]) of each example: δ = softmax(z) - e_y, h what the last layer sees.

    The outer product of the two is the gradient of the example's cross-entropy by weight and bias of the last layer.
    The label's δ is minus the sum of the others, so that it keeps its digits where the network is nearly sure.

    Args:
        features: h, shape (B, F).
        logits: z, shape (B, C).
        labels: y, int64 (B,).
        bias: whether the layer has one; without it the 1 falls away.

    Returns:
        float32, shape (B, C + F + 1), or (B, C + F) without a bias.
    """
    column = labels[:, None]
    error = functional.softmax(logits.float(), dim=1).scatter_(1, column, 0.0)
    error.scatter_(1, column, -error.sum(1, keepdim=True))
    constant = torch.ones_like(error[:, : int(bias)])
    return torch.cat([error, features.float(), constant], dim=1)


@dataclass(frozen=True)
class LastLayerGradient(AbstractEncoder):
    """The gradient of an example's loss by the last linear layer's weight and bias, in closed form.

    One forward pass. The C·(F+1) numbers are the outer product of δ = softmax(z) - e_y and [h; 1], h the penultimate
    features; the matrix holds these two, C + F + 1 numbers, says so in `factors`, and what reads it never multiplies
    them out. The metric is that of the outer products. CRAIG (Mirzasoleiman et al. 2020, section 3.2), GRAD-MATCH and
    GLISTER (Killamsetty et al. 2021) take gradients to the last layer, as this does. Un-augmented examples, inference
    mode, float32, shape (N, C + F + 1).
    """

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
            raise MethodError(
                "LastLayerGradient: gradients are a network's, and no checkpoint was given. Give checkpoint=."
            )
        if not isinstance(data, LearnableDataset) or data.shape != checkpoint.shape:
            raise MethodError(
                f"LastLayerGradient: {data.name} has {data.form}, and the checkpoint takes "
                f"{form_of(checkpoint.shape)}. Embed data of the kind that it was trained on."
            )
        if len(data.classes) > checkpoint.classes:
            raise MethodError(
                f"LastLayerGradient: {data.name} has {len(data.classes)} classes, and the network knows "
                f"{checkpoint.classes}, so some labels have no loss. Embed the data that it was trained for."
            )
        network = load(checkpoint, choose(runtime.device))
        layer, examples = last_linear(network), inputs(network, data, workers=runtime.workers)
        bias = layer.bias is not None

        def produce(start: int) -> Iterator[np.ndarray]:
            for x, y in examples.batches(runs(len(data), runtime.batch_size, start=start)):
                with torch.no_grad():
                    seen, logits = features(network, x)
                    yield last_layer_gradients(seen, logits, y, bias=bias).cpu().numpy()

        return assemble(
            data.ids,
            produce,
            metric="euclidean",
            normalised=False,
            encoder=made_by(self, checkpoint),
            factors=(layer.out_features, layer.in_features + bias),
            runtime=runtime,
            folder=folder,
        )
