"""The outer loss of distillation as it reads: kernels between all pairs, virtual examples, one by one, in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def coefficients(support: np.ndarray, labels: np.ndarray, ridge: float) -> np.ndarray:
    """Gives the dual coefficients, (N, C)."""
    gram = support @ support.T
    return np.linalg.solve(gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram)), labels)


def predicted(targets: np.ndarray, support: np.ndarray, labels: np.ndarray, ridge: float) -> np.ndarray:
    """Gives the predictions by the kernel between targets and support, (B, C)."""
    return (targets @ support.T) @ coefficients(support, labels, ridge)


def hardest(errors: np.ndarray, share: float) -> list[int]:
    """Gives the hardest share, hardest first, the lower position first on ties."""
    order = sorted(range(len(errors)), key=lambda position: (-errors[position], position))
    return order[: int(share * len(errors))] if share < 1 else list(range(len(errors)))


def partner(features: np.ndarray, position: int) -> int:
    """Gives the nearest other one by cosine."""
    norms = np.linalg.norm(features, axis=1)
    cosines = features @ features[position] / np.maximum(norms * norms[position], 1e-300)
    return max((other for other in range(len(features)) if other != position), key=lambda other: cosines[other])


def published_loss(
    support: np.ndarray,
    labels: np.ndarray,
    targets: np.ndarray,
    aims: np.ndarray,
    *,
    epsilon: float,
    share: float,
    ridge: float = 1e-6,
) -> float:
    """Gives the loss as published: A and B by two products of matrices, mean over classes, then over examples."""
    errors = ((predicted(targets, support, labels, ridge) - aims) ** 2).sum(1) / 2
    kept = hardest(errors, share)
    targets, aims = targets[kept], aims[kept]
    near = [partner(targets, position) for position in range(len(targets))]
    first = predicted(targets, support, labels, ridge) - aims
    second = predicted(targets - targets[near], support, labels, ridge) - (aims - aims[near])
    return float((first**2 + epsilon * first * second + epsilon**2 / 3 * second**2).mean())


def mean_over_virtual_examples(error: Callable[[float], float], low: float, high: float) -> float:
    """Gives the mean of an error over λ in [low, high], by Gauss and Legendre's rule with 8 points."""
    if low == high:
        return error(low)
    points, weights = np.polynomial.legendre.leggauss(8)
    middle, half = (low + high) / 2, (high - low) / 2
    return float(sum(weight / 2 * error(middle + half * point) for point, weight in zip(points, weights, strict=True)))
