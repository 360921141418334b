"""Formulas on logits: ranges, and the obvious way beside them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from paredown.errors import MethodError
from paredown.scoring.errors import confidence, el1n, el2n, entropy, loss, margin_max, margin_sum

Formula = Callable[[Tensor, Tensor], Tensor]


@st.composite
def answered(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    rows, classes = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    numbers = st.floats(-1e4, 1e4, width=32)
    logits = draw(hnp.arrays(np.float32, (rows, classes), elements=numbers))
    labels = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    return torch.from_numpy(logits), torch.from_numpy(labels)


@pytest.mark.parametrize(
    ("formula", "low", "high"),
    [
        (el2n, lambda c: 0, lambda c: math.sqrt(2)),
        (el1n, lambda c: 0, lambda c: 2),
        (margin_max, lambda c: -1, lambda c: 1),
        (margin_sum, lambda c: 1 - c, lambda c: 1),
        (loss, lambda c: 0, lambda c: math.inf),
        (lambda logits, labels: entropy(logits), lambda c: 0, math.log),
        (confidence, lambda c: 0, lambda c: 1),
    ],
)
@given(case=answered())
def test_ranges(
    formula: Formula, low: Callable[[int], float], high: Callable[[int], float], case: tuple[Tensor, Tensor]
) -> None:
    logits, labels = case
    values, classes = formula(logits, labels), logits.shape[1]
    assert values.shape == labels.shape and values.dtype == torch.float32
    assert torch.isfinite(values).all()
    assert (values >= low(classes) - 1e-5).all() and (values <= high(classes) + 1e-5).all()


@given(case=answered())
def test_formulas_the_obvious_way(case: tuple[Tensor, Tensor]) -> None:
    logits, labels = case
    p = torch.softmax(logits.double(), dim=1)
    own = p.gather(1, labels[:, None])[:, 0]
    error = p - torch.nn.functional.one_hot(labels, logits.shape[1])
    margins = (p - own[:, None]).scatter(1, labels[:, None], -math.inf)
    expected = {
        el2n: error.norm(dim=1),
        el1n: error.abs().sum(dim=1),
        margin_max: margins.amax(dim=1),
        margin_sum: (p - own[:, None]).sum(dim=1),
        confidence: own,
    }
    for formula, values in expected.items():
        torch.testing.assert_close(formula(logits, labels).double(), values, rtol=1e-4, atol=2e-5)


def test_examples_that_are_almost_sure_keep_their_order() -> None:
    logits = torch.tensor([[0.0, height] for height in (-20.0, -25.0, -30.0, -35.0, -40.0)])
    values = el2n(logits, torch.zeros(5, dtype=torch.int64))
    assert (values.diff() < 0).all() and (values > 0).all()


def test_entropy_of_equal_logits_and_of_one_class() -> None:
    torch.testing.assert_close(entropy(torch.zeros(1, 7)), torch.tensor([math.log(7)]))
    torch.testing.assert_close(entropy(torch.tensor([[1000.0, 0.0]])), torch.tensor([0.0]))


def test_half_precision_logits_are_scored_in_float32() -> None:
    logits = torch.tensor([[3.0, 1.0]], dtype=torch.bfloat16)
    assert el2n(logits, torch.tensor([0])).dtype == torch.float32


@pytest.mark.parametrize("formula", [el2n, el1n, margin_max, margin_sum, loss, confidence])
def test_labels_and_logits_must_pair(formula: Formula) -> None:
    with pytest.raises(MethodError, match=r"Label 3 has no logit: the network knows 3 classes"):
        formula(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(MethodError, match=r"logits of shape \(examples, classes\).*gave \(2, 3, 1\) for 2 labels"):
        formula(torch.zeros(2, 3, 1), torch.tensor([0, 1]))


def test_a_margin_is_between_two_classes() -> None:
    with pytest.raises(MethodError, match="one class, and a margin is between two"):
        margin_max(torch.zeros(2, 1), torch.zeros(2, dtype=torch.int64))
