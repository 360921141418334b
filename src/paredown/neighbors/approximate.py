"""Approximate search for millions: faiss's inverted lists of float16 numbers or short codes, then exact distances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from paredown.errors import MethodError, require
from paredown.estimate import Estimate
from paredown.method import settings
from paredown.neighbors.base import AbstractIndex, slices
from paredown.neighbors.space import Space, space_of
from paredown.rng import stream

BLOCK = 16 * 1024
"""Vectors that are added, or asked for, together."""
RATE = 60e9
"""Operations a second of one core, in learning lists and looking into them."""


@dataclass(frozen=True)
class Ivf(AbstractIndex):
    """Ivf: inverted lists (Sivic and Zisserman 2003), with product codes on request (Jégou, Douze, Schmid 2011).

    k-means makes lists of near vectors, and a query looks into the lists nearest to it; distances of the best
    candidates are then computed exactly, from the vectors where they lie. Memory: 2·D bytes a vector, or `codes` bytes
    where codes are asked for, and 8 more.

    Args:
        lists: how many lists; none means 4·√N, at most one for each 39 vectors.
        probes: lists that a query looks into: the more, the higher the recall.
        codes: bytes of a product code, for vectors that memory does not hold; 0 keeps float16 numbers. D2 pruning has
            lists=100, codes=16, probes=1 for DataComp.
        sample: vectors a list from which lists and codes are learnt.
        rerank: candidates whose distances are computed exactly, for each neighbour asked for, where there are codes.
    """

    together: ClassVar[int] = BLOCK

    lists: int | None = None
    probes: int = 16
    codes: int = 0
    sample: int = 64
    rerank: int = 8

    def __post_init__(self) -> None:
        for name in settings(type(self)):
            value = getattr(self, name)
            if value is not None and value < (0 if name == "codes" else 1):
                raise MethodError(f"Ivf({name}={value}): nothing would be found. At least 1 is needed.")

    @property
    def libraries(self) -> Mapping[str, str]:
        return {"faiss": "faiss"}

    def estimate(self, size: int, width: int) -> Estimate:
        lists = number_of_lists(self.lists, size)
        learning = 10.0 * min(size, self.sample * lists) * lists
        scanned = 2.0 * size * lists + self.probes * size**2 / lists
        memory = size * (8.0 + (self.codes or 2 * width)) + 2**30
        return Estimate(2 * width * (learning + scanned), memory, rate=RATE)

    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Filled:
        faiss = require("faiss", "faiss")
        faiss.omp_set_num_threads(torch.get_num_threads())
        # faiss's wheel is for processors; a GPU is for the exact search.
        space = space_of(vectors, metric=metric, device=torch.device("cpu"), kept_bytes=0)
        known = folder / "lists.faiss" if folder else None
        if known is not None and known.exists():
            return Filled(space, faiss.read_index(str(known)))
        index = self._learned(faiss, space)
        for part in slices(len(space), BLOCK):
            index.add(_padded(space.between(part.start, part.stop), index.d))
        if known is not None:
            known.parent.mkdir(parents=True, exist_ok=True)
            beside = known.with_name(known.name + ".new")
            faiss.write_index(index, str(beside))
            beside.replace(known)
        return Filled(space, index)

    def order(self, state: Filled) -> np.ndarray:
        """Gives the vectors list by list: those that look into the same lists ask one after the other."""
        return state.by_list()

    def nearest(self, state: Filled, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(state.space))
        # Numbers of float16 may swap neighbours that are equally near but for rounding.
        count = min(k * self.rerank if self.codes else k + 2, len(state.space))
        state.index.nprobe = min(self.probes, state.index.nlist)
        positions, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf, np.float32)
        for part in slices(len(queries), BLOCK):
            points = state.space.points(queries[part])
            found = torch.from_numpy(state.index.search(_padded(points, state.index.d), count)[1])
            found = found.sort(dim=1).values  # so that ties are left to the lower position
            apart = state.space.distances(points, found.clamp(min=0)).masked_fill(found < 0, torch.inf)
            apart, order = torch.sort(apart, dim=1, stable=True)
            positions[part] = found.gather(1, order)[:, :k].numpy()
            distances[part] = state.space.reported(apart[:, :k])
        return positions, distances

    def _learned(self, faiss: Any, space: Space) -> Any:
        size, lists = len(space), number_of_lists(self.lists, len(space))
        chosen = np.arange(size)
        if self.sample * lists < size:
            chosen = np.sort(stream(0, "lists", "sample").choice(size, self.sample * lists, replace=False))
        # faiss wants every byte of a code to stand for equally many numbers: the vectors get zeros at their end.
        width = -(-space.width // self.codes) * self.codes if self.codes else space.width
        quantizer = faiss.IndexFlatL2(width)
        if self.codes:
            bits = max(1, min(8, len(chosen).bit_length() - 1))
            index = faiss.IndexIVFPQ(quantizer, width, lists, self.codes, bits)
            index.pq.cp.min_points_per_centroid = 1  # fewer is no reason for a warning
        else:
            index = faiss.IndexIVFScalarQuantizer(quantizer, width, lists, faiss.ScalarQuantizer.QT_fp16)
        index.cp.min_points_per_centroid = 1
        index.train(_padded(space.points(np.asarray(space.vectors[chosen])), width))
        return index


@dataclass(frozen=True, eq=False)
class Filled:
    """Points, and faiss's index that holds them.

    Args:
        space: the points.
        index: in the order of the points.
    """

    space: Space
    index: Any

    def by_list(self) -> np.ndarray:
        """Gives the positions of all points, list by list."""
        import faiss

        inverted = self.index.invlists
        sizes = [inverted.list_size(number) for number in range(self.index.nlist)]
        parts = [faiss.rev_swig_ptr(inverted.get_ids(number), size).copy() for number, size in enumerate(sizes) if size]
        return np.concatenate(parts)


def number_of_lists(asked: int | None, size: int) -> int:
    """Gives how many lists a number of vectors gets: as many as asked for, or 4·√N, with 39 vectors each at least."""
    return min(size, asked or max(1, min(round(4 * size**0.5), size // 39)))


def _padded(points: torch.Tensor, width: int) -> np.ndarray:
    short = width - points.shape[1]
    return torch.nn.functional.pad(points.float(), (0, short)).contiguous().numpy()
