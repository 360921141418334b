"""Searches for pruning strategies: the walk over the layers under a budget, the reward, and who proposes."""

from paredown.searching.base import AbstractSearcher, Found, Judge
from paredown.searching.baselines import AbstractRule, Erk, GlobalMagnitude, Lamp, Uniform
from paredown.searching.black_box import AbstractStudy, CmaEs, RandomSearch, Tpe
from paredown.searching.ddpg import Ddpg
from paredown.searching.episodes import Episode, Outcome, best_of, read_episodes, write_episodes
from paredown.searching.figure import in_series, layer_shares, shares_figure, write_figure, write_layer_shares
from paredown.searching.problem import Problem
from paredown.searching.reward import PrunedAccuracy, hold_out
from paredown.searching.walk import LayerWalk, Walk, rollout

__all__ = [
    "AbstractRule",
    "AbstractSearcher",
    "AbstractStudy",
    "CmaEs",
    "Ddpg",
    "Episode",
    "Erk",
    "Found",
    "GlobalMagnitude",
    "Judge",
    "Lamp",
    "LayerWalk",
    "Outcome",
    "Problem",
    "PrunedAccuracy",
    "RandomSearch",
    "Tpe",
    "Uniform",
    "Walk",
    "best_of",
    "hold_out",
    "in_series",
    "layer_shares",
    "read_episodes",
    "rollout",
    "shares_figure",
    "write_episodes",
    "write_figure",
    "write_layer_shares",
]
