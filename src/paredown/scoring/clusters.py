"""Which cluster an example lies in, by centroids that somebody has computed; image-based filtering of DataComp."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.artifacts.scores import Direction
from paredown.artifacts.shards import blocks
from paredown.data.device import choose
from paredown.errors import DataError, MethodError
from paredown.runtime import Runtime
from paredown.scoring.base import AbstractEmbeddingScorer
from paredown.scoring.columns import content_of


@dataclass(frozen=True)
class Cluster(AbstractEmbeddingScorer):
    """The nearest of given centroids: its number, or with `wanted` whether it is one of those (1) or not (0).

    Nearest by the metric of the embeddings; of equally near ones the lowest number. With the clusters that lie nearest
    to the images of a target data set as `wanted`, and `threshold`, this is the image-based filter of Gadre et al.
    2023. The numbers alone serve as `bins`. In an address the files stand by their content.

    Args:
        centroids: `.npy` of shape (K, D).
        wanted: `.npy` of numbers of clusters.
    """

    centroids: str
    wanted: str | None = None

    low: ClassVar[float] = 0.0
    paper: ClassVar[str] = "Gadre et al. 2023, DataComp, image-based filtering"

    @property
    def important(self) -> Direction:
        return "none" if self.wanted is None else "high"

    @property
    def high(self) -> float:
        return float("inf") if self.wanted is None else 1.0

    def identity(self) -> dict[str, Any]:
        files = {"centroids": self.centroids, "wanted": self.wanted}
        content = {
            name: None if path is None else content_of(f"Cluster({name}={path!r})", path)
            for name, path in files.items()
        }
        return super().identity() | content

    def of(self, embeddings: EmbeddingMatrix, *, runtime: Runtime, seed: int) -> np.ndarray:
        centroids = _array("centroids", self.centroids)
        if centroids.ndim != 2 or centroids.dtype.kind != "f" or not np.isfinite(centroids).all():
            raise DataError(
                f"Cluster(centroids={self.centroids!r}): the file holds {centroids.dtype} of shape {centroids.shape}, "
                "and finite floats of shape (clusters, width) are needed."
            )
        if centroids.shape[1] != embeddings.width:
            raise MethodError(
                f"Cluster(centroids={self.centroids!r}): the centroids are {centroids.shape[1]} numbers wide and the "
                f"embeddings {embeddings.width}. Use the centroids of the same embeddings."
            )
        numbers = nearest_centroids(embeddings, centroids, runtime)
        if self.wanted is None:
            return numbers.astype(np.float64)
        wanted = _array("wanted", self.wanted)
        if wanted.dtype.kind not in "iu" or (wanted.size and not 0 <= wanted.min() <= wanted.max() < len(centroids)):
            raise DataError(
                f"Cluster(wanted={self.wanted!r}): the file holds no numbers of clusters, which are whole and lie from "
                f"0 to {len(centroids) - 1}."
            )
        return np.isin(numbers, wanted).astype(np.float64)


def nearest_centroids(embeddings: EmbeddingMatrix, centroids: np.ndarray, runtime: Runtime) -> np.ndarray:
    """Gives the number of the nearest centroid of each vector, int64 (N,), block by block on the runtime's device."""
    device = choose(runtime.device)
    middle = torch.from_numpy(np.array(centroids, np.float32)).to(device)
    if embeddings.metric == "cosine":
        middle = torch.nn.functional.normalize(middle, dim=1)
    # Of |x - c|² only -2 x·c + |c|² depends on c; of the cosine with x only x·c over the length of c.
    offset = middle.square().sum(dim=1) / 2 if embeddings.metric == "euclidean" else torch.zeros(1, device=device)
    rows = max(1, runtime.block_mb * 2**20 // (4 * (len(centroids) + embeddings.width)))
    found = np.empty(len(embeddings.ids), np.int64)
    for start, block in blocks(embeddings.vectors, size=rows):
        likeness = torch.from_numpy(block.astype(np.float32)).to(device) @ middle.T - offset
        found[start : start + len(block)] = likeness.argmax(dim=1).cpu().numpy()
    return found


def _array(name: str, path: str) -> np.ndarray:
    try:
        stored = np.load(Path(path).expanduser(), allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return stored
        fault = "it is no .npy"
    except (OSError, EOFError, ValueError) as error:
        fault = (str(error).splitlines() or [type(error).__name__])[0]
    raise DataError(f"Cluster({name}={path!r}): the file cannot be read ({fault}). Give a .npy file.")
