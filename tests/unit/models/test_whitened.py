"""Whitening as a network's first layer: part of its checkpoint, absent where the data are not whitened."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paredown.attacks import Fgsm
from paredown.data import ImageDataset, open_data
from paredown.data.normalised import Normalised
from paredown.errors import ArtifactError
from paredown.models import AbstractNetwork, ConvNet, Network, checkpoint_of, features, last_linear, load


def data(**fields: object) -> ImageDataset:
    found = open_data("synthetic", n=60, **{"whiten": "zca", **fields})  # type: ignore[arg-type]
    assert isinstance(found, ImageDataset)
    return found


def started(images: ImageDataset) -> Network:
    net = ConvNet(width=4).start(images, seed=0)
    assert isinstance(net, Network)
    return net.eval()


def pixels(images: ImageDataset) -> torch.Tensor:
    return torch.from_numpy(images.images[:7]).permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize("channels", [1, 3])
def test_the_first_layer_whitens(channels: int) -> None:
    images = data(channels=channels)
    net, x = started(images), pixels(images)
    assert images.whitening is not None
    expected = torch.from_numpy(images.whitening.apply(x.numpy()))
    torch.testing.assert_close(net.first(x), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net.first(x.contiguous()), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(net(x), net.body(net.first(x)))
    seen, logits = features(net, x)
    torch.testing.assert_close(last_linear(net)(seen), logits)


def test_the_checkpoint_carries_it() -> None:
    images = data()
    net = started(images)
    saved = checkpoint_of(net, ConvNet(width=4), 0)
    assert saved.weights["whitening.mean"].shape == (8, 8, 3)
    assert saved.weights["whitening.matrix"].shape == (192, 192)
    again = load(saved)
    assert torch.equal(again(pixels(images)), net(pixels(images)))
    lacking = {name: array for name, array in saved.weights.items() if name != "whitening.mean"}
    saved.weights = lacking
    with pytest.raises(ArtifactError, match=r"the weights hold 'whitening\.matrix', which the architecture lacks"):
        load(saved)


def test_without_it_a_checkpoint_is_what_it_was() -> None:
    plain, whitened = started(data(whiten=None)), started(data())
    assert not [name for name in plain.state_dict() if "whitening" in name]
    assert plain.whitening is None
    weights = dict(plain.body.state_dict())
    for name, value in whitened.body.state_dict().items():  # the same seed draws the same weights
        assert torch.equal(weights[name], value)


def test_an_attack_moves_pixels_through_it() -> None:
    images = data()
    net, x = started(images), pixels(images)
    moved = Fgsm(eps=8 / 255)(net, x, torch.zeros(7, dtype=torch.int64), seed=0)
    assert 0 < (moved - x).abs().max() <= 8 / 255 + 1e-6


def test_it_does_not_lose_digits_where_the_rest_may() -> None:
    images = data()
    net, x = started(images), pixels(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net.first(x), net.first(x).float())
        torch.testing.assert_close(net.first(x), started(images).first(x))
        assert net(x).dtype == torch.bfloat16


@pytest.mark.parametrize("blocks", [1, 2])
def test_there_and_back_on_a_device(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paredown.data.whitening.SIDE", 8 // blocks)
    images = data()
    both, x = Normalised(images, torch.device("cpu")), pixels(images)
    torch.testing.assert_close(both.of(x), started(images).first(x), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.pixels(both.of(x)), x, atol=1e-5, rtol=1e-5)
    plain = Normalised(data(whiten=None), torch.device("cpu"))
    torch.testing.assert_close(plain.pixels(plain.of(x)), x)
    assert np.isfinite(both.of(x).numpy()).all() and isinstance(started(images), AbstractNetwork)
