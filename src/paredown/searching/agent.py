"""The agent of the published search, on `stable-baselines3`: its networks, its replay buffer and its update.

What the library's DDPG has no setting for stands here: a sigmoid at the actor's end (its own is a tanh), first weights
drawn from N(0, 0.01²), a rate of its own for each network, batches drawn without replacement whose rewards lose their
mean, and draws that are functions of the seed and the number of the update.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import nn

from paredown.errors import require
from paredown.rng import key, stream

require("stable_baselines3", "rl")

import gymnasium  # noqa: E402  (after the sentence that says how to install it)
from stable_baselines3 import DDPG  # noqa: E402
from stable_baselines3.common.buffers import ReplayBuffer  # noqa: E402
from stable_baselines3.common.logger import Logger  # noqa: E402
from stable_baselines3.common.type_aliases import ReplayBufferSamples  # noqa: E402
from stable_baselines3.td3.policies import Actor, TD3Policy  # noqa: E402


class SigmoidPolicy(TD3Policy):
    """Actor and critic; the actor gives actions in [0, 1] as the environment takes them, without rescaling."""

    def make_actor(self, features_extractor: Any = None) -> Actor:
        actor = super().make_actor(features_extractor)
        actor.mu[-1] = nn.Sigmoid()
        return actor


class Replay(ReplayBuffer):
    """The replay buffer: batches are drawn without replacement, and their mean reward is taken off.

    `seed` and `drawn`, the number of batches so far, say what the next one is.
    """

    seed = 0
    drawn = 0

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        size = self.buffer_size if self.full else self.pos
        self.drawn += 1
        rows = stream(self.seed, "replay", self.drawn).permutation(size)[:batch_size]
        batch = self._get_samples(rows, env=env)
        # The published code calls it a moving average of rewards; it is the mean of the batch, with no memory.
        return batch._replace(rewards=batch.rewards - batch.rewards.mean())


class Agent(DDPG):
    """DDPG as the published search has it.

    Args:
        env: the walk; its spaces are read.
        hidden: units of both layers of both networks.
        actor_rate: of Adam.
        critic_rate: of Adam.
        discount: γ.
        tau: how far target networks move at each update.
        capacity: transitions that are kept.
        spread: standard deviation of the first weights and biases.
        seed: of the first weights and of the batches.
    """

    def __init__(
        self,
        env: gymnasium.Env[np.ndarray, np.ndarray],
        *,
        hidden: int,
        actor_rate: float,
        critic_rate: float,
        discount: float,
        tau: float,
        capacity: int,
        spread: float,
        seed: int,
    ) -> None:
        # What the library draws for its own first weights is replaced, and must not move torch's generator.
        with torch.random.fork_rng(devices=[]):
            super().__init__(
                SigmoidPolicy,
                env,
                learning_rate=critic_rate,
                buffer_size=capacity,
                gamma=discount,
                tau=tau,
                replay_buffer_class=Replay,
                policy_kwargs={"net_arch": [hidden, hidden]},
                device="cpu",
            )
        self.rates = {"actor": actor_rate, "critic": critic_rate}
        cast(Replay, self.replay_buffer).seed = seed
        self.set_logger(Logger(None, []))
        draw = torch.Generator().manual_seed(key(seed, "agent"))
        with torch.no_grad():
            for parameter in (*self.actor.parameters(), *self.critic.parameters()):
                parameter.normal_(0.0, spread, generator=draw)
        self.copy_to_targets()

    def _update_learning_rate(self, optimizers: Any) -> None:
        for network, rate in ((self.actor, self.rates["actor"]), (self.critic, self.rates["critic"])):
            for group in network.optimizer.param_groups:
                group["lr"] = rate

    def copy_to_targets(self) -> None:
        """Makes the target networks equal to the others."""
        self.actor_target.load_state_dict(self.actor.state_dict())
        self.critic_target.load_state_dict(self.critic.state_dict())

    def act(self, state: np.ndarray) -> float:
        """Gives the actor's action for a state, without noise."""
        with torch.no_grad():
            return float(self.actor(torch.from_numpy(state)[None]))

    def remember(self, states: list[np.ndarray], actions: list[float], reward: float) -> None:
        """Keeps the transitions of an episode; each gets the reward of the whole.

        Args:
            states: one before each step, and the last.
            actions: of the steps.
            reward: at the end.
        """
        assert self.replay_buffer is not None
        for place, action in enumerate(actions):
            done = place == len(actions) - 1
            self.replay_buffer.add(
                states[place], states[place + 1], np.array([action]), np.array(reward), np.array(done), [{}]
            )

    def update(self, steps: int, batch: int, *, copy: bool = False) -> None:
        """Takes gradient steps on batches of transitions.

        Args:
            steps: how many.
            batch: transitions in each; all, where there are fewer.
            copy: make the target networks equal to the others before each step.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums are then the same whatever the machine, and small networks no slower
        try:
            with torch.random.fork_rng(devices=[]):  # the library draws a noise for targets and makes it 0
                for _ in range(steps):
                    if copy:
                        self.copy_to_targets()
                    self.train(1, batch)
        finally:
            torch.set_num_threads(threads)
