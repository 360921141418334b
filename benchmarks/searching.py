"""Searches for how much of each layer to keep: how fast strategies are evaluated, and who finds the best ones.

`speed` times evaluations of `search` beside a plain loop, in turns. The plain loop is what one writes first: the masks
of a strategy are found anew for every batch by sorting, all convolutions stay as wide as they were, numbers are float32
and every image is attacked to the end. Both see the same hold-out, the same attack and the same recalibration. Seconds
are those of the processor, which a busy machine lengthens little.

`known` lets searchers loose on a reward whose best strategy is known: layer l of VGG-16 with n_l weights costs accuracy
by its sensitivity a_l, reward = 2 exp(-Σ a_l (1/s_l - 1)), and Σ n_l s_l is bounded. By Lagrange
s_l = √(a_l / (λ n_l)), cut at the bounds, with the λ at which the budget is met. Regret is what is missing to that.
`wall` is the same where the budget is met as published, by cutting each share at what later layers leave.

`real` lets them loose on an adversarially trained VGG of 9 layers for the digits, channels in groups, accuracy clean
and under PGD of four steps on a hold-out; the best strategy of each search is then measured on the test images, under
PGD of twenty steps.

    python benchmarks/searching.py --part speed --part known
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from paredown import Runtime, open_data, train
from paredown.artifacts import PruningStrategy
from paredown.attacks import Pgd
from paredown.data import LearnableDataset
from paredown.method import build
from paredown.models import Network, load, network
from paredown.rng import key, stream
from paredown.searching import (
    AbstractSearcher,
    CmaEs,
    Ddpg,
    Episode,
    Erk,
    GlobalMagnitude,
    Lamp,
    LayerWalk,
    Outcome,
    Problem,
    PrunedAccuracy,
    RandomSearch,
    Tpe,
    Uniform,
    rollout,
)
from paredown.searching.reward import PrunedJudge, parts, recalibrate
from paredown.sparsity.apply import zeroed
from paredown.sparsity.groups import consistent_masks
from paredown.sparsity.masks import magnitude_masks, weights_of
from paredown.training.devices import in_words, place

RESULT = Path(__file__).with_name("results") / "searching.json"
QUIET = Runtime(device="cpu", progress=False)
SEARCHERS: dict[str, AbstractSearcher] = {"ddpg": Ddpg(), "random": RandomSearch(), "tpe": Tpe(), "cma-es": CmaEs()}
RULES: dict[str, AbstractSearcher] = {
    "uniform": Uniform(),
    "erk": Erk(),
    "lamp": Lamp(),
    "global-magnitude": GlobalMagnitude(),
}
Row = dict[str, Any]


def plain(judge: PrunedJudge, strategy: PruningStrategy) -> Outcome:
    """Evaluates a strategy the plain way."""
    dense, problem, reward = judge.ranking.network, judge.ranking.problem, judge.reward
    assert isinstance(reward.attack, Pgd)
    attack = Pgd(eps=reward.attack.eps, step=reward.attack.step, steps=reward.attack.steps)

    def masks() -> dict[str, torch.Tensor]:
        weights = weights_of(dense, problem.layers)
        if problem.groups is None:
            return magnitude_masks(weights, problem.layers, strategy)
        return consistent_masks(weights, problem.layers, problem.groups, strategy)

    before = {name: value.clone() for name, value in dense.state_dict().items()}
    clean = robust = 0
    with zeroed(dense, masks()), torch.no_grad():
        chosen = judge.rest[: reward.calibration]
        recalibrate(dense, (x for x, _ in judge.inputs.batches(parts(chosen, reward.batch))))
    for number, (x, y) in enumerate(judge.inputs.batches(parts(judge.held, reward.batch))):
        with zeroed(dense, masks()):
            with torch.no_grad():
                right = dense(x).argmax(1) == y
            moved = attack(dense, x, y, seed=key(judge.seed, "search-attack", number))
            with torch.no_grad():
                robust += int((right & (dense(moved).argmax(1) == y)).sum())
            clean += int(right.sum())
    dense.load_state_dict(before)
    total = len(judge.held)
    return Outcome((clean + robust) / total, clean / total, robust / total)


def trained(data: LearnableDataset, model: Any, steps: int, eps: float) -> Network:
    training = {"steps": steps, "objective": {"name": "fast", "attack": {"name": "fgsm", "eps": eps}}}
    return load(train(data, model, training, runtime=QUIET).checkpoint)  # type: ignore[return-value]


def proposals(problem: Problem, chance: int) -> list[PruningStrategy]:
    """Strategies of the rules, which are good ones, and of chance, which mostly are not."""
    ruled = [rule.search(problem, lambda strategy: Outcome(0.0)).strategy for rule in RULES.values()]
    draws = (stream(0, "benchmark", number).random(len(problem.steps)) for number in range(chance))
    return ruled + [rollout(problem, actions).strategy() for actions in draws]


def speed(asked: argparse.Namespace) -> list[Row]:
    """Evaluations a minute of processor time, ours and the plain loop's, on the same strategies in turns."""
    settings = [("fashion-mnist", {"name": "vgg16-bn", "width": 16, "convs": [1, 1, 2, 2]}, 300, 8 / 255, 0.01)]
    rows = []
    for name, model, steps, eps, share in settings:
        data = open_data(name)
        net = trained(data, model, steps, eps)  # type: ignore[arg-type]
        reward = PrunedAccuracy(share=share, attack=Pgd(eps=eps, step=eps / 4, early_stop=True))
        for granularity in ("channel", "weight"):
            problem = LayerWalk().problem(net, keep=0.25, granularity=granularity)
            taken: dict[str, list[float]] = {"search": [], "plain": []}
            apart = []
            with place(QUIET, pixels=data.shape[1] * data.shape[2]) as here:  # type: ignore[attr-defined]
                judge = reward.judge(net, problem, data, runtime=QUIET, place=here)  # type: ignore[arg-type]
                judge(proposals(problem, 0)[0])
                for strategy in proposals(problem, asked.strategies):
                    found = []
                    for way, call in (("search", judge), ("plain", lambda s, j=judge: plain(j, s))):
                        start = time.process_time()
                        found.append(call(strategy).reward)
                        taken[way].append(time.process_time() - start)
                    apart.append(abs(found[0] - found[1]))
            row = {"data": name, "images": len(judge.held), "granularity": granularity, "bfloat16": here.bfloat16}
            row |= {way: 60 * len(seconds) / sum(seconds) for way, seconds in taken.items()}
            row |= {"times": sum(taken["plain"]) / sum(taken["search"]), "rewards_apart": statistics.mean(apart)}
            print({key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
            rows.append(row)
    return rows


class Sensitive:
    """The reward with a known best strategy; see the module.

    Args:
        fit: how a walk meets the budget.
        keep: the budget, as a share of the weights.
        lower: the least share of a layer.
    """

    def __init__(self, fit: Any = "scale", keep: float = 0.25, lower: float = 0.02) -> None:
        made = network(build("model", "vgg16-bn"), (3, 32, 32), 10, mean=(0.5,) * 3, std=(0.25,) * 3)
        self.problem = LayerWalk(fit=fit, lower=lower).problem(made, keep=keep, granularity="weight")
        self.weights = np.array([layer.weights for layer in self.problem.layers], float)
        # Large layers lose more by a share, but less than their size says; some are four times as sensitive as others.
        self.a = np.sqrt(self.weights) * 4.0 ** stream(0, "sensitivities").random(len(self.weights))
        self.a *= 0.7 / (self.a.sum() * (1 / keep - 1))  # uniform pruning halves the accuracy
        self.best = self._best(keep, lower)
        self.most = self.worth(self.best)

    def worth(self, shares: np.ndarray) -> float:
        return 2.0 * float(np.exp(-(self.a * (1 / shares - 1)).sum()))

    def __call__(self, strategy: PruningStrategy) -> Outcome:
        return Outcome(self.worth(np.array([strategy.shares[layer.name] for layer in self.problem.layers])))

    def _best(self, keep: float, lower: float) -> np.ndarray:
        low, high = 1e-20, 1e3
        for _ in range(200):
            price = float(np.sqrt(low * high))
            shares = np.sqrt(self.a / (price * self.weights)).clip(lower, 1.0)
            low, high = (price, high) if (shares * self.weights).sum() > keep * self.weights.sum() else (low, price)
        return shares


def known(asked: argparse.Namespace, fit: str = "scale") -> Row:
    """Regret of each searcher after some numbers of evaluations, where the walk meets its budget so."""
    problem = Sensitive(fit)

    def one(searcher: AbstractSearcher, seed: int) -> Sequence[Episode]:
        return searcher.search(problem.problem, problem, evaluations=asked.evaluations, seed=seed).episodes

    rules = {"uniform": {"regret": problem.most - one(Uniform(), 0)[0].reward}}
    searchers = {name: summary(found, asked, problem.most) for name, found in raced(asked, one).items()}
    return {"about": {"fit": fit, "best reward": problem.most}, "rules": rules, "searchers": searchers}


def real(asked: argparse.Namespace) -> Row:
    """Reward of the best strategy of each searcher, and its accuracies on test images."""
    data, test = open_data("digits"), open_data("digits", split="test")
    eps = 0.1
    net = trained(data, {"name": "vgg16-bn", "width": 16, "convs": [2, 2, 2]}, 400, eps)  # type: ignore[arg-type]
    attack = Pgd(eps=eps, step=eps / 2, steps=4, early_stop=True)
    reward = PrunedAccuracy(share=0.1, attack=attack, calibration=200)
    hard = replace(reward, attack=Pgd(eps=eps, step=eps / 4, steps=20, early_stop=True))
    problem = LayerWalk().problem(net, keep=0.4, of="parameters", granularity="channel")
    with place(QUIET, pixels=64) as here:
        judge = reward.judge(net, problem, data, runtime=QUIET, place=here)  # type: ignore[arg-type]
        tested = hard.judge(net, problem, test, runtime=QUIET, place=here)  # type: ignore[arg-type]
        tested.held = np.concatenate([tested.held, tested.rest])

        def on_test(strategy: PruningStrategy) -> Row:
            """Statistics come from training images, the accuracies from all test images."""
            made, _ = judge.ranking.network_of(strategy)
            judge._set_statistics(made)
            clean, robust = tested._accuracies(made)
            return {"clean": clean, "robust": robust}

        found_by: dict[str, list[PruningStrategy]] = {}

        def one(searcher: AbstractSearcher, seed: int) -> Sequence[Episode]:
            found = searcher.search(problem, judge, evaluations=asked.evaluations, seed=seed)
            found_by.setdefault(searcher.name, []).append(found.strategy)
            return found.episodes

        rules = {name: {"reward": one(rule, 0)[0].reward, "test": [on_test(found_by[name][0])]}
                 for name, rule in RULES.items()}  # fmt: skip
        runs = raced(asked, one)
        searchers = {
            name: summary(found, asked) | {"test": [on_test(strategy) for strategy in found_by[name]]}
            for name, found in runs.items()
        }
        made, _ = judge.ranking.network_of(PruningStrategy.uniform(problem.layers, 1.0, granularity="channel"))
        clean, robust = tested._accuracies(made.eval())
        dense = {"test": [{"clean": clean, "robust": robust}]}
    about = {"images held out": len(judge.held), "test images": len(tested.held), "steps": len(problem.steps)}
    return {"about": about, "dense": dense, "rules": rules, "searchers": searchers}


def raced(
    asked: argparse.Namespace, call: Callable[[AbstractSearcher, int], Sequence[Episode]]
) -> dict[str, list[list[float]]]:
    """The rewards of every evaluation, by searcher and seed."""
    runs: dict[str, list[list[float]]] = {}
    for seed in range(asked.seeds):
        for name, searcher in SEARCHERS.items():
            start = time.process_time()
            rewards = [row.reward for row in call(searcher, seed)]
            runs.setdefault(name, []).append(rewards)
            print(f"{name} {seed}: {max(rewards):.4f}, {time.process_time() - start:.0f} s", flush=True)
    return runs


def summary(runs: list[list[float]], asked: argparse.Namespace, most: float | None = None) -> Row:
    """The best reward, or the regret, of the first evaluations, for several numbers of them; a value a seed."""
    numbers = [number for number in (25, 50, 100, 200, 400) if number < asked.evaluations] + [asked.evaluations]
    best = {number: [max(run[:number]) for run in runs] for number in numbers}
    if most is None:
        return {"best": best, "mean of the last 20": [statistics.mean(run[-20:]) for run in runs]}
    return {"regret": {number: [most - value for value in values] for number, values in best.items()}}


def told(values: Sequence[float], digits: int = 3) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"


def show(title: str, rows: Row) -> None:
    what = "regret" if "regret" in next(iter(rows.values())) else "best"
    numbers = list(next(iter(rows.values()))[what])
    more = ["test clean", "test robust"] if what == "best" else []
    table = Table("searcher", *(f"{what}, {number}" for number in numbers), *more, title=title)
    for name, row in rows.items():
        tests = [told([one[key] for one in row["test"]]) for key in ("clean", "robust")] if more else []
        table.add_row(name, *(told(row[what][number]) for number in numbers), *tests)
    Console(width=140).print(table)


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "speed": speed,
    "known": known,
    "wall": lambda asked: known(asked, "wall"),
    "real": real,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", action="append", choices=list(PARTS), help="default: all")
    parser.add_argument("--strategies", type=int, default=4, help="of chance whose evaluations are timed")
    parser.add_argument("--evaluations", type=int, default=200, help="of each search that is compared")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for part in asked.part or PARTS:
        start = time.process_time()
        found = PARTS[part](asked)
        setting: Row = {}
        if part != "speed":
            show(part, found["searchers"])
            print({key: value for key, value in found.items() if key != "searchers"})
            setting = {"evaluations": asked.evaluations, "seeds": asked.seeds}
        keep(part, setting | {"processor seconds": time.process_time() - start, "result": found})


def keep(part: str, found: Row) -> None:
    """Writes what a part found beside what the others have."""
    held: Row = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    held[part] = found
    libraries = ("torch", "optuna", "cmaes", "stable_baselines3")
    held["setting"] = {
        "device": in_words(QUIET)["device"],
        "threads": 1,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name).partition("+")[0] for name in libraries},
        "command": "python benchmarks/searching.py",
    }
    RESULT.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
