"""The pool of online networks: ages, draws, replacements, and going on after an interruption."""

from __future__ import annotations

import numpy as np
import torch

from paredown.distillation import pool as module
from paredown.distillation.pool import Pool
from paredown.models.widening import WideningConvNet
from paredown.training.devices import Place
from paredown.training.labels import targets

HERE = Place(torch.device("cpu"))
IMAGES = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = targets(torch.arange(6) % 3, 3)


def made(networks: int = 3, lifetime: int = 10, seed: int = 0) -> Pool:
    model = WideningConvNet(width=4, depth=1)
    return Pool(model, (3, 8, 8), 3, networks=networks, lifetime=lifetime, lr=1e-3, seed=seed, place=HERE)


def weights(pool: Pool, number: int) -> np.ndarray:
    return torch.cat([value.flatten().float() for value in pool.bodies[number].state_dict().values()]).numpy().copy()


def test_ages_are_staggered_and_networks_differ() -> None:
    assert made(10, 100).ages == [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    assert made(3, 10).ages == [0, 3, 6]
    pool = made()
    assert not np.array_equal(weights(pool, 0), weights(pool, 1))
    assert np.array_equal(weights(pool, 0), weights(made(), 0))
    assert not np.array_equal(weights(pool, 0), weights(made(seed=1), 0))


def test_draws_are_uniform_with_replacement_and_known_by_the_step() -> None:
    pool = made()
    drawn = np.array([pool.drawn(step) for step in range(3000)])
    assert np.array_equal(drawn[:20], [made().drawn(step) for step in range(20)])
    assert np.abs(np.bincount(drawn) / 3000 - 1 / 3).max() < 0.03
    assert (drawn[1:] == drawn[:-1]).mean() > 0.25


def test_a_network_takes_its_steps_is_used_once_more_and_is_replaced() -> None:
    pool = made(networks=1, lifetime=3)
    fresh, seen = weights(pool, 0), []
    for step in range(1, 12):
        seen.append(pool.ages[0])
        pool.learn(0, step, IMAGES, LABELS)
        if pool.ages[0] == 0:
            assert not np.array_equal(weights(pool, 0), fresh)
            fresh = weights(pool, 0)
    assert seen == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0] and pool.births == [2]


def test_only_the_network_in_use_changes_and_the_images_do_not() -> None:
    pool, images = made(), IMAGES.clone().requires_grad_()
    before = [weights(pool, number) for number in range(3)]
    pool.learn(1, 1, images, LABELS)
    same = [np.array_equal(weights(pool, number), before[number]) for number in range(3)]
    assert same == [True, False, True] and images.grad is None
    assert all(not p.requires_grad and p.grad is None for p in pool.bodies[1].parameters())
    assert not pool.bodies[1].training


def test_of_many_images_a_step_sees_some_drawn_ones(monkeypatch: object) -> None:
    sizes: list[int] = []
    pool = made(networks=1)
    pool.bodies[0].register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    pool.learn(0, 1, IMAGES, LABELS)
    many = module.BATCH + 5
    pool.learn(0, 2, torch.zeros(many, 3, 8, 8), targets(torch.arange(many) % 3, 3))
    assert sizes == [6, module.BATCH]


def test_interrupted_it_goes_on_to_the_same_bytes() -> None:
    whole, half = made(lifetime=4), made(lifetime=4)
    for step in range(1, 9):
        whole.learn(whole.drawn(step), step, IMAGES, LABELS)
    for step in range(1, 5):
        half.learn(half.drawn(step), step, IMAGES, LABELS)
    again = made(lifetime=4)
    again.restore(half.cursor(), {name: value.clone().contiguous() for name, value in half.tensors().items()})
    for step in range(5, 9):
        again.learn(again.drawn(step), step, IMAGES, LABELS)
    assert again.ages == whole.ages and again.births == whole.births
    for number in range(3):
        assert weights(again, number).tobytes() == weights(whole, number).tobytes()
