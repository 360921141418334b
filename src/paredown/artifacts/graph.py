"""`NeighborGraph`: the k nearest neighbours of every example, with their distances."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from paredown.artifacts.base import Artifact
from paredown.artifacts.embeddings import Metric
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.shards import SHARD_ROWS, Rows, ShardWriter, blocks, open_shards
from paredown.errors import ArtifactError


class NeighborGraph(Artifact):
    """For every example its k nearest others, nearest first. Edges are directed: near is not always mutual.

    Args:
        ids: the examples.
        neighbors: int32 or int64, shape (N, k): positions among `ids`; -1 where fewer than k were found, at the end of
            a row. An example is never its own neighbour.
        distances: float32, shape (N, k): the Euclidean distance, or 1 - cosine similarity; infinite beside a -1.
        metric: which of the two.
        recall: the share of true neighbours among those found, measured on a sample; 1 for an exact search, none where
            it is not known.
        made: how they were found, as plain data: the index and what it cost.
    """

    def __init__(
        self,
        ids: ExampleIds,
        neighbors: np.ndarray | Rows,
        distances: np.ndarray | Rows,
        *,
        metric: Metric,
        recall: float | None = None,
        made: Mapping[str, Any] | None = None,
    ) -> None:
        if neighbors.ndim != 2 or neighbors.shape != distances.shape or len(neighbors) != len(ids):
            raise ArtifactError(
                f"NeighborGraph: {len(ids)} ids, neighbours of shape {neighbors.shape} and distances of shape "
                f"{distances.shape}; both need one row an id and k columns."
            )
        if neighbors.dtype not in (np.int32, np.int64) or distances.dtype != np.float32:
            raise ArtifactError(
                f"NeighborGraph: neighbours are int32 or int64 and distances float32, not {neighbors.dtype} and "
                f"{distances.dtype}."
            )
        if metric not in ("euclidean", "cosine"):
            raise ArtifactError(f"NeighborGraph(metric={metric!r}): the metric is euclidean or cosine.")
        self.ids = ids
        self.neighbors = neighbors
        self.distances = distances
        self.metric: Metric = metric
        self.recall = recall
        self.made = dict(made or {})

    @classmethod
    def from_arrays(
        cls, ids: ExampleIds, neighbors: np.ndarray, distances: np.ndarray, *, metric: Metric = "euclidean"
    ) -> Self:
        """Makes a graph of neighbours that one already has, and checks it.

        Args:
            ids: the examples; `data.ids` of the data that the graph is of.
            neighbors: positions among them, shape (N, k); a first column of each row's own position is dropped.
            distances: shape (N, k), not negative.
            metric: what the distances are.

        Raises:
            ArtifactError: shapes that do not fit, positions outside, an example among its own neighbours, a neighbour
                twice, or distances that are negative or NaN.
        """
        neighbors = np.asarray(neighbors)
        distances = np.asarray(distances, dtype=np.float32)
        count = len(ids)
        if neighbors.ndim != 2 or not np.issubdtype(neighbors.dtype, np.integer) or neighbors.shape != distances.shape:
            raise ArtifactError(
                f"NeighborGraph: neighbours {neighbors.dtype} of shape {neighbors.shape} and distances of shape "
                f"{distances.shape}; whole numbers and as many distances are needed, one row an example."
            )
        if neighbors.shape[1] > 1 and np.array_equal(neighbors[:, 0], np.arange(len(neighbors))):
            neighbors, distances = neighbors[:, 1:], distances[:, 1:]
        missing = neighbors < 0
        where = "Correct the graph, or make one with connect()."
        if neighbors.max(initial=-1) >= count or neighbors.min(initial=0) < -1:
            raise ArtifactError(f"NeighborGraph: position {neighbors.max()} for {count} examples. {where}")
        if (neighbors == np.arange(len(neighbors))[:, None]).any():
            raise ArtifactError(f"NeighborGraph: an example is its own neighbour. {where}")
        ranked = np.sort(neighbors, axis=1)
        if ((ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)).any():
            raise ArtifactError(f"NeighborGraph: an example has the same neighbour twice. {where}")
        if np.isnan(distances[~missing]).any() or (distances[~missing] < 0).any():
            raise ArtifactError(f"NeighborGraph: distances are NaN or negative. {where}")
        distances = np.where(missing, np.float32(np.inf), distances)
        kind = np.int32 if count < 2**31 else np.int64
        # Nearest first, those that were not found last.
        order = np.argsort(distances, axis=1, kind="stable")
        return cls(
            ids,
            np.take_along_axis(neighbors.astype(kind), order, axis=1),
            np.take_along_axis(distances, order, axis=1),
            metric=metric,
            made={"index": "given"},
        )

    @property
    def width(self) -> int:
        """How many neighbours an example has, k."""
        return int(self.neighbors.shape[1])

    def header(self) -> dict[str, Any]:
        return {
            "pool": self.ids.pool.plain(),
            "metric": self.metric,
            "shape": [len(self.ids), self.width],
            "dtype": str(self.neighbors.dtype),
            "recall": self.recall,
            "made": self.made,
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "id", self.ids.keys
        yield from ((f"neighbors/{start}", block) for start, block in blocks(self.neighbors))
        yield from ((f"distances/{start}", block) for start, block in blocks(self.distances))

    def write(self, folder: Path) -> None:
        self.ids.write_keys(folder / "ids.safetensors")
        writer = ShardWriter(folder, total=len(self.ids))
        for start, block in blocks(self.neighbors, size=SHARD_ROWS):
            if start >= writer.done:
                writer.put(neighbors=block, distances=np.asarray(self.distances[start : start + len(block)]))

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        ids = ExampleIds.read_keys(folder / "ids.safetensors", Pool.from_plain(header["pool"]))
        parts = open_shards(folder, ["neighbors", "distances"], rows=header["shape"][0])
        return cls(
            ids,
            parts["neighbors"],
            parts["distances"],
            metric=cast(Metric, header["metric"]),
            recall=header["recall"],
            made=header["made"],
        )

    def describe(self) -> str:
        known = "recall not measured" if self.recall is None else f"recall {self.recall:.3f}"
        return (
            f"{self.width} neighbours of {len(self.ids)} examples of {' + '.join(self.ids.pool.sources)} "
            f"({self.metric}, {self.made.get('index', 'given')}, {known})"
        )
