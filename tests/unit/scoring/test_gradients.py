"""GraNd in closed form is GraNd one example at a time, whatever the layers; and nothing of the network is changed."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracles.grand import squared_norms_one_by_one
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from paredown.errors import MethodError
from paredown.models import ConvNet, PreActResNet18, ResNet18, SmallResNet, last_linear, network
from paredown.scoring import closed_forms
from paredown.scoring.gradients import Grand, LastLayerGrand, gradient_norms

CLASSES = 4


def settled(net: nn.Module) -> nn.Module:
    """In float64 and inference mode, with scales, biases and statistics that are not 0 and 1."""
    torch.manual_seed(0)
    for layer in net.modules():
        for name, value in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
            if value.dim() == 1 and value.is_floating_point():
                with torch.no_grad():
                    value.copy_(torch.rand_like(value) + 0.5 if name != "bias" else torch.randn_like(value))
    return net.double().eval()


def check(net: nn.Module, x: Tensor, *, general: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    y = torch.arange(len(x)) % CLASSES
    found, slow = gradient_norms(net, x, y), squared_norms_one_by_one(net, x, y)
    assert set(found.general) == set(general)
    assert list(found.squared) == list(slow)
    for name, expected in slow.items():
        torch.testing.assert_close(found.squared[name], expected, rtol=1e-9, atol=1e-14, msg=name)


def classifier(*layers: nn.Module, shape: tuple[int, ...], examples: int = 3) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    body = nn.Sequential(*layers)
    x = torch.randn(examples, *shape)
    features = body.eval()(x).flatten(1).shape[1]
    return settled(nn.Sequential(body, nn.Flatten(), nn.Linear(features, CLASSES))), x.double()


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[nn.Conv2d, tuple[int, int, int]]:
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = groups * draw(st.integers(1, 3)), groups * draw(st.integers(1, 4))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    padding = draw(st.sampled_from(["same", "valid", 0, 1, 2, (0, 2)]))
    stride = 1 if padding == "same" else draw(st.sampled_from([1, 2, (2, 1), 3]))
    mode = draw(st.sampled_from(["zeros", "reflect", "circular"]))
    conv = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=padding,
        dilation=draw(st.integers(1, 2)),
        groups=groups,
        bias=draw(st.booleans()),
        padding_mode=mode,
    )
    return conv, (inputs, draw(st.integers(5, 8)), draw(st.integers(5, 8)))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize(("element", "weight"), [(0, 10**9), (10**9, 0)], ids=["gram", "direct"])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(drawn=convolutions())
def test_every_convolution_by_both_ways(element: int, weight: int, drawn) -> None:
    conv, shape = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_forms, "ELEMENT", element)
        patch.setattr(closed_forms, "WEIGHT", weight)
        check(*classifier(copy.deepcopy(conv), nn.Tanh(), shape=shape))


@pytest.mark.parametrize(("positions", "width"), [(3, 8), (20, 2)])
def test_linear_layers_over_positions(positions: int, width: int) -> None:
    check(*classifier(nn.Linear(5, width), nn.Tanh(), nn.Linear(width, 6, bias=False), shape=(positions, 5)))
    check(*classifier(nn.Linear(5, width), nn.Tanh(), shape=(2, positions, 5)))


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(6),
        nn.BatchNorm2d(6, affine=False),
        nn.GroupNorm(3, 6),
        nn.GroupNorm(1, 6),
        nn.InstanceNorm2d(6, affine=True),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
        nn.LayerNorm((6, 7, 5)),
        nn.LayerNorm(5),
        nn.LayerNorm(5, bias=False),
    ],
    ids=repr,
)
def test_every_normalisation(norm: nn.Module) -> None:
    check(*classifier(nn.Conv2d(2, 6, 3, padding=1), copy.deepcopy(norm), nn.ReLU(inplace=True), shape=(2, 7, 5)))


def test_normalisation_without_positions() -> None:
    check(*classifier(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.LayerNorm(6), shape=(5,)))
    check(*classifier(nn.LayerNorm((3, 5)), shape=(3, 5)))


@pytest.mark.parametrize("model", [ResNet18(stages=(1, 1), width=4), PreActResNet18(width=2), SmallResNet(width=4)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 9)])
def test_whole_networks(model, shape: tuple[int, int, int]) -> None:
    net = network(model, shape, CLASSES, mean=(0.4,) * shape[0], std=(0.2,) * shape[0])
    check(settled(net), torch.rand(3, *shape).double())


@pytest.mark.parametrize("norm", ["instance", "group", "layer", "none"])
def test_convnet_of_every_norm(norm) -> None:
    net = network(ConvNet(width=4, norm=norm), (1, 16, 16), CLASSES, mean=(0.4,), std=(0.2,))
    check(settled(net), torch.rand(3, 1, 16, 16).double())


def test_channels_last_is_the_same() -> None:
    net = network(SmallResNet(width=4), (3, 8, 8), CLASSES, mean=(0.4,) * 3, std=(0.2,) * 3)
    x = torch.rand(3, 3, 8, 8).double().contiguous(memory_format=torch.channels_last)
    check(settled(net).to(memory_format=torch.channels_last), x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, CLASSES)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.second(self.first(x).tanh()).tanh())


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.conv(self.conv(x).tanh()).mean((2, 3)))


class ByHand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.line, self.last = nn.Parameter(torch.rand(5)), nn.Linear(5, 5), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        assert self.line.weight.shape[0] == 5 and x.dtype == self.line.weight.dtype  # looking is not using
        return self.last(functional.linear(self.line(x * self.scale).tanh(), self.line.weight.t()))


class Overwritten(nn.Module):
    """Overwrites what went into a layer, which ordinary training allows where that layer's weight is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.line, self.last = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, CLASSES)
        self.line.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x) * 2
        out = self.line(hidden)
        return self.last(out.tanh() + hidden.mul_(3))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale, self.last = nn.Parameter(torch.rand(5)), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x * self.scale if torch.isfinite(x).all() else x)


