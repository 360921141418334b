"""What a selection does to the mix of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts import EmbeddingMatrix, Selection
from paredown.data.dataset import AbstractDataset
from paredown.evaluation.base import AbstractSelectionProbe
from paredown.evaluation.ranking import class_shares
from paredown.runtime import Runtime


def entropy(shares: np.ndarray) -> float:
    """Gives -Σ p log p of shares that sum to 1, natural logarithm; 0 · log 0 counts as 0."""
    some = shares[shares > 0]
    return float(-(some * np.log(some)).sum())


@dataclass(frozen=True)
class ClassBalance(AbstractSelectionProbe):
    """Class balance: how the mix of classes among the chosen compares with that of the data.

    With q_c the share of class c in the data and p_c its share of the chosen, over the classes that the data has:

    - `class balance`: entropy of p over that of q. 1 where the chosen are as mixed as the data, less where classes
      crowd others out, more where they are more even than the data. 1 by definition where the data has one class.
    - `class shift`: ½ Σ |p_c - q_c|, the share of the chosen that would have to be exchanged to have the data's mix.
    - `least kept class`: min p_c / q_c; 1 where every class keeps the same share, 0 where one is gone.

    Args:
        by_class: give the share of each class that is kept too (`kept`), as groups named for the classes.
    """

    by_class: bool = True

    needs: ClassVar[frozenset[str]] = frozenset({"labels"})

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
        assert data.labels is not None, "measured() checks what a probe needs"
        labels, count = data.labels, len(data.classes)
        kept = labels[data.ids.positions_of(selection.ids, "the data", "the selection")]
        q = class_shares(labels, count)
        present = q > 0
        q, p = q[present], class_shares(kept, count)[present]
        whole = entropy(q)
        figures = {
            "class balance": entropy(p) / whole if whole > 0 else 1.0,
            "class shift": float(np.abs(p - q).sum() / 2),
            "least kept class": float((p / q).min()),
        }
        # They are counted, not sampled, so none has a spread.
        rows: list[Mapping[str, Any]] = [
            {"metric": metric, "value": value, "n": len(selection), "spread": None} for metric, value in figures.items()
        ]
        if self.by_class:
            sizes, mine = np.bincount(labels, minlength=count), np.bincount(kept, minlength=count)
            rows += [
                {"metric": "kept", "value": mine[c] / sizes[c], "n": int(sizes[c]), "spread": None, "group": name}
                for c, name in enumerate(data.classes)
                if sizes[c]
            ]
        return rows
