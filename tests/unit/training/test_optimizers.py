from __future__ import annotations

import pytest
import torch
from torch import nn

from paredown.errors import MethodError
from paredown.method import build
from paredown.training.optimizers import Adam, AdamW, Sgd, set_rate


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))


def test_sgd_is_the_papers_rule() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    layer = nn.Module()
    layer.weight = weight
    optimizer = Sgd(lr=0.1, momentum=0.9, weight_decay=0.01).build(layer)
    w, m = weight.detach().clone(), torch.zeros(2)
    for gradient in (torch.tensor([0.5, 1.0]), torch.tensor([-1.0, 2.0])):
        weight.grad = gradient.clone()
        optimizer.step()
        g = gradient + 0.01 * w
        m = 0.9 * m + g
        w = w - 0.1 * (g + 0.9 * m)
    assert torch.allclose(weight.detach(), w, atol=1e-7)


def test_weight_decay_reaches_every_parameter_unless_norms_are_spared() -> None:
    network = small()
    assert [group["weight_decay"] for group in Sgd().build(network).param_groups] == [5e-4]
    decayed, spared = Sgd(spare_norms=True).build(network).param_groups
    assert {weight.ndim for weight in decayed["params"]} == {2, 4} and decayed["weight_decay"] == 5e-4
    assert {weight.ndim for weight in spared["params"]} == {1} and spared["weight_decay"] == 0
    assert len(decayed["params"]) + len(spared["params"]) == len(list(network.parameters()))


@pytest.mark.parametrize(
    "model",
    [
        *(
            {"name": "convnet", "width": 4, "depth": 2, "norm": norm}
            for norm in ("batch", "instance", "group", "layer")
        ),
        *({"name": name, "width": 4, "stages": (1, 1)} for name in ("resnet18", "resnet50", "preact-resnet18")),
        {"name": "preact-swish", "width": 4, "stages": (1, 1)},
        {"name": "wide-resnet", "depth": 10, "width": 1, "activation": "relu"},
        {"name": "small-resnet", "width": 4},
        {"name": "simple-cnn"},
    ],
    ids=lambda model: model["name"] + model.get("norm", ""),
)
def test_norms_of_every_family_are_spared_by_their_type(model) -> None:
    network = build("model", model).build((3, 16, 16), 10)
    decayed, spared = Sgd(spare_norms=True).build(network).param_groups
    owners = {weight: module for module in network.modules() for weight in module.parameters(recurse=False)}
    for weight in decayed["params"]:
        assert isinstance(owners[weight], nn.Conv2d | nn.Linear) and weight is owners[weight].weight
    for weight in spared["params"]:
        assert "Norm" in type(owners[weight]).__name__ or weight is owners[weight].bias
    assert decayed["weight_decay"] == 5e-4 and spared["weight_decay"] == 0.0
    assert {*decayed["params"], *spared["params"]} == set(network.parameters())


def test_frozen_parameters_are_left_out() -> None:
    network = small()
    network[0].requires_grad_(False)
    (group,) = Adam().build(network).param_groups
    assert len(group["params"]) == len(list(network.parameters())) - 2


@pytest.mark.parametrize("method", [Sgd(), Sgd(momentum=0.0), Adam(), AdamW()], ids=lambda method: method.name)
def test_a_set_rate_holds_for_all_groups_and_a_step_moves_the_weights(method) -> None:
    network = small()
    optimizer = method.build(network)
    momenta = [group.get("momentum") for group in optimizer.param_groups]
    set_rate(optimizer, 0.25)
    assert all(group["lr"] == 0.25 for group in optimizer.param_groups)
    assert [group.get("momentum") for group in optimizer.param_groups] == momenta
    before = [weight.detach().clone() for weight in network.parameters()]
    network(torch.randn(4, 1, 3, 3, generator=torch.Generator().manual_seed(0))).square().sum().backward()
    optimizer.step()
    assert any(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_set_momentum_holds_for_all_groups() -> None:
    optimizer = Sgd(spare_norms=True).build(small())
    set_rate(optimizer, 0.25, 0.85)
    assert [group["momentum"] for group in optimizer.param_groups] == [0.85, 0.85]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Sgd(lr=0), r"Sgd\(lr=0\): nothing would be learnt"),
        (lambda: Sgd(momentum=1), r"Sgd\(momentum=1\): momentum lies"),
        (lambda: Adam(weight_decay=-1), r"Adam\(weight_decay=-1\): weights would grow"),
        (lambda: AdamW(betas=(0.9, 1.0)), r"AdamW\(betas=\(0.9, 1.0\)\): each lies"),
    ],
)
def test_what_is_no_optimizer_is_refused(make, match: str) -> None:
    with pytest.raises(MethodError, match=match):
        make()
