"""Weighted: drawn by chance, the important ones more likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paredown.artifacts.uids import ranked
from paredown.errors import MethodError
from paredown.selection.base import AbstractSelector, Candidates


@dataclass(frozen=True)
class Weighted(AbstractSelector):
    """Weighted: drawn without replacement, each time with probability proportional to the importance that is left.

    Each example gets an exponential arrival time divided by its importance, and the first arrive first, which is the
    same draw all at once (Efraimidis, Spirakis 2006), so a smaller count is the beginning of a larger. Importance 0
    comes last, by chance; infinite importance first. The score must have high for its important end and no value
    below 0. The selector of DUAL with its Beta distribution (scorer `dual` with `keep`; Cho et al. 2025).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"importance"})
    paper: ClassVar[str] = "Efraimidis, Spirakis 2006, Weighted random sampling with a reservoir"

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        assert candidates.importance is not None, "choose() checks what a selector needs"
        by_id = ranked(candidates.keys)
        importance = candidates.importance[by_id]
        if (importance < 0).any():
            raise MethodError(
                f"Weighted: {int((importance < 0).sum())} of {len(importance)} examples have an importance below 0, "
                "which is no weight. Use a score that is at least 0 and whose high end is the important one."
            )
        arrival = rng.standard_exponential(len(importance))
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.where(importance > 0, arrival / importance, np.inf)
        return by_id[np.lexsort((arrival, time))[:count]]
