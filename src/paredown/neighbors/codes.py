"""Approximate search among codes of a few bytes, by faiss: for vectors that no memory and no second copy holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from paredown.data.device import fast_bfloat16
from paredown.errors import require
from paredown.estimate import Estimate
from paredown.neighbors.base import AbstractIndex, slices
from paredown.neighbors.bounds import full_precision, operand, product_rate
from paredown.neighbors.lists import Grouping, near_lists, number_of_lists, refuse_below_one
from paredown.neighbors.space import Space, space_of

BLOCK = 16 * 1024
"""Vectors that are encoded, or asked for, together."""


@dataclass(frozen=True)
class IvfPq(AbstractIndex):
    """IvfPq: inverted lists of product codes, then exact distances of the best candidates.

    Jégou, Douze, Schmid, *Product Quantization for Nearest Neighbor Search*, 2011; D2 pruning builds its graph of
    DataComp by it (lists=100, codes=16, probes=1). Memory is `codes` + 8 bytes a vector. faiss learns, writes and scans
    the codes; which lists are near is computed here. The candidates' vectors are read from where they lie, in no order:
    a disk that is slow at that makes `ivf` the better choice.

    Args:
        lists: how many lists; none means 4·√N, at most one for each 39 vectors.
        probes: lists that a query looks into.
        codes: bytes of a code, at most one for each number of a vector.
        sample: vectors a list from which lists and codes are learnt.
        rounds: of k-means.
        rerank: candidates whose distances are computed exactly, for each neighbour asked for.
    """

    together: ClassVar[int] = 32 * 1024

    lists: int | None = None
    probes: int = 16
    codes: int = 32
    sample: int = 32
    rounds: int = 10
    rerank: int = 8

    def __post_init__(self) -> None:
        refuse_below_one(self)

    def estimate(self, size: int, width: int) -> Estimate:
        lists = number_of_lists(self.lists, size)
        learning = 2.0 * width * min(size, self.sample * lists) * lists * self.rounds
        assigning = 2.0 * width * 2 * size * lists
        # A table of 256 · codes sums of a query, and a look into it for each byte of each code.
        looking = 100.0 * size * (256 * width / 16 + self.probes * size / lists * self.codes)
        return Estimate(learning + assigning + looking, (self.codes + 20.0) * size + 2**30, rate=product_rate() / 2)

    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Codes:
        faiss = require("faiss", "faiss")
        faiss.omp_set_num_threads(torch.get_num_threads())
        narrow = device.type == "cpu" and fast_bfloat16(device)
        space = space_of(vectors, metric=metric, device=device, kept_bytes=0)
        grouping = Grouping(number_of_lists(self.lists, len(space)), self.sample, self.rounds)
        with full_precision():
            centres, which = grouping.of(space, narrow=narrow, folder=folder)
            columns = operand(centres, space.centre, narrow=narrow, query=False)
            known = folder / "codes.faiss" if folder else None
            if known is not None and known.exists():
                return Codes(space, faiss.read_index(str(known)), centres, columns, which, narrow)
            index = self._learned(faiss, space, centres, grouping)
            for part in slices(len(space), BLOCK):
                points = _padded(space.between(part.start, part.stop), index.d)
                lists = which[part].astype(np.int64)
                index.add_core(len(points), faiss.swig_ptr(points), None, faiss.swig_ptr(lists))
        if known is not None:
            beside = known.with_name(known.name + ".new")
            faiss.write_index(index, str(beside))
            beside.replace(known)
        return Codes(space, index, centres, columns, which, narrow)

    def order(self, state: Codes) -> np.ndarray:
        return np.argsort(state.lists, kind="stable")

    def nearest(self, state: Codes, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(state.space))
        count = min(k * self.rerank, len(state.space))
        positions, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf, np.float32)
        with full_precision():
            for part in slices(len(queries), BLOCK):
                points = state.space.points(queries[part])
                found = torch.from_numpy(state.candidates(points, min(self.probes, len(state.centres)), count))
                found = found.to(points.device).sort(dim=1).values  # so that ties are left to the lower position
                apart = state.space.distances(points, found.clamp(min=0)).masked_fill(found < 0, torch.inf)
                apart, order = torch.sort(apart, dim=1, stable=True)
                positions[part] = found.gather(1, order)[:, :k].cpu().numpy()
                distances[part] = state.space.reported(apart[:, :k])
        return positions, distances

    def _learned(self, faiss: Any, space: Space, centres: torch.Tensor, grouping: Grouping) -> Any:
        # faiss wants every code of a byte to stand for equally many numbers: the vectors get zeros at their end.
        codes = min(self.codes, space.width)
        width = -(-space.width // codes) * codes
        chosen = grouping.chosen(len(space))[: 256 * 256]
        bits = min(8, len(chosen).bit_length() - 1)
        quantizer = faiss.IndexFlatL2(width)
        quantizer.add(_padded(centres, width))
        index = faiss.IndexIVFPQ(quantizer, width, len(centres), codes, max(1, bits))
        index.pq.cp.niter = self.rounds
        index.pq.cp.min_points_per_centroid = 1  # fewer is no reason for a warning
        index.train(_padded(space.points(np.asarray(space.vectors[chosen])), width))
        return index


class Codes:
    """Codes of points, in lists.

    Args:
        space: the points.
        index: faiss's own.
        centres: of the lists, (L, D).
        columns: their operand.
        lists: the list of each point, (N,).
        narrow: whether products are in bfloat16.
    """

    def __init__(
        self,
        space: Space,
        index: Any,
        centres: torch.Tensor,
        columns: torch.Tensor,
        lists: np.ndarray,
        narrow: bool,
    ) -> None:
        self.space, self.index, self.centres, self.columns = space, index, centres, columns
        self.lists, self.narrow = lists, narrow

    def candidates(self, points: torch.Tensor, probes: int, count: int) -> np.ndarray:
        """Gives the positions whose codes are nearest to each point, (Q, count); -1 where there are fewer."""
        rows = operand(points, self.space.centre, narrow=self.narrow, query=True)
        lists = near_lists(rows, self.columns, probes)
        apart = torch.cat(
            [
                (points[part, None] - self.centres[lists[part]]).square().sum(2)
                for part in slices(len(points), 256)  # in the cache
            ]
        )
        self.index.nprobe = probes
        asked = _padded(points, self.index.d)
        return self.index.search_preassigned(asked, count, lists.cpu().numpy(), apart.float().cpu().numpy())[1]


def _padded(points: torch.Tensor, width: int) -> np.ndarray:
    short = width - points.shape[1]
    return torch.nn.functional.pad(points.float(), (0, short)).contiguous().cpu().numpy()
