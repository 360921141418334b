"""The reward: the pruned network is the masked one, the hold-out is fixed, and each treatment does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.sparsity.networks import NARROW, narrow
from torch import Tensor, nn

from paredown.artifacts import PruningStrategy
from paredown.attacks import Fgsm, Pgd
from paredown.data import ImageDataset
from paredown.errors import MethodError
from paredown.models import Network
from paredown.searching import LayerWalk, Outcome, PrunedAccuracy, RandomSearch, hold_out, rollout
from paredown.searching.ranking import Ranking
from paredown.searching.reward import combined, parts, recalibrate
from paredown.sparsity.apply import zeroed
from paredown.sparsity.groups import consistent_masks
from paredown.sparsity.masks import magnitude_masks, weights_of
from paredown.training import Constant, Sgd, Training


def images(count: int = 90, classes: int = 3, *, unequal: bool = False) -> ImageDataset:
    """Images whose class is how bright they are, sorted by class."""
    rng = np.random.default_rng(0)
    labels = np.sort(np.arange(count) % classes)
    if unequal:
        labels = np.sort(np.concatenate([np.zeros(count // 2, int), np.arange(count - count // 2) % classes]))
    noise = rng.integers(0, 60, (count, 8, 8, 3))
    pixels = (noise + 60 * labels[:, None, None, None]).astype(np.uint8)
    return ImageDataset.from_arrays(pixels, labels, name="bright")


def network(seed: int = 0) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = nn.Sequential(
            nn.Conv2d(3, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128, 3),
        )
    return Network(body, shape=(3, 8, 8), classes=3, mean=(0.5,) * 3, std=(0.25,) * 3).eval()


@pytest.mark.parametrize("name", list(NARROW))
@pytest.mark.parametrize("granularity", ["channel", "filter"])
def test_taking_channels_out_is_masking_them(name: str, granularity: Any) -> None:
    made = narrow(name)
    problem = LayerWalk().problem(made, keep=0.4, granularity=granularity)
    ranking = Ranking(made, problem)
    x = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    for seed in range(3):
        strategy = rollout(problem, np.random.default_rng(seed).random(len(problem.steps))).strategy()
        small, masks = ranking.network_of(strategy)
        assert not masks and sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in made.parameters())
        assert problem.groups is not None
        masks = consistent_masks(weights_of(made, problem.layers), problem.layers, problem.groups, strategy)
        with zeroed(made, masks), torch.no_grad():
            torch.testing.assert_close(small(x), made(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("granularity", ["weight", "channel"])
def test_ranks_give_the_masks_of_magnitude(granularity: Any) -> None:
    made = narrow("resnet18")
    problem = LayerWalk(grouped=False).problem(made, keep=0.3, granularity=granularity)
    strategy = rollout(problem, np.full(len(problem.steps), 0.4)).strategy()
    small, masks = Ranking(made, problem).network_of(strategy)
    expected = magnitude_masks(weights_of(made, problem.layers), problem.layers, strategy)
    assert all(torch.equal(masks[name], mask) for name, mask in expected.items())
    for name, mask in expected.items():
        assert torch.equal(small.get_parameter(f"{name}.weight"), made.get_parameter(f"{name}.weight") * mask)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Linear(6 * 64, 2)
        self.scale = 6

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).flatten(1)) / (self.scale if self.first.out_channels == 6 else 1)


def test_a_network_that_counts_its_channels_is_refused() -> None:
    made = Network(Counting(), shape=(3, 8, 8), classes=2, mean=(0.5,) * 3, std=(0.25,) * 3)
    with pytest.raises(MethodError, match=r"Counting: without some of its channels .*grouped: false"):
        Ranking(made, LayerWalk().problem(made, keep=0.5))


def test_the_hold_out_has_its_share_of_every_class() -> None:
    data = images(unequal=True)
    held, rest = hold_out(data, 0.2)
    assert len(held) == 18 and sorted([*held, *rest]) == list(range(90))
    assert np.bincount(data.labels[held]).tolist() == [12, 3, 3]
    assert (np.diff(data.labels[held]) != 0).sum() > 4  # mixed, though the data are sorted
    assert all(np.array_equal(a, b) for a, b in zip((held, rest), hold_out(data, 0.2), strict=True))
    inside = np.arange(0, 90, 2)
    held, rest = hold_out(data, 0.2, inside)
    assert {*held, *rest} == set(inside.tolist())
    with pytest.raises(MethodError, match=r"holds out 0 of 15 of class '[12]', and both sides need one"):
        hold_out(data, 0.03)


def test_batches_of_nearly_one_size() -> None:
    assert [len(part) for part in parts(np.arange(10), 4)] == [4, 3, 3]


@pytest.mark.parametrize("statistics", ["recalibrated", "batch", "running"])
@pytest.mark.parametrize("granularity", ["channel", "weight"])
def test_a_reward_is_of_the_strategy_alone(statistics: Any, granularity: Any) -> None:
    made, data = network(), images()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    problem = LayerWalk().problem(made, keep=0.5, granularity=granularity)
    reward = PrunedAccuracy(share=0.4, statistics=statistics, batch=16, attack=Pgd(steps=2))
    judge = reward.judge(made, problem, data)
    strategies = [rollout(problem, np.random.default_rng(n).random(len(problem.steps))).strategy() for n in range(3)]
    first = [judge(strategy) for strategy in strategies]
    again = [judge(strategy) for strategy in reversed(strategies)]
    assert first == again[::-1]
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())
    assert not made.training
    for outcome in first:
        assert outcome.clean is not None and outcome.robust is not None
        assert 0 <= outcome.robust <= outcome.clean <= 1
        assert outcome.reward == outcome.clean + outcome.robust


def test_statistics_of_normalisation() -> None:
    made, data = network(), images(96)
    problem = LayerWalk().problem(made, keep=0.6)
    everything = PruningStrategy.uniform(problem.layers, 1.0, granularity="channel")

    def outcome(**settings: Any) -> Outcome:
        given: dict[str, Any] = {"share": 0.5, "attack": None} | settings
        return PrunedAccuracy(**given).judge(made, problem, data)(everything)

    held, rest = hold_out(data, 0.5)

    def accuracy(logits: Tensor, rows: np.ndarray) -> float:
        return float((logits.argmax(1) == torch.from_numpy(data.labels[rows])).float().mean())

    x = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        plain = accuracy(made(x[held]), held)
        made.train()
        states = {name: value.clone() for name, value in made.state_dict().items()}
        by_batch = accuracy(torch.cat([made(x[part]) for part in parts(held, 16)]), held)
        made.load_state_dict(states)
        for module in made.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
                module.momentum = None
        for part in parts(rest, 16):
            made(x[part])
        gathered = accuracy(made.eval()(x[held]), held)
        made.load_state_dict(states)
    assert outcome(statistics="running").clean == pytest.approx(plain)
    assert outcome(statistics="batch", batch=16).clean == pytest.approx(by_batch)
    assert outcome(statistics="recalibrated", batch=16, calibration=48).clean == pytest.approx(gathered)


def test_recalibration_gives_back_the_mode() -> None:
    made = network()
    norm = next(module for module in made.modules() if isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        recalibrate(made, iter([torch.rand(8, 3, 8, 8), torch.rand(8, 3, 8, 8)]))
    assert norm.momentum == 0.1 and not any(module.training for module in made.modules())
    assert int(norm.num_batches_tracked) == 2  # type: ignore[arg-type]


def test_modes_of_the_reward() -> None:
    assert combined(0.7, 0.4) == pytest.approx(1.1)
    assert combined(0.7, 0.4, beta=0.5) == pytest.approx(0.9)
    assert combined(0.7, 0.4, "product") == pytest.approx(1.0442773)
    assert combined(0.7, 0.4, "clean") == 0.7
    made, data = network(), images()
    problem = LayerWalk().problem(made, keep=0.5)
    strategy = rollout(problem, [0.5] * len(problem.steps)).strategy()
    clean = PrunedAccuracy(share=0.4, mode="clean").judge(made, problem, data)(strategy)
    assert clean.robust is None and clean.reward == clean.clean
    top = PrunedAccuracy(share=0.4, mode="clean", top=3).judge(made, problem, data)(strategy)
    assert top.clean == 1.0  # of three classes one of three is right


def test_a_short_training_changes_the_network_and_not_its_zeros() -> None:
    data = images(120)
    made = network()
    training = Training(steps=25, batch_size=24, optimizer=Sgd(lr=0.05), schedule=Constant())
    for granularity in ("weight", "channel"):
        problem = LayerWalk().problem(made, keep=0.5, granularity=granularity)  # type: ignore[arg-type]
        strategy = rollout(problem, [0.5] * len(problem.steps)).strategy()
        plain = PrunedAccuracy(share=0.3, attack=None).judge(made, problem, data)(strategy)
        state = torch.random.get_rng_state()
        judge = PrunedAccuracy(share=0.3, attack=None, fine_tune=training).judge(made, problem, data)
        tuned = judge(strategy)
        assert torch.equal(state, torch.random.get_rng_state())
        assert tuned.clean is not None and plain.clean is not None and tuned.clean > plain.clean + 0.2
        assert judge(strategy) == tuned


def test_a_search_with_a_real_reward_is_the_same_again() -> None:
    made, data = network(), images()
    problem = LayerWalk().problem(made, keep=0.5)
    judge = PrunedAccuracy(share=0.4, attack=Fgsm()).judge(made, problem, data, seed=1)
    found = RandomSearch().search(problem, judge, evaluations=4, seed=1)
    other = PrunedAccuracy(share=0.4, attack=Fgsm()).judge(made, problem, data, seed=1)
    assert RandomSearch().search(problem, other, evaluations=4, seed=1).episodes == found.episodes
    assert other.evaluated <= 4


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"share": 0.0}, r"PrunedAccuracy\(share=0\)"),
        ({"batch": 0}, r"PrunedAccuracy\(batch=0\)"),
        ({"statistics": "batch", "batch": 1}, "one image has no statistics"),
        ({"statistics": "batch"}, "early_stop takes images out of the batch"),
        ({"mode": "product", "beta": 0.5}, "only a sum has β"),
    ],
)
def test_what_is_no_reward(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        PrunedAccuracy(**settings)


def test_a_strategy_of_another_architecture_is_refused() -> None:
    made, data = network(), images()
    problem = LayerWalk().problem(made, keep=0.5)
    judge = PrunedAccuracy(share=0.4, attack=None).judge(made, problem, data)
    other = LayerWalk().problem(narrow("resnet18"), keep=0.5)
    with pytest.raises(MethodError, match="for another architecture"):
        judge(rollout(other, [0.5] * len(other.steps)).strategy())
