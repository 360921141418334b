"""Lower bounds of all squared distances from one product of matrices, in the precision in which it is fastest.

A product of matrices has rounding errors, so it cannot say which points are nearest. But it can say which are not: its
errors are bounded, and with the bound among its columns it gives, for each pair, a number that the squared distance
surely exceeds. With `u` the unit roundoff, x and y the centred points, x' and y' what is left of them in bfloat16,
r(x) = |x - x'|, and K the columns of the product:

    |x - y|² = |x|² + |y|² - 2 x·y,   x·y = x'·y' + x'·(y - y') + (x - x')·y ≤ x'·y' + |x'| r(y) + r(x) |y|

so that -|x - y|²/2 ≤ x'·y' + r(x) |y| + |x'| r(y) - |x|²/2 - |y|²/2, which is a scalar product of two rows of K = D + 8
numbers: squares are written as three numbers of bfloat16 each, which hold 24 bits. Sums of products are accumulated in
float32; in any order their error is at most K u (|x| + |y|)² ≤ 2 K u (|x|² + |y|²), and centring, squares and their
pieces err by less than D u + 8 u times |x|² + |y|²: halves of squares are therefore taken too small by the share
4 (K + 4) u. Last, the answer is itself rounded to bfloat16, by the share 2⁻⁸. In float32 and float64, x' = x.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from paredown.data.device import fast_bfloat16

ROUNDED = {torch.bfloat16: 2.0**-7, torch.float32: 0.0, torch.float64: 0.0}
"""The share by which an answer may be wrong because of its own rounding; bfloat16: twice the unit roundoff."""


def operand(points: torch.Tensor, centre: torch.Tensor, *, narrow: bool, query: bool) -> torch.Tensor:
    """Gives the matrix whose product with another bounds minus half the squared distances from above.

    Args:
        points: (n, D), float32 or float64.
        centre: what is subtracted first; distances do not change, and shorter points have smaller errors.
        narrow: compute in bfloat16.
        query: whether these are the rows of the product or the columns.

    Returns:
        (n, K): for queries A and columns B, `A @ B.T` has at (i, j) at least -|x_i - y_j|²/2.
    """
    moved = points - centre
    square = (moved * moved).sum(1, keepdim=True)
    width = moved.shape[1] + (8 if narrow else 2)
    half = square * -(0.5 - (width + 4) * torch.finfo(points.dtype).eps)
    ones = torch.ones_like(half)
    if not narrow:
        return torch.cat([moved, half, ones] if query else [moved, ones, half], 1)
    short = moved.bfloat16()
    moved -= short  # now what was lost
    length = square.sqrt()
    lost = _up(torch.linalg.vector_norm(moved, dim=1, keepdim=True) + length * 2.0**-22)
    left = _up(torch.linalg.vector_norm(short, dim=1, keepdim=True, dtype=torch.float32))
    ones = ones.bfloat16()
    if query:
        return torch.cat([short, *_pieces(half), ones, ones, ones, lost, left], 1)
    return torch.cat([short, ones, ones, ones, *_pieces(half), _up(length), lost], 1)


def lower(answers: torch.Tensor) -> torch.Tensor:
    """Gives what squared distances surely exceed, given answers of the product that are negative; else nothing."""
    wide = answers.double() if answers.dtype == torch.float64 else answers.float()
    return -2 * wide * (1 - ROUNDED[answers.dtype])


def largest(answers: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Gives the largest answers of each row and their columns, in no order; of equal ones, any.

    The `count` largest lie in the groups with the `count` largest maxima, and maxima of groups cost one pass: looking
    into those groups only is a few times as fast as looking for the largest in the whole row.
    """
    columns, group = answers.shape[1], 16
    count = min(count, columns)
    groups = columns // group
    if groups < 4 * count:
        return answers.topk(count, dim=1, sorted=False)
    grouped = answers[:, : groups * group].unflatten(1, (group, groups))  # a group is a column of this
    chosen = grouped.amax(1).topk(count, dim=1, sorted=False).indices
    inside = grouped.gather(2, chosen[:, None].expand(-1, group, -1)).flatten(1)
    values, where = torch.cat([inside, answers[:, groups * group :]], 1).topk(count, dim=1, sorted=False)
    beyond = where - group * count
    place = chosen.gather(1, where.remainder(count)) + groups * where.div(count, rounding_mode="floor")
    return values, torch.where(beyond < 0, place, groups * group + beyond)


def product_rate() -> float:
    """Gives the operations a second of one core of this processor, in a search by such products."""
    # 20,000 × 512 took 1.1 s in bfloat16 and 2.6 s in float32 on two cores of an AMD EPYC (`benchmarks/neighbors.py`).
    return 190e9 if fast_bfloat16(torch.device("cpu")) else 80e9


@contextmanager
def full_precision() -> Iterator[None]:
    """Computes products of float32 in float32, also where TF32 or bfloat16 were allowed: the bounds count on it."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _up(values: torch.Tensor) -> torch.Tensor:
    return (values * (1 + 2.0**-6)).bfloat16()


def _pieces(values: torch.Tensor) -> list[torch.Tensor]:
    pieces = []
    for _ in range(3):
        pieces.append(values.bfloat16())
        values = values - pieces[-1]
    return pieces
