"""`EmbeddingMatrix`: one vector an example, in shards that are read one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np
from safetensors.numpy import load_file, save_file

from paredown.artifacts.base import Artifact
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.errors import ArtifactError

Metric = Literal["euclidean", "cosine"]
SHARD_BYTES = 256 * 2**20


class EmbeddingMatrix(Artifact):
    """Vectors of examples.

    Args:
        ids: the examples.
        vectors: float32 or float16, shape (N, D), in the order of `ids`.
        metric: the distance that means something between these vectors.
        normalised: whether each vector has length 1.
        encoder: what made them, in a word.
    """

    def __init__(
        self, ids: ExampleIds, vectors: np.ndarray, *, metric: Metric, normalised: bool = False, encoder: str = ""
    ) -> None:
        if vectors.ndim != 2 or len(vectors) != len(ids):
            raise ArtifactError(f"EmbeddingMatrix: {len(ids)} ids and vectors of shape {vectors.shape}; one row an id.")
        if vectors.dtype not in (np.float32, np.float16):
            raise ArtifactError(f"EmbeddingMatrix: vectors are float32 or float16, not {vectors.dtype}.")
        self.ids = ids
        self.vectors = vectors
        self.metric = metric
        self.normalised = normalised
        self.encoder = encoder

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.vectors.shape[1])

    def _blocks(self) -> Iterator[np.ndarray]:
        rows = max(1, SHARD_BYTES // max(1, self.vectors.itemsize * self.width))
        return (self.vectors[start : start + rows] for start in range(0, max(len(self.ids), 1), rows))

    def header(self) -> dict[str, Any]:
        return {
            "pool": self.ids.pool.plain(),
            "metric": self.metric,
            "normalised": self.normalised,
            "encoder": self.encoder,
            "shape": [len(self.ids), self.width],
            "dtype": str(self.vectors.dtype),
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "id", self.ids.keys
        yield from ((f"vectors/{number}", block) for number, block in enumerate(self._blocks()))

    def write(self, folder: Path) -> None:
        self.ids.write_keys(folder / "ids.safetensors")
        for number, block in enumerate(self._blocks()):
            save_file({"vectors": np.ascontiguousarray(block)}, folder / f"shard-{number:05d}.safetensors")

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        ids = ExampleIds.read_keys(folder / "ids.safetensors", Pool.from_plain(header["pool"]))
        shards = [load_file(path)["vectors"] for path in sorted(folder.glob("shard-*.safetensors"))]
        vectors = np.concatenate(shards) if len(shards) != 1 else shards[0]
        return cls(
            ids,
            vectors,
            metric=cast(Metric, header["metric"]),
            normalised=header["normalised"],
            encoder=header["encoder"],
        )

    def describe(self) -> str:
        sources = " + ".join(self.ids.pool.sources)
        return (
            f"{len(self.ids)} vectors of {self.width} {self.vectors.dtype} of {sources} ({self.metric}, {self.encoder})"
        )
