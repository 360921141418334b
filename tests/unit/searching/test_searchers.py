"""Searchers on a reward whose best strategy is known, and what a search leaves when it is killed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.unit.searching.networks import CHAIN, GOAL, TOY, distance_reward, known

from paredown.artifacts import PruningStrategy
from paredown.errors import ArtifactError, MethodError
from paredown.searching import (
    AbstractSearcher,
    CmaEs,
    Ddpg,
    Outcome,
    Problem,
    RandomSearch,
    Tpe,
    Uniform,
    best_of,
    read_episodes,
    write_episodes,
)
from paredown.searching.episodes import FILE

DDPG = Ddpg(hidden=64, warm_up=60, updates=10, actor_rate=1e-3)


def away(shares: tuple[float, ...]) -> float:
    """Gives the mean distance to the best shares."""
    return float(np.abs(np.array(shares) - GOAL).mean())


@pytest.mark.parametrize(
    ("searcher", "evaluations", "tolerance", "library"),
    [
        (RandomSearch(), 250, 0.12, "numpy"),
        (Tpe(), 150, 0.05, "optuna"),
        (CmaEs(), 150, 0.10, "cmaes"),
        (DDPG, 160, 0.10, "stable_baselines3"),
    ],
    ids=["random", "tpe", "cma-es", "ddpg"],
)
def test_a_known_best_strategy_is_found(
    searcher: AbstractSearcher, evaluations: int, tolerance: float, library: str
) -> None:
    """Mean distance of the best strategy's shares to the known ones; uniform pruning is 0.25 away."""
    pytest.importorskip(library)
    found = searcher.search(known(), distance_reward, evaluations=evaluations, seed=1)
    assert len(found.episodes) == evaluations
    assert away(found.best.shares) <= tolerance
    assert found.best.reward == max(row.reward for row in found.episodes)
    assert found.strategy.to_list(CHAIN) == list(found.best.shares)
    uniform = Uniform().search(known(), distance_reward)
    assert away(uniform.best.shares) > 0.2


def test_an_agent_learns_where_chance_does_not() -> None:
    pytest.importorskip("stable_baselines3")
    rewards = {
        searcher: [row.reward for row in searcher.search(known(), distance_reward, evaluations=160, seed=2).episodes]
        for searcher in (RandomSearch(), DDPG)
    }
    late = {searcher: np.mean(values[-20:]) for searcher, values in rewards.items()}
    assert late[DDPG] > late[RandomSearch()] + 0.1
    assert late[DDPG] > np.mean(rewards[DDPG][:60]) + 0.1


def test_the_best_carries_its_budget_and_its_reward(tmp_path: Path) -> None:
    found = RandomSearch().search(known(), distance_reward, evaluations=20, seed=3, folder=tmp_path)
    strategy = found.strategy
    assert strategy.measure == "random"
    assert strategy.notes[-1] == f"reward {found.best.reward:.6g}, evaluation {found.best.episode} of 20"
    assert strategy.budget is not None and strategy.budget.got == found.best.cost_ratio <= 0.5
    assert PruningStrategy.from_json(tmp_path / "strategy.json") == strategy


def test_the_table(tmp_path: Path) -> None:
    found = RandomSearch().search(
        known(), lambda strategy: Outcome(distance_reward(strategy).reward, 0.75, None), evaluations=3, folder=tmp_path
    )
    text = (tmp_path / FILE).read_text()
    head = "episode,reward,cost_ratio,clean_accuracy,adversarial_accuracy,dense_cost,cost,shares"
    assert text.splitlines()[0] == head
    assert len(text.splitlines()) == 4 and ",0.75,," in text
    rows = read_episodes(tmp_path)
    assert tuple(rows) == found.episodes and best_of(rows) == found.best
    assert rows[0].cost == pytest.approx(rows[0].cost_ratio * sum(layer.weights for layer in CHAIN))
    write_episodes(rows, tmp_path / "copy.csv")
    assert (tmp_path / "copy.csv").read_text() == text


class Killed(Exception):
    pass


