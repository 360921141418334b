"""Gradients of the last layer as selectors of gradients need them: two factors each, in the order of the ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from paredown.artifacts.uids import ranked
from paredown.data.device import choose
from paredown.errors import MethodError
from paredown.neighbors.products import along, total
from paredown.selection.candidates import Candidates


@dataclass(frozen=True, eq=False)
class Gradients:
    """One gradient a candidate, δ ⊗ [h; 1], never multiplied out.

    Args:
        errors: δ, the probabilities less the one-hot label; float32, shape (N, C).
        inputs: [h; 1], what the last layer sees; float32, shape (N, F).
        order: positions of the candidates in the order of their ids, which is the order of the rows.
    """

    errors: Tensor
    inputs: Tensor
    order: np.ndarray

    def __len__(self) -> int:
        return len(self.order)

    def along(self, direction: Tensor) -> np.ndarray:
        """Gives the inner product of every gradient with one matrix (C, F), float64 (N,)."""
        return along(self.errors, self.inputs, direction.to(self.inputs)).double().cpu().numpy()

    def total(self, rows: np.ndarray | None = None) -> Tensor:
        """Gives the sum of some gradients, all unless rows are named, as a matrix (C, F) in float64."""
        errors, inputs = (self.errors, self.inputs) if rows is None else self.of(rows)
        return total(errors.double(), inputs.double())

    def of(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Gives both factors of some rows."""
        where = torch.from_numpy(rows).to(self.errors.device)
        return self.errors[where], self.inputs[where]


def gradients(name: str, candidates: Candidates) -> Gradients:
    """Reads the gradients of the candidates, 4·N·(C + F) bytes.

    Args:
        name: of the selector, for the message.
        candidates: whose embeddings are gradients.

    Raises:
        MethodError: they are vectors of another kind.
    """
    if len(candidates.factors) != 2:
        raise MethodError(
            f"{name} compares gradients, and these embeddings are none. "
            "Embed with last-layer-gradient and a checkpoint."
        )
    assert candidates.embeddings is not None, "choose() checks what a selector needs"
    order = ranked(candidates.keys)
    vectors = np.asarray(candidates.embeddings[order], dtype=np.float32)
    if not np.isfinite(vectors).all():
        raise MethodError(
            f"{name}: a gradient holds NaN or infinity. The network may have diverged: look at its training loss."
        )
    both = torch.from_numpy(vectors).to(choose(candidates.device))
    errors, inputs = both.split(candidates.factors, dim=1)
    return Gradients(errors.contiguous(), inputs.contiguous(), order)
