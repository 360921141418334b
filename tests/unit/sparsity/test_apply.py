"""A masked network: zeros that stay, gradients that are zero, weights that come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.unit.sparsity.networks import narrow
from torch import Tensor

from paredown.artifacts import MaskSet, PruningStrategy
from paredown.errors import MethodError
from paredown.models import Network
from paredown.sparsity.apply import masked, weights_under, zeroed, zeros_hold
from paredown.sparsity.layers import layers_of
from paredown.sparsity.masks import magnitude_masks, mask_set, weights_of

Optimizer = Callable[[Iterator[torch.nn.Parameter]], torch.optim.Optimizer]


def halved(made: Network) -> MaskSet:
    layers = layers_of(made)
    strategy = PruningStrategy.uniform(layers, 0.5, granularity="weight")
    return mask_set(magnitude_masks(weights_of(made, layers), layers, strategy), strategy.fingerprint)


def batch(seed: int = 0) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(4, 3, 16, 16, generator=draw), torch.randint(5, (4,), generator=draw)


def test_the_masked_network_is_the_one_with_zeros() -> None:
    made, by_hand = narrow("resnet18"), narrow("resnet18")
    masks = halved(made)
    for name, mask in masks.masks.items():
        by_hand.get_submodule(name).weight.data *= torch.from_numpy(mask)  # type: ignore[union-attr, operator]
    names = list(made.state_dict())
    held = masked(made, masks)
    x, y = batch()
    assert torch.equal(made(x), by_hand(x))
    assert list(made.state_dict()) == names
    F.cross_entropy(made(x), y).backward()
    F.cross_entropy(by_hand(x), y).backward()
    for name, mask in masks.masks.items():
        gradient = made.get_parameter(f"{name}.weight").grad
        assert gradient is not None and not gradient[torch.from_numpy(~mask)].any()
        other = by_hand.get_parameter(f"{name}.weight").grad
        assert other is not None and torch.equal(gradient, other * torch.from_numpy(mask))
    held.remove()
    made.zero_grad()
    F.cross_entropy(made(x), y).backward()
    stem = made.get_parameter("body.stem.weight")
    assert stem.grad is not None and stem.grad[stem == 0].any()  # nothing masks it any more
    assert zeros_hold(made, masks)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=1e-2, nesterov=True),
        lambda weights: torch.optim.Adam(weights, lr=0.01, weight_decay=1e-2),
        lambda weights: torch.optim.AdamW(weights, lr=0.01, weight_decay=1e-2),
    ],
    ids=["sgd", "adam", "adamw"],
)
def test_training_leaves_the_zeros_bit_for_bit(optimizer: Optimizer) -> None:
    made = narrow("vgg16_bn").train()
    masks = halved(made)
    held = masked(made, masks)
    before = made.get_parameter("body.features.0.weight").detach().clone()
    steps = optimizer(made.parameters())  # type: ignore[arg-type]
    for number in range(3):
        steps.zero_grad()
        x, y = batch(number)
        F.cross_entropy(made(x), y).backward()
        steps.step()
    assert zeros_hold(made, masks)
    after = held.remove().get_parameter("body.features.0.weight")
    assert np.array_equal((after != 0).numpy(), masks["body.features.0"]) and not torch.equal(after, before)


def test_other_changes_are_mended() -> None:
    made = narrow("resnet18")
    masks = halved(made)
    held = masked(made, masks)
    with torch.no_grad():
        made.get_parameter("body.stem.weight").add_(1)
    assert not zeros_hold(made, masks)
    held.zero()
    assert zeros_hold(made, masks)


def test_a_lent_network_comes_back() -> None:
    made = narrow("resnet18")
    before = {name: value.clone() for name, value in made.state_dict().items()}
    with pytest.raises(ZeroDivisionError), zeroed(made, halved(made)) as lent:
        assert zeros_hold(lent, halved(made))
        raise ZeroDivisionError
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_frozen_weights_can_be_masked() -> None:
    made = narrow("resnet18").requires_grad_(False)
    masks = halved(made)
    masked(made, masks)
    assert zeros_hold(made, masks)


def test_masks_of_another_network() -> None:
    made = narrow("resnet18")
    with pytest.raises(MethodError, match=r"they name 'body.features.0', which this network has not"):
        masked(made, halved(narrow("vgg16_bn")))
    with pytest.raises(MethodError, match=r"'body.stem' has shape \(2, 2\), and the weight \(8, 3, 3, 3\)"):
        weights_under(made, {"body.stem": torch.ones(2, 2, dtype=torch.bool)})
