"""The outer loss is the published one, part by part, and its gradient is that of finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import distillation as oracle
from torch import Tensor

from paredown.distillation import InfiniteSemantic, outer_loss
from paredown.distillation.labels import centred, initial_labels
from paredown.errors import MethodError

SUPPORT, BATCH, WIDTH, CLASSES = 6, 20, 16, 4


def drawn(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gives features and labels of a support, then of a batch, float64."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(SUPPORT + BATCH, WIDTH, generator=generator, dtype=torch.float64)
    labels = torch.arange(SUPPORT + BATCH) % CLASSES
    noise = 0.1 * torch.randn(SUPPORT, CLASSES, generator=generator, dtype=torch.float64)
    first = initial_labels(labels[:SUPPORT], CLASSES).double() + noise
    return features[:SUPPORT], first, features[SUPPORT:], centred(labels[SUPPORT:], CLASSES).double()


def loss_of(parts: tuple[Tensor, Tensor, Tensor, Tensor], **settings: Any) -> Any:
    fields = {"augmentation": InfiniteSemantic(), "dtype": torch.float64} | settings
    return outer_loss(*parts, **fields)


@given(seed=st.integers(0, 10_000), epsilon=st.floats(0, 2), share=st.floats(0.1, 1.0))
def test_it_is_the_published_loss(seed: int, epsilon: float, share: float) -> None:
    given = drawn(seed)
    total, parts = loss_of(given, augmentation=InfiniteSemantic(epsilon=epsilon, keep_hardest=share), margin=False)
    support, labels, targets, aims = (part.numpy() for part in given)
    expected = oracle.published_loss(support, labels, targets, aims, epsilon=epsilon, share=share)
    assert float(total) == pytest.approx(expected, rel=1e-7)
    assert float(parts.regression) == float(total) and float(parts.margin) == 0
    predicted = oracle.predicted(targets, support, labels, 1e-6)
    np.testing.assert_allclose(parts.predictions, predicted, rtol=1e-6, atol=1e-8)
    errors = ((predicted - aims) ** 2).sum(1) / 2
    np.testing.assert_allclose(parts.errors, errors, rtol=1e-6)
    assert parts.kept.tolist() == oracle.hardest(errors, share)


@given(seed=st.integers(0, 10_000))
def test_without_augmentation_it_is_the_plain_regression_loss(seed: int) -> None:
    given = drawn(seed)
    plain = InfiniteSemantic(epsilon=0.0, keep_hardest=1.0, reduction="half-sum")
    total, parts = loss_of(given, augmentation=plain, margin=False)
    assert float(total) == pytest.approx(float(parts.errors.mean()), rel=1e-12)
    published, _ = loss_of(given, augmentation=InfiniteSemantic(epsilon=0.0, keep_hardest=1.0), margin=False)
    assert float(total) == pytest.approx(CLASSES / 2 * float(published), rel=1e-12)


@pytest.mark.parametrize("direction", ["extrapolate", "interpolate", "symmetric"])
@pytest.mark.parametrize("margin", [True, False])
def test_gradients_by_finite_differences(direction: Any, margin: bool) -> None:
    support, labels, targets, aims = drawn(3)
    augmentation = InfiniteSemantic(epsilon=0.7, keep_hardest=0.6, direction=direction)
    chosen = loss_of((support, labels, targets, aims), augmentation=augmentation)[1]

    def loss(h: Tensor, y: Tensor) -> Tensor:
        total, parts = loss_of((h, y, targets, aims), augmentation=augmentation, margin=margin)
        assert torch.equal(parts.kept, chosen.kept), "a difference small enough leaves the choice as it is"
        return total

    assert torch.autograd.gradcheck(loss, (support.requires_grad_(True), labels.requires_grad_(True)))


@given(seed=st.integers(0, 10_000))
def test_the_order_of_the_batch_does_not_matter(seed: int) -> None:
    support, labels, targets, aims = drawn(seed)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(seed))
    one, _ = loss_of((support, labels, targets, aims))
    other, parts = loss_of((support, labels, targets[order], aims[order]))
    assert float(one) == pytest.approx(float(other), rel=1e-9)
    assert sorted(order[parts.kept].tolist()) == sorted(loss_of((support, labels, targets, aims))[1].kept.tolist())


def test_given_hardness_decides_who_counts() -> None:
    hardness = torch.arange(BATCH)
    _, parts = loss_of(drawn(0), hardness=hardness, augmentation=InfiniteSemantic(keep_hardest=0.25))
    assert parts.kept.tolist() == [19, 18, 17, 16, 15]


def test_the_margin_of_labels_is_added_and_mirror_images_do_not_change_it() -> None:
    support, labels, targets, aims = drawn(0)
    plain, _ = loss_of((support, labels, targets, aims), margin=False)
    total, parts = loss_of((support, labels, targets, aims))
    assert float(total) == pytest.approx(float(plain) + float(parts.margin)) and float(parts.margin) < 0
    mirrored = torch.cat([support, support.flip(1)])
    _, doubled = loss_of((mirrored, torch.cat([labels, labels]), targets, aims))
    assert float(doubled.margin) == pytest.approx(float(parts.margin))


def test_only_the_learnt_have_a_gradient() -> None:
    given = tuple(part.requires_grad_(True) for part in drawn(1))
    total, parts = loss_of(given)
    total.backward()
    support, labels, targets, aims = given
    assert support.grad is not None and labels.grad is not None
    assert targets.grad is None and aims.grad is None
    assert not any(part.requires_grad for part in vars(parts).values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocast_outside_changes_nothing(dtype: torch.dtype) -> None:
    given = tuple(part.float() for part in drawn(2))
    found = []
    for enabled in (False, True):
        support, labels = (part.clone().requires_grad_(True) for part in given[:2])
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            total, parts = loss_of((support, labels, *given[2:]), dtype=dtype)
            total.backward()
        assert total.dtype == parts.predictions.dtype == dtype
        found.append([total.detach(), support.grad, labels.grad])
    for first, second in zip(*found, strict=True):
        assert torch.equal(first, second)


def test_float64_is_computed_from_features_of_few_digits() -> None:
    support, labels, targets, aims = drawn(4)
    short = (support.bfloat16(), labels, targets.bfloat16(), aims)
    total, _ = loss_of(short)
    again, _ = loss_of((support.bfloat16().double(), labels, targets.bfloat16().double(), aims))
    assert float(total) == float(again)


def test_a_regression_that_breaks_down_is_refused_or_gives_no_number() -> None:
    _, labels, targets, aims = drawn(0)
    nothing = torch.zeros(SUPPORT, WIDTH)
    with pytest.raises(MethodError, match="not positive definite"):
        loss_of((nothing, labels, targets, aims))
    assert loss_of((nothing, labels, targets, aims), wait=False)[0].isnan()
