"""The gymnasium environment: gymnasium's own checks, and that it walks as the problem does."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.searching.networks import distance_reward, known, toy
from tests.unit.sparsity.networks import described

pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env

from paredown.artifacts import PruningStrategy
from paredown.searching import Problem, rollout
from paredown.searching.environment import PruningEnv


def total(strategy: PruningStrategy) -> float:
    return sum(strategy.shares.values())


@pytest.mark.parametrize(
    "problem",
    [known(), toy("weight", state="as-coded"), toy("channel", state="as-coded"), toy("channel", first=True)],
    ids=["exact", "weight", "channel", "first"],
)
def test_gymnasium_accepts_it(problem: Problem) -> None:
    check_env(PruningEnv(problem, total), skip_render_check=True)


def test_gymnasium_accepts_groups() -> None:
    layers, groups = described("resnet18")
    check_env(PruningEnv(Problem(layers, "channel", 0.3, 32, groups=groups), total), skip_render_check=True)


def test_it_walks_as_the_problem_does() -> None:
    problem, seen = known(), []

    def reward(strategy: PruningStrategy) -> float:
        seen.append(strategy)
        return distance_reward(strategy).reward

    env = PruningEnv(problem, reward, "mine")
    actions = np.random.default_rng(0).random(6).astype(np.float32)
    state, info = env.reset(seed=4)
    assert state.dtype == np.float32 and state.shape == (11,) and info == {}
    rewards = []
    for action in actions:
        state, worth, done, cut, info = env.step(np.array([action]))
        rewards.append(worth)
        assert not cut
    expected = rollout(problem, actions.astype(float))
    assert done and info["strategy"] == expected.strategy("mine") == seen[0]
    assert info["shares"] == expected.shares and info["ratio"] == expected.ratio
    assert rewards == [0.0] * 5 + [distance_reward(seen[0]).reward]
    np.testing.assert_allclose(state, expected.observe(), atol=1e-6)
    assert (env.reset()[0] == PruningEnv(problem, reward).reset()[0]).all()
