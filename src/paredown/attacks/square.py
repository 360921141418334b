"""The Square attack: random squares, kept where they help; it sees logits and never a gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from paredown.attacks import losses
from paredown.attacks.base import TINY, AbstractAttack, Ball, Norm, full, lengths
from paredown.errors import MethodError

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of ten thousand, after which the squares become half as large."""


@dataclass(frozen=True)
class Square(AbstractAttack):
    """Square attack: a random search over square patches at the edge of the ball (Andriushchenko et al. 2020).

    L∞: algorithm 2, colours of ±ε in one square; L2: algorithm 3, the change inside one window is moved into another.
    A patch stays where it lowers the label's margin. Where this attack does better than those that use gradients, the
    network hides its gradients and is not robust.

    Args:
        norm: of the ball.
        eps: its radius ε.
        queries: how many patches are tried.
        share: p, the share of the pixels that the first squares cover.
    """

    norm: Norm = "linf"
    eps: float | None = 8 / 255
    queries: int = 1000
    share: float = 0.8

    paper: ClassVar[str] = (
        "Andriushchenko et al. 2020, Square Attack: a Query-efficient Black-box Adversarial Attack via Random Search"
    )

    def __post_init__(self) -> None:
        self.check()
        if self.queries < 1:
            raise MethodError(f"Square(queries={self.queries}): at least one query is needed.")
        if not 0 < self.share <= 1:
            raise MethodError(f"Square(share={self.share:g}): a share lies above 0 and is at most 1.")

    @torch.no_grad()
    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        draw = _Draw(generator, x)
        ball = self.ball
        best = ball.project(x + (_stripes(x, ball.eps, draw) if self.norm == "linf" else _tiles(x, ball.eps, draw)), x)
        lowest = -losses.margin(full(network(best)), y)
        for query in range(self.queries):
            rows = torch.nonzero(lowest > 0)[:, 0]  # those that are wrong already are left alone
            if not len(rows):
                break
            side = side_at(self.share, query, self.queries, x.shape[-2:])
            patched = _coloured if self.norm == "linf" else _moved
            tried = patched(best[rows], x[rows], side, ball, draw)
            value = -losses.margin(full(network(tried)), y[rows])
            better = value < lowest[rows]
            best[rows[better]], lowest[rows[better]] = tried[better], value[better]
        return best


def side_at(share: float, query: int, queries: int, size: torch.Size | tuple[int, int]) -> int:
    """Gives the side of the squares at a query, from 0: the first ones cover `share`, later ones less."""
    reached = sum(query / queries * 10_000 > halving for halving in HALVINGS)
    return max(1, min(round(math.sqrt(share / 2**reached * size[0] * size[1])), *size))


class _Draw:
    """Random numbers where the images are."""

    def __init__(self, generator: torch.Generator, x: Tensor) -> None:
        self.generator, self.device, self.dtype = generator, x.device, x.dtype

    def signs(self, *shape: int) -> Tensor:
        bits = torch.randint(0, 2, shape, generator=self.generator, device=self.device)
        return (2 * bits - 1).to(self.dtype)

    def below(self, end: int) -> int:
        return int(torch.randint(0, end, (1,), generator=self.generator, device=self.device))


def _stripes(x: Tensor, eps: float, draw: _Draw) -> Tensor:
    return eps * draw.signs(len(x), x.shape[1], 1, x.shape[3]).expand_as(x)


def _coloured(best: Tensor, x: Tensor, side: int, ball: Ball, draw: _Draw) -> Tensor:
    top, left = draw.below(x.shape[2] - side + 1), draw.below(x.shape[3] - side + 1)
    tried = best.clone()
    window = (..., slice(top, top + side), slice(left, left + side))
    tried[window] = x[window] + ball.eps * draw.signs(len(x), x.shape[1], 1, 1)
    return ball.project(tried, x)


def _tiles(x: Tensor, eps: float, draw: _Draw) -> Tensor:
    """The beginning in L2: a grid of bumps that together have the length of the radius."""
    side = max(1, min(x.shape[2:]) // 5)
    change = torch.zeros_like(x)
    for top in range(0, x.shape[2] - side + 1, side):
        for left in range(0, x.shape[3] - side + 1, side):
            change[..., top : top + side, left : left + side] += _bump(side, draw) * draw.signs(
                len(x), x.shape[1], 1, 1
            )
    return eps * change / lengths(change).clamp_min(TINY)


def _moved(best: Tensor, x: Tensor, side: int, ball: Ball, draw: _Draw) -> Tensor:
    """Takes the change out of one window and puts its length, and what the radius still allows, into another."""
    high, wide = x.shape[2:]
    side = min(max(3, side + 1 - side % 2), high, wide)
    (top, left), (other_top, other_left) = (
        (draw.below(high - side + 1), draw.below(wide - side + 1)) for _ in range(2)
    )
    window = (..., slice(top, top + side), slice(left, left + side))
    other = (..., slice(other_top, other_top + side), slice(other_left, other_left + side))
    change = best - x
    both = torch.zeros_like(change)
    both[window], both[other] = change[window], change[other]
    free = (ball.eps**2 - lengths(change) ** 2).clamp_min(0.0)
    here = change[window]
    channel = here.flatten(2).norm(dim=2)[..., None, None]
    fresh = _bump(side, draw) * draw.signs(len(x), x.shape[1], 1, 1) + here / channel.clamp_min(TINY)
    in_both = both.flatten(2).norm(dim=2)[..., None, None] ** 2
    length = (free / x.shape[1] + in_both).sqrt()
    fresh = fresh / fresh.flatten(2).norm(dim=2)[..., None, None].clamp_min(TINY) * length
    change = change.clone()
    change[other] = 0.0
    change[window] = fresh
    return ball.project(x + ball.eps * change / lengths(change).clamp_min(TINY), x)


def _bump(side: int, draw: _Draw) -> Tensor:
    """A pattern of length one, high on one half of a square and low on the other, either way round."""
    half = side // 2
    pattern = torch.cat([_cone(half, side), -_cone(side - half, side)]) if half else torch.ones(1, side)
    pattern = (pattern / pattern.norm()).to(draw.device, draw.dtype)
    return pattern.T if draw.below(2) else pattern


def _cone(high: int, wide: int) -> Tensor:
    """Sum of nested rectangles around the middle, the inner ones heavier."""
    rows, columns = torch.arange(high), torch.arange(wide)
    far = torch.maximum((rows - high // 2).abs()[:, None], (columns - wide // 2).abs()[None, :])
    weights = 1.0 / (torch.arange(max(high, wide) // 2 + 1) + 1.0) ** 2
    return weights.flip(0).cumsum(0).flip(0)[far.clamp_max(len(weights) - 1)]
