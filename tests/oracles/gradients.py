"""Selectors of gradients, slow and obvious: every gradient written out as C·F numbers."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import nnls
from torch.nn import functional


def written_out(vectors: np.ndarray, factors: tuple[int, int]) -> np.ndarray:
    """Gives the outer products that rows (u, v) stand for, float64 (N, C·F)."""
    u, v = vectors[:, : factors[0]].astype(np.float64), vectors[:, factors[0] :].astype(np.float64)
    return (u[:, :, None] * v[:, None, :]).reshape(len(vectors), -1)


def distance_matrix(gradients: np.ndarray) -> np.ndarray:
    return np.linalg.norm(gradients[:, None] - gradients[None], axis=2)


def craig(gradients: np.ndarray, count: int) -> tuple[list[int], np.ndarray]:
    """Gives the greedy medoids, every gain computed at every step, and the sizes of their clusters."""
    apart = distance_matrix(gradients)
    similar = apart.max() - apart
    chosen: list[int] = []
    for _ in range(count):
        gains = [
            -np.inf if row in chosen else similar[[*chosen, row]].max(axis=0).sum() for row in range(len(gradients))
        ]
        # Two that gain each other's distance tie, and the order of a sum must not decide.
        chosen.append(int(np.argmax(np.round(gains, 8))))
    return chosen, np.bincount(apart[chosen].argmin(axis=0), minlength=count).astype(float)


def grad_match(gradients: np.ndarray, count: int, ridge: float) -> tuple[list[int], np.ndarray]:
    """Gives orthogonal matching pursuit with the weights solved from nothing at every step."""
    target = gradients.sum(axis=0)
    residual, chosen, weights = target, [], np.zeros(0)
    for _ in range(count):
        towards = gradients @ residual
        towards[chosen] = -np.inf
        chosen.append(int(np.argmax(towards)))
        columns = np.vstack([gradients[chosen].T, np.sqrt(ridge) * np.eye(len(chosen))])
        weights, _ = nnls(columns, np.concatenate([target, np.zeros(len(chosen))]))
        residual = target - weights @ gradients[chosen]
    return chosen, weights


def glister(
    features: np.ndarray, weight: np.ndarray, labels: np.ndarray, held: np.ndarray, count: int, rate: float, picks: int
) -> list[int]:
    """Gives the greedy order of everything that is not held out, all gradients by autograd through a real layer.

    Args:
        features: what the layer sees, the constant 1 included, shape (N, F).
        weight: of the layer, shape (C, F).
    """
    h, y = torch.from_numpy(features).double(), torch.from_numpy(labels)
    start = torch.from_numpy(weight).double()

    def gradient(at: torch.Tensor, rows: list[int]) -> torch.Tensor:
        layer = at.clone().requires_grad_()
        loss = functional.cross_entropy(h[rows] @ layer.T, y[rows])
        return torch.autograd.grad(loss, layer)[0]

    own = [gradient(start, [row]) for row in range(len(h))]
    layer, chosen = start.clone(), []
    free = [row for row in range(len(h)) if row not in set(held.tolist())]
    while len(chosen) < count:
        towards = gradient(layer, held.tolist())
        ranked = sorted(free, key=lambda row: (-float((own[row] * towards).sum()), row))[:picks]
        chosen += ranked
        free = [row for row in free if row not in ranked]
        for row in ranked:
            layer = layer - rate * own[row]
    return chosen[:count]
