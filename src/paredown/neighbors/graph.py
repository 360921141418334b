"""From embeddings to a graph of neighbours: shard by shard, with its recall measured."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paredown.artifacts import EmbeddingMatrix, NeighborGraph
from paredown.artifacts.shards import SHARD_ROWS, ShardWriter, open_shards
from paredown.data.device import choose, limited
from paredown.errors import MethodError
from paredown.neighbors.base import AbstractIndex, refuse_bad_vectors, slices, without_self
from paredown.neighbors.exact import Exact
from paredown.progress import bar as open_bar
from paredown.rng import stream
from paredown.runtime import Runtime

SAMPLE = 1000
"""Examples whose true neighbours the recall of an approximate search is measured by."""

WORTH_SAYING = 10
"""Seconds from which on it is said beforehand what a search will take."""

INDEX, FOUND = "index", "found"
"""Folders of an unfinished graph: what the index made, and neighbours in the order in which they were found."""


def connected(
    embeddings: EmbeddingMatrix,
    index: AbstractIndex,
    k: int,
    *,
    runtime: Runtime,
    folder: Path | None,
    shard: int = SHARD_ROWS,
) -> NeighborGraph:
    """Gives the k nearest others of every example.

    Args:
        embeddings: one vector an example; their metric is the graph's.
        index: how to search.
        k: how many neighbours.
        runtime: device, threads, memory of a block; no result depends on it beyond rounding.
        folder: where the graph is written shard by shard, and resumed; without it, it stays in memory.
        shard: rows of a shard.

    Raises:
        MethodError: k is below 1, more than there are others, or a vector has no neighbours.
    """
    _refuse(embeddings, k)
    refuse_bad_vectors(embeddings.vectors, metric=embeddings.metric, keys=embeddings.ids.keys)
    device, size = choose(runtime.device), len(embeddings.ids)
    estimate = index.estimate(size, embeddings.width)
    if runtime.progress and device.type == "cpu" and estimate is not None and estimate.seconds > WORTH_SAYING:
        print(f"{index.name} search among {size:,} examples will take {estimate}.", file=sys.stderr)
    with limited(runtime.threads):
        task = _Task(embeddings, index, k, runtime, device, shard)
        neighbors, distances = task.in_memory() if folder is None else task.in_folder(folder)
        recall = 1.0 if index.exact else _recall(embeddings, neighbors, distances, device, runtime)
    graph = NeighborGraph(
        embeddings.ids,
        neighbors,
        distances,
        metric=embeddings.metric,
        recall=recall,
        made={"index": index.name} | {key: value for key, value in index.plain().items() if key != "name"},
    )
    if folder is not None:
        embeddings.ids.write_keys(folder / "ids.safetensors")
        graph.seal(folder)
        for unfinished in (INDEX, FOUND):
            shutil.rmtree(folder / unfinished, ignore_errors=True)
    return graph


class _Task:
    """One search for the neighbours of all: in which order it goes, and where it leaves what it finds."""

    def __init__(
        self,
        embeddings: EmbeddingMatrix,
        index: AbstractIndex,
        k: int,
        runtime: Runtime,
        device: torch.device,
        shard: int,
    ) -> None:
        self.vectors, self.metric = embeddings.vectors, embeddings.metric
        self.index, self.k, self.runtime, self.device, self.shard = index, k, runtime, device, shard
        self.size = len(embeddings.ids)
        self.kind = np.int32 if self.size < 2**31 else np.int64

    def in_memory(self) -> tuple[Any, Any]:
        neighbors = np.empty((self.size, self.k), self.kind)
        distances = np.empty((self.size, self.k), np.float32)
        for rows, found, apart in self._found(self._state(None), 0):
            neighbors[rows], distances[rows] = found, apart
        return neighbors, distances

    def in_folder(self, folder: Path) -> tuple[Any, Any]:
        writer = ShardWriter(folder, total=self.size, size=self.shard)
        if writer.done < self.size:
            state = self._state(folder / INDEX)
            order = self.index.order(state)
            if order is None:
                for _, found, apart in self._found(state, writer.done):
                    writer.put(neighbors=found, distances=apart)
            else:
                self._by_way_of(folder / FOUND, state, order, writer)
        arrays = open_shards(folder, ["neighbors", "distances"], rows=self.size)
        return arrays["neighbors"], arrays["distances"]

    def _by_way_of(self, place: Path, state: Any, order: np.ndarray, writer: ShardWriter) -> None:
        # Found in the index's order, then put into the order of the examples.
        middle = ShardWriter(place, total=self.size, size=self.shard)
        if middle.done < self.size:
            for _, found, apart in self._found(state, middle.done):
                middle.put(neighbors=found, distances=apart)
        arrays = open_shards(place, ["neighbors", "distances"], rows=self.size)
        where = np.empty(self.size, np.int64)
        where[order] = np.arange(self.size)
        for part in slices(self.size, self.shard):
            if part.start >= writer.done:
                writer.put(**{name: rows[where[part]] for name, rows in arrays.items()})

    def _state(self, folder: Path | None) -> Any:
        return self.index.prepare(
            self.vectors, metric=self.metric, device=self.device, block_mb=self.runtime.block_mb, folder=folder
        )

    def _found(self, state: Any, done: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        order = self.index.order(state)
        bar = open_bar(
            f"neighbours by {self.index.name}", self.size, done=done, unit="examples", shown=self.runtime.progress
        )
        with bar:
            for part in self._parts(done):
                rows = np.arange(part.start, part.stop) if order is None else order[part]
                queries = np.asarray(self.vectors[part if order is None else rows])
                found, apart = self.index.nearest(state, queries, self.k + 1)
                found, apart = without_self(found, apart, rows)
                yield rows, found.astype(self.kind), apart.astype(np.float32, copy=False)
                bar.move(part.stop)

    def _parts(self, done: int) -> Iterator[slice]:
        # A part never spans two shards, so that a resumed search asks the same questions together as one that nobody
        # disturbed.
        for shard in slices(self.size, self.shard):
            if shard.start >= done:
                for part in slices(shard.stop - shard.start, self.index.together):
                    yield slice(shard.start + part.start, shard.start + part.stop)


def _recall(
    embeddings: EmbeddingMatrix, neighbors: Any, distances: Any, device: torch.device, runtime: Runtime
) -> float:
    # A found neighbour counts when it is no farther than the k-th true one: of equal ones, any will do.
    size, k = len(embeddings.ids), neighbors.shape[1]
    rows = np.sort(stream(0, "connect", "recall").choice(size, min(SAMPLE, size), replace=False))
    exact = Exact()
    state = exact.prepare(
        embeddings.vectors, metric=embeddings.metric, device=device, block_mb=runtime.block_mb, folder=None
    )
    true = without_self(*exact.nearest(state, np.asarray(embeddings.vectors[rows]), k + 1), rows)[1]
    near = np.asarray(distances[rows]) <= true[:, -1:] * (1 + 1e-5)
    return float(near.sum(dtype=np.int64) / near.size)


def _refuse(embeddings: EmbeddingMatrix, k: int) -> None:
    size = len(embeddings.ids)
    if k < 1:
        raise MethodError(f"connect(neighbors={k}): a graph without neighbours says nothing. Ask for at least 1.")
    if k >= size:
        raise MethodError(
            f"connect(neighbors={k}): there are {size} examples, so one has {size - 1} others. Ask for fewer."
        )
    if embeddings.factors:
        raise MethodError(
            "connect: these vectors are the factors of outer products, and distances between factors are not distances "
            "between what they stand for. Embed with an encoder whose vectors stand for themselves."
        )
