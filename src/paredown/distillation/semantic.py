"""Infinite semantic augmentation: only the hardest real examples count, and each stands for a line of virtual ones.

A prediction by kernel ridge regression is linear in the features of the target. Moved by λ (h_i − h_j) in features and
λ (y_i − y_j) in labels, an example therefore has the residual r_i + λ (r_i − r_j), and the average of its square over a
range of λ has a closed form: no virtual example is ever made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from paredown.distillation.regression import product, raised
from paredown.errors import MethodError
from paredown.method import Method

Direction = Literal["extrapolate", "interpolate", "symmetric"]
Reduction = Literal["class-mean", "half-sum"]


@dataclass(frozen=True)
class InfiniteSemantic(Method):
    """Infinite semantic augmentation of crucial samples.

    Of a batch the hardest examples are kept; each is paired with its nearest neighbour by features, and its squared
    error is averaged over the line through both.

    Args:
        epsilon: how far the line reaches, as a multiple of the distance to the neighbour; at 0 nothing is augmented.
        keep_hardest: share of the batch that is kept, those with the largest errors; 1 keeps all.
        direction: "extrapolate", away from the neighbour, as in the published code; "interpolate", towards it, as its
            abstract has it; or "symmetric", both ways.
        reduction: "class-mean", mean over classes of the squared error, as in the published code; or "half-sum", half
            their sum, which with epsilon 0 and all examples kept is the loss of FRePo. For C classes the second is C/2
            times the first.
    """

    epsilon: float = 0.5
    keep_hardest: float = 0.8
    direction: Direction = "extrapolate"
    reduction: Reduction = "class-mean"

    kind: ClassVar[str] = "semantic-augmentation"
    paper: ClassVar[str] = (
        "Boosting Dataset Distillation with the Assistance of Crucial Samples for Visual Learning, "
        "IEEE Transactions on Multimedia 2025"
    )

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < float("inf"):
            raise MethodError(
                f"InfiniteSemantic(epsilon={self.epsilon:g}): a line reaches 0 or more. "
                "To go towards the neighbour take direction='interpolate'."
            )
        if not 0 < self.keep_hardest <= 1:
            raise MethodError(
                f"InfiniteSemantic(keep_hardest={self.keep_hardest:g}): a share of the batch is above 0 and at most 1."
            )

    def kept(self, errors: Tensor) -> Tensor:
        """Gives the positions of the examples that count, hardest first, int64 (S,).

        Args:
            errors: how hard each example is, shape (B,).

        Raises:
            MethodError: no example would be left.
        """
        positions = hardest(errors, self.keep_hardest)
        if not len(positions):
            raise MethodError(
                f"InfiniteSemantic(keep_hardest={self.keep_hardest:g}): of a batch of {len(errors)} no example would "
                "be left. Keep a larger share, or take larger batches."
            )
        return positions

    def losses(self, residuals: Tensor, features: Tensor) -> Tensor:
        """Gives the loss of each example that was kept, shape (S,).

        Args:
            residuals: prediction less label, with gradient, shape (S, C).
            features: of the same examples, shape (S, d); no gradient flows into them.
        """
        if self.epsilon:
            near = partners(features)
            squares = semantic_losses(residuals, near, epsilon=self.epsilon, direction=self.direction)
        else:
            squares = residuals.square().sum(dim=1)
        return squares / 2 if self.reduction == "half-sum" else squares / residuals.shape[1]


def hardest(errors: Tensor, share: float) -> Tensor:
    """Gives the positions of a share of the examples by decreasing error, int64 (S,); of equal errors the first first.

    The share of B examples is ⌊share · B⌋ of them; from 1 on it is all of them in their own order. A share of 0 is all
    of them too, and a negative one that of the *easiest*, as in the published code.

    Args:
        errors: shape (B,); no gradient flows into them.
        share: up to 1.
    """
    if share >= 1:
        return torch.arange(len(errors), device=errors.device)
    order = errors.detach().argsort(descending=True, stable=True)
    count = int(share * len(errors))
    return order[:count] if share > 0 else order[count:]


def partners(features: Tensor) -> Tensor:
    """Gives the position of each example's nearest other one by cosine, int64 (S,); of equally near ones the first.

    Features of length 0 are equally near to all. An example that is alone is its own partner.

    Args:
        features: shape (S, d).
    """
    with torch.no_grad():
        directions = functional.normalize(raised(features)[0], dim=1)
        cosines = product(directions, directions.mT)
        return cosines.fill_diagonal_(-torch.inf).argmax(dim=1)


def semantic_losses(
    residuals: Tensor, partners: Tensor, *, epsilon: float, direction: Direction = "extrapolate"
) -> Tensor:
    """Gives the mean over λ of ‖r_i + λ (r_i − r_j)‖², shape (S,).

    With d = r_i − r_j: ‖r_i‖² + ε ⟨r_i, d⟩ + ε²/3 ‖d‖² for λ in [0, ε] ("extrapolate"), the same with −ε for λ in
    [−ε, 0] ("interpolate"), and ‖r_i‖² + ε²/3 ‖d‖² for λ in [−ε, ε] ("symmetric").

    Args:
        residuals: r, prediction less label, shape (S, C).
        partners: j of each i, int64 (S,).
        epsilon: ε, of either sign.
        direction: which way the line leads from r_i.
    """
    apart = residuals - residuals[partners]
    losses = residuals.square().sum(dim=1) + epsilon**2 / 3 * apart.square().sum(dim=1)
    if direction == "symmetric":
        return losses
    signed = epsilon if direction == "extrapolate" else -epsilon
    return losses + signed * (residuals * apart).sum(dim=1)
