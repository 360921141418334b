from __future__ import annotations

import pytest
import torch
from torch import nn

from paredown.training.averaging import Average, decay_at


def set_to(network: nn.Module, value: float) -> nn.Module:
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(value)
    return network


def test_the_average_is_the_recursion_with_its_warmup() -> None:
    network = set_to(nn.Linear(2, 2), 0.0)
    average = Average(network, decay=0.5)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 5.0, -3.0, 4.0, 4.0, 4.0, 4.0, 1.0, 0.0], start=1):
        average.update(set_to(network, value), step)
        decay = decay_at(step, 0.5)
        expected = decay * expected + (1 - decay) * value
        assert average.network.weight[0, 0].item() == pytest.approx(expected, rel=1e-6)


def test_the_warmup_ends_at_the_decay() -> None:
    assert [decay_at(step, 0.999) for step in (1, 2)] == [0.0, 3 / 12]
    assert decay_at(10**6, 0.999) == 0.999


def test_a_restored_average_goes_on_as_if_nothing_had_happened() -> None:
    network = nn.Linear(3, 2)
    whole, first = Average(network, 0.9), Average(network, 0.9)
    values = [0.5, -1.0, 2.0, 3.0]
    for step, value in enumerate(values, start=1):
        whole.update(set_to(network, value), step)
    for step, value in enumerate(values[:2], start=1):
        first.update(set_to(network, value), step)
    second = Average(nn.Linear(3, 2), 0.9)
    second.restore(first.state())
    for step, value in enumerate(values[2:], start=3):
        second.update(set_to(network, value), step)
    assert all(torch.equal(a, b) for a, b in zip(whole.state().values(), second.state().values(), strict=True))


def test_statistics_are_those_of_the_batches_given() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2))
    average = Average(network, 0.9)
    x = torch.randn(64, 2, 3, 3, generator=torch.Generator().manual_seed(0)) * 3 + 5
    average.recalibrate([x])
    assert torch.allclose(average.network[0].running_mean, x.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(average.network[0].running_var, x.transpose(0, 1).flatten(1).var(1), rtol=1e-5)


def test_a_warmup_to_the_numbers_of_the_specification() -> None:
    expected = {959: 0.0, 960: 0.1, 961: 0.1818181818, 970: 0.55, 1059: 0.9174311927, 2749: 0.9949972207, 2750: 0.995}
    for step, decay in expected.items():
        assert decay_at(step, 0.995, warmup=960) == pytest.approx(decay, abs=1e-9)
    network = set_to(nn.Linear(1, 1), 0.0)
    average = Average(network, decay=0.995)
    averages = []
    for step, value in enumerate([1.0, 2.0, 4.0, 8.0, 16.0], start=1):
        average.update(set_to(network, value), step, warmup=3)
        averages.append(average.network.weight.item())
    assert averages == pytest.approx([1, 2, 3.8, 7.2363636364, 13.8090909091], rel=1e-6)
