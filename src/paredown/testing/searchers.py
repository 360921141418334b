"""The contract of a searcher."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from paredown.artifacts.layers import Granularity
from paredown.artifacts.strategy import PruningStrategy
from paredown.models import Network
from paredown.searching.base import AbstractSearcher, Found
from paredown.searching.episodes import FILE, Outcome, read_episodes
from paredown.searching.problem import Problem
from paredown.searching.walk import LayerWalk
from paredown.sparsity.budget import spending
from paredown.testing.promises import check_plain, promise

EVALUATIONS = 8
KEEP = 0.4


def check_searcher(searcher: AbstractSearcher) -> None:
    """Checks a searcher.

    - It is plain data: `build` gives it back from `plain()`.
    - It proposes as many strategies as it may, or one if it `decides`; all are for the network, all meet the budget,
      and the best of them is found; for single weights and for channels that go together.
    - The same seed proposes the same, another seed something else; torch's and numpy's own random numbers go on as if
      nothing had been drawn.
    - Interrupted at any row it goes on: no strategy is evaluated twice, and the table has the same bytes.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(searcher)
    for granularity in ("weight", "channel"):
        _check_proposals(searcher, granularity)
    _check_resuming(searcher)


def _check_proposals(searcher: AbstractSearcher, granularity: Granularity) -> None:
    name, problem = type(searcher).__name__, _problem(granularity)
    torch_state, numpy_state = torch.random.get_rng_state(), str(np.random.get_state(legacy=False))
    seen: list[PruningStrategy] = []
    found = _search(searcher, problem, seen=seen)
    promise(torch.equal(torch_state, torch.random.get_rng_state()), name, "it draws from torch's own random numbers")
    same = numpy_state == str(np.random.get_state(legacy=False))
    promise(same, name, "it draws from numpy's own random numbers")
    wanted = 1 if searcher.decides else EVALUATIONS
    promise(len(found.episodes) == wanted, name, f"it proposes {len(found.episodes)} strategies, and may {wanted}")
    spend = spending(problem.layers, granularity, "parameters", problem.groups, None)
    if problem.groups is None:
        sizes = [layer.units(granularity) for layer in problem.layers]
        items = [(layer.name, size) for layer, size in zip(problem.layers, sizes, strict=True)]
    else:
        items = [(group.readers[0].module, group.size) for group in problem.groups]
    for strategy in seen:
        counts = [round(strategy.shares[layer] * size) for layer, size in items]
        cost = spend(counts) / spend([size for _, size in items])
        promise(cost <= KEEP + 1e-9, name, f"it proposes a strategy that costs {cost:.4g}, and may spend {KEEP}")
        got = strategy.budget.got if strategy.budget is not None else None
        told = got is not None and abs(got - cost) < 1e-9
        promise(told, name, f"its strategy says that it costs {got}, and it costs {cost:.4g}")
    largest = max(row.reward for row in found.episodes)
    promise(_reward(found.strategy).reward == largest, name, "what it finds is not the best of what it proposed")
    promise(_search(searcher, problem).episodes == found.episodes, name, "the same seed proposes other strategies")
    if not searcher.decides:
        other = _search(searcher, problem, seed=8).episodes != found.episodes
        promise(other, name, "another seed proposes the same strategies")


def _check_resuming(searcher: AbstractSearcher) -> None:
    name, problem = type(searcher).__name__, _problem("weight")
    total = 1 if searcher.decides else EVALUATIONS
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        found = _search(searcher, problem, folder=whole)
        lines = (whole / FILE).read_bytes().splitlines(keepends=True)
        for kept in sorted({0, total // 2, total}):
            cut = Path(folder) / f"cut-{kept}"
            _search(searcher, problem, folder=cut)
            # What a kill leaves: whole rows, and half of one.
            (cut / FILE).write_bytes(b"".join(lines[: kept + 1]) + b"".join(lines[kept + 1 : kept + 2])[:9])
            seen: list[PruningStrategy] = []
            again = _search(searcher, problem, folder=cut, seen=seen)
            promise(len(seen) <= total - kept, name, "it evaluates what stands in its table")
            promise((cut / FILE).read_bytes() == b"".join(lines), name, "interrupted it leaves another table")
            promise(again.strategy == found.strategy, name, "interrupted it finds another strategy")
            promise(tuple(read_episodes(cut)) == found.episodes, name, "its table does not hold what it found")


def _search(
    searcher: AbstractSearcher,
    problem: Problem,
    *,
    seed: int = 7,
    folder: Path | None = None,
    seen: list[PruningStrategy] | None = None,
) -> Found:
    def reward(strategy: PruningStrategy) -> Outcome:
        if seen is not None:
            seen.append(strategy)
        return _reward(strategy)

    return searcher.search(problem, reward, evaluations=EVALUATIONS, seed=seed, folder=folder)


def _reward(strategy: PruningStrategy) -> Outcome:
    shares = np.array(list(strategy.shares.values()))
    clean = float(1 - np.abs(shares - np.linspace(1, 0.2, len(shares))).mean())
    return Outcome(clean, clean)


def _problem(granularity: Granularity) -> Problem:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 16, 3, stride=2),
            nn.ReLU(),
            nn.Conv2d(16, 20, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(20, 3),
        )
    network = Network(body, shape=(3, 8, 8), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3)
    return LayerWalk(lower=0.05).problem(network, keep=KEEP, granularity=granularity)
