"""Several attacks as one: an image survives when none of them fools the network on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paredown.attacks.apgd import Apgd
from paredown.attacks.base import AbstractAttack, Norm
from paredown.attacks.square import Square
from paredown.rng import key


@dataclass(frozen=True, eq=False)
class Worst:
    """What is left of a batch after several attacks.

    Args:
        images: for each example the image that fooled the network, or the clean one where none did, (B, C, H, W).
        right: whether the clean image is classified rightly, bool (B,).
        fooled_by: the place of the first attack that fooled the network, from 0; the number of attacks where none did;
            -1 where the clean image is wrong already. int64 (B,).
        attacks: how many were tried.
    """

    images: Tensor
    right: Tensor
    fooled_by: Tensor
    attacks: int

    @property
    def robust(self) -> Tensor:
        """Which examples are classified rightly whatever was tried, bool (B,)."""
        return self.fooled_by == self.attacks


def worst_case(network: nn.Module, attacks: Sequence[AbstractAttack], x: Tensor, y: Tensor, *, seed: int = 0) -> Worst:
    """Gives what a batch looks like after the worst of several attacks.

    Only examples that are still classified rightly go on to the next attack, so put the cheap ones first.

    Args:
        network: from pixels in [0, 1] to logits, in inference mode.
        attacks: in the order in which they are tried.
        x: clean images, shape (B, C, H, W).
        y: labels, int64 (B,).
        seed: of what they draw; each attack draws its own.
    """
    with torch.no_grad():
        right = network(x).argmax(dim=1) == y
    images = x.clone()
    fooled_by = torch.where(right, len(attacks), -1)
    for place, attack in enumerate(attacks):
        rows = torch.nonzero(fooled_by == len(attacks))[:, 0]
        if not len(rows):
            break
        moved = attack(network, x[rows], y[rows], seed=key(seed, "attack", place))
        with torch.no_grad():
            wrong = network(moved).argmax(dim=1) != y[rows]
        images[rows[wrong]] = moved[wrong]
        fooled_by[rows[wrong]] = place
    return Worst(images, right, fooled_by, len(attacks))


def quick_ensemble(norm: Norm, eps: float) -> tuple[AbstractAttack, ...]:
    """Gives the quick ensemble: Auto-PGD on cross-entropy, then targeted on DLR, then Square.

    They are three of AutoAttack's four, with fewer queries; FAB seldom finds what these do not.
    """
    return (
        Apgd(norm=norm, eps=eps, steps=50, loss="cross-entropy", best="clean"),
        Apgd(norm=norm, eps=eps, steps=50, loss="targeted-dlr", best="clean"),
        Square(norm=norm, eps=eps, queries=1000),
    )
