"""Approximate search for millions: a query is compared with the lists near to it, one product of matrices a list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from paredown.estimate import Estimate
from paredown.neighbors.base import AbstractIndex, slices, spread
from paredown.neighbors.bounds import full_precision, largest, lower, product_rate
from paredown.neighbors.lists import Grouping, Lists, lists_of, near_lists, number_of_lists, refuse_below_one
from paredown.neighbors.settle import settled


@dataclass(frozen=True)
class Ivf(AbstractIndex):
    """Ivf: inverted lists; k-means makes lists of near vectors, and a query looks into the lists nearest to it.

    Asked for the neighbours of all the vectors in the order of the lists, many queries look into the same list, so that
    a list is read once and compared with all of them in one product of matrices (in bfloat16 where that is fast); the
    distances of the best candidates are then computed exactly, from the vectors. About 2·N·D·(lists + probes·N/lists)
    operations. Memory: the vectors where they take up to 2 GiB; else they are copied list by list into the folder.

    Args:
        lists: how many lists; none means 4·√N, at most one for each 39 vectors.
        probes: lists that a query looks into: the more, the higher the recall.
        sample: vectors a list from which the lists are learnt.
        rounds: of k-means.
    """

    together: ClassVar[int] = 32 * 1024  # the more ask for a list, the larger the product

    lists: int | None = None
    probes: int = 16
    sample: int = 32
    rounds: int = 10

    def __post_init__(self) -> None:
        refuse_below_one(self)

    def estimate(self, size: int, width: int) -> Estimate:
        lists = number_of_lists(self.lists, size)
        learning = min(size, self.sample * lists) * lists * self.rounds
        scanned = size * (2 * lists + self.probes * size / lists)
        return Estimate(2.0 * width * (learning + scanned), 2 * 2.0**30, rate=product_rate() / 3)

    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Lists:
        with full_precision():
            grouping = Grouping(number_of_lists(self.lists, len(vectors)), self.sample, self.rounds)
            return lists_of(vectors, grouping, metric=metric, device=device, folder=folder)

    def order(self, state: Lists) -> np.ndarray:
        return state.order

    def nearest(self, state: Lists, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        k = min(k, len(state.space))
        positions, distances = np.full((len(queries), k), -1), np.full((len(queries), k), np.inf, np.float32)
        with full_precision():
            for part in slices(len(queries), self.together):
                points = state.space.points(queries[part])
                found, apart = _among_lists(state, points, k, min(self.probes, len(state.centres)))
                positions[part] = np.where(np.isfinite(apart), state.order[found], -1)
                distances[part] = apart
        return positions, distances


def _among_lists(state: Lists, points: torch.Tensor, k: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
    count = k + 14
    rows = state.queries(points)
    lists = near_lists(rows, state.centres, probes)
    # The nearest list gives each query so many candidates, and the least of their answers; of the other lists, only
    # what is better counts, and that is little.
    answers = torch.full((len(rows), count), -torch.inf, dtype=rows.dtype, device=rows.device)
    places = torch.zeros(answers.shape, dtype=torch.int64, device=rows.device)

    def begin(asked: tuple[int, torch.Tensor]) -> None:
        number, asking = asked
        best, where = largest(rows[asking] @ state.members(number).T, count)
        answers[asking, : best.shape[1]] = best
        places[asking, : best.shape[1]] = where + int(state.starts[number])

    def go_on(asked: tuple[int, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        number, asking = asked
        better = rows[asking] @ state.members(number).T
        query, where = (better > least[asking]).nonzero(as_tuple=True)
        return asking[query], where + int(state.starts[number]), better[query, where]

    spread(begin, _by_list(lists[:, :1], state), rows.device)
    least = answers.amin(1, keepdim=True)
    known = torch.arange(len(rows), device=rows.device).repeat_interleave(count), places.flatten(), answers.flatten()
    found = [known, *spread(go_on, _by_list(lists[:, 1:], state), rows.device)]
    query, place, answer = (torch.cat(part) for part in zip(*found, strict=True))
    order = _by_query(query, answer)
    starts = torch.searchsorted(query[order], torch.arange(len(rows), device=rows.device))
    chosen = order[starts[:, None] + torch.arange(count, device=rows.device)]
    positions, distances = settled(state.space, points, lower(answer[chosen]), place[chosen], k)
    return positions.cpu().numpy(), state.space.reported(distances)


def _by_query(query: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
    # The order by query, and then from the largest answer, in one sort: bits of a float ascend as it does, from 0 on,
    # and descend below.
    bits = answer.float().view(torch.int32)
    ascending = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()
    return (query * 2**32 - ascending).argsort()


def _by_list(lists: torch.Tensor, state: Lists) -> Iterator[tuple[int, torch.Tensor]]:
    # Each list that holds anything and is asked for, with those who ask.
    order = lists.flatten().argsort(stable=True)
    ends = torch.bincount(lists.flatten(), minlength=len(state.centres)).cumsum(0).tolist()
    for number, (begin, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if begin < end and state.starts[number] < state.starts[number + 1]:
            yield number, order[begin:end] // lists.shape[1]
