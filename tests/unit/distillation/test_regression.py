"""The regression is the equation's, so is its gradient, and neither depends on what precision others asked for."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import distillation as oracle
from torch import Tensor

from paredown.distillation.regression import (
    dual,
    predictions,
    refuse_or_warn,
    regression_errors,
    regularised,
)
from paredown.errors import MethodError

seeds = st.integers(0, 10_000)


def drawn(seed: int, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


@pytest.fixture
def low_precision() -> Iterator[None]:
    """Matrix products in whatever is fast, and autocast to bfloat16, as a training may have asked for."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@given(seed=seeds, ridge=st.sampled_from([1e-6, 1e-3, 0.5]), support=st.integers(1, 12))
def test_it_is_the_equations(seed: int, ridge: float, support: int) -> None:
    features, labels, targets = drawn(seed, (support, 16), (support, 4), (7, 16))
    found = predictions(targets, features, dual(features, labels, ridge=ridge))
    expected = oracle.predicted(targets.numpy(), features.numpy(), labels.numpy(), ridge)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-8)


@given(seed=seeds, scale=st.floats(1e-3, 1e3))
def test_scaling_all_features_changes_no_prediction(seed: int, scale: float) -> None:
    features, labels, targets = drawn(seed, (6, 16), (6, 4), (7, 16))
    plain = predictions(targets, features, dual(features, labels, ridge=0.01))
    scaled = predictions(scale * targets, scale * features, dual(scale * features, labels, ridge=0.01))
    np.testing.assert_allclose(scaled, plain, rtol=1e-9, atol=1e-10)


@given(seed=seeds)
def test_without_ridge_it_goes_through_the_labels(seed: int) -> None:
    features, labels = drawn(seed, (6, 16), (6, 4))
    np.testing.assert_allclose(predictions(features, features, dual(features, labels, ridge=0.0)), labels, atol=1e-7)


def test_the_ridge_is_relative_to_the_mean_of_the_diagonal() -> None:
    gram = torch.tensor([[2.0, 1.0], [1.0, 4.0]])
    assert torch.allclose(regularised(gram, 0.1), torch.tensor([[2.3, 1.0], [1.0, 4.3]]))


@pytest.mark.parametrize("ridge", [1e-6, 0.3])
def test_gradients_by_finite_differences(ridge: float) -> None:
    features, labels, targets = drawn(0, (5, 8), (5, 3), (4, 8))
    for part in (features, labels, targets):
        part.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h, y: dual(h, y, ridge=ridge), (features, labels))
    assert torch.autograd.gradcheck(
        lambda t, h, y: predictions(t, h, dual(h, y, ridge=ridge)), (targets, features, labels)
    )


@pytest.mark.parametrize(("support", "tolerance"), [(5, 1e-10), (20, 1e-6)])
def test_the_gradient_is_that_of_the_steps_one_by_one(support: int, tolerance: float) -> None:
    features, labels, targets, aims = drawn(1, (support, 12), (support, 3), (9, 12), (9, 3))
    found = []
    for plain in (False, True):
        h, y = (part.clone().requires_grad_(True) for part in (features, labels))
        w = torch.linalg.solve(regularised(h @ h.T, 1e-6), y) if plain else dual(h, y)
        regression_errors((targets @ h.T) @ w, aims).mean().backward()
        found.append([h.grad, y.grad])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


def test_labels_that_are_not_learnt_and_features_that_are_constants() -> None:
    features, labels = drawn(2, (5, 8), (5, 3))
    h = features.clone().requires_grad_(True)
    (by_features,) = torch.autograd.grad(dual(h, labels).square().sum(), h)
    y = labels.clone().requires_grad_(True)
    (by_labels,) = torch.autograd.grad(dual(features, y).square().sum(), y)
    both = (features.clone().requires_grad_(True), labels.clone().requires_grad_(True))
    expected = torch.autograd.grad(dual(*both).square().sum(), both)
    assert torch.equal(by_features, expected[0]) and torch.equal(by_labels, expected[1])


def values(features: Tensor, labels: Tensor, targets: Tensor) -> list[Tensor]:
    h, y = (part.detach().clone().requires_grad_(True) for part in (features, labels))
    predicted = predictions(targets, h, dual(h, y))
    predicted.square().sum().backward()
    assert h.grad is not None and y.grad is not None
    return [predicted.detach(), h.grad, y.grad]


def test_neither_autocast_nor_fast_products_reach_it(low_precision: None) -> None:
    features, labels, targets = drawn(3, (24, 64), (24, 5), (32, 64), dtype=torch.float32)
    rough = values(features, labels, targets)
    torch.set_float32_matmul_precision("highest")
    with torch.autocast("cpu", enabled=False):
        exact = values(features, labels, targets)
    for first, second in zip(rough, exact, strict=True):
        assert first.dtype == torch.float32 and torch.equal(first, second)


def test_features_of_few_digits_are_raised(low_precision: None) -> None:
    features, labels, targets = drawn(4, (6, 32), (6, 5), (9, 32), dtype=torch.float32)
    short, near = features.bfloat16(), targets.bfloat16()
    found = predictions(near, short, dual(short, labels))
    assert found.dtype == torch.float32
    assert torch.equal(found, predictions(near.float(), short.float(), dual(short.float(), labels)))
    h = short.clone().requires_grad_(True)
    dual(h, labels).square().sum().backward()
    assert h.grad is not None and h.grad.dtype == torch.bfloat16


def test_the_widest_precision_decides() -> None:
    features, labels = drawn(5, (4, 8), (4, 3))
    assert dual(features, labels.float()).dtype == torch.float64
    assert predictions(features.float(), features.float(), labels.float()).dtype == torch.float32


def test_half_the_sum_of_squares() -> None:
    assert regression_errors(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).tolist() == [2.5]


def test_a_matrix_that_cannot_be_factorised() -> None:
    equal = torch.ones(3, 1)
    with pytest.raises(MethodError, match=r"3 images with 1 features .* not positive definite in float32.*float64"):
        dual(equal, torch.eye(3), ridge=0.0)
    assert dual(equal, torch.eye(3), ridge=0.0, wait=False).isnan().all()
    with pytest.raises(MethodError, match="not finite"):
        dual(torch.full((3, 8), torch.nan), torch.eye(3))
    # Zero features have no ridge either, as it is relative.
    with pytest.raises(MethodError, match=r"not positive definite.*Compute the regression in float64"):
        dual(torch.zeros(3, 8), torch.eye(3))


def test_too_many_images_for_the_features_are_told_of() -> None:
    assert refuse_or_warn(99, 100) is None
    for support in (100, 200):
        sentence = refuse_or_warn(support, 100)
        assert sentence is not None and f"{support} images" in sentence and "only 100 features" in sentence
    with pytest.raises(MethodError, match="singular"):
        refuse_or_warn(101, 100, ridge=0.0)
    assert refuse_or_warn(100, 100, ridge=0.0) is not None
    with pytest.raises(MethodError, match="negative"):
        refuse_or_warn(10, 100, ridge=-1e-6)
