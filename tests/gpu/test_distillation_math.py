"""On a GPU the regression keeps all digits of float32, also where TF32 and autocast were asked for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from paredown.distillation import InfiniteSemantic, Lamb, outer_loss
from paredown.distillation.semantic import hardest, partners

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


@pytest.fixture(autouse=True)
def tf32() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def given(device: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = ((40, 1024), (40, 10), (200, 1024), (200, 10))
    return tuple(torch.randn(size, generator=generator).to(device) for size in sizes)  # type: ignore[return-value]


def found(device: str, dtype: torch.dtype) -> list[Tensor]:
    support, labels, targets, aims = given(device)
    support.requires_grad_(True)
    labels.requires_grad_(True)
    with torch.autocast(device, torch.bfloat16):
        total, parts = outer_loss(
            support, labels, targets, aims, augmentation=InfiniteSemantic(), dtype=dtype, wait=False
        )
        total.backward()
    assert support.grad is not None and labels.grad is not None
    return [part.detach().cpu().double() for part in (parts.predictions, support.grad, labels.grad)]


def test_values_and_gradients_are_those_of_float64_on_a_cpu() -> None:
    exact = found("cpu", torch.float64)
    for dtype, tolerance in ((torch.float32, 2e-5), (torch.float64, 1e-7)):
        for ours, theirs in zip(found("cuda", dtype), exact, strict=True):
            assert float((ours - theirs).norm() / theirs.norm()) < tolerance


def test_the_same_examples_are_kept_and_paired() -> None:
    generator = torch.Generator().manual_seed(1)
    errors, features = (
        torch.randint(0, 5, (300,), generator=generator).float(),
        torch.randn(300, 64, generator=generator),
    )
    assert torch.equal(hardest(errors.cuda(), 0.5).cpu(), hardest(errors, 0.5))
    assert torch.equal(partners(features.cuda()).cpu(), partners(features))
    assert partners(torch.zeros(4, 3).cuda()).tolist() == [1, 0, 0, 0]


def test_lamb_moves_as_on_a_cpu() -> None:
    moved = []
    for device in ("cpu", "cuda"):
        part = given(device)[0].requires_grad_(True)
        optimizer = Lamb([part], lr=0.1)
        for _ in range(3):
            part.grad = part.detach().square()
            optimizer.step()
        moved.append(part.detach().cpu())
    torch.testing.assert_close(moved[1], moved[0], rtol=1e-4, atol=1e-5)
