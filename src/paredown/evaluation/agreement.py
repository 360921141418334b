"""How far selections agree: which examples they share, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paredown.artifacts import EmbeddingMatrix, Selection
from paredown.data.dataset import AbstractDataset
from paredown.evaluation.base import AbstractSelectionProbe
from paredown.evaluation.ranking import spearman
from paredown.runtime import Runtime


@dataclass(frozen=True)
class Overlap(AbstractSelectionProbe):
    """Overlap: what a selection A shares with every other selection B that is evaluated in the same call.

    Each figure has B as its group, by the first 16 digits of its digest:

    - `shared`: |A ∩ B| / min(|A|, |B|); a random selection of the share g shares about g with any smaller one.
    - `jaccard`: |A ∩ B| / |A ∪ B|.
    - `rank agreement`: Spearman's correlation of the two orders over the shared examples, in [-1, 1] (Spearman 1904);
      left out where fewer than two are shared.
    """

    def measure(
        self,
        selection: Selection,
        data: AbstractDataset,
        *,
        others: Sequence[Selection],
        embeddings: EmbeddingMatrix | None,
        runtime: Runtime,
        seed: int,
    ) -> list[Mapping[str, Any]]:
        mine, rows = selection.digest(), list[Mapping[str, Any]]()
        for digest, other in {other.digest(): other for other in others}.items():
            if digest == mine:
                continue
            _, here, there = np.intersect1d(selection.ids.keys, other.ids.keys, assume_unique=True, return_indices=True)
            shared, smaller = len(here), min(len(selection), len(other))
            union = len(selection) + len(other) - shared
            about = {"spread": None, "group": digest[:16]}
            rows.append({"metric": "shared", "value": shared / smaller, "n": smaller, **about})
            rows.append({"metric": "jaccard", "value": shared / union, "n": union, **about})
            if shared > 1:
                rank = spearman(here.astype(np.float64), there.astype(np.float64))
                rows.append({"metric": "rank agreement", "value": rank, "n": shared, **about})
        return rows
