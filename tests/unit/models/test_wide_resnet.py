"""The networks of robust training: sizes, shapes and names as published checkpoints have them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from paredown.errors import MethodError
from paredown.method import build
from paredown.models import PreActSwish, WideResNet
from paredown.models.wide_resnet import Block

CIFAR = (3, 32, 32)


def made(model: Any, classes: int = 10) -> nn.Module:
    with torch.device("meta"):
        return model.build(CIFAR, classes)


def numbers(body: nn.Module, kinds: Any = nn.Module) -> int:
    return sum(
        parameter.numel()
        for module in body.modules()
        if isinstance(module, kinds)
        for parameter in module.parameters(recurse=False)
    )


@pytest.mark.parametrize(
    ("model", "parameters", "normalisation"),
    [
        (WideResNet(), 36_479_194, 17_952),
        (WideResNet(activation="relu"), 36_479_194, 17_952),
        (WideResNet(depth=34, width=20), 184_531_674, 44_832),
        (WideResNet(depth=70, width=16), 266_796_506, 78_880),
        (WideResNet(depth=34), 46_160_474, 22_432),
        (PreActSwish(), 12_548_426, 7_808),
        (PreActSwish(stages=(3, 4, 6, 3)), 22_656_586, 15_232),
    ],
    ids=repr,
)
def test_parameters(model: Any, parameters: int, normalisation: int) -> None:
    body = made(model)
    assert numbers(body) == parameters
    assert numbers(body, nn.BatchNorm2d) == normalisation
    assert build("model", model.plain()) == model


def test_names_are_those_of_published_checkpoints() -> None:
    names = list(made(WideResNet()).state_dict())
    assert len(names) == 155
    assert {name.split(".")[0] for name in names} == {"init_conv", "layer", "batchnorm", "logits"}
    assert {"layer.0.block.0.shortcut.weight", "layer.2.block.3.conv_1.weight", "logits.bias"} <= set(names)
    assert "layer.0.block.1.shortcut.weight" not in names
    parts = {name.split(".")[4] for name in names if name.startswith("layer")}
    assert parts == {"batchnorm_0", "conv_0", "batchnorm_1", "conv_1", "shortcut"}


def seen(body: nn.Module) -> list[tuple[int, int]]:
    """Gives the height that the first convolution of each group sees, and the one that it yields."""
    sides: list[tuple[int, int]] = []
    hooks = [
        group.block[0].conv_0.register_forward_hook(
            lambda _, given, out: sides.append((given[0].shape[2], out.shape[2]))
        )
        for group in body.layer
    ]
    body.eval()
    with torch.no_grad():
        assert body(torch.zeros(1, *CIFAR)).shape == (1, 10)
    for hook in hooks:
        hook.remove()
    return sides


def test_padding_at_strides() -> None:
    assert seen(WideResNet(depth=10, width=1).build(CIFAR, 10)) == [(32, 32), (33, 16), (17, 8)]
    assert seen(WideResNet(depth=10, width=1, activation="relu").build(CIFAR, 10)) == [(32, 32), (32, 16), (16, 8)]
    assert seen(PreActSwish(width=4).build(CIFAR, 10)) == [(32, 32), (33, 16), (17, 8), (9, 4)]


def test_the_pixel_more_stands_at_the_right_and_at_the_bottom() -> None:
    block = Block(1, 1, 2, "swish", raw=True)
    x = torch.arange(16.0).view(1, 1, 4, 4) + 1
    padded = block._padded(x)
    assert padded.shape == (1, 1, 5, 5)
    assert torch.equal(padded[..., :4, :4], x) and not padded[..., 4, :].any() and not padded[..., :, 4].any()


def test_shortcuts() -> None:
    wide = WideResNet(depth=10, width=1).build(CIFAR, 10)
    assert [group.block[0].shortcut is None for group in wide.layer] == [True, False, False]
    assert wide.layer[1].block[0].shortcut.kernel_size == (1, 1)
    assert PreActSwish(width=4).build(CIFAR, 10).layer[1].block[0].shortcut.kernel_size == (3, 3)


@pytest.mark.parametrize("raw", [False, True])
def test_what_a_shortcut_sees(raw: bool) -> None:
    # With dead convolutions a block gives its shortcut: of the activated input in wide ResNets, of the raw one else.
    block = Block(2, 2, 2, "swish", raw=raw) if raw else Block(2, 3, 1, "swish")
    nn.init.zeros_(block.conv_1.weight)
    block.eval()
    x = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    assert block.shortcut is not None
    with torch.no_grad():
        if raw:
            expected = block.shortcut(nn.functional.pad(x, (0, 1, 0, 1)))
        else:
            expected = block.shortcut(nn.functional.silu(block.batchnorm_0(x)))
        torch.testing.assert_close(block(x), expected)


def test_initial_weights() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = WideResNet(depth=10, width=4).build(CIFAR, 10)
    weight = body.layer[2].block[0].conv_1.weight
    assert float(weight.detach().std()) == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)
    assert not body.logits.bias.any()
    assert {m.momentum for m in body.modules() if isinstance(m, nn.BatchNorm2d)} == {0.01}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"depth": 32},
            r"WideResNet\(depth=32\): three groups of whole blocks need a depth of 6·n \+ 4.*nearest is 34",
        ),
        ({"depth": 4}, r"The nearest is 10"),
        ({"width": 0}, r"WideResNet\(width=0\): the channels need a factor of at least 1"),
    ],
)
def test_wide_resnets_that_cannot_be(fields: dict[str, int], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        WideResNet(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"stages": ()}, {"stages": (2, 0)}, {"width": 0}])
def test_preact_resnets_that_cannot_be(fields: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match=r"PreActSwish\(.*every stage needs a block and a channel"):
        PreActSwish(**fields)
