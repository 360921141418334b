"""Functions for the methods that take one by name."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nn

from paredown.selection import Candidates


def label_logit(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return network(x).gather(1, y[:, None])[:, 0]


def lowest_ids(candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.argsort(candidates.keys)[:count]
