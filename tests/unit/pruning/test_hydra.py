"""HYDRA: scores learn and weights stand still, then the other way round; against autograd and a plain loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.pruning.small import MODELS, QUIET, images, network, robust, run, strategy, training, under_way
from torch import Tensor, nn
from torch.nn import functional

from paredown.artifacts import Granularity
from paredown.errors import MethodError
from paredown.models import load
from paredown.pruning.hydra import Hydra, ScoreLearning, first_scores
from paredown.pruning.units import Units
from paredown.sparsity.apply import zeros_hold
from paredown.sparsity.masks import kept_of
from paredown.training import Adam, Constant, Sgd, Training
from paredown.training.devices import Place
from paredown.training.learner import Learner

GRANULARITIES: list[Granularity] = ["weight", "channel", "filter", "2:4"]


def short(granularity: Granularity = "weight", **settings: object) -> Hydra:
    return Hydra(**({"score": robust(), "fine_tune": robust()} | settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_weights_stand_still_while_scores_learn(tmp_path: Path, name: str, granularity: Granularity) -> None:
    pruning = under_way(strategy(granularity, name=name), tmp_path, name)
    hydra = short()
    units = hydra.units(pruning)
    scores, left = hydra.learn(pruning, units)
    before = network(name).weights
    first = first_scores(units, pruning.weights_of())
    assert any(not torch.equal(scores[one], first[one]) for one in scores)
    normal = {f"body.{one}." for one, module in load(network(name)).body.named_modules() if _normalises(module)}  # type: ignore[operator, union-attr]
    moved = [key for key in before if not np.array_equal(before[key], left.weights[key])]
    assert left.weights.keys() == before.keys()
    assert moved and all(any(key.startswith(one) for one in normal) for key in moved)
    # What was trained with is the weights times the masks, bit by bit.
    stored = pruning.train("scores", hydra.score, ScoreLearning(units, first))
    factors = units.factors(units.choose(scores), "inputs" if units.groups else None)
    for layer in pruning.layers:
        dense = torch.from_numpy(before[f"{layer.name}.weight"])
        expected = dense * factors[layer.name] if layer.name in factors else dense
        assert np.array_equal(stored.weights[f"{layer.name}.weight"], expected.numpy())


def _normalises(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d)


def test_frozen_normalisation_keeps_its_scales_and_follows_with_its_statistics(tmp_path: Path) -> None:
    pruning = under_way(strategy("weight"), tmp_path)
    hydra = short(freeze_bn=True)
    _, left = hydra.learn(pruning, hydra.units(pruning))
    before = network().weights
    moved = {key.rpartition(".")[2] for key in before if not np.array_equal(before[key], left.weights[key])}
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_masks_stand_still_while_weights_learn(tmp_path: Path, name: str, granularity: Granularity) -> None:
    asked = strategy(granularity, name=name)
    hydra = short()
    pruning = under_way(asked, tmp_path / "alone", name)
    units = hydra.units(pruning)
    scores, _ = hydra.learn(pruning, units)
    expected = units.masks(units.choose(scores))
    found = run(hydra, asked, tmp_path / "whole", name)
    assert all(np.array_equal(found.masks[one], mask.numpy()) for one, mask in expected.items())
    assert zeros_hold(load(found.checkpoint), found.masks)
    assert found.masks.made["pruner"]["name"] == "hydra" and found.masks.made["strategy"] == asked.digest()
    learnt = [
        one for one in expected
        if not np.array_equal(found.checkpoint.weights[f"{one}.weight"], network(name).weights[f"{one}.weight"])
    ]  # fmt: skip
    assert len(learnt) == len(expected)


def learner(
    granularity: Granularity, name: str, *, grouped: bool, how: Training | None = None
) -> tuple[Learner, ScoreLearning]:
    pruning = under_way(strategy(granularity, name=name), Path(), name, grouped=grouped)
    units = pruning.units()
    held = ScoreLearning(units, first_scores(units, pruning.weights_of()))
    asked = how or Training(steps=3, batch_size=20, optimizer=Sgd(lr=0.5, momentum=0, weight_decay=0))
    plan = asked.plan(kept=60, whole=60)
    place = Place(torch.device("cpu"))
    return Learner(load(network(name)), asked, plan, seed=0, place=place, compiled=False, constraint=held), held


def batch() -> tuple[Tensor, Tensor]:
    data = images()
    x = torch.from_numpy(data.images[:20]).permute(0, 3, 1, 2).float() / 255
    return x, torch.from_numpy(data.labels[:20]).long()


class Straight(torch.autograd.Function):
    """A mask of scores, through which gradients pass as if it were |scores|: the oracle."""

    @staticmethod
    def forward(ctx, scores: Tensor, mask: Tensor) -> Tensor:  # type: ignore[no-untyped-def, override]
        ctx.save_for_backward(scores)
        return mask.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def, override]
        (scores,) = ctx.saved_tensors
        return gradient * scores.sign(), None


@pytest.mark.parametrize(
    ("granularity", "grouped"),
    [("weight", False), ("channel", False), ("filter", False), ("2:4", False), ("channel", True), ("filter", True)],
)
def test_a_step_is_that_of_autograd_through_masks(granularity: Granularity, grouped: bool) -> None:
    learnt, held = learner(granularity, "residual", grouped=grouped)
    units = held.units
    x, y = batch()
    before = {name: score.detach().clone() for name, score in held.scores.items()}
    learnt.take(1, x, y, count=20, weights=None)

    net = load(network("residual")).train()
    scores = {name: score.clone().requires_grad_() for name, score in before.items()}
    kept = units.choose(before)
    straight = {name: Straight.apply(scores[name], kept[name].float()) for name in scores}
    weights = dict(net.named_parameters())
    factors = _factors(units, straight, held.side)
    changed = {f"{name}.weight": weights[f"{name}.weight"].detach() * factor for name, factor in factors.items()}
    logits = torch.func.functional_call(net, changed, (x,))
    functional.cross_entropy(logits, y, reduction="sum").div(20).backward()
    for name, score in scores.items():
        assert score.grad is not None
        torch.testing.assert_close(held.scores[name].detach(), before[name] - 0.5 * score.grad, rtol=1e-3, atol=1e-5)


def _factors(units: Units, straight: dict[str, Tensor], side: str) -> dict[str, Tensor]:
    """What weights are multiplied by, as one would write it: layer by layer, channel by channel."""
    if units.groups is None:
        shapes = {"channel": (1, -1), "filter": (-1, 1)}
        found = {}
        for name, value in straight.items():
            rest = (1,) * (len(units.layers[name].shape) - 2)
            shape = shapes.get(units.granularity)
            found[name] = value if shape is None else value.view(*shape, *rest)
        return found
    assert side == "inputs"
    parts: dict[str, list[Tensor]] = {}
    for name, group in units.groups.items():
        for place in group.readers:
            columns = torch.stack([value for value in straight[name] for _ in range(place.repeat)])
            parts.setdefault(place.module, []).append(columns)
    return {
        name: torch.cat(part).view(1, -1, *(1,) * (len(units.layers[name].shape) - 2)) for name, part in parts.items()
    }


def test_a_channel_that_went_can_come_back(tmp_path: Path) -> None:
    pruning = under_way(strategy("channel", name="residual"), tmp_path, "residual")
    hydra = short(score=training(12, optimizer=Adam(lr=0.3)))
    units = hydra.units(pruning)
    scores, _ = hydra.learn(pruning, units)
    first = units.choose(first_scores(units, pruning.weights_of()))
    last = units.choose(scores)
    assert any(bool((last[name] & ~first[name]).any()) for name in first)


def test_layers_by_themselves_disagree_and_groups_agree(tmp_path: Path) -> None:
    asked = strategy("channel", name="residual")
    alone = run(short(grouped=False), asked, tmp_path / "alone", "residual").masks
    for name, mask in alone.masks.items():
        columns = mask.any(axis=(0, *range(2, mask.ndim)))
        assert columns.sum() == kept_of(mask.shape[1], asked.shares[name])
        assert (mask == columns.reshape(1, -1, *(1,) * (mask.ndim - 2))).all()  # every filter stays


def test_published_counts_and_first_scores(tmp_path: Path) -> None:
    hydra = Hydra(compat="published")
    assert not hydra.grouped and hydra != Hydra(grouped=False)
    found = run(short(compat="published"), strategy("weight", 0.3), tmp_path).masks
    for mask in found.masks.values():
        assert mask.sum() == mask.size - int((1 - 0.3) * mask.size)


def test_weight_decay_acts_on_scores_alone() -> None:
    how = Training(steps=3, batch_size=20, optimizer=Sgd(lr=0.5, momentum=0, weight_decay=0.1), schedule=Constant())
    decayed, held = learner("weight", "plain", grouped=False, how=how)
    plain, free = learner("weight", "plain", grouped=False)
    x, y = batch()
    before = {name: score.detach().clone() for name, score in held.scores.items()}
    for one in (decayed, plain):
        one.take(1, x, y, count=20, weights=None)
    for name in before:
        expected = free.scores[name].detach() - 0.5 * 0.1 * before[name]
        torch.testing.assert_close(held.scores[name].detach(), expected, rtol=1e-5, atol=1e-7)
    for name, weight in held.weights.items():
        assert torch.equal(weight, torch.from_numpy(network().weights[f"{name}.weight"]))


def test_a_long_gradient_of_scores_is_shortened() -> None:
    how = Training(steps=3, batch_size=20, optimizer=Sgd(lr=1.0, momentum=0, weight_decay=0), clip=1e-3)
    clipped, held = learner("weight", "plain", grouped=False, how=how)
    before = torch.cat([score.detach().flatten().clone() for score in held.scores.values()])
    x, y = batch()
    clipped.take(1, x, y, count=20, weights=None)
    after = torch.cat([score.detach().flatten() for score in held.scores.values()])
    assert 0 < float((after - before).norm()) <= 1e-3 * 1.01


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MethodError, match=r"Hydra\(score.average=…\): the masks come from the end of this phase"):
        Hydra(score=training(average=0.9))
    with pytest.raises(MethodError, match="checkpoints_at"):
        Hydra(score=training(checkpoints_at=(1,)))
    with pytest.raises(MethodError, match=r"A score is NaN.*Lower the rate of score"):
        run(short(score=training(4, optimizer=Sgd(lr=1e38))), strategy("weight"), tmp_path, runtime=QUIET)
