"""The contract of an index."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paredown.artifacts.shards import ShardWriter, open_shards
from paredown.neighbors import AbstractIndex
from paredown.rng import stream
from paredown.testing.promises import check_plain, promise

SIZE, WIDTH, NEIGHBORS = 600, 8, 5


def check_index(index: AbstractIndex) -> None:
    """Checks an index.

    - It is plain data: `build` gives it back from `plain()`.
    - It gives positions, each once, nearest first, -1 and infinity where it found none; each distance is that of
      its position, and an exact duplicate has distance 0.
    - A vector that is asked for finds itself; an exact index finds what going through all vectors finds.
    - The same again gives the same; the vectors are only read, as float16 or float32, from memory or from a disk; a
      smaller block gives the same neighbours; so does what it left in its folder.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(index)
    name = type(index).__name__
    rng = stream(0, "contract", "vectors")
    centres = 4 * rng.standard_normal((12, WIDTH))
    vectors = (centres[rng.integers(0, 12, SIZE)] + rng.standard_normal((SIZE, WIDTH))).astype(np.float32)
    vectors[7] = vectors[3]
    order = _order(index, vectors)
    promise(
        order is None or np.array_equal(np.sort(order), np.arange(SIZE)),
        name,
        "its order leaves vectors out or repeats",
    )
    for metric in ("euclidean", "cosine"):
        for dtype in (np.float16, np.float32):
            _check_search(index, vectors.astype(dtype), metric)


def _check_search(index: AbstractIndex, vectors: np.ndarray, metric: str) -> None:
    name, before = type(index).__name__, vectors.copy()
    positions, distances = _asked(index, vectors, metric)
    promise(np.array_equal(vectors, before), name, "it writes into the vectors")
    shape = (SIZE, NEIGHBORS)
    promise(positions.shape == distances.shape == shape, name, f"it gives shapes other than {shape}")
    promise(positions.min() >= -1 and positions.max() < SIZE, name, f"it gives positions outside 0 to {SIZE - 1}")
    ranked = np.sort(positions, axis=1)
    twice = (ranked[:, 1:] == ranked[:, :-1]) & (ranked[:, 1:] >= 0)
    promise(not twice.any(), name, "it gives a position twice")
    promise(not (distances[:, 1:] < distances[:, :-1]).any(), name, "its distances do not ascend")
    promise(np.array_equal(positions < 0, np.isinf(distances)), name, "not found is not -1 with infinite distance")
    whole = _distances(vectors, metric)
    found = np.where(positions < 0, np.inf, np.take_along_axis(whole, np.maximum(positions, 0), axis=1))
    promise(np.allclose(found, distances, rtol=1e-4, atol=1e-5), name, "a distance is not that of its position")
    promise(not distances[[3, 7], :2].any(), name, "a vector and its duplicate are not at distance 0")
    own = (positions == np.arange(SIZE)[:, None]).any(axis=1)
    promise(bool(own.mean() > 0.99), name, "a vector does not find itself")
    if index.exact:
        true = np.sort(whole, axis=1)[:, :NEIGHBORS]
        promise(np.allclose(true, distances, rtol=1e-4, atol=1e-5), name, "it is not exact, and says so")
    ways: dict[str, Any] = {"asking again gives": {}, "smaller blocks give": {"block_mb": 1}}
    with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
        writer = ShardWriter(Path(folder) / "vectors", total=SIZE, size=170)
        writer.put(vectors=vectors)
        rows = open_shards(Path(folder) / "vectors", ["vectors"], rows=SIZE)["vectors"]
        ways["vectors on a disk give"] = {"vectors": rows}
        place = {"folder": Path(folder) / "index"}
        ways |= {"working in a folder gives": place, "what it left in its folder gives": place}
        for words, how in ways.items():
            again = _asked(index, how.get("vectors", vectors), metric, **{k: how[k] for k in how if k != "vectors"})
            same = np.array_equal(again[0], positions) and np.allclose(again[1], distances, rtol=1e-5, atol=1e-6)
            promise(same, name, f"{words} other neighbours")


def _asked(
    index: AbstractIndex, vectors: Any, metric: str, *, block_mb: int = 256, folder: Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    device = torch.device("cpu")
    state = index.prepare(vectors, metric=metric, device=device, block_mb=block_mb, folder=folder)
    return index.nearest(state, np.asarray(vectors[:]), NEIGHBORS)


def _order(index: AbstractIndex, vectors: np.ndarray) -> np.ndarray | None:
    device = torch.device("cpu")
    return index.order(index.prepare(vectors, metric="euclidean", device=device, block_mb=256, folder=None))


def _distances(vectors: np.ndarray, metric: str) -> np.ndarray:
    wide = vectors.astype(np.float64)
    if metric == "cosine":
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    apart = ((wide[:, None] - wide[None]) ** 2).sum(axis=2)
    return apart / 2 if metric == "cosine" else np.sqrt(apart)
