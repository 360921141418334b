"""Prototypicality: how far an example lies from the nearest of a few typical ones."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.artifacts.scores import Direction
from paredown.artifacts.shards import blocks
from paredown.errors import MethodError
from paredown.neighbors.base import refuse_bad_vectors
from paredown.rng import key
from paredown.runtime import Runtime
from paredown.scoring.base import AbstractEmbeddingScorer
from paredown.scoring.clusters import nearest_centroids
from paredown.scoring.draws import uniform_by_id

PER_CLUSTER = 256
"""Vectors a cluster from which the prototypes are found; more move them hardly, and cost as much again."""

SAMPLE_BYTES = 2**30
"""Vectors, in float32, that are held at once to find the prototypes."""


@dataclass(frozen=True)
class Prototypicality(AbstractEmbeddingScorer):
    """Prototypicality: the distance to the nearest centroid of k-means, in the embeddings' own metric.

    Sorscher et al. 2022, on embeddings of a self-supervised network: examples near a centroid are easy and
    alike, far ones are hard. k-means++ and Lloyd's algorithm run on all vectors, or on a sample drawn by id where
    there are more than 256 for each cluster or more than 1 GiB; then each vector is passed over once, block by block.
    With the cosine metric the vectors are divided by their lengths, and the distance is 1 - cosine similarity. About
    2·N·k·D operations a pass.

    Args:
        clusters: how many, k; none takes √N, which is 224 for 50,000 examples and 1,132 for ImageNet, where the paper
            takes 1,000, the number of classes, and finds that it matters little.
    """

    clusters: int | None = None

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = (
        "Sorscher et al. 2022, Beyond Neural Scaling Laws: Beating Power Law Scaling via Data Pruning"
    )

    def __post_init__(self) -> None:
        if self.clusters is not None and self.clusters < 1:
            raise MethodError(f"Prototypicality(clusters={self.clusters}): there is no centroid. Ask for 1 or more.")

    def of(self, embeddings: EmbeddingMatrix, *, runtime: Runtime, seed: int) -> np.ndarray:
        size, cosine = len(embeddings.ids), embeddings.metric == "cosine"
        clusters = self.clusters or max(1, round(math.sqrt(size)))
        if embeddings.factors:
            raise MethodError(
                "Prototypicality: these vectors stand for gradients, which have no centroid in this form. "
                "Embed with penultimate or another encoder."
            )
        if clusters > size:
            raise MethodError(
                f"Prototypicality(clusters={clusters}): there are {size} examples, fewer than clusters. "
                "Ask for fewer, or for none to take √N."
            )
        refuse_bad_vectors(embeddings.vectors, metric=embeddings.metric, keys=embeddings.ids.keys)
        # In an order that the ids decide, so that the order of the rows changes nothing.
        drawn = np.argsort(uniform_by_id(embeddings.ids.keys, seed, "prototypes"), kind="stable")
        room = max(clusters, min(PER_CLUSTER * clusters, SAMPLE_BYTES // (4 * embeddings.width)))
        sample = _prepared(embeddings.vectors[drawn[:room]], cosine)
        centroids = _prepared(centres(sample, clusters, seed=seed), cosine)
        numbers, values = nearest_centroids(embeddings, centroids, runtime), np.empty(size)
        for start, block in blocks(embeddings.vectors):
            part = slice(start, start + len(block))
            values[part] = away(_prepared(block, cosine), centroids[numbers[part]], cosine=cosine)
        return values


def centres(vectors: np.ndarray, clusters: int, *, seed: int) -> np.ndarray:
    """Gives the centroids of k-means, float32 (k, D); fewer different ones where there are fewer different vectors."""
    from sklearn.cluster import KMeans

    means: Any = KMeans(clusters, n_init=1, max_iter=100, random_state=key(seed, "prototypes") % 2**32)
    with warnings.catch_warnings():
        # Of fewer different vectors than clusters some centroids are equal, which changes no distance.
        warnings.simplefilter("ignore")
        return np.asarray(means.fit(vectors).cluster_centers_, dtype=np.float32)


def away(vectors: np.ndarray, points: np.ndarray, *, cosine: bool) -> np.ndarray:
    """Gives the distance of each vector to its own point, float64 (N,); for the cosine both have length 1."""
    # From the difference itself, also for the cosine: taken from products, small distances would lose their digits.
    difference = vectors - points
    squared = np.einsum("nd,nd->n", difference, difference, dtype=np.float64)
    return squared / 2 if cosine else np.sqrt(squared)


def _prepared(vectors: np.ndarray, cosine: bool) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    if not cosine:
        return vectors
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
