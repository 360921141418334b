"""Vectors rounded to a grid of whole numbers: their products are then exact, so that equal distances are equal.

A greedy choice is decided by the largest of many nearly equal numbers. Computed as products of float matrices these
carry rounding errors that depend on the sizes of the blocks, the number of threads and the device, and two examples
with the same vector may come out different. Here every coordinate is a whole number and no sum exceeds 2⁵³, so float64
holds all of them exactly, in whatever order they are added. The grid has 2²⁴ to 2²⁵ steps from its middle to the
farthest vector: what rounding to it loses is what float32 would lose.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from paredown.artifacts.shards import View, blocks
from paredown.data.device import choose
from paredown.errors import MethodError
from paredown.neighbors.base import refuse_bad_vectors
from paredown.selection.candidates import Candidates, pick

STEPS = 2**25
KEPT = 2**30
"""Bytes of whole numbers up to which they stay in memory; more are rounded again whenever they are read."""
BLOCK = 2**23
"""Numbers a block of float64 has: 64 MiB."""


def in_order(candidates: Candidates, order: np.ndarray) -> np.ndarray | View:
    """Gives the vectors in an order, without a copy where it is theirs.

    In the order of the keys, so that the order of the rows can change nothing.

    Raises:
        MethodError: they stand for outer products, so the distances between them are not those that are meant.
    """
    vectors = candidates.embeddings
    assert vectors is not None, "the caller checks that there are some"
    if candidates.factors:
        raise MethodError(
            "These embeddings hold the two factors of each gradient, and this selector compares whole vectors. "
            "Embed with an encoder whose vectors stand for themselves, such as penultimate."
        )
    if np.array_equal(order, np.arange(len(order))):
        return vectors
    ordered: np.ndarray | View = pick(vectors, order)
    return ordered


def directed(part: np.ndarray, metric: str) -> np.ndarray:
    """Gives vectors in float64, where directions are compared with the length 1."""
    part = part.astype(np.float64)
    if metric == "cosine":
        part /= np.abs(part).max(axis=1, keepdims=True)  # so that no square is lost below the smallest number
        part /= np.sqrt((part**2).sum(axis=1, keepdims=True))
    return part


class Grid:
    """Vectors as whole numbers, read in blocks; (N, D).

    Args:
        vectors: an array, or rows that are read as they are indexed.
        metric: "euclidean", or "cosine" to compare directions: each vector is first given the length 1.
        device: where products are computed: "cpu", "cuda", "auto".
        keys: of the vectors, for the sentence about one that cannot be used.
        keep: whether the whole numbers stay in memory, 4·N·D bytes, where that is at most a GiB.

    Raises:
        MethodError: a vector holds NaN or infinity, or is zero where directions are compared.
    """

    def __init__(
        self, vectors: Any, *, metric: str, device: str = "cpu", keys: np.ndarray | None = None, keep: bool = True
    ) -> None:
        refuse_bad_vectors(vectors, metric=metric, keys=keys)
        self.vectors, self.metric = vectors, metric
        here = choose(device)
        self.device = torch.device("cpu") if here.type == "mps" else here  # which has no float64
        self.size, self.width = (int(side) for side in vectors.shape)
        low, high = np.full(self.width, np.inf), np.full(self.width, -np.inf)
        for _, part in self._floats():
            low, high = np.minimum(low, part.min(axis=0)), np.maximum(high, part.max(axis=0))
        self.middle = low + (high - low) / 2
        farthest = max(float(((part - self.middle) ** 2).sum(axis=1).max()) for _, part in self._floats()) ** 0.5
        # A power of two, so that whole numbers stay whole.
        self.scale = 2.0 ** np.floor(np.log2(STEPS / farthest)) if farthest > 0 else 1.0
        self.kept = None
        if keep and self.size * self.width * 4 <= KEPT:
            self.kept = np.empty((self.size, self.width), np.int32)
            for start, part in self._floats():
                self.kept[start : start + len(part)] = self._rounded(part)
        self.squares = np.concatenate([(part**2).sum(axis=1) for _, part in self._whole()])
        """The squared length of each, from the middle; (N,)."""

    def __len__(self) -> int:
        return self.size

    def rows(self, where: np.ndarray | slice) -> torch.Tensor:
        """Gives some of the vectors, float64, on the device."""
        if self.kept is not None:
            return torch.from_numpy(self.kept[where]).to(self.device).double()
        return torch.from_numpy(self._rounded(directed(np.asarray(self.vectors[where]), self.metric))).to(self.device)

    def parts(self, beside: int = 0) -> Iterator[tuple[slice, torch.Tensor]]:
        """Gives consecutive blocks of the vectors with their places; `beside` numbers a row more must fit as well."""
        step = max(1, BLOCK // (self.width + beside))
        for start in range(0, self.size, step):
            where = slice(start, min(start + step, self.size))
            yield where, self.rows(where)

    def product(self, vectors: torch.Tensor) -> np.ndarray:
        """Gives the inner product of some vectors, (P, D), with all of them: (P, N)."""
        found = np.empty((len(vectors), self.size))
        for where, part in self.parts(len(vectors)):
            found[:, where] = (vectors @ part.T).cpu().numpy()
        return found

    def mean(self) -> torch.Tensor:
        """Gives the mean of all, (D,)."""
        total = torch.zeros(self.width, dtype=torch.float64, device=self.device)
        for _, part in self.parts():
            total += part.sum(dim=0)
        return total / self.size

    def mean_products(self) -> np.ndarray:
        """Gives the inner product of each vector with the mean of all, (N,), equal for equal vectors."""
        mean = self.mean()
        # The mean is not whole: what rounding leaves is put on a finer grid, and either product is exact.
        whole = torch.round(mean)
        rest = torch.round((mean - whole) * STEPS)
        coarse, fine = self.product(torch.stack([whole, rest]))
        return coarse + fine / STEPS

    def _floats(self) -> Iterator[tuple[int, np.ndarray]]:
        for start, part in blocks(self.vectors, size=max(1, BLOCK // self.width)):
            yield start, directed(part, self.metric)

    def _rounded(self, part: np.ndarray) -> np.ndarray:
        return np.rint((part - self.middle) * self.scale)

    def _whole(self) -> Iterator[tuple[slice, np.ndarray]]:
        for where, part in self.parts():
            yield where, part.cpu().numpy()
