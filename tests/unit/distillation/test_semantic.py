"""The closed form is the mean over virtual examples; what is kept and paired is what the definition says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.oracles import distillation as oracle
from torch import Tensor

from paredown.catalog import names
from paredown.distillation.regression import dual, predictions
from paredown.distillation.semantic import Direction, InfiniteSemantic, hardest, partners, semantic_losses
from paredown.errors import MethodError
from paredown.method import build

DIRECTIONS: tuple[Direction, ...] = ("extrapolate", "interpolate", "symmetric")
seeds = st.integers(0, 10_000)
epsilons = st.floats(-3.0, 3.0)
shares = st.floats(0.01, 1.0)


def ends(epsilon: float, direction: Direction) -> tuple[float, float]:
    return {"extrapolate": (0.0, epsilon), "interpolate": (-epsilon, 0.0), "symmetric": (-epsilon, epsilon)}[direction]


def batch(seed: int, size: int = 9, classes: int = 4, width: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(size, classes + width, generator=generator, dtype=torch.float64)
    return drawn[:, :classes], drawn[:, classes:]


@given(seed=seeds, epsilon=epsilons, direction=st.sampled_from(DIRECTIONS))
def test_it_is_the_mean_over_virtual_residuals(seed: int, epsilon: float, direction: Direction) -> None:
    residuals, features = batch(seed)
    near = partners(features)
    found = semantic_losses(residuals, near, epsilon=epsilon, direction=direction)
    for position, other in enumerate(near.tolist()):
        here, there = residuals[position].numpy(), residuals[other].numpy()
        expected = oracle.mean_over_virtual_examples(
            lambda step, here=here, there=there: float(((here + step * (here - there)) ** 2).sum()),
            *ends(epsilon, direction),
        )
        assert float(found[position]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_it_is_the_mean_of_what_the_regression_says_of_virtual_features(direction: Direction) -> None:
    generator = torch.Generator().manual_seed(0)
    support, targets = (torch.randn(n, 8, generator=generator, dtype=torch.float64) for n in (5, 9))
    labels, aims = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (5, 9))
    coefficients, near = dual(support, labels), partners(targets)
    residuals = predictions(targets, support, coefficients) - aims
    found = semantic_losses(residuals, near, epsilon=0.7, direction=direction)
    for position, other in enumerate(near.tolist()):

        def error(step: float, i: int = position, j: int = other) -> float:
            moved = targets[i] + step * (targets[i] - targets[j])
            aim = aims[i] + step * (aims[i] - aims[j])
            return float((predictions(moved[None], support, coefficients)[0] - aim).square().sum())

        expected = oracle.mean_over_virtual_examples(error, *ends(0.7, direction))
        assert float(found[position]) == pytest.approx(expected, rel=1e-10)


@given(seed=seeds, epsilon=epsilons, direction=st.sampled_from(DIRECTIONS))
def test_a_mean_of_squares_is_never_negative(seed: int, epsilon: float, direction: Direction) -> None:
    residuals, features = batch(seed)
    assert float(semantic_losses(residuals, partners(features), epsilon=epsilon, direction=direction).min()) >= -1e-12


@given(seed=seeds, epsilon=epsilons)
def test_interpolation_is_extrapolation_with_the_other_sign(seed: int, epsilon: float) -> None:
    residuals, features = batch(seed)
    near = partners(features)
    inside = semantic_losses(residuals, near, epsilon=epsilon, direction="interpolate")
    assert torch.equal(inside, semantic_losses(residuals, near, epsilon=-epsilon))
    both = (inside + semantic_losses(residuals, near, epsilon=epsilon)) / 2
    assert torch.allclose(both, semantic_losses(residuals, near, epsilon=epsilon, direction="symmetric"))


@given(seed=seeds, epsilon=epsilons)
def test_gradients_are_those_of_the_closed_form_and_add_up_at_a_hub(seed: int, epsilon: float) -> None:
    residuals, features = batch(seed)
    near = partners(features)
    residuals = residuals.clone().requires_grad_(True)
    semantic_losses(residuals, near, epsilon=epsilon).sum().backward()
    r, expected = residuals.detach(), torch.zeros_like(residuals)
    own, cross, far = 1 + epsilon + epsilon**2 / 3, epsilon + 2 * epsilon**2 / 3, 2 * epsilon**2 / 3
    for position, other in enumerate(near.tolist()):
        expected[position] += 2 * own * r[position] - cross * r[other]
        expected[other] += far * r[other] - cross * r[position]
    assert residuals.grad is not None
    np.testing.assert_allclose(residuals.grad, expected, rtol=1e-9, atol=1e-9)


@given(seed=seeds, epsilon=st.floats(0, 2), direction=st.sampled_from(DIRECTIONS))
def test_without_reach_it_is_the_squared_error_and_half_sum_is_half_the_classes_as_much(
    seed: int, epsilon: float, direction: Direction
) -> None:
    residuals, features = batch(seed, classes=6)
    plain = InfiniteSemantic(epsilon=0.0, direction=direction).losses(residuals, features)
    assert torch.allclose(plain, residuals.square().mean(dim=1))
    published = InfiniteSemantic(epsilon=epsilon, direction=direction).losses(residuals, features)
    halved = InfiniteSemantic(epsilon=epsilon, direction=direction, reduction="half-sum").losses(residuals, features)
    assert torch.allclose(halved, 3 * published)


def test_without_reach_nobody_looks_for_partners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("paredown.distillation.semantic.partners")
    assert InfiniteSemantic(epsilon=0.0).losses(*batch(0)).isfinite().all()


@given(seed=seeds, epsilon=st.floats(0, 2), direction=st.sampled_from(DIRECTIONS))
def test_the_order_of_the_batch_does_not_matter(seed: int, epsilon: float, direction: Direction) -> None:
    residuals, features = batch(seed)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    method = InfiniteSemantic(epsilon=epsilon, direction=direction)
    found = method.losses(residuals[order], features[order])
    assert torch.allclose(found, method.losses(residuals, features)[order])


def test_no_gradient_flows_into_features_or_through_the_choice() -> None:
    residuals, features = (part.clone().requires_grad_(True) for part in batch(0))
    method = InfiniteSemantic()
    kept = method.kept(residuals.square().sum(dim=1))
    method.losses(residuals[kept], features[kept]).sum().backward()
    assert features.grad is None and not kept.is_floating_point()


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 7.0]), min_size=1, max_size=30), shares)
def test_the_hardest_come_first_and_of_equal_ones_the_first(errors: list[float], share: float) -> None:
    found = hardest(torch.tensor(errors), share).tolist()
    assert found == oracle.hardest(np.array(errors), share)
    assert len(found) == int(share * len(errors))


def test_a_share_of_the_published_batch() -> None:
    assert len(hardest(torch.rand(1024, generator=torch.Generator().manual_seed(0)), 0.8)) == 819


def test_shares_that_keep_all_or_the_easiest() -> None:
    errors = torch.tensor([3.0, 1.0, 4.0, 1.0, 5.0])
    assert hardest(errors, 1.0).tolist() == [0, 1, 2, 3, 4]
    assert hardest(errors, 0.0).tolist() == [4, 2, 0, 1, 3]
    assert hardest(errors, -0.4).tolist() == [1, 3]
    assert hardest(errors, 0.1).tolist() == []


@given(seed=seeds)
def test_the_hardest_of_any_order_are_the_same_examples(seed: int) -> None:
    errors = torch.rand(20, generator=torch.Generator().manual_seed(seed))
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed + 1))
    assert order[hardest(errors[order], 0.35)].tolist() == hardest(errors, 0.35).tolist()


@given(seed=seeds)
def test_partners_are_the_nearest_others_by_cosine(seed: int) -> None:
    features = batch(seed)[1]
    scaled = features * torch.linspace(0.01, 100, 9, dtype=torch.float64)[:, None]
    expected = [oracle.partner(features.numpy(), position) for position in range(9)]
    assert partners(features).tolist() == partners(scaled).tolist() == expected


def test_copies_are_each_others_partners_and_nobody_is_his_own() -> None:
    features = torch.eye(4)[[0, 1, 1, 2, 0]]
    found = partners(features).tolist()
    assert found[:3] == [4, 2, 1] and found[4] == 0
    assert found[3] == 0, "equally far from all others, so the first"


def test_all_alike_and_all_zero_features_fall_to_the_first_other() -> None:
    for features in (torch.ones(4, 3), torch.zeros(4, 3)):
        assert partners(features).tolist() == [1, 0, 0, 0]
    one_zero = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    found = partners(one_zero)
    assert found.tolist() == [1, 0, 0]
    assert semantic_losses(torch.eye(3), found, epsilon=0.5).isfinite().all()


def test_one_that_is_alone_is_not_augmented() -> None:
    assert partners(torch.ones(1, 3)).tolist() == [0]
    residuals = torch.tensor([[3.0, 4.0]])
    assert InfiniteSemantic(epsilon=1.0).losses(residuals, torch.ones(1, 3)).tolist() == [12.5]


def test_features_of_few_digits_are_paired_in_float32() -> None:
    features = batch(1)[1].bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(partners(features), partners(features.float()))


def test_it_stands_in_the_catalog() -> None:
    assert names("semantic-augmentation") == ["infinite-semantic"]
    method = build("semantic-augmentation", {"epsilon": "1/2", "keep_hardest": 0.8, "reduction": "half-sum"})
    assert method == InfiniteSemantic(reduction="half-sum")
    assert build("semantic-augmentation", method.plain()) == method


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"epsilon": -0.5}, "direction='interpolate'"),
        ({"epsilon": float("inf")}, "0 or more"),
        ({"keep_hardest": 0.0}, "above 0"),
        ({"keep_hardest": -0.8}, "above 0"),
        ({"keep_hardest": 1.5}, "at most 1"),
    ],
)
def test_settings_that_cannot_be_meant(fields: dict[str, float], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        InfiniteSemantic(**fields)


def test_a_share_that_keeps_nobody() -> None:
    with pytest.raises(MethodError, match=r"keep_hardest=0\.001.*batch of 100 no example"):
        InfiniteSemantic(keep_hardest=0.001).kept(torch.ones(100))
