"""Exact search: blocks of a product of matrices, on any device, in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from paredown.neighbors.base import AbstractIndex, Neighbors, refuse_bad_vectors, slices


@dataclass(frozen=True)
class Exact(AbstractIndex):
    """Exact: every query against every vector, 2·Q·N·D operations.

    Ties of equal distance go to the lower position.
    """

    exact: ClassVar[bool] = True

    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Any:
        raise NotImplementedError

    def nearest(self, state: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


def nearest_neighbors(
    vectors: Any, k: int, *, metric: str = "euclidean", device: str = "cpu", keys: np.ndarray | None = None
) -> Neighbors:
    """Gives the k nearest others of each vector, exactly, in memory."""
    refuse_bad_vectors(vectors, metric=metric, keys=keys)
    _ = slices
    raise NotImplementedError
