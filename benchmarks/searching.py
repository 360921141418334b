"""Evaluations of strategies a minute: those of `search` beside a plain loop, on Fashion-MNIST or the digits.

The plain loop is what one writes first: the masks of a strategy are found anew for every batch by sorting, all
convolutions stay as wide as they were, every image is attacked, and a strategy that comes again is evaluated again.
Both see the same hold-out, the same attack and the same recalibration, one after the other in one process.

    python benchmarks/searching.py --data digits --keep 0.25 --evaluations 20
"""

from __future__ import annotations

import argparse
import time
from functools import partial

import torch

from paredown import Runtime, open_data, train
from paredown.artifacts import PruningStrategy
from paredown.attacks import Pgd
from paredown.models import load
from paredown.rng import key
from paredown.searching import LayerWalk, Outcome, PrunedAccuracy, RandomSearch
from paredown.searching.reward import PrunedJudge, parts, recalibrate
from paredown.sparsity.apply import zeroed
from paredown.sparsity.groups import consistent_masks
from paredown.sparsity.masks import magnitude_masks, weights_of
from paredown.training.devices import place

QUIET = Runtime(device="cpu", progress=False)


def plain(judge: PrunedJudge, strategy: PruningStrategy) -> Outcome:
    """Evaluates a strategy the plain way."""
    network, problem, reward = judge.ranking.network, judge.ranking.problem, judge.reward

    def masks() -> dict[str, torch.Tensor]:
        weights = weights_of(network, problem.layers)
        if problem.groups is None:
            return magnitude_masks(weights, problem.layers, strategy)
        return consistent_masks(weights, problem.layers, problem.groups, strategy)

    before = {name: value.clone() for name, value in network.state_dict().items()}
    clean = robust = 0
    with zeroed(network, masks()), torch.no_grad():
        chosen = judge.rest[: reward.calibration]
        recalibrate(network, (x for x, _ in judge.inputs.batches(parts(chosen, reward.batch))))
    for number, (x, y) in enumerate(judge.inputs.batches(parts(judge.held, reward.batch))):
        with zeroed(network, masks()):
            with torch.no_grad():
                right = network(x).argmax(1) == y
            moved = Pgd()(network, x, y, seed=key(judge.seed, "search-attack", number))
            with torch.no_grad():
                robust += int((right & (network(moved).argmax(1) == y)).sum())
            clean += int(right.sum())
    network.load_state_dict(before)
    total = len(judge.held)
    return Outcome((clean + robust) / total, clean / total, robust / total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--model", default="small-resnet")
    parser.add_argument("--keep", type=float, default=0.25)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--evaluations", type=int, default=20)
    given = parser.parse_args()
    data = open_data(given.data)
    training = {"steps": given.steps, "objective": {"name": "fast", "attack": {"name": "fgsm", "eps": "8/255"}}}
    network = load(train(data, given.model, training, runtime=QUIET).checkpoint)
    reward = PrunedAccuracy(share=given.share)
    for granularity in ("channel", "weight"):
        problem = LayerWalk().problem(network, keep=given.keep, granularity=granularity)  # type: ignore[arg-type]
        seconds = {}
        with place(QUIET, pixels=data.shape[1] * data.shape[2]) as here:
            judge = reward.judge(network, problem, data, runtime=QUIET, place=here)
            for name, call in (("search", judge), ("plain loop", partial(plain, judge))):
                start = time.perf_counter()
                found = RandomSearch().search(problem, call, evaluations=given.evaluations)
                seconds[name] = time.perf_counter() - start
                rate = 60 * given.evaluations / seconds[name]
                best = found.best.reward
                print(f"{granularity:8} {name:10} {rate:8.1f} evaluations a minute; best reward {best:.4f}", flush=True)
        print(f"{granularity:8} {seconds['plain loop'] / seconds['search']:.2f} times as many")


if __name__ == "__main__":
    main()
