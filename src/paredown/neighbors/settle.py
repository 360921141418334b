"""From candidates with lower bounds of their distances to the nearest of them."""

from __future__ import annotations

import torch

from paredown.neighbors.space import Space


def reach(space: Space, distances: torch.Tensor) -> torch.Tensor:
    """Gives the square of the last distance of each row, with room for its rounding: nothing farther counts."""
    share = (space.width + 4) * torch.finfo(space.dtype).eps
    least = space.largest**2 * 2.0**-90  # numbers so small that they may not be represented
    return distances[:, -1].square() * (1 + share) + least


def settled(
    space: Space, queries: torch.Tensor, bounds: torch.Tensor, candidates: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives the k nearest of each query's candidates, nearest first, ties by position.

    The candidates with the smallest bounds give a distance that the k-th neighbour does not exceed; most of the others
    are then surely farther, and their distances need not be computed.

    Args:
        space: the points.
        queries: points, (Q, D).
        bounds: what the squared distances surely exceed, ascending, (Q, m); infinite where there is no candidate.
        candidates: positions, each once, (Q, m), m at least k.
        k: how many.

    Returns:
        Positions and distances between points, (Q, k); infinite where there was no candidate.
    """
    first = min(candidates.shape[1], k + 2)
    positions, order = candidates[:, :first].sort(dim=1)  # a stable order by distance leaves ties to lower positions
    missing = bounds[:, :first].gather(1, order) == torch.inf
    distances = space.distances(queries, positions).masked_fill(missing, torch.inf)
    distances, order = torch.sort(distances, dim=1, stable=True)
    positions, distances = positions.gather(1, order)[:, :k], distances[:, :k]
    open_still = (bounds[:, first:] <= reach(space, distances)[:, None]) & (bounds[:, first:] < torch.inf)
    query, column = open_still.nonzero(as_tuple=True)
    return merged(space, queries, positions, distances, query, candidates[query, first + column])


def merged(
    space: Space,
    queries: torch.Tensor,
    positions: torch.Tensor,
    distances: torch.Tensor,
    query: torch.Tensor,
    found: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives the k nearest of each query, among k that are known and some pairs of a query and a position.

    Args:
        space: the points.
        queries: points, (Q, D).
        positions: what is known, (Q, k).
        distances: of them.
        query: the query of each pair, (P,).
        found: its position, not among those known, (P,).
    """
    if not len(query):
        return positions, distances
    apart = space.pairs(queries, query, found)
    count, k = positions.shape
    query = torch.cat([torch.arange(count, device=query.device).repeat_interleave(k), query])
    found, apart = torch.cat([positions.flatten(), found]), torch.cat([distances.flatten(), apart])
    order = found.argsort()
    order = order[apart[order].argsort(stable=True)]
    order = order[query[order].argsort(stable=True)]
    starts = torch.searchsorted(query[order], torch.arange(count, device=query.device))
    nearest = order[starts[:, None] + torch.arange(k, device=query.device)]
    return found[nearest], apart[nearest]
