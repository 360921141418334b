"""The networks of distillation against arrays that the original code (JAX, flax) computed with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from tests.golden.flax_nets import fill, flat, images, tensor
from torch import nn

from paredown.models import features, network
from paredown.models.build import AbstractModel
from paredown.models.constant_width import DcConvNet, KipConvNet
from paredown.models.flat import AlexNet, FlatResNet18, Vgg11
from paredown.models.widening import WideningConvNet

Golden = Callable[[str, str], Mapping[str, np.ndarray]]
CASES: list[tuple[str, AbstractModel]] = [
    ("net_conv_bn_w8_d3_rgb32", WideningConvNet(width=8)),
    ("net_conv_bn_w4_d3_grey28", WideningConvNet(width=4)),
    ("net_conv_in_w4_d3_rgb32", WideningConvNet(width=4, norm="instance")),
    ("net_conv_ln_w4_d3_rgb32", WideningConvNet(width=4, norm="layer")),
    ("net_conv_nn_w8_d3_rgb32", WideningConvNet(width=8, norm="none")),
    ("net_dcconv_bn_w8_d3_rgb32", DcConvNet(width=8)),
    ("net_kipconv_bn_w8_d3_rgb32", KipConvNet(width=8)),
]


def near(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    """Within 1e-5 of the largest number."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


@pytest.mark.parametrize(("name", "model"), CASES, ids=[name for name, _ in CASES])
def test_logits_features_and_statistics_are_the_originals(name: str, model: AbstractModel, golden: Golden) -> None:
    arrays = golden("isa", name)
    x = images(arrays["x"])
    shape = (x.shape[1], x.shape[2], x.shape[3])
    net = network(model, shape, 10, mean=(0.0,) * shape[0], std=(1.0,) * shape[0])
    body = net.body
    assert isinstance(body, nn.Sequential)
    fill(body, arrays)
    width = [layer for layer in body if isinstance(layer, nn.Conv2d)][-1].out_channels
    with torch.no_grad():
        seen, logits = features(net.eval(), x)
        near(logits, tensor(arrays["eval_logits"]))
        near(seen, flat(arrays["eval_feat"], width))
        if "train_logits" not in arrays:
            return
        seen, logits = features(net.train(), x)
    near(logits, tensor(arrays["train_logits"]))
    near(seen, flat(arrays["train_feat"], width))
    for number, norm in enumerate(layer for layer in body if isinstance(layer, nn.BatchNorm2d)):
        theirs = f"new_batch_stats/BatchNorm_{number}"
        near(norm.running_mean, tensor(arrays[f"{theirs}/mean"]))
        near(norm.running_var, tensor(arrays[f"{theirs}/var"]))


@pytest.mark.parametrize(
    ("model", "side", "parameters", "width"),
    [
        (WideningConvNet(), 32, 1_561_610, 8192),
        (WideningConvNet(), 64, 6_364_170, 16384),
        (WideningConvNet(), 128, 25_406_474, 32768),
        (DcConvNet(), 32, 319_626, 2048),
        (KipConvNet(), 32, 467_594, 2048),
        (AlexNet(), 32, 1_872_202, 3072),
        (Vgg11(), 32, 1_040_010, 128),
        (FlatResNet18(), 32, 11_241_290, 8192),
        (FlatResNet18(downsampling="pool"), 32, 11_241_290, 8192),
    ],
)
def test_sizes_are_the_published_ones(model: AbstractModel, side: int, parameters: int, width: int) -> None:
    with torch.device("meta"):
        body = model.build((3, side, side), 10)
    assert sum(parameter.numel() for parameter in body.parameters()) == parameters
    last = list(body.modules())[-1]
    assert isinstance(last, nn.Linear) and last.in_features == width
