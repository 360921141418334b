"""GLISTER: examples whose gradients lower the loss of held-out ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from paredown.errors import MethodError
from paredown.estimate import Estimate
from paredown.selection.base import AbstractSelector, Candidates
from paredown.selection.last_layer import gradients


@dataclass(frozen=True)
class Glister(AbstractSelector):
    """GLISTER: greedily the examples that lower the loss on held-out examples most, to first order.

    A share of the candidates is held out. The gain of an example is η ⟨g_i, ∇L_V(θ)⟩, g_i its gradient of the last
    layer; after every few picks θ moves by -η Σ g of the picked, and the held-out loss is followed exactly: its logits
    are those of the checkpoint plus the change of the last layer applied to h. Killamsetty et al. 2021, AAAI,
    algorithm 2 and section 3.3 (GreedyTaylorApprox). The candidates' own gradients stay those of the checkpoint. The
    held-out examples come last in the order, so that any count can be had.

    4·N·C·F operations for every `picks` picks; memory 4·N·(C + F) bytes.

    Args:
        validation: share of the candidates that is held out, in (0, 1), drawn by the seed; class by class, of each
            class, whose loss alone then counts.
        rate: η, the step of the last layer.
        picks: how many are picked at once, between two looks at the held-out loss.
    """

    validation: float = 0.1
    rate: float = 0.01
    picks: int = 16

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})
    paper: ClassVar[str] = (
        "Killamsetty et al. 2021, GLISTER: Generalization based Data Subset Selection for Efficient and Robust Learning"
    )

    def __post_init__(self) -> None:
        if not 0 < self.validation < 1:
            raise MethodError(
                f"Glister(validation={self.validation:g}): not a share to hold out. Use a number between 0 and 1."
            )
        if self.rate <= 0:
            raise MethodError(f"Glister(rate={self.rate:g}): the step is above 0. Try 0.01.")
        if self.picks < 1:
            raise MethodError(f"Glister(picks={self.picks}): at least one is picked at a time. Give 1 or more.")

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        given = gradients("Glister", candidates)
        size = len(given)
        held = np.sort(rng.permutation(size)[: min(size - 1, max(1, round(self.validation * size)))])
        free = np.ones(size, bool)
        free[held] = False
        seen = HeldOut(*given.of(held)) if len(held) else None
        step = torch.zeros(given.errors.shape[1], given.inputs.shape[1], dtype=torch.float64)
        chosen: list[int] = []
        while len(chosen) < min(count, size - len(held)):
            gains = given.along(seen.gradient(step)) if seen else np.zeros(size)
            ranked = np.argsort(np.where(free, -gains, np.inf), kind="stable")
            picked = ranked[: min(self.picks, int(free.sum()))]
            free[picked] = False
            chosen += picked.tolist()
            step -= self.rate * given.total(picked).cpu()
        return given.order[np.array([*chosen, *held])[:count]]

    def estimate(self, candidates: Candidates, count: int) -> Estimate:
        looks = count / self.picks * (1 + 2 * self.validation)
        memory = 4.0 * len(candidates) * sum(candidates.factors)
        return Estimate(2.0 * looks * len(candidates) * float(np.prod(candidates.factors)), memory)


class HeldOut:
    """The loss of the held-out examples as the last layer moves.

    The label is where the probability's error is lowest (an error of zero everywhere has none, and no gradient), and
    the logarithms of the probabilities are the logits up to a constant, so errors and inputs say all that is needed.

    Args:
        errors: δ at the checkpoint, shape (M, C).
        inputs: [h; 1], shape (M, F).
    """

    def __init__(self, errors: torch.Tensor, inputs: torch.Tensor) -> None:
        self.inputs = inputs.double()
        self.labels = functional.one_hot(errors.argmin(1), errors.shape[1]).double()
        self.logits = (errors.double() + self.labels).clamp_min(torch.finfo(torch.float32).tiny).log()

    def gradient(self, step: torch.Tensor) -> torch.Tensor:
        """Gives the gradient of the mean loss by the last layer, after it has moved by a step; both (C, F)."""
        moved = self.logits + self.inputs @ step.to(self.inputs.device).T
        error = functional.softmax(moved, dim=1) - self.labels
        return error.T @ self.inputs / len(error)