class Folded(nn.Module):
    """Turns positions into examples, so that a row of the layer's input is not an example."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.last = nn.Linear(5, 6), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.line(x.flatten(0, 1)).tanh().view(len(x), -1))


class PositionsFirst(nn.Module):
    """Has as many positions as the test has examples, and puts them first."""

    def __init__(self) -> None:
        super().__init__()
        self.line, self.last = nn.Linear(5, 6), nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.line(x.transpose(0, 1)).tanh().sum(0))


@pytest.mark.parametrize(
    ("net", "shape", "general"),
    [
        (Tied(), (5,), {"first.weight"}),
        (Twice(), (2, 4, 4), {"conv.weight", "conv.bias"}),
        (ByHand(), (5,), {"scale", "line.weight"}),
        (Branching(), (5,), {"scale"}),
        (Overwritten(), (5,), {"line.bias"}),
        (Folded(), (2, 5), {"line.weight", "line.bias"}),
        (PositionsFirst(), (3, 5), {"line.weight", "line.bias"}),
        (
            nn.Sequential(nn.ConvTranspose2d(2, 2, 3), nn.PReLU(2), nn.Flatten(), nn.Linear(72, CLASSES)),
            (2, 4, 4),
            {"0.weight", "0.bias", "1.weight"},
        ),
        (
            nn.Sequential(parametrizations.weight_norm(nn.Linear(5, 6)), nn.Tanh(), nn.Linear(6, CLASSES)),
            (5,),
            {"0.parametrizations.weight.original0", "0.parametrizations.weight.original1"},
        ),
    ],
    ids=[
        "tied",
        "twice",
        "by hand",
        "branching",
        "overwritten",
        "folded",
        "positions first",
        "no closed form",
        "reparametrised",
    ],
)
def test_what_has_no_closed_form_goes_the_general_way(net: nn.Module, shape: tuple[int, ...], general: set) -> None:
    net = settled(net)
    check(net, torch.randn(3, *shape).double(), general=general)
    notes = Grand().notes(net, torch.randn(3, *shape).double(), torch.zeros(3, dtype=torch.int64))
    assert set(notes["without_closed_form"]) == general


def test_frozen_parameters_do_not_count() -> None:
    net, x = classifier(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), shape=(2, 5, 5))
    y = torch.arange(3)
    whole = gradient_norms(net, x, y)
    net[0][0].weight.requires_grad_(False)
    part = gradient_norms(net, x, y)
    assert set(whole.squared) - set(part.squared) == {"0.0.weight"}
    torch.testing.assert_close(part.total(), whole.total() - whole.squared["0.0.weight"])


def test_an_unused_parameter_has_no_gradient() -> None:
    net = settled(nn.Linear(5, CLASSES))
    net.spare = nn.Linear(2, 2).double()
    found = gradient_norms(net, torch.randn(3, 5).double(), torch.arange(3))
    assert found.squared["spare.weight"].abs().max() == 0


def test_the_network_is_left_as_it_was() -> None:
    net, x = classifier(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.PReLU(), shape=(2, 5, 5))
    net[0][0].bias.requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    gradient_norms(net, x, torch.arange(3))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [name for name, value in net.named_parameters() if not value.requires_grad] == ["0.0.bias"]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.training and not x.requires_grad


def test_parameters_are_trainable_again_after_a_fault() -> None:
    net, x = classifier(nn.Conv2d(2, 3, 3), shape=(2, 5, 5))
    with pytest.raises(RuntimeError):
        gradient_norms(net, x[:, :1], torch.arange(3))
    assert all(parameter.requires_grad for parameter in net.parameters())


def small() -> tuple[nn.Module, Tensor, Tensor]:
    net = network(SmallResNet(width=4), (1, 8, 8), CLASSES, mean=(0.4,), std=(0.2,), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(70, 1, 8, 8, generator=generator)
    return net, x, torch.randint(0, CLASSES, (70,), generator=generator)


def test_batch_size_and_order_change_nothing() -> None:
    net, x, y = small()
    whole = Grand().values(net, x, y)
    assert whole.shape == (70,) and whole.min() > 0
    apart = torch.cat([Grand().values(net, a, b) for a, b in zip(x.split(9), y.split(9), strict=True)])
    torch.testing.assert_close(apart, whole, rtol=1e-5, atol=0)
    torch.testing.assert_close(Grand().values(net, x.flip(0), y.flip(0)).flip(0), whole, rtol=1e-5, atol=0)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_turns_gradients_on_by_itself(mode) -> None:
    net, x, y = small()
    expected = Grand().values(net, x[:5], y[:5])
    with mode():
        torch.testing.assert_close(Grand().values(net, x[:5].clone(), y[:5].clone()), expected)


def test_autocast_does_not_blur_it() -> None:
    net, x, y = small()
    expected = Grand().values(net, x[:5], y[:5])
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(Grand().values(net, x[:5], y[:5]), expected)


def test_examples_that_the_network_is_sure_of_keep_their_order() -> None:
    sure = torch.tensor([1.0, 10.0, 30.0, 50.0, 80.0, 1e4])
    values = torch.cat([Grand().values(certain(margin), torch.ones(1, 1, 4, 4), torch.tensor([0])) for margin in sure])
    in_float64 = [
        gradient_norms(certain(margin).double(), torch.ones(1, 1, 4, 4).double(), torch.tensor([0])).total().sqrt()
        for margin in sure
    ]
    torch.testing.assert_close(values, torch.cat(in_float64), rtol=1e-4, atol=0)
    assert (values[1:] < values[:-1]).all() and values[-2] > 0 and values[-1] == 0


def certain(margin: float) -> nn.Module:
    """A network that prefers class 0 by this much on an image of ones."""
    net = nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[0].weight.fill_(1 / 9)
        net[3].weight.copy_(torch.tensor([[margin / 4] * 4, [0.0] * 4]))
        net[3].bias.zero_()
    return net


@pytest.mark.parametrize("bias", [True, False])
def test_last_layer_grand_is_the_last_layers_part(bias: bool) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, CLASSES, bias=bias)).eval()
    torch.manual_seed(3)
    x, y = torch.randn(8, 2, 3), torch.arange(8) % CLASSES
    slow = squared_norms_one_by_one(net, x, y)
    last = sum(slow[f"3.{name}"] for name, _ in last_linear(net).named_parameters())
    with torch.no_grad():
        values = LastLayerGrand().values(net, x, y)
    torch.testing.assert_close(values, last.sqrt(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("net", "sentence"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), r"Grand: a batch normalisation uses the statistics"),
        (
            nn.Sequential(nn.BatchNorm2d(1, affine=False, track_running_stats=False), nn.Conv2d(1, 2, 3)).eval(),
            r"Grand: a batch normalisation uses the statistics of the batch it sees",
        ),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).requires_grad_(False), r"Grand: Sequential has no trainable"),
    ],
    ids=["training", "no running statistics", "frozen"],
)
def test_where_examples_have_no_gradient_of_their_own_it_is_said(net: nn.Module, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        gradient_norms(net, torch.rand(2, 1, 8, 8), torch.tensor([0, 1]))


def test_a_label_without_a_logit_is_said() -> None:
    net, x, _ = small()
    with pytest.raises(MethodError, match=r"Label 9 has no logit: the network knows 4 classes"):
        Grand().values(net, x[:2], torch.tensor([0, 9]))
