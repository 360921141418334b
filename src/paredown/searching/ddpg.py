"""DDPG: an agent that learns, layer by layer, how much to keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paredown.errors import MethodError
from paredown.rng import stream
from paredown.searching.base import AbstractSearcher, Judge
from paredown.searching.problem import Problem


@dataclass(frozen=True)
class Ddpg(AbstractSearcher):
    """Deep deterministic policy gradient with the published search's settings, on `stable-baselines3`.

    Zhao et al., "Non-uniform adversarially robust pruning" (AutoML 2022), as their code has it: an actor of two hidden
    layers with a sigmoid, a critic of the same size, γ = 1, target networks that move by 0.01, one hundred episodes of
    uniform actions, then twenty gradient steps after each episode and actions drawn from a normal distribution around
    the actor's, cut at two standard deviations, made positive and at most 1. Every transition gets the reward of its
    whole episode, less the mean of the batch, and holds the action before the wall.

    Where this differs from the published code:

    - There the transition after the end of an episode in the buffer is never drawn, so that the first layer of an
      episode is not learnt. Here all are drawn.
    - There the best strategy is looked for after the warm-up. Here it may be one of chance.
    - There the critic's first layer is a product of the state and one of the action, each with a bias. Here it is one
      product of both with one bias, which gives the same functions and draws one first bias less.
    - The decay of the rates is left out, which has no effect there.

    In a step the critic moves first, and the actor climbs the one that has moved, as in the library.

    Args:
        hidden: units in each of the two hidden layers of actor and critic.
        actor_rate: Adam's rate for the actor.
        critic_rate: Adam's rate for the critic.
        discount: γ.
        tau: how far target networks move at each step.
        batch: transitions of a gradient step.
        memory: episodes whose transitions are kept.
        warm_up: episodes of uniform actions.
        updates: gradient steps after each episode from the last of the warm-up on.
        noise: standard deviation of the action's noise in the first episode after the warm-up, before its decay.
        decay: by which the noise shrinks each episode: σ(e) = noise · decay^(e - warm_up).
        spread: standard deviation of the first weights and biases.
    """

    hidden: int = 300
    actor_rate: float = 1e-4
    critic_rate: float = 1e-3
    discount: float = 1.0
    tau: float = 0.01
    batch: int = 128
    memory: int = 200
    warm_up: int = 100
    updates: int = 20
    noise: float = 0.5
    decay: float = 0.99
    spread: float = 0.01

    paper: ClassVar[str] = "Zhao et al. 2022, Non-uniform Adversarially Robust Pruning; Lillicrap et al. 2016"

    def __post_init__(self) -> None:
        for field in ("hidden", "batch", "memory", "warm_up", "updates"):
            if getattr(self, field) < 1:
                raise MethodError(f"Ddpg({field}={getattr(self, field)}): nothing would be learnt. Give at least 1.")
        if not 0 <= self.discount <= 1 or not 0 < self.tau <= 1:
            raise MethodError(f"Ddpg(discount={self.discount}, tau={self.tau}): both are shares, and tau is above 0.")

    @property
    def libraries(self) -> Mapping[str, str]:
        return {"gymnasium": "rl", "stable_baselines3": "rl"}

    def sigma(self, episode: int) -> float:
        """Gives the standard deviation of the noise in an episode after the warm-up."""
        return self.noise * self.decay ** (episode - self.warm_up)

    def explore(self, problem: Problem, judge: Judge, *, evaluations: int, seed: int) -> None:
        from paredown.searching.agent import Agent
        from paredown.searching.environment import PruningEnv

        env = PruningEnv(problem, judge, self.name)
        agent = Agent(
            env,
            hidden=self.hidden,
            actor_rate=self.actor_rate,
            critic_rate=self.critic_rate,
            discount=self.discount,
            tau=self.tau,
            # The published code counts steps by all layers but one, projections too, whatever the mode.
            capacity=self.memory * max(len(problem.layers) - 1, 1),
            spread=self.spread,
            seed=seed,
        )
        for episode in range(1, evaluations + 1):
            draw = stream(seed, "ddpg", episode)
            state, _ = env.reset()
            states, actions, reward, done = [state], [], 0.0, False
            while not done:
                if episode <= self.warm_up:
                    action = float(draw.random())
                else:
                    action = noisy(agent.act(state), self.sigma(episode), draw)
                state, reward, done, _, _ = env.step(np.array([action], np.float32))
                states.append(state)
                actions.append(action)
            agent.remember(states, actions, reward)
            if episode >= self.warm_up:
                agent.update(self.updates, self.batch, copy=episode == self.warm_up)


def noisy(mean: float, sigma: float, draw: np.random.Generator) -> float:
    """Gives an action drawn from a normal distribution cut at two standard deviations, made positive and at most 1."""
    deviation = draw.standard_normal()
    while abs(deviation) > 2:
        deviation = draw.standard_normal()
    return min(abs(mean + sigma * deviation), 1.0)
