"""Layers of networks: what there is, in which order, what it costs, what reads what."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tests.unit.sparsity.networks import described, narrow
from torch import Tensor, nn

from paredown.artifacts.layers import fingerprint, list_order, searched
from paredown.errors import MethodError
from paredown.models import PreActResNet18, PreActSwish, ResNet18, SmallResNet, Vgg16Bn
from paredown.sparsity.layers import layers_of


@pytest.mark.parametrize(
    ("name", "in_weight_mode", "in_channel_mode", "weights", "macs"),
    [
        ("vgg16_bn", 16, 16, 15_302_848, 313_788_928),
        ("resnet18", 21, 18, 11_164_352, 555_422_720),
        ("wrn_28_4", 29, 26, 5_841_840, 845_597_184),
        ("ResNet50", 54, 50, 25_502_912, 4_089_184_256),
    ],
)
def test_the_published_architectures(
    name: str, in_weight_mode: int, in_channel_mode: int, weights: int, macs: int
) -> None:
    layers, _ = described(name)
    assert (len(searched(layers, "weight")), len(searched(layers, "channel"))) == (in_weight_mode, in_channel_mode)
    assert (sum(layer.weights for layer in layers), sum(layer.macs for layer in layers)) == (weights, macs)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("vgg16_bn", [*range(16)]),
        ("resnet18", [0, 1, 2, 3, 4, 6, 7, 5, 8, 9, 11, 12, 10, 13, 14, 16, 17, 15, 18, 19, 20]),
        ("wrn_28_4", [0, 2, 3, 1, *range(4, 10), 11, 12, 10, *range(13, 19), 20, 21, 19, *range(22, 29)]),
        (
            "ResNet50",
            [
                *(0, 2, 3, 4, 1, *range(5, 11), 12, 13, 14, 11, *range(15, 24)),
                *(25, 26, 27, 24, *range(28, 43), 44, 45, 46, 43, *range(47, 54)),
            ],
        ),
    ],
)
def test_a_list_of_its_own_indices_comes_out_in_module_order(name: str, order: list[int]) -> None:
    layers, _ = described(name)
    found = [0] * len(layers)
    for entry, place in enumerate(list_order(layers)):
        found[place] = entry
    assert found == order


def test_what_reads_what_in_a_residual_block() -> None:
    layers = {layer.name: layer for layer in layers_of(ResNet18(width=4, stages=(2, 1)).build((3, 8, 8), 5), (3, 8, 8))}
    assert layers["stem"].reads == () and not layers["stem"].shortcut
    assert layers["blocks.0.conv1"].reads == ("stem",)
    # The stream behind an addition holds what all its writers gave.
    assert layers["blocks.1.conv1"].reads == ("stem", "blocks.0.conv2")
    assert layers["blocks.2.conv1"].reads == ("stem", "blocks.0.conv2", "blocks.1.conv2")
    assert layers["blocks.2.shortcut.0"].beside == "blocks.2.conv1"
    assert layers["linear"].reads == ("blocks.2.conv2", "blocks.2.shortcut.0")
    assert layers["linear"].macs == layers["linear"].weights == 40
    assert layers["blocks.2.conv1"].side == (4, 4) and layers["blocks.2.conv1"].shape == (8, 4, 3, 3)


@pytest.mark.parametrize(
    ("model", "shortcuts"),
    [
        (PreActResNet18(width=4), 3),
        (PreActSwish(width=4), 3),  # there the projection reads the input before its activation
        (ResNet18(width=4, padding="same"), 3),  # there the block pads what the projection reads as it is
        (SmallResNet(width=4), 0),
        (Vgg16Bn(width=4), 0),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_projections_are_found_by_structure(model: object, shortcuts: int) -> None:
    layers = layers_of(model.build((3, 32, 32), 5), (3, 32, 32))  # type: ignore[attr-defined]
    assert sum(layer.shortcut for layer in layers) == shortcuts


def test_the_network_is_left_as_it_was() -> None:
    made = narrow("resnet18").train()
    made.body.blocks[0].eval()  # type: ignore[index, union-attr]
    modes = [module.training for module in made.modules()]
    before = {name: value.clone() for name, value in made.state_dict().items()}
    layers_of(made)
    assert [module.training for module in made.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in made.modules())


class Unused(nn.Module):
    """Holds a layer that no forward pass reaches, one that is called twice, and a depthwise one."""

    def __init__(self) -> None:
        super().__init__()
        self.never = nn.Conv2d(3, 3, 3)
        self.twice = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.each = nn.Conv2d(3, 3, 3, padding=1, groups=3)
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.each(self.twice(F.relu(self.twice(x)))).mean((2, 3)))


def test_layers_that_are_called_otherwise() -> None:
    twice, each, linear = layers_of(Unused(), (3, 4, 4))
    assert (twice.name, twice.weights, twice.macs) == ("twice", 81, 2 * 81 * 16)
    assert (each.shape, each.groups, each.weights, each.macs) == ((3, 1, 3, 3), 3, 27, 27 * 16)
    assert linear.reads == ("each",)


def test_fingerprints_tell_architectures_apart() -> None:
    of = {name: fingerprint(described(name)[0]) for name in ("vgg16_bn", "resnet18", "wrn_28_4")}
    of["narrow"] = fingerprint(layers_of(Vgg16Bn(width=32).build((3, 32, 32), 10), (3, 32, 32)))
    assert len(set(of.values())) == 4
    assert of["resnet18"] == fingerprint(described("resnet18")[0])


def test_networks_without_layers_or_of_other_images() -> None:
    with pytest.raises(MethodError, match=r"no convolution and no linear layer"):
        layers_of(nn.Flatten(), (3, 4, 4))
    with pytest.raises(MethodError, match=r"ResNet: an image of shape \(1, 8, 8\) cannot be followed"):
        layers_of(ResNet18(width=4).build((3, 8, 8), 5), (1, 8, 8))
    with pytest.raises(MethodError, match=r"the shape of an image is needed"):
        layers_of(nn.Linear(3, 2))
    with pytest.raises(MethodError, match=r"takes examples of shape \(7,\)"):
        layers_of(nn.Linear(3, 2), (7,))
