"""The last layer's gradients in two factors, beside autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from paredown.artifacts import Checkpoint, EmbeddingMatrix
from paredown.data import open_data
from paredown.embedding.gradients import LastLayerGradient, last_layer_gradients
from paredown.errors import MethodError
from paredown.models import SmallResNet, checkpoint_of, last_linear, load, network
from paredown.runtime import Runtime

MODEL = SmallResNet(width=4)
CPU = Runtime(device="cpu", batch_size=7)


@pytest.fixture
def data():
    return open_data({"name": "synthetic", "n": 20, "size": 8})


@pytest.fixture
def checkpoint(data) -> Checkpoint:
    made = network(MODEL, data.shape, len(data.classes), mean=data.mean, std=data.std, seed=0)
    return checkpoint_of(made, MODEL, 0)


def test_the_outer_product_is_the_gradient_of_weight_and_bias(data, checkpoint) -> None:
    matrix = LastLayerGradient().embed(data, checkpoint=checkpoint, runtime=CPU)
    net = load(checkpoint)
    layer = last_linear(net)
    classes, width = layer.out_features, layer.in_features + 1
    assert matrix.factors == (classes, width) and matrix.metric == "euclidean"
    assert matrix.encoder.startswith("last-layer-gradient ") and matrix.vectors.shape == (20, classes + width)
    for row in range(20):
        image = torch.from_numpy(data.images[row : row + 1]).permute(0, 3, 1, 2).float() / 255
        loss = functional.cross_entropy(net(image), torch.tensor([data.labels[row]]))
        weight, bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
        expected = torch.cat([weight, bias[:, None]], dim=1).numpy()
        product = np.outer(matrix.vectors[row, :classes], matrix.vectors[row, classes:])
        np.testing.assert_allclose(product, expected, rtol=1e-4, atol=1e-6)


def test_a_layer_without_a_bias_has_no_constant() -> None:
    logits, labels = torch.randn(3, 4), torch.tensor([0, 3, 1])
    assert last_layer_gradients(torch.ones(3, 5), logits, labels, bias=False).shape == (3, 9)
    assert last_layer_gradients(torch.ones(3, 5), logits, labels, bias=True).shape == (3, 10)


def test_an_example_that_is_nearly_certain_keeps_its_digits() -> None:
    logits = torch.tensor([[30.0, 0.0, 0.0]])
    made = last_layer_gradients(torch.ones(1, 1), logits, torch.tensor([0]), bias=False)
    small = float(torch.tensor(-30.0).double().exp())
    np.testing.assert_allclose(made[0, :3], [-2 * small, small, small], rtol=1e-5)


def test_files_hold_the_factors(data, checkpoint, tmp_path) -> None:
    matrix = LastLayerGradient().embed(data, checkpoint=checkpoint, runtime=CPU, folder=tmp_path / "gradients")
    opened = EmbeddingMatrix.open(tmp_path / "gradients")
    assert opened.factors == matrix.factors and opened == matrix


def test_what_has_no_gradient_is_refused(data, checkpoint) -> None:
    with pytest.raises(MethodError, match=r"LastLayerGradient: gradients are a network's.*Give checkpoint="):
        LastLayerGradient().embed(data, runtime=CPU)
    larger = open_data({"name": "synthetic", "n": 20, "size": 16})
    with pytest.raises(MethodError, match=r"has images of 3×16×16, and the checkpoint takes images of 3×8×8"):
        LastLayerGradient().embed(larger, checkpoint=checkpoint, runtime=CPU)
    few = network(MODEL, data.shape, 2, mean=data.mean, std=data.std, seed=0)
    with pytest.raises(MethodError, match=r"has \d+ classes, and the network knows 2"):
        LastLayerGradient().embed(data, checkpoint=checkpoint_of(few, MODEL, 0), runtime=CPU)
    assert isinstance(last_linear(few), nn.Linear)
