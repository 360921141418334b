"""From plain data to a network and back to a folder."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from paredown.artifacts.checkpoint import Checkpoint
from paredown.errors import ArtifactError, MethodError
from paredown.models import ConvNet, ResNet18, SmallResNet, checkpoint_of, load, network, save

SHAPE = (3, 8, 8)


def made(seed: int | None = 0, model=SmallResNet(width=4)):  # noqa: B008
    return network(model, SHAPE, 5, mean=(0.1, 0.2, 0.3), std=(0.5, 0.4, 0.3), seed=seed)


def test_normalisation_is_the_first_layer() -> None:
    net, x = made().eval(), torch.rand(4, *SHAPE)
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)
    torch.testing.assert_close(net(x), net.body((x - mean) / std))


def test_a_seed_fixes_the_weights_and_leaves_other_draws_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = made(seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = made(seed=3), made(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.body[0].conv.weight, other.body[0].conv.weight)


def test_saved_and_loaded_it_is_the_same_network(tmp_path: Path) -> None:
    net, x = made(), torch.rand(6, *SHAPE)
    net.train()(x)
    save(net.to(memory_format=torch.channels_last), SmallResNet(width=4), 17, tmp_path / "checkpoint")
    opened = Checkpoint.open(tmp_path / "checkpoint")
    draws = torch.get_rng_state()
    again = load(opened)
    assert torch.equal(torch.get_rng_state(), draws), "loading draws random numbers"
    assert opened.step == 17 and opened.shape == SHAPE and opened.classes == 5
    assert not again.training and again.shape == SHAPE and again.classes == 5
    assert torch.equal(again.to(memory_format=torch.channels_last)(x), net.eval()(x))
    assert opened == checkpoint_of(net, SmallResNet(width=4), 17)


def test_a_checkpoint_does_not_change_when_training_goes_on() -> None:
    net = made()
    taken = checkpoint_of(net, SmallResNet(width=4), 0)
    digest = taken.digest()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    assert Checkpoint(taken.model, shape=SHAPE, classes=5, weights=taken.weights, step=0).digest() == digest


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda weights: weights.pop("body.0.conv.weight"), "the weights hold no 'body.0.conv.weight'"),
        (
            lambda weights: weights.update({"body.4.bias": np.zeros(6, np.float32)}),
            "'body.4.bias' has shape (6,), and the architecture's has (5,)",
        ),
        (lambda weights: weights.update({"extra": np.zeros(1)}), "the weights hold 'extra', which the architecture"),
    ],
)
def test_weights_of_another_architecture_are_refused_by_name(change, sentence: str) -> None:
    checkpoint = checkpoint_of(made(), SmallResNet(width=4), 0)
    change(checkpoint.weights)
    with pytest.raises(ArtifactError, match=r"Checkpoint\(model='small-resnet'\): " + re.escape(sentence)):
        load(checkpoint)


def test_the_first_odd_parameter_is_named_when_the_model_is_another() -> None:
    taken = checkpoint_of(made(model=ResNet18(stages=(1, 1), width=4)), ConvNet(width=4), 0)
    with pytest.raises(ArtifactError, match=r"model='convnet'\): the weights hold no 'body.0.weight'"):
        load(taken)


def test_statistics_must_fit_the_channels() -> None:
    with pytest.raises(MethodError, match=r"1 means and 1 deviations do not normalise 3 channels"):
        network(SmallResNet(), SHAPE, 5, mean=(0.5,), std=(0.5,))
