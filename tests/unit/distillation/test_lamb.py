"""LAMB by its rule: steps of a given share of a tensor's length, resumable to the byte."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from paredown.distillation import Lamb
from paredown.errors import MethodError
from paredown.training.optimizers import set_rate


def tensors(seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(shape, generator=generator, dtype=dtype) for shape in ((4, 3, 5), (4, 10))]
    return [part.requires_grad_(True) for part in drawn]


def give_gradients(parts: list[Tensor], seed: int, scale: float = 1.0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for part in parts:
        part.grad = scale * torch.randn(part.shape, generator=generator, dtype=part.dtype)


def by_hand(value: np.ndarray, gradients: list[np.ndarray], lr: float) -> np.ndarray:
    mean, square = np.zeros_like(value), np.zeros_like(value)
    for step, gradient in enumerate(gradients, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        update = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.999**step)) + 1e-6)
        length, reach = np.linalg.norm(value), np.linalg.norm(update)
        value = value - lr * (length / reach if length and reach else 1.0) * update
    return value


def test_it_is_the_rule() -> None:
    part = tensors(dtype=torch.float64)[0]
    gradients = [np.random.RandomState(step).standard_normal((4, 3, 5)) * 10.0 ** -(step % 4) for step in range(6)]
    expected = by_hand(part.detach().numpy().copy(), gradients, 0.01)
    optimizer = Lamb([part], lr=0.01)
    for gradient in gradients:
        part.grad = torch.from_numpy(gradient)
        optimizer.step()
    np.testing.assert_allclose(part.detach(), expected, rtol=1e-12)


@given(seed=st.integers(0, 1000), scale=st.floats(1e-6, 1e6), lr=st.floats(1e-5, 0.1))
def test_each_tensor_moves_by_the_rate_times_its_length(seed: int, scale: float, lr: float) -> None:
    parts = tensors(seed, torch.float64)
    optimizer = Lamb(parts, lr=lr)
    for step in range(3):
        give_gradients(parts, seed + step, scale)
        before = [part.detach().clone() for part in parts]
        optimizer.step()
        for old, new in zip(before, parts, strict=True):
            assert float((new.detach() - old).norm()) == pytest.approx(lr * float(old.norm()), rel=1e-9)


def test_lengths_of_zero_give_the_plain_step_and_no_step() -> None:
    still, nothing = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = Lamb([still, nothing], lr=0.5)
    still.grad, nothing.grad = torch.tensor([2.0, -4.0, 0.0]), torch.zeros(3)
    optimizer.step()
    assert torch.allclose(still.detach(), torch.tensor([-0.5, 0.5, 0.0]))
    assert nothing.tolist() == [1.0] * 3


def test_resumed_it_goes_on_with_the_same_bytes() -> None:
    parts = tensors()
    optimizer = Lamb(parts, lr=0.01)
    for step in range(3):
        give_gradients(parts, step)
        optimizer.step()
    again = [part.detach().clone().requires_grad_(True) for part in parts]
    resumed = Lamb(again, lr=0.5)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(3, 6):
        for group, made in ((parts, optimizer), (again, resumed)):
            give_gradients(group, step)
            set_rate(made, 0.01 / (step + 1))
            made.step()
    for first, second in zip(parts, again, strict=True):
        assert torch.equal(first, second)
    counts = [state["step"] for state in resumed.state.values()]
    assert [float(count) for count in counts] == [6.0, 6.0]


def test_tensors_without_a_gradient_stay() -> None:
    first, second = tensors()
    optimizer = Lamb([first, second], lr=0.1)
    first.grad = torch.ones_like(first)
    before = second.detach().clone()
    optimizer.step()
    assert torch.equal(second, before) and len(optimizer.state) == 1


def test_groups_have_their_own_rates_and_gradients_are_left_as_they_are() -> None:
    first, second = tensors()
    optimizer = Lamb([{"params": [first], "lr": 0.0}, {"params": [second]}], lr=0.1)
    give_gradients([first, second], 0)
    assert first.grad is not None and second.grad is not None
    before, gradient = first.detach().clone(), second.grad.clone()
    optimizer.step()
    assert torch.equal(first, before) and torch.equal(second.grad, gradient)


def test_a_closure_is_called_with_gradient() -> None:
    (part, _) = tensors()
    optimizer = Lamb([part])

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = part.square().sum()
        loss.backward()
        return loss

    expected = float(part.detach().square().sum())
    assert float(optimizer.step(closure).detach()) == pytest.approx(expected)


@pytest.mark.parametrize("fields", [{"lr": -1.0}, {"eps": -1.0}, {"betas": (1.0, 0.9)}, {"betas": (0.9, -0.1)}])
def test_settings_that_cannot_be_meant(fields: dict[str, float]) -> None:
    with pytest.raises(MethodError, match="Lamb"):
        Lamb(tensors(), **fields)
