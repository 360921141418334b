"""`EmbeddingMatrix`: one vector an example, in shards that are mapped into memory and read block by block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np

from paredown.artifacts.base import Artifact
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.shards import SHARD_ROWS, Rows, ShardWriter, blocks, open_shards
from paredown.errors import ArtifactError

Metric = Literal["euclidean", "cosine"]


class EmbeddingMatrix(Artifact):
    """Vectors of examples.

    Args:
        ids: the examples.
        vectors: float32 or float16, shape (N, D), in the order of `ids`; an array, or `Rows` of shards on disk.
        metric: the distance that means something between these vectors.
        normalised: whether each vector has length 1.
        encoder: what made them: a name, and what tells its weights and settings from others.
        factors: where a vector stands for a longer one, the widths of its two parts: the vector is (u, v) and means
            the outer product u ⊗ v, as a gradient of a linear layer does. Empty where a vector is just itself.
    """

    format = 2

    def __init__(
        self,
        ids: ExampleIds,
        vectors: np.ndarray | Rows,
        *,
        metric: Metric,
        normalised: bool = False,
        encoder: str = "",
        factors: tuple[int, ...] = (),
    ) -> None:
        if vectors.ndim != 2 or len(vectors) != len(ids):
            raise ArtifactError(f"EmbeddingMatrix: {len(ids)} ids and vectors of shape {vectors.shape}; one row an id.")
        if vectors.dtype not in (np.float32, np.float16):
            raise ArtifactError(f"EmbeddingMatrix: vectors are float32 or float16, not {vectors.dtype}.")
        if metric not in ("euclidean", "cosine"):
            raise ArtifactError(f"EmbeddingMatrix(metric={metric!r}): the metric is euclidean or cosine.")
        if factors and (len(factors) != 2 or sum(factors) != vectors.shape[1]):
            raise ArtifactError(
                f"EmbeddingMatrix(factors={factors}): two widths that together make the {vectors.shape[1]} columns."
            )
        self.ids = ids
        self.vectors = vectors
        self.metric: Metric = metric
        self.normalised = normalised
        self.encoder = encoder
        self.factors = tuple(factors)

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.vectors.shape[1])

    def header(self) -> dict[str, Any]:
        return {
            "pool": self.ids.pool.plain(),
            "metric": self.metric,
            "normalised": self.normalised,
            "encoder": self.encoder,
            "shape": [len(self.ids), self.width],
            "dtype": str(self.vectors.dtype),
            "factors": list(self.factors),
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "id", self.ids.keys
        yield from ((f"vectors/{start}", block) for start, block in blocks(self.vectors))

    def write(self, folder: Path) -> None:
        self.ids.write_keys(folder / "ids.safetensors")
        writer = ShardWriter(folder, total=len(self.ids))
        for start, block in blocks(self.vectors, size=SHARD_ROWS):
            if start >= writer.done:
                writer.put(vectors=block)

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        ids = ExampleIds.read_keys(folder / "ids.safetensors", Pool.from_plain(header["pool"]))
        rows, width = header["shape"]
        if rows:
            vectors: np.ndarray | Rows = open_shards(folder, ["vectors"], rows=rows)["vectors"]
        else:
            vectors = np.empty((0, width), header["dtype"])
        return cls(
            ids,
            vectors,
            metric=cast(Metric, header["metric"]),
            normalised=header["normalised"],
            encoder=header["encoder"],
            factors=tuple(header.get("factors", ())),
        )

    def describe(self) -> str:
        sources = " + ".join(self.ids.pool.sources)
        return (
            f"{len(self.ids)} vectors of {self.width} {self.vectors.dtype} of {sources} ({self.metric}, {self.encoder})"
        )
