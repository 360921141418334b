"""What an index is, and the neighbours that it finds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch

from paredown.artifacts.shards import blocks
from paredown.errors import MethodError
from paredown.estimate import Estimate
from paredown.method import Method

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Nearest neighbours as arrays: what an index gives and what selectors look at.

    Args:
        positions: int, shape (N, k), nearest first; -1 where there is none.
        distances: float32, shape (N, k): Euclidean, or 1 - cosine similarity; infinite beside a -1.
        metric: which of the two.
    """

    positions: Any
    distances: Any
    metric: str = "euclidean"

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def width(self) -> int:
        """How many neighbours a row has, k."""
        return int(self.positions.shape[1])

    def take(self, rows: np.ndarray) -> Neighbors:
        """Gives the neighbours of some rows among those rows, renumbered; edges that lead outside are gone."""
        size = len(self)
        if len(rows) == size and np.array_equal(rows, np.arange(size)):
            return Neighbors(np.asarray(self.positions), np.asarray(self.distances), self.metric)
        place = np.full(size + 1, -1, np.int32 if size < 2**31 else np.int64)  # the last entry serves -1
        place[rows] = np.arange(len(rows))
        positions = place[self.positions[rows]]
        distances = np.where(positions >= 0, self.distances[rows], np.float32(np.inf))
        return Neighbors(positions, distances, self.metric)


class AbstractIndex(Method):
    """A way to find nearest neighbours: write `prepare` and `nearest`.

    An index is plain settings; what it learns of the vectors is the state that `prepare` gives.
    """

    kind: ClassVar[str] = "index"
    exact: ClassVar[bool] = False
    together: ClassVar[int] = 4096
    """Queries that are best asked at once."""

    @abstractmethod
    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Any:
        """Gives what is needed to search among some vectors.

        Args:
            vectors: float32 or float16, (N, D): an array, or rows that are read block by block.
            metric: "euclidean" or "cosine".
            device: where to compute.
            block_mb: memory that a block may take, in MiB.
            folder: where something that took long may be kept for a resumption; what is left there is removed later.
        """

    def order(self, state: Any) -> np.ndarray | None:
        """Gives the order in which asking for the neighbours of all the vectors is fastest; none: as they stand."""
        return None

    def estimate(self, size: int, width: int) -> Estimate | None:
        """Gives what the neighbours of all of `size` vectors of `width` numbers cost, where it is known."""
        return None

    @abstractmethod
    def nearest(self, state: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Gives the k nearest vectors of each query, nearest first; a query that is itself among them finds itself.

        Args:
            state: what `prepare` gave.
            queries: (Q, D), of the same kind as the vectors.
            k: how many.

        Returns:
            Positions (Q, k), -1 where fewer were found, and distances (Q, k), float32.
        """


def refuse_bad_vectors(vectors: Any, *, metric: str, keys: np.ndarray | None = None) -> None:
    """Looks at every vector once, block by block.

    Raises:
        MethodError: one holds NaN or infinity, or has no direction where directions are compared.
    """
    for start, block in blocks(vectors):
        peak = as_tensor(block).abs().amax(1)  # torch is faster than numpy at float16
        (wrong,) = (~peak.isfinite()).nonzero(as_tuple=True)
        if len(wrong):
            raise MethodError(
                f"The vector of id {_key(keys, start + int(wrong[0]))} holds NaN or infinity, so it has no neighbours. "
                "Embed again, or leave that example out."
            )
        (none,) = (peak == 0).nonzero(as_tuple=True)
        if len(none) and metric == "cosine":
            raise MethodError(
                f"The vector of id {_key(keys, start + int(none[0]))} is zero, so it has no direction and no cosine "
                "similarity. Leave that example out, or use the Euclidean metric."
            )


def as_tensor(block: np.ndarray) -> torch.Tensor:
    """Gives an array as a tensor; a copy only where it may not be written, or does not lie in one piece."""
    return torch.from_numpy(np.require(block, requirements=["C", "W"]))


def without_self(positions: np.ndarray, distances: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Takes from each row of k + 1 neighbours its own position, wherever it stands; where it is not among them, the
    last."""
    own = positions == rows[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(positions), positions.shape[1] - 1)
    return positions[~own].reshape(shape), distances[~own].reshape(shape)


def spread(function: Callable[[P], R], parts: Iterable[P], device: torch.device) -> list[R]:
    """Gives what a function gives of each part, in their order, computed on all cores of a CPU.

    Each call has one core to itself. Where torch shares every small operation between the cores instead, they wait for
    each other after each one, and on a busy machine for much longer than the operation takes.
    """
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    if cores == 1:
        return [function(part) for part in parts]
    pool = ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,))
    try:
        return list(pool.map(function, parts))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)


def slices(size: int, step: int) -> Iterator[slice]:
    """Gives consecutive slices that cover a size."""
    return (slice(start, min(start + step, size)) for start in range(0, size, step))


def _key(keys: np.ndarray | None, row: int) -> Any:
    return row if keys is None else keys[row]
