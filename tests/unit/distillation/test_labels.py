"""Labels as a regression's aims, and the loss that keeps a learnt label clear."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paredown.distillation.labels import centred, initial_labels, label_margin, uncapped_margin

seeds = st.integers(0, 10_000)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_aims_sum_to_zero_and_learnt_labels_begin_as_a_multiple(classes: int) -> None:
    labels = torch.arange(classes)
    aims = centred(labels, classes)
    assert aims.dtype == torch.float32 and torch.equal(aims.argmax(1), labels)
    assert aims.sum(1).abs().max() < 1e-6
    assert torch.allclose(initial_labels(labels, classes) * math.sqrt(classes / 10), aims)


def test_the_length_of_a_first_label() -> None:
    for classes, length in ((10, 0.949), (100, 0.315)):
        assert float(initial_labels(torch.tensor([3]), classes).norm()) == pytest.approx(length, abs=5e-4)


@given(seed=seeds)
def test_the_margin_is_the_lead_of_the_largest(seed: int) -> None:
    labels = torch.rand(6, 5, generator=torch.Generator().manual_seed(seed))
    for row, lead, loss in zip(labels.tolist(), uncapped_margin(labels), label_margin(labels), strict=True):
        second, first = sorted(row)[-2:]
        assert float(lead) == pytest.approx(first - second, abs=1e-7)
        assert float(loss) == pytest.approx(-min(first - second, 1 / 5), abs=1e-7)


@given(seed=seeds)
def test_only_labels_whose_margin_is_short_are_pushed(seed: int) -> None:
    labels = torch.rand(8, 5, generator=torch.Generator().manual_seed(seed)).requires_grad_(True)
    label_margin(labels).sum().backward()
    assert labels.grad is not None
    for row, pushed in zip(labels.detach(), labels.grad, strict=True):
        second, first = row.sort().indices[-2:].tolist()
        expected = torch.zeros(5)
        if row[first] - row[second] < 1 / 5:
            expected[first], expected[second] = -1.0, 1.0
        assert torch.equal(pushed, expected)


def test_a_tie_is_broken_in_favour_of_the_first() -> None:
    labels = torch.zeros(2, 4, requires_grad=True)
    label_margin(labels).sum().backward()
    assert labels.grad is not None and labels.grad.tolist() == [[-1.0, 1.0, 0.0, 0.0]] * 2
