"""The agent: its update against one written out by hand, its memory, its draws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.searching.networks import distance_reward, known
from torch import nn

pytest.importorskip("stable_baselines3")

from paredown.searching.agent import Agent, Replay
from paredown.searching.ddpg import noisy
from paredown.searching.environment import PruningEnv


def agent_of(*, hidden: int, rates: tuple[float, float], capacity: int, spread: float = 0.3, seed: int = 3) -> Agent:
    env = PruningEnv(known(), lambda strategy: distance_reward(strategy).reward)
    return Agent(
        env,
        hidden=hidden,
        actor_rate=rates[0],
        critic_rate=rates[1],
        discount=1.0,
        tau=0.01,
        capacity=capacity,
        spread=spread,
        seed=seed,
    )


def linears(network: nn.Module) -> list[nn.Linear]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def gradients(network: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Gives what Adam was given at its first step: its first moment is a tenth of it."""
    state = network.optimizer.state
    pairs = [(module.weight, module.bias) for module in linears(network)]
    return [tuple(state[value]["exp_avg"].numpy() / 0.1 for value in pair) for pair in pairs]  # type: ignore[misc]


def test_an_update_is_the_one_of_the_publication() -> None:
    """y = (R - mean R) + γ (1 - done) Q'(s', μ'(s')); the critic goes down (Q - y)², the actor up Q; targets follow."""
    agent = agent_of(hidden=6, rates=(1e-3, 1e-2), capacity=8)
    rng = np.random.default_rng(0)
    s, s2 = rng.random((8, 11), np.float32), rng.random((8, 11), np.float32)
    a, r = rng.random((8, 1), np.float32), rng.random((8, 1), np.float32)
    done = np.array([[0], [1]] * 4, np.float32)
    for row in range(8):
        agent.replay_buffer.add(s[row], s2[row], a[row], r[row], done[row], [{}])  # type: ignore[union-attr]
    with torch.no_grad():  # targets that differ from the others
        for parameter in (*agent.actor_target.parameters(), *agent.critic_target.parameters()):
            parameter.mul_(0.7)

    def copied(network: nn.Module) -> list[torch.Tensor]:
        return [p.detach().double().requires_grad_() for p in network.parameters()]

    actor, critic = copied(agent.actor), copied(agent.critic)
    actor_t, critic_t = copied(agent.actor_target), copied(agent.critic_target)

    def mlp(x: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
        for place in (0, 2):
            x = torch.relu(x @ weights[place].T + weights[place + 1])
        return x @ weights[4].T + weights[5]

    states, nexts, actions, rewards, ends = (torch.from_numpy(part).double() for part in (s, s2, a, r, done))
    target_action = torch.sigmoid(mlp(nexts, actor_t))
    q_next = mlp(torch.cat([nexts, target_action], 1), critic_t)
    y = ((rewards - rewards.mean()) + (1 - ends) * q_next).detach()
    loss = ((mlp(torch.cat([states, actions], 1), critic) - y) ** 2).mean()
    optimizer = torch.optim.Adam(critic, lr=1e-2)
    loss.backward()
    optimizer.step()
    climb = mlp(torch.cat([states, torch.sigmoid(mlp(states, actor))], 1), critic).mean()
    for parameter in (*actor, *critic):
        parameter.grad = None
    (-climb).backward()
    torch.optim.Adam(actor, lr=1e-3).step()
    agent.update(1, 8)
    for made, expected in ((agent.actor, actor), (agent.critic, critic)):
        for one, other in zip(made.parameters(), expected, strict=True):
            torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=1e-4)
    for made, before, online in ((agent.actor_target, actor_t, actor), (agent.critic_target, critic_t, critic)):
        for one, old, new in zip(made.parameters(), before, online, strict=True):
            torch.testing.assert_close(one.double(), 0.99 * old + 0.01 * new, atol=2e-5, rtol=1e-4)


def test_first_weights_and_their_targets() -> None:
    agent = agent_of(hidden=64, rates=(1e-4, 1e-3), capacity=8, spread=0.01)
    values = torch.cat([p.detach().flatten() for p in agent.critic.parameters()])
    assert float(values.std()) == pytest.approx(0.01, rel=0.05) and abs(float(values.mean())) < 1e-3
    for one, other in zip(agent.critic.parameters(), agent.critic_target.parameters(), strict=True):
        assert torch.equal(one, other)
    assert agent.act(np.zeros(11, np.float32)) == pytest.approx(0.5, abs=0.01)  # a sigmoid near 0
    again = agent_of(hidden=64, rates=(1e-4, 1e-3), capacity=8, spread=0.01)
    assert all(torch.equal(x, y) for x, y in zip(agent.actor.parameters(), again.actor.parameters(), strict=True))


def test_batches_have_no_row_twice_and_no_mean() -> None:
    agent = agent_of(hidden=4, rates=(0.0, 0.0), capacity=30)
    for number in range(4):
        states = [np.full(11, number, np.float32)] * 6
        agent.remember(states, [0.1 * step for step in range(5)], float(number))
    buffer = agent.replay_buffer
    assert isinstance(buffer, Replay) and buffer.pos == 20
    batch = buffer.sample(12)
    rows = {(float(s[0]), float(a)) for s, a in zip(batch.observations, batch.actions, strict=True)}
    assert len(rows) == 12
    assert abs(float(batch.rewards.mean())) < 1e-6
    other = buffer.sample(12)
    assert not torch.equal(batch.actions, other.actions)
    assert len(buffer.sample(50).actions) == 20  # all that there are
    # Every transition has the reward of its episode, and only the last ends it.
    assert set(buffer.rewards[:5, 0]) == {0.0} and set(buffer.rewards[5:10, 0]) == {1.0}
    assert buffer.dones[:5, 0].tolist() == [0, 0, 0, 0, 1]


def test_targets_are_copied_before_each_step_where_that_is_asked_for() -> None:
    agent = agent_of(hidden=6, rates=(1e-3, 1e-2), capacity=8)
    agent.remember([np.random.default_rng(n).random(11).astype(np.float32) for n in range(6)], [0.5] * 5, 1.0)
    agent.remember([np.random.default_rng(9 + n).random(11).astype(np.float32) for n in range(6)], [0.2] * 5, 0.0)
    agent.update(5, 8, copy=True)
    for one, other in zip(agent.critic.parameters(), agent.critic_target.parameters(), strict=True):
        assert float((one - other).detach().abs().max()) < 0.03  # one step of Adam apart, less a hundredth


def test_noise_is_cut_at_two_deviations_and_positive() -> None:
    draw = np.random.default_rng(0)
    drawn = np.array([noisy(0.3, 0.2, draw) for _ in range(4000)])
    assert drawn.min() >= 0 and drawn.max() <= 0.7 + 1e-9
    assert (drawn < 0.05).any() and abs(drawn.mean() - 0.3) < 0.02
    assert all(noisy(0.9, 0.4, draw) <= 1 for _ in range(200))
