"""Batch normalisation folded into convolutions: the same logits and gradients, and left alone where it cannot be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from paredown.method import build
from paredown.models import network
from paredown.searching.folding import fold, foldable

SHAPE = (3, 16, 16)


def stirred(made: nn.Module) -> nn.Module:
    """Gives a network whose normalisations are none that change nothing."""
    draw = torch.Generator().manual_seed(0)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                if value is not None:
                    value.data.copy_(torch.rand(value.shape, generator=draw) + 0.5)
    return made.eval()


@pytest.mark.parametrize("name", ["small-resnet", "resnet18", "vgg16-bn", "wide-resnet", "convnet"])
def test_logits_and_gradients_stay(name: str) -> None:
    made = stirred(network(build("model", name), SHAPE, 5, mean=(0.5,) * 3, std=(0.25,) * 3))
    pairs = foldable(made, SHAPE)
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in made.modules())
    if name in ("small-resnet", "resnet18", "vgg16-bn"):
        assert len(pairs) == norms > 0
    before = {key: value.clone() for key, value in made.state_dict().items()}
    other = copy.deepcopy(made)
    fold(other, pairs)
    assert all(torch.equal(value, before[key]) for key, value in made.state_dict().items())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in other.modules()) == norms - len(pairs)
    x = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(1))
    logits, gradients = [], []
    for each in (made, other):
        moved = x.clone().requires_grad_()
        out = each(moved)
        out.logsumexp(1).sum().backward()
        logits.append(out.detach())
        gradients.append(moved.grad)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4 * float(logits[0].abs().max()))
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * float(gradients[0].abs().max()))  # type: ignore[union-attr]


class Odd(nn.Module):
    """A convolution that is read twice, one that is used twice, one between which and its normalisation lies a ReLU."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first, self.norm = nn.Conv2d(3, 4, 3, bias=True), nn.BatchNorm2d(4, affine=kind != "bare")
        self.last = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        made = self.first(x)
        if self.kind == "apart":
            made = made.relu()
        found = self.norm(made)
        if self.kind == "read twice":
            found = found + made
        if self.kind == "used twice":
            found = found + self.first(x * x)
        if self.kind == "looked at":
            found = found * self.norm.num_features
        return self.last(found.mean((2, 3)))


@pytest.mark.parametrize(
    ("kind", "count"),
    [("plain", 1), ("bare", 1), ("apart", 0), ("read twice", 0), ("used twice", 0), ("looked at", 0)],
)
def test_what_cannot_be_folded_is_left(kind: str, count: int) -> None:
    made = stirred(Odd(kind))
    assert len(foldable(made, SHAPE)) == count
