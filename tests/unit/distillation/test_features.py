"""Features in parts: the same as in one piece, gradients included, in whichever way they are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from paredown.distillation import features as module
from paredown.distillation.features import Extractor
from paredown.errors import MethodError
from paredown.models.taps import features
from paredown.models.widening import WideningConvNet
from paredown.training.devices import Place

HERE = Place(torch.device("cpu"))
SHAPE = (3, 16, 16)


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = WideningConvNet(width=4).build(SHAPE, 5)
        for layer in body.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean, 0, 0.3)  # type: ignore[arg-type]
                nn.init.uniform_(layer.running_var, 0.5, 2)  # type: ignore[arg-type]
    return body.eval().requires_grad_(False)


def images(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(seed))


def test_they_are_what_the_last_layer_sees() -> None:
    body = network()
    extractor = Extractor(WideningConvNet(width=4).build(SHAPE, 5), SHAPE, HERE)
    extractor.load(body)
    x = images(7)
    expected = features(body, x)[0].numpy()
    np.testing.assert_allclose(extractor.of(x), expected, atol=1e-6)
    assert extractor.width == expected.shape[1] == 8 * 4 * 4


def test_mirror_images_come_after_the_images() -> None:
    extractor, x = Extractor(network(), SHAPE, HERE), images(3)
    extractor.load(network())
    both = extractor.with_gradient(x, mirrored=True)
    np.testing.assert_allclose(both[3:], extractor.of(x.flip(3)), atol=1e-6)
    np.testing.assert_allclose(both[:3], extractor.with_gradient(x, mirrored=False), atol=1e-6)
    assert torch.equal(x.flip(3).flip(3), x)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("held", [10**9, 0])
def test_parts_give_the_features_and_gradients_of_the_whole(
    monkeypatch: pytest.MonkeyPatch, held: int, mirrored: bool
) -> None:
    body, x = network(), images(7)
    whole = x.clone().requires_grad_()
    expected = features(body, torch.cat([whole, whole.flip(3)]) if mirrored else whole)[0]
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (expected @ expected.mT * (weights @ weights.mT)).sum().backward()
    monkeypatch.setattr(module, "AT_ONCE", 3 * 16 * 16)
    monkeypatch.setattr(module, "HELD", held)
    extractor = Extractor(body, SHAPE, HERE)
    extractor.load(body)
    part = x.clone().requires_grad_()
    found = extractor.with_gradient(part, mirrored=mirrored)
    (found @ found.mT * (weights @ weights.mT)).sum().backward()
    assert whole.grad is not None and part.grad is not None
    np.testing.assert_allclose(found.detach(), expected.detach(), atol=1e-5)
    scale = float(whole.grad.abs().max())
    np.testing.assert_allclose(part.grad / scale, whole.grad / scale, atol=1e-5)
    np.testing.assert_allclose(extractor.of(x), features(body, x)[0], atol=1e-6)


def test_memory_grows_with_the_features_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    extractor = Extractor(network(), SHAPE, HERE)
    monkeypatch.setattr(module, "AT_ONCE", 4 * 16 * 16)

    def held(count: int) -> int:
        """Bytes that the graph of some features keeps for its gradient."""
        kept: dict[int, int] = {}

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        x = images(count).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            extractor.with_gradient(x, mirrored=False)
        return sum(kept.values())

    with_maps = held(16)
    monkeypatch.setattr(module, "HELD", 0)
    # Only the images themselves are kept, whose maps are made again in the backward pass.
    assert held(16) <= images(16).nbytes < with_maps / 3
    assert held(64) <= 4 * images(16).nbytes


def test_bfloat16_is_near_and_normalisation_stays_exact() -> None:
    exact, rough = Extractor(network(), SHAPE, HERE), Extractor(network(), SHAPE, Place(torch.device("cpu"), True))
    for extractor in (exact, rough):
        extractor.load(network())
    kinds = {type(layer).__name__: layer.weight.dtype for layer in rough.body.modules() if hasattr(layer, "weight")}
    assert kinds["Conv2d"] == torch.bfloat16 and kinds["PopulationBatchNorm"] == torch.float32
    x = images(5)
    a, b = exact.of(x), rough.of(x)
    assert b.dtype == torch.float32 and float((a - b).norm() / a.norm()) < 0.02


@pytest.mark.filterwarnings("ignore")
def test_compiled_it_gives_the_same() -> None:
    plain, compiled = Extractor(network(), SHAPE, HERE), Extractor(network(), SHAPE, HERE, compiled=True)
    compiled._run = torch.compile(compiled._features, backend="aot_eager")  # needs no compiler of C++
    x = images(5)
    np.testing.assert_allclose(compiled.of(x), plain.of(x), atol=1e-5)


def test_a_network_without_penultimate_features_is_refused() -> None:
    with pytest.raises(MethodError, match=r"no nn\.Linear layer"):
        Extractor(nn.Sequential(nn.Conv2d(3, 2, 16), nn.Flatten()), SHAPE, HERE)
