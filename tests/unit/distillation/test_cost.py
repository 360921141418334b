"""Operations of a step: the table of specification 2, section 11, less what closed forms save; and those counted."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from paredown.distillation import InfiniteSemantic, outer_loss
from paredown.distillation.cost import ImageCost, image_cost, step_cost
from paredown.models.widening import WideningConvNet

GIGA = 1e9


def cost_of(side: int, classes: int = 10, channels: int = 3) -> ImageCost:
    shape = (channels, side, side)
    return image_cost(WideningConvNet().build(shape, classes), shape)


@pytest.fixture(scope="module")
def cifar() -> ImageCost:
    return cost_of(32)


def test_an_image(cifar: ImageCost) -> None:
    assert cifar.width == 8192
    assert cifar.forward / 1e6 == pytest.approx(309, abs=0.5)
    assert cifar.backward == cifar.forward
    # Three forward passes, less the gradient by pixels, and the classifier.
    first = 2 * 9 * 3 * 128 * 32**2
    assert cifar.training == 3 * cifar.forward - first + 3 * 2 * 8192 * 10 == pytest.approx(920.6e6, rel=1e-3)


@pytest.mark.parametrize(("side", "forward", "width"), [(64, 1.84e9, 16384), (128, 9.78e9, 32768)])
def test_larger_images(side: int, forward: float, width: int) -> None:
    image = cost_of(side)
    assert image.forward == pytest.approx(forward, rel=2e-3) and image.width == width


def test_grey_images() -> None:
    assert cost_of(28, channels=1).forward == pytest.approx(304e6, rel=2e-3)


def test_the_published_setting(cifar: ImageCost) -> None:
    step = step_cost(cifar, classes=10, learnt=100)
    table = {
        "features of real images": 316.4,
        "features of learnt images": 61.8,
        "gradient to learnt images": 61.8,
        "its solution": 0.004,
        "neighbours": 11.0,
        "training of the network": 92.0,
    }
    for name, expected in table.items():
        assert step.parts[name] / GIGA == pytest.approx(expected, rel=2e-3, abs=1e-3), name
    # The published 2.0 of the matrix, 3.4 of the kernel and 10.7 of the augmentation's two products.
    assert (step.parts["matrix of the regression"] + step.parts["predictions"]) / GIGA < 1.3
    assert step.total / GIGA == pytest.approx(559 - 2.0 - 3.4 - 10.7 + 1.2, abs=0.6)
    assert step.forwards == pytest.approx(step.total / cifar.forward)


def test_a_large_setting() -> None:
    step = step_cost(cost_of(64, classes=200), classes=200, learnt=2000, mirrored=False)
    networks = [value for name, value in step.parts.items() if "image" in name or "network" in name]
    assert sum(networks) / 1e12 == pytest.approx(14.8, rel=5e-3)


def test_what_is_not_done_costs_nothing(cifar: ImageCost) -> None:
    plain = InfiniteSemantic(epsilon=0.0, keep_hardest=1.0)
    step = step_cost(cifar, classes=10, learnt=100, mirrored=False, augmentation=plain)
    assert step.parts["neighbours"] == 0
    assert step.parts["features of learnt images"] == 100 * cifar.forward


def counted(support: Tensor, labels: Tensor, targets: Tensor, aims: Tensor, augmentation: InfiniteSemantic) -> int:
    with FlopCounterMode(display=False) as counter:
        total, _ = outer_loss(support, labels, targets, aims, augmentation=augmentation)
        total.backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize(("learnt", "batch", "classes"), [(12, 40, 3), (6, 5, 6)])
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_products_of_the_loss_are_those_counted(learnt: int, batch: int, classes: int, epsilon: float) -> None:
    generator = torch.Generator().manual_seed(0)
    width, augmentation = 32, InfiniteSemantic(epsilon=epsilon, keep_hardest=0.5)
    sizes = ((learnt, width), (learnt, classes), (batch, width), (batch, classes))
    support, labels, targets, aims = (torch.randn(size, generator=generator) for size in sizes)
    step = step_cost(
        ImageCost(0.0, 0.0, 0.0, width),
        classes=classes,
        learnt=learnt,
        batch=batch,
        mirrored=False,
        augmentation=augmentation,
    )
    found = counted(support.requires_grad_(True), labels.requires_grad_(True), targets, aims, augmentation)
    assert found == step.total - step.parts["its solution"]


def test_counting_leaves_the_network_as_it_was() -> None:
    network = WideningConvNet(width=4).build((3, 16, 16), 5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image_cost(network, (3, 16, 16))
    assert network.training and all(weight.requires_grad and weight.grad is None for weight in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