@pytest.mark.parametrize("searcher", [RandomSearch(), Tpe(start=3), DDPG], ids=lambda value: type(value).__name__)
def test_a_search_that_was_killed_repeats_no_evaluation(searcher: AbstractSearcher, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    pytest.importorskip("optuna")
    if isinstance(searcher, Ddpg):
        searcher = Ddpg(hidden=16, warm_up=6, updates=3)
    evaluated: list[tuple[float, ...]] = []

    def reward(strategy: PruningStrategy) -> Outcome:
        if len(evaluated) in stops:
            stops.remove(len(evaluated))
            raise Killed
        evaluated.append(tuple(strategy.to_list(CHAIN)))
        return distance_reward(strategy)

    stops: set[int] = set()
    searcher.search(known(), reward, evaluations=16, seed=5, folder=tmp_path / "whole")
    whole, first = (tmp_path / "whole" / FILE).read_bytes(), evaluated.copy()
    evaluated.clear()
    stops = {0, 4, 9, 15}
    for _ in range(4):
        with pytest.raises(Killed):
            searcher.search(known(), reward, evaluations=16, seed=5, folder=tmp_path / "cut")
    if evaluated:  # the best so far stands there after a kill
        best = best_of(read_episodes(tmp_path / "cut"))
        assert PruningStrategy.from_json(tmp_path / "cut" / "strategy.json").to_list(CHAIN) == list(best.shares)
    searcher.search(known(), reward, evaluations=16, seed=5, folder=tmp_path / "cut")
    assert evaluated == first
    for name in (FILE, "strategy.json", "search.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert whole == (tmp_path / "cut" / FILE).read_bytes()


def test_a_longer_search_goes_on_from_a_shorter_one(tmp_path: Path) -> None:
    RandomSearch().search(known(), distance_reward, evaluations=5, seed=5, folder=tmp_path)
    count = 0

    def reward(strategy: PruningStrategy) -> Outcome:
        nonlocal count
        count += 1
        return distance_reward(strategy)

    found = RandomSearch().search(known(), reward, evaluations=8, seed=5, folder=tmp_path)
    assert (count, len(found.episodes)) == (3, 8)


def test_a_strategy_is_not_evaluated_twice() -> None:
    count = 0

    def reward(strategy: PruningStrategy) -> Outcome:
        nonlocal count
        count += 1
        return Outcome(sum(strategy.shares.values()))

    # Few channels between narrow bounds: few strategies, many of which are proposed again.
    problem = Problem(TOY, "channel", 0.95, 8, lower=0.85)
    found = RandomSearch().search(problem, reward, evaluations=60)
    assert len(found.episodes) == 60 and count == len({row.shares for row in found.episodes}) < 40


def test_another_search_in_the_folder_is_refused(tmp_path: Path) -> None:
    RandomSearch().search(known(), distance_reward, evaluations=4, seed=5, folder=tmp_path)
    with pytest.raises(ArtifactError, match="holds a search with another seed"):
        RandomSearch().search(known(), distance_reward, evaluations=4, seed=6, folder=tmp_path)
    with pytest.raises(ArtifactError, match="holds a search with another searcher"):
        Uniform().search(known(), distance_reward, seed=5, folder=tmp_path)
    with pytest.raises(ArtifactError, match="holds a search with another told"):
        RandomSearch().search(known(), distance_reward, evaluations=4, seed=5, folder=tmp_path, told={"data": "b"})
    lines = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join([lines[0], lines[2].replace("2,", "1,", 1)]))
    with pytest.raises(ArtifactError, match="strategy 1 of its table is not what the search proposes"):
        RandomSearch().search(known(), distance_reward, evaluations=4, seed=5, folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n", "its header is not that of a search"),
        ("{head}\n1,x,0.1,,,5,1,[0.5]\n", "line 2 is damaged"),
        ("{head}\n2,1.0,0.1,,,5,1,[0.5]\n", "line 2 is damaged"),
    ],
)
def test_a_damaged_table_is_told(tmp_path: Path, text: str, words: str) -> None:
    head = "episode,reward,cost_ratio,clean_accuracy,adversarial_accuracy,dense_cost,cost,shares"
    (tmp_path / FILE).write_text(text.replace("{head}", head))
    with pytest.raises(ArtifactError, match=words):
        read_episodes(tmp_path)
    with pytest.raises(ArtifactError, match="there is no table of a search"):
        read_episodes(tmp_path / "elsewhere")


def test_what_cannot_be_searched() -> None:
    with pytest.raises(MethodError, match="0 evaluations finds nothing"):
        RandomSearch().search(known(), distance_reward, evaluations=0)
    with pytest.raises(MethodError, match="The reward of strategy 1 is nan"):
        RandomSearch().search(known(), lambda strategy: Outcome(float("nan")), evaluations=2)
    with pytest.raises(MethodError, match=r"Ddpg\(updates=0\)"):
        Ddpg(updates=0)


def test_the_header_names_what_is_searched(tmp_path: Path) -> None:
    RandomSearch().search(known(), distance_reward, evaluations=1, folder=tmp_path)
    header = json.loads((tmp_path / "search.json").read_text())
    assert header["problem"]["of"] == "parameters" and header["searcher"]["name"] == "random"
    assert [names[0] for names in header["problem"]["steps"]] == [layer.name for layer in CHAIN]
