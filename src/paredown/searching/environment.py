"""The walk as a `gymnasium` environment, for agents of any library: one step a layer, the reward at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from paredown.artifacts.strategy import PruningStrategy
from paredown.errors import require
from paredown.searching.problem import Problem
from paredown.searching.state import STATIC
from paredown.searching.walk import Walk

require("gymnasium", "rl")

import gymnasium  # noqa: E402  (after the sentence that says how to install it)


class PruningEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A walk over the layers of a network.

    An observation is the state of the next layer, float32 (11,), see `searching.state`; an action its wish in [0, 1],
    float32 (1,). The reward is 0 until the last step, whose `info` holds the `strategy`, its `ratio` of the dense cost
    and the `shares` of the steps.

    Args:
        problem: what is walked.
        reward: of a strategy.
        measure: what the strategies say made them.
    """

    metadata = {"render_modes": []}

    def __init__(self, problem: Problem, reward: Callable[[PruningStrategy], float], measure: str = "") -> None:
        self.problem, self.reward, self.measure = problem, reward, measure
        self._walk = Walk(problem)
        # Columns that are the same for every layer are not scaled, and may lie above 1.
        high = np.ones(problem.rows.shape[1], np.float32)
        high[:STATIC] = problem.rows[:, :STATIC].max(axis=0).clip(1.0)
        self.observation_space = gymnasium.spaces.Box(np.zeros_like(high), high, dtype=np.float32)
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begins a walk; nothing in it is drawn, so that the seed changes nothing."""
        super().reset(seed=seed)
        self._walk = Walk(self.problem)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step of the walk.

        Raises:
            MethodError: the action is no number in [0, 1], or the walk is over.
        """
        self._walk.take(float(np.asarray(action).reshape(-1)[0]))
        if not self._walk.done:
            return self._observe(), 0.0, False, False, {}
        strategy = self._walk.strategy(self.measure)
        info = {"strategy": strategy, "ratio": self._walk.ratio, "shares": list(self._walk.shares)}
        return self._observe(), float(self.reward(strategy)), True, False, info

    def _observe(self) -> np.ndarray:
        # Rounding may put what was removed a little outside [0, 1].
        return self._walk.observe().astype(np.float32).clip(self.observation_space.low, self.observation_space.high)  # type: ignore[attr-defined]
