"""From a selector and what it looks at to a selection."""

from __future__ import annotations

from paredown.artifacts import EmbeddingMatrix, NeighborGraph, ScoreTable, Selection
from paredown.artifacts.selection import count_of
from paredown.data.dataset import AbstractDataset
from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.selection.base import AbstractSelector, announce, decide
from paredown.selection.candidates import gather


def selected(
    selector: AbstractSelector,
    *,
    scores: ScoreTable | None = None,
    data: AbstractDataset | None = None,
    embeddings: EmbeddingMatrix | None = None,
    graph: NeighborGraph | None = None,
    bins: ScoreTable | None = None,
    fraction: float | None = None,
    count: int | None = None,
    by_class: bool = False,
    within: Selection | None = None,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
) -> Selection:
    """Gives the examples that a selector keeps, and says what a costly choice will cost; see `paredown.verbs.select`.

    Raises:
        MethodError: more are wanted than there are, or something that the selector needs is lacking.
        PoolMismatch: what was given is of different pools.
    """
    candidates, ids, base = gather(
        scores=scores, data=data, embeddings=embeddings, graph=graph, bins=bins, within=within, device=runtime.device
    )
    wanted = count_of(fraction, base) if fraction is not None else count
    if wanted is not None and not 1 <= wanted <= len(ids):
        raise MethodError(
            f"select: {wanted} examples are wanted and there are {len(ids)} to choose from. Ask for a smaller share."
        )
    announce(selector, candidates, wanted, by_class=by_class, shown=runtime.progress)
    chosen = decide(selector, candidates, wanted, by_class=by_class, seed=seed)
    return Selection(
        ids.take(chosen.positions),
        base=base,
        asked={
            "selector": selector.plain(),
            "fraction": fraction,
            "count": count,
            "by_class": by_class,
            "within": None if within is None else within.digest(),
            "scores": None if scores is None else scores.name,
        },
        stratum=chosen.stratum,
        weight=chosen.weight,
        nested=selector.nested and chosen.weight is None,
    )
