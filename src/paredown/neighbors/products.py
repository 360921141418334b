"""Inner products of vectors that stand for outer products, which are never formed.

A row (u, v) with u of width C and v of width F stands for the C·F numbers of u ⊗ v, as the gradient of a linear layer
does. Then ⟨u ⊗ v, u' ⊗ v'⟩ = ⟨u, u'⟩ ⟨v, v'⟩, which costs C + F multiplications instead of C·F.
"""

from __future__ import annotations

import torch
from torch import Tensor


def inner(u: Tensor, v: Tensor, others_u: Tensor, others_v: Tensor) -> Tensor:
    """Gives the inner product of every row with every other, shape (A, B).

    Args:
        u, v: the two parts of some rows, shapes (A, C) and (A, F).
        others_u, others_v: of others, shapes (B, C) and (B, F).
    """
    return (u @ others_u.T) * (v @ others_v.T)


def squared_norms(u: Tensor, v: Tensor) -> Tensor:
    """Gives ‖u ⊗ v‖² of each row, shape (A,)."""
    return u.square().sum(1) * v.square().sum(1)


def distances(u: Tensor, v: Tensor, others_u: Tensor, others_v: Tensor) -> Tensor:
    """Gives the Euclidean distance of every row to every other, shape (A, B); in the precision of what is given."""
    ends = squared_norms(u, v)[:, None] + squared_norms(others_u, others_v)
    return (ends - 2 * inner(u, v, others_u, others_v)).clamp_min_(0).sqrt_()


def along(u: Tensor, v: Tensor, direction: Tensor) -> Tensor:
    """Gives the inner product of each row with one matrix, ⟨u ⊗ v, D⟩ = uᵀ D v, shape (A,).

    Args:
        u, v: the two parts, shapes (A, C) and (A, F).
        direction: D, shape (C, F).
    """
    return torch.einsum("nc,nc->n", v @ direction.T, u)


def total(u: Tensor, v: Tensor) -> Tensor:
    """Gives the sum of the outer products, shape (C, F)."""
    return u.T @ v
