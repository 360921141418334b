"""Penultimate features are what the last linear layer sees, or a sentence says why not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from paredown.errors import MethodError
from paredown.models import ConvNet, PreActResNet18, SmallResNet, features, last_linear, network


@pytest.mark.parametrize("model", [ConvNet(width=4), SmallResNet(width=4), PreActResNet18(width=2)])
def test_features_times_the_last_layer_are_the_logits(model) -> None:
    net = network(model, (1, 8, 8), 5, mean=(0.5,), std=(0.5,)).eval()
    x = torch.rand(3, 1, 8, 8)
    seen, logits = features(net, x)
    assert torch.equal(logits, net(x))
    torch.testing.assert_close(last_linear(net)(seen), logits)
    assert not last_linear(net)._forward_hooks


class Doubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return self.linear(self.linear(x))


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        (nn.Sequential(nn.Flatten()), r"Sequential: it has no nn.Linear layer"),
        (nn.Sequential(nn.Linear(4, 4), nn.Tanh()), r"does not make the logits from one vector an example"),
        (Doubled(), r"Doubled: its last nn.Linear layer does not make the logits"),
    ],
)
def test_what_has_no_penultimate_features_is_refused(module: nn.Module, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        features(module, torch.rand(2, 4))
