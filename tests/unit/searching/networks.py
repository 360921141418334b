"""A tiny chain of layers, the toy network of the specification, and a reward whose best strategy is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from paredown.artifacts import Layer, PruningStrategy
from paredown.searching import Outcome, Problem


def layer(name: str, inputs: int, outputs: int, side: int, reads: tuple[str, ...] = (), *, kernel: int = 3) -> Layer:
    weights = kernel * kernel * inputs * outputs
    kind = "linear" if side == 1 else "conv"
    return Layer(
        name,
        kind,  # type: ignore[arg-type]
        (kernel, kernel),
        inputs,
        outputs,
        1,
        (side, side),
        weights,
        weights * side * side,
        reads,
    )


TOY = (
    layer("conv1", 3, 8, 8),
    layer("conv2", 8, 16, 8, ("conv1",)),
    layer("conv3", 16, 16, 8, ("conv2",)),
    layer("fc", 16, 10, 1, ("conv3",), kernel=1),
)
CHAIN = (
    layer("c1", 3, 8, 16),
    layer("c2", 8, 16, 16, ("c1",)),
    layer("c3", 16, 16, 8, ("c2",)),
    layer("c4", 16, 32, 8, ("c3",)),
    layer("c5", 32, 32, 4, ("c4",)),
    layer("fc", 32, 10, 1, ("c5",), kernel=1),
)
GOAL = np.array([0.9, 0.6, 0.5, 0.3, 0.2, 0.9])
"""The shares of CHAIN that `distance_reward` likes best."""


def toy(granularity: str, **settings: Any) -> Problem:
    """The toy network in the published accounting, with the rates and bounds of the specification."""
    keep, lower, upper = (0.3, 0.05, 0.8) if granularity == "weight" else (0.5, 0.1, 1.0)
    given: dict[str, Any] = {"lower": lower, "upper": upper, "accounting": "published"} | settings
    return Problem(TOY, granularity, keep, 8, **given)  # type: ignore[arg-type]


def known() -> Problem:
    """CHAIN under a budget that leaves room around GOAL, 0.31 of the weights."""
    return Problem(CHAIN, "weight", 0.5, 16, lower=0.05)


def distance_reward(strategy: PruningStrategy) -> Outcome:
    """Gives 1 less the mean distance of the shares to GOAL."""
    away = float(np.abs(np.array(list(strategy.shares.values())) - GOAL).mean())
    return Outcome(1 - away)
