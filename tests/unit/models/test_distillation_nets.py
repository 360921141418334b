"""The networks of distillation: normalisation, depth, initialisation, grey images, what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from paredown.attacks.base import undisturbed
from paredown.errors import MethodError
from paredown.models import checkpoint_of, features, last_linear, load, network
from paredown.models.build import AbstractModel
from paredown.models.constant_width import DcConvNet, KipConvNet
from paredown.models.flat import AlexNet, FlatResNet18, Vgg11
from paredown.models.norms import PopulationBatchNorm, channel_norm
from paredown.models.widening import WideningConvNet

SMALL: list[AbstractModel] = [
    WideningConvNet(width=4),
    DcConvNet(width=4),
    KipConvNet(width=4),
    AlexNet(),
    Vgg11(channels=(4,) * 8),
]
SIDES = [(3, 32, 32), (1, 28, 28), (3, 35, 33)]
FLAT: list[AbstractModel] = [FlatResNet18(), FlatResNet18(downsampling="pool", norm="none")]
CASES = [(model, shape) for model in SMALL for shape in SIDES]
CASES += [(model, shape) for model in FLAT for shape in ((3, 11, 13), (1, 8, 8))]


def maps(count: int = 6, channels: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, 5, 3, generator=torch.Generator().manual_seed(seed)) * 3 + 1


@pytest.mark.parametrize("momentum", [0.9, 0.1])
def test_running_variances_have_n_in_the_denominator(momentum: float) -> None:
    norm, usual = PopulationBatchNorm(4, momentum), nn.BatchNorm2d(4, momentum=momentum)
    mean, variance = torch.zeros(4), torch.ones(4)
    for step in range(3):
        x = maps(seed=step)
        torch.testing.assert_close(norm(x), usual(x))
        rows = x.transpose(0, 1).flatten(1)
        mean = (1 - momentum) * mean + momentum * rows.mean(dim=1)
        variance = (1 - momentum) * variance + momentum * rows.var(dim=1, correction=0)
        torch.testing.assert_close(norm.running_mean, mean)
        torch.testing.assert_close(norm.running_var, variance)
    by_hand = (maps() - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
    torch.testing.assert_close(norm.eval()(maps()), by_hand)


def test_it_learns_as_the_usual_one_and_stands_still_under_attack() -> None:
    norm, usual = PopulationBatchNorm(4, 0.9), nn.BatchNorm2d(4, momentum=0.9)
    weights = maps(seed=9)
    gradients = []
    for layer in (norm, usual):
        x = maps().requires_grad_(True)
        (layer(x) * weights).sum().backward()
        assert x.grad is not None
        gradients += [x.grad, layer.weight.grad, layer.bias.grad]
    for ours, theirs in zip(gradients[:3], gradients[3:], strict=True):
        torch.testing.assert_close(ours, theirs)
    before = norm.running_var.clone()
    with undisturbed(norm):
        torch.testing.assert_close(norm(maps(seed=3)), usual(maps(seed=3)))
    assert torch.equal(norm.running_var, before)
    # A second pass before the first one's gradient is taken writes nothing that the first still needs.
    first = norm(maps().requires_grad_(True))
    norm(maps(seed=1))
    first.sum().backward()


def test_layer_norm_takes_the_channels_of_a_pixel_and_groups_their_share() -> None:
    x = maps(channels=64)
    pixel = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(channel_norm("layer", 64, momentum=0.9)(x), pixel, atol=1e-5, rtol=1e-5)
    for norm, groups in (("group", 32), ("group1", 1), ("instance", 64)):
        parts = x.reshape(len(x), groups, -1)
        scaled = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, correction=0, keepdim=True) + 1e-6).sqrt()
        found = channel_norm(norm, 64, momentum=0.9)(x)
        torch.testing.assert_close(found, scaled.reshape(x.shape), atol=1e-5, rtol=1e-5)
    assert isinstance(channel_norm("none", 64, momentum=0.9), nn.Identity)
    with pytest.raises(MethodError, match=r"norm='group': 8 channels do not make 32 groups"):
        WideningConvNet(width=8, norm="group").build((3, 32, 32), 2)


@pytest.mark.parametrize(("side", "channels", "depth"), [(28, 1, 3), (28, 3, 3), (32, 3, 3), (64, 3, 4), (128, 3, 5)])
def test_depth_follows_the_image(side: int, channels: int, depth: int) -> None:
    body = WideningConvNet(width=1).build((channels, side, side), 10)
    convs = [layer for layer in body if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convs] == [2**block for block in range(depth)]
    assert convs[0].padding == ((3, 3) if channels == 1 else (1, 1))
    left = 3 if (side, channels) == (28, 3) else 4
    assert last_linear(body).in_features == convs[-1].out_channels * left**2


def test_the_first_block_does_not_normalise() -> None:
    kinds = [type(layer).__name__ for layer in WideningConvNet(width=1).build((3, 16, 16), 2)]
    block = ["Conv2d", "ReLU", "AvgPool2d"]
    assert kinds == [*block, "PopulationBatchNorm", *block, "Flatten", "Linear"]


@pytest.mark.parametrize(("model", "shape"), CASES, ids=lambda part: getattr(part, "name", None))
def test_features_are_what_the_last_layer_sees(model: AbstractModel, shape: tuple[int, int, int]) -> None:
    net = network(model, shape, 5, mean=(0.5,) * shape[0], std=(0.5,) * shape[0], seed=0).eval()
    x = torch.rand(3, *shape)
    with torch.no_grad():
        seen, logits = features(net, x)
        torch.testing.assert_close(last_linear(net)(seen), logits)
        assert logits.shape == (3, 5)
        assert torch.equal(load(checkpoint_of(net, model, 0))(x), logits)


@pytest.mark.parametrize(
    ("model", "gain", "biases"), [(WideningConvNet(), 1, 0), (DcConvNet(), 2, 0), (KipConvNet(), 1, 0.1)]
)
def test_kernels_begin_with_the_published_spread(model: AbstractModel, gain: float, biases: float) -> None:
    torch.manual_seed(0)
    body = model.build((3, 32, 32), 10)
    for layer in body:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            spread = math.sqrt(gain / layer.weight[0].numel())
            assert abs(float(layer.weight.detach().std()) / spread - 1) < 0.05
            assert float(layer.weight.detach().abs().max()) <= 2 * spread / 0.8796 + 1e-6
    kernels = [layer for layer in body if isinstance(layer, nn.Conv2d | nn.Linear)]
    drawn = torch.cat([layer.bias.detach() for layer in kernels if layer.bias is not None])
    assert abs(float(drawn.std()) - biases) < 0.02 if biases else (drawn == 0).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: WideningConvNet(width=0), r"WideningConvNet\(width=0, depth=None\): there is no network without"),
        (lambda: KipConvNet(depth=0), r"KipConvNet\(width=128, depth=0\)"),
        (lambda: WideningConvNet(depth=4).build((3, 8, 8), 2), r"images of 8x8 pixels cannot be halved 4 times"),
        (
            lambda: Vgg11().build((3, 16, 16), 2),
            r"Vgg11: images of 16×16 cannot be halved 5 times",
        ),
        (lambda: Vgg11(channels=(8,)), r"Vgg11\(channels=\(8,\)\): there are 8 convolutions"),
        (lambda: AlexNet().build((3, 7, 9), 2), r"AlexNet: images of 7×9"),
    ],
)
def test_what_cannot_be_built_is_refused(make, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        make()
