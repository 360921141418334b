"""Vectors in lists of near ones: the lists' centres by k-means, and the vectors laid out list by list."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from paredown.artifacts.shards import Rows, ShardWriter, open_shards
from paredown.data.device import fast_bfloat16
from paredown.errors import MethodError
from paredown.method import settings
from paredown.neighbors.base import AbstractIndex, slices, spread
from paredown.neighbors.bounds import largest, operand
from paredown.neighbors.space import KEPT_BYTES, Space, space_of
from paredown.rng import stream

BLOCK = 4096
"""Points that are assigned to lists together."""

TOGETHER = 1024
"""Points whose nearest lists are found in one product."""

READ_BYTES = 2**30
"""How much is laid out anew at a time: the more, the fewer times the vectors are gone through."""


@dataclass(eq=False)
class Lists:
    """Points in lists.

    Args:
        space: the points in the order of the lists.
        order: which vector each of them is, (N,).
        starts: where each list begins, and where the last ends, (L + 1,).
        centres: operand of the lists' centres.
        narrow: whether products are in bfloat16.
        held: operands of lists that were looked at, as many as fit.
    """

    space: Space
    order: np.ndarray
    starts: np.ndarray
    centres: torch.Tensor
    narrow: bool
    held: dict[int, torch.Tensor] = field(default_factory=dict)

    def queries(self, points: torch.Tensor) -> torch.Tensor:
        """Gives the rows of a product for some points."""
        return operand(points, self.space.centre, narrow=self.narrow, query=True)

    def members(self, number: int) -> torch.Tensor:
        """Gives the columns of a product for the points of a list."""
        made = self.held.get(number)
        if made is None:
            points = self.space.between(int(self.starts[number]), int(self.starts[number + 1]))
            made = operand(points, self.space.centre, narrow=self.narrow, query=False)
            if sum(part.nbytes for part in list(self.held.values())) + made.nbytes > KEPT_BYTES:
                self.held.clear()
            self.held[number] = made
        return made


def number_of_lists(asked: int | None, size: int) -> int:
    """Gives how many lists a number of vectors gets: as many as asked for, or 4·√N, with 39 vectors each at least."""
    return min(size, asked or max(1, min(round(4 * size**0.5), size // 39)))


def refuse_below_one(index: AbstractIndex) -> None:
    """Raises where a field of an index is a number below 1."""
    for name in settings(type(index)):
        value = getattr(index, name)
        if value is not None and value < 1:
            raise MethodError(f"{type(index).__name__}({name}={value}): nothing would be found. At least 1 is needed.")


def near_lists(rows: torch.Tensor, centres: torch.Tensor, count: int) -> torch.Tensor:
    """Gives the nearest lists of each query, nearest first, (Q, count)."""

    def look(part: slice) -> torch.Tensor:
        answers, lists = largest(rows[part] @ centres.T, count)
        return lists.gather(1, answers.sort(dim=1, descending=True, stable=True).indices)

    return torch.cat(spread(look, slices(len(rows), TOGETHER), rows.device))


@dataclass(frozen=True)
class Grouping:
    """How vectors are put into lists.

    Args:
        count: how many lists.
        sample: vectors a list from which the centres are learnt.
        rounds: of k-means.
    """

    count: int
    sample: int
    rounds: int

    def of(self, space: Space, *, narrow: bool, folder: Path | None) -> tuple[torch.Tensor, np.ndarray]:
        """Gives the lists' centres, (L, D), and the list of each point, (N,); what is in the folder is not made again.

        Near lists have near numbers, so that those asked for together lie together.
        """
        known = folder / "lists.safetensors" if folder else None
        if known is not None and known.exists():
            arrays = load_file(known)
            return torch.from_numpy(arrays["centres"]).to(space.device), arrays["lists"]
        points = self._centres(space, narrow=narrow)
        centres = operand(points, space.centre, narrow=narrow, query=False)
        which = np.empty(len(space), np.int32)
        for part in slices(len(space), BLOCK):
            rows = operand(space.between(part.start, part.stop), space.centre, narrow=narrow, query=True)
            which[part] = near_lists(rows, centres, 1)[:, 0].cpu().numpy()
        if known is not None:
            known.parent.mkdir(parents=True, exist_ok=True)
            beside = known.with_name(known.name + ".new")
            save_file({"centres": points.cpu().numpy(), "lists": which}, beside)
            beside.replace(known)
        return points, which

    def chosen(self, size: int) -> np.ndarray:
        """Gives the positions from which is learnt, ascending."""
        if self.sample * self.count >= size:
            return np.arange(size)
        return np.sort(stream(0, "lists", "sample").choice(size, self.sample * self.count, replace=False))

    def _centres(self, space: Space, *, narrow: bool) -> torch.Tensor:
        chosen = self.chosen(len(space))
        points = torch.empty(len(chosen), space.width, dtype=space.dtype, device=space.device)
        for part in slices(len(chosen), BLOCK):
            points[part] = space.points(np.asarray(space.vectors[chosen[part]]))
        centres = _kmeans(points, space.centre, self.count, self.rounds, narrow=narrow)
        above = _kmeans(centres, space.centre, max(1, round(self.count**0.5)), self.rounds, narrow=narrow)
        rows = operand(centres, space.centre, narrow=narrow, query=True)
        group = near_lists(rows, operand(above, space.centre, narrow=narrow, query=False), 1)[:, 0]
        return centres[group.argsort(stable=True)]


def lists_of(vectors: Any, grouping: Grouping, *, metric: str, device: torch.device, folder: Path | None) -> Lists:
    """Puts vectors into lists and lays them out list by list; with a folder, what took long is kept there.

    Args:
        vectors: (N, D), an array or rows.
        grouping: into which lists.
        metric: "euclidean" or "cosine".
        device: where to compute.
        folder: where to keep the lists, and the vectors list by list where they take much memory.
    """
    narrow = device.type == "cpu" and fast_bfloat16(device)
    space = space_of(vectors, metric=metric, device=device, kept_bytes=0)
    points, which = grouping.of(space, narrow=narrow, folder=folder)
    order = np.argsort(which, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(which, minlength=grouping.count))])
    whole = space_of(_laid_out(vectors, order, folder), metric=metric, device=device, kept_bytes=KEPT_BYTES // 4)
    return Lists(whole, order, starts, operand(points, whole.centre, narrow=narrow, query=False), narrow)


def _laid_out(vectors: Any, order: np.ndarray, folder: Path | None) -> np.ndarray | Rows:
    # The vectors list by list: in memory where they fit, else in files, so that a list is read in one go.
    width = vectors.shape[1] * vectors.dtype.itemsize
    if folder is None or len(order) * width <= KEPT_BYTES:
        return np.asarray(vectors[order])
    writer = ShardWriter(folder, total=len(order))
    for part in slices(len(order), max(1, READ_BYTES // (width * writer.size)) * writer.size):
        if part.stop > writer.done:
            writer.put(vectors=vectors[order[max(part.start, writer.done) : part.stop]])
    return open_shards(folder, ["vectors"], rows=len(order))["vectors"]


def _kmeans(points: torch.Tensor, origin: torch.Tensor, count: int, rounds: int, *, narrow: bool) -> torch.Tensor:
    rows = operand(points, origin, narrow=narrow, query=True)
    rng = stream(0, "lists", "begin", count)
    centres = points[torch.from_numpy(rng.permutation(len(points))[:count]).to(points.device)]
    for _ in range(rounds):
        nearest = near_lists(rows, operand(centres, origin, narrow=narrow, query=False), 1)[:, 0]
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        sizes = torch.bincount(nearest, minlength=count)
        empty = (sizes == 0).nonzero()[:, 0]
        # A list that nobody is near to begins again at a point drawn by chance.
        sums[empty] = points[torch.from_numpy(rng.permutation(len(points))[: len(empty)]).to(points.device)]
        centres = sums / sizes.clamp(min=1)[:, None]
    return centres
