"""Kernel ridge regression on features: what a few learnt images, with the labels they carry, predict for real ones.

With H the features of the support, Y their labels and K = H Hᵀ, the dual coefficients are W = (K + ρ · tr(K)/N · I)⁻¹ Y
and the predictions for features T are T Hᵀ W (Zhou et al. 2022, FRePo). The ridge is relative to the mean
of the diagonal, so that scaling all features changes no prediction.

Everything is computed in float32 or float64 as given, with autocast and TF32 off in both directions: the matrix that is
inverted has condition numbers up to 10⁶, and products of fewer digits would show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from paredown.errors import MethodError
from paredown.neighbors.bounds import full_precision


def regularised(gram: Tensor, ridge: float) -> Tensor:
    """Gives K + ρ · tr(K)/N · I, shape (N, N).

    Args:
        gram: K, shape (N, N).
        ridge: ρ.
    """
    return gram + torch.diag_embed((ridge * gram.diagonal().mean()).expand(len(gram)))


def dual(features: Tensor, labels: Tensor, *, ridge: float = 1e-6, wait: bool = True) -> Tensor:
    """Gives the dual coefficients W of the regression, shape (N, C); differentiable in both arguments.

    Args:
        features: H, shape (N, d); what has fewer digits than float32 is raised to it.
        labels: Y, shape (N, C).
        ridge: ρ.
        wait: wait for the device and see whether the matrix could be factorised; otherwise NaN says that it could not.

    Raises:
        MethodError: the matrix is not positive definite, so that there is no regression.
    """
    features, labels = raised(features, labels)
    coefficients, failed = _Dual.apply(features, labels, ridge)
    if wait and int(failed):
        raise MethodError(_broken(features, ridge))
    return coefficients


def predictions(targets: Tensor, features: Tensor, coefficients: Tensor) -> Tensor:
    """Gives what the regression predicts, T Hᵀ W, shape (B, C).

    Args:
        targets: T, features of the images that are predicted, shape (B, d).
        features: H, features of the support, shape (N, d).
        coefficients: W, from `dual`, shape (N, C).
    """
    targets, features, coefficients = raised(targets, features, coefficients)
    (rows, width), (support, classes) = targets.shape, coefficients.shape
    # Mostly there are fewer classes than images, and the weights of a class cost less than the kernel between images.
    if width * classes * (support + rows) < rows * support * (width + classes):
        return product(targets, product(features.mT, coefficients))
    return product(product(targets, features.mT), coefficients)


def regression_errors(predicted: Tensor, labels: Tensor) -> Tensor:
    """Gives half the squared error of each prediction, ½ Σ_c (P_c − y_c)², shape (B,).

    Args:
        predicted: P, shape (B, C).
        labels: y, shape (B, C).
    """
    return (predicted - labels).square().sum(dim=1) / 2


def refuse_or_warn(support: int, width: int, *, ridge: float = 1e-6) -> str | None:
    """Gives a sentence where a support has no fewer images than features, so that rounding decides the regression.

    Args:
        support: N, mirror images included.
        width: d.
        ridge: ρ.

    Raises:
        MethodError: there is no regression: the ridge is negative, or nothing but a ridge of 0 holds up the matrix.
    """
    if ridge < 0:
        raise MethodError(f"ridge={ridge:g}: a negative ridge makes the regression unstable. Give 0 or more.")
    if support < width:
        return None
    if ridge == 0 and support > width:
        raise MethodError(
            f"ridge=0: {support} images with {width} features each have a singular matrix, and without a ridge there "
            "is no regression. Give a ridge above 0, such as 1e-6."
        )
    return (
        f"The regression has {support} images, mirror images included, and only {width} features: rounding decides "
        f"much of what it predicts. {_remedy(support, width)}"
    )


def raised(*parts: Tensor) -> tuple[Tensor, ...]:
    """Gives tensors in one precision: the widest among them, and at least float32."""
    widest = torch.float32
    for part in parts:
        widest = torch.promote_types(widest, part.dtype)
    return tuple(part.to(widest) for part in parts)


def product(first: Tensor, second: Tensor) -> Tensor:
    """Gives the product of two matrices with all the digits of their type, and so its gradient."""
    return _Product.apply(first, second)


def _broken(features: Tensor, ridge: float) -> str:
    support, width = features.shape
    if not bool(features.isfinite().all()):
        return "The features of the learnt images are not finite: the learning has diverged. Take a smaller rate."
    precision = str(features.dtype).removeprefix("torch.")
    return (
        f"The regression on {support} images with {width} features each broke down: with ridge={ridge:g} its matrix "
        f"is not positive definite in {precision}. {_remedy(support, width)}"
    )


def _remedy(support: int, width: int) -> str:
    fewer = "Take fewer images a class, no mirror images or a wider network; or compute"
    return f"{fewer if support >= width else 'Compute'} the regression in float64, or with a larger ridge."


@contextmanager
def _all_digits(device: torch.device) -> Iterator[None]:
    with torch.autocast(device.type, enabled=False), full_precision():
        yield


class _Product(torch.autograd.Function):
    """A B; its gradient is computed later, when the caller's settings may be others."""

    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, second)
        with _all_digits(first.device):
            return first @ second

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        first, second = ctx.saved_tensors
        with _all_digits(first.device):
            return (
                gradient @ second.mT if ctx.needs_input_grad[0] else None,
                first.mT @ gradient if ctx.needs_input_grad[1] else None,
            )


class _Dual(torch.autograd.Function):
    """W = K'⁻¹ Y with K' = H Hᵀ + ρ tr(H Hᵀ)/N · I, by Cholesky's factor, which also gives the gradient.

    Let Γ be the gradient by W and U = K'⁻¹ Γ. Then that by Y is U and that by K' is −U Wᵀ, of rank C, so that by H
    −(U WᵀH + W UᵀH) − 2 ρ/N ⟨U, W⟩ H needs no product of the size of K.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor, labels: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
        with _all_digits(features.device):
            factor, failed = torch.linalg.cholesky_ex(regularised(features @ features.mT, ridge))
            # A factor that stopped half-way would give numbers that look like a solution.
            factor = torch.where(failed == 0, factor, torch.nan)
            coefficients = torch.cholesky_solve(labels, factor)
        ctx.save_for_backward(features, factor, coefficients)
        ctx.ridge = ridge
        ctx.mark_non_differentiable(failed)
        return coefficients, failed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor, None]:
        features, factor, coefficients = ctx.saved_tensors
        with _all_digits(features.device):
            adjoint = torch.cholesky_solve(gradient, factor)
            if not ctx.needs_input_grad[0]:
                return None, adjoint, None
            by_features = adjoint @ (coefficients.mT @ features) + coefficients @ (adjoint.mT @ features)
            through_trace = 2 * ctx.ridge / len(features) * (adjoint * coefficients).sum()
            return -by_features - through_trace * features, adjoint, None
