"""What an encoder is: one vector an example."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from paredown.artifacts.base import digest_of
from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix, Metric
from paredown.artifacts.ids import ExampleIds
from paredown.artifacts.shards import Rows, ShardWriter, open_shards
from paredown.data.dataset import AbstractDataset
from paredown.method import Method
from paredown.progress import bar as open_bar
from paredown.runtime import Runtime


def assemble(
    ids: ExampleIds,
    produce: Callable[[int], Iterator[np.ndarray]],
    *,
    metric: Metric,
    normalised: bool,
    encoder: str,
    factors: tuple[int, ...] = (),
    runtime: Runtime,
    folder: Path | None,
) -> EmbeddingMatrix:
    """Gives the vectors that come block by block; on disk as they come where there is a folder.

    Args:
        ids: the examples.
        produce: called with a row, gives the vectors from that row on, in blocks of any size, all of one dtype.
        metric, normalised, encoder, factors: of the matrix.
        runtime: whether progress is drawn.
        folder: where to; rows that are there already are not made again.
    """
    bar = open_bar(f"embedding by {encoder}", len(ids), unit="examples", shown=runtime.progress)
    if folder is None:
        parts, done = [], 0
        with bar:
            for block in produce(0):
                parts.append(block)
                done += len(block)
                bar.move(done)
        whole: np.ndarray | Rows = np.concatenate(parts)
    else:
        writer = ShardWriter(folder, total=len(ids))
        ids.write_keys(folder / "ids.safetensors")
        with bar:
            if writer.done < len(ids):
                for block in produce(writer.done):
                    writer.put(vectors=block)
                    bar.move(writer.done)
        whole = open_shards(folder, ["vectors"], rows=len(ids))["vectors"]
    matrix = EmbeddingMatrix(ids, whole, metric=metric, normalised=normalised, encoder=encoder, factors=factors)
    if folder is not None:
        matrix.seal(folder)
    return matrix


def made_by(encoder: AbstractEncoder, checkpoint: Checkpoint | None = None) -> str:
    """Gives an encoder's name and eight digits that tell its settings and weights: vectors compare where both agree."""
    settings = {name: value for name, value in encoder.identity().items() if name != "dtype"}
    weights = None if checkpoint is None else checkpoint.digest()
    return f"{encoder.name} {digest_of('encoder', 1, {'settings': settings, 'checkpoint': weights}, ())[:8]}"


class AbstractEncoder(Method):
    """Makes one vector of each example: write `embed` and say in `needs` whether it takes a checkpoint."""

    kind: ClassVar[str] = "encoder"
    needs: ClassVar[frozenset[str]]

    @abstractmethod
    def embed(
        self,
        data: AbstractDataset,
        *,
        checkpoint: Checkpoint | None = None,
        runtime: Runtime,
        folder: Path | None = None,
    ) -> EmbeddingMatrix:
        """Gives the vectors of un-augmented examples, in the order of `data.ids`.

        Args:
            data: what to embed.
            checkpoint: a network, where `needs` names it; None otherwise.
            runtime: its device and batch size.
            folder: where the vectors are written shard by shard; without it they stay in memory.
        """
