"""Penultimate features: rows in the order of the ids, whatever the batch size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paredown import ScoreTable, extrapolate
from paredown.data import open_data
from paredown.embedding import Penultimate
from paredown.errors import MethodError
from paredown.method import build
from paredown.models import SmallResNet, checkpoint_of, last_linear, load, network
from paredown.runtime import Runtime

MODEL = SmallResNet(width=4)
CPU = Runtime(device="cpu", batch_size=7)


@pytest.fixture
def data():
    return open_data({"name": "synthetic", "n": 20, "size": 8})


@pytest.fixture
def checkpoint(data):
    made = network(MODEL, data.shape, len(data.classes), mean=data.mean, std=data.std, seed=0)
    return checkpoint_of(made, MODEL, 0)


def test_features_are_what_the_last_layer_sees(data, checkpoint) -> None:
    matrix = Penultimate().embed(data, checkpoint=checkpoint, runtime=CPU)
    assert matrix.metric == "euclidean" and not matrix.normalised and matrix.encoder.startswith("penultimate ")
    np.testing.assert_array_equal(matrix.ids.keys, data.ids.keys)
    net = load(checkpoint)
    images = torch.from_numpy(data.images).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        torch.testing.assert_close(last_linear(net)(torch.from_numpy(matrix.vectors)), net(images))


def test_batch_size_changes_nothing(data, checkpoint) -> None:
    first = Penultimate().embed(data, checkpoint=checkpoint, runtime=CPU)
    other = Penultimate().embed(data, checkpoint=checkpoint, runtime=Runtime(device="cpu", batch_size=512))
    np.testing.assert_allclose(first.vectors, other.vectors, rtol=1e-5, atol=1e-6)


def test_for_the_cosine_each_vector_has_length_1(data, checkpoint) -> None:
    cosine = build("encoder", {"name": "penultimate", "metric": "cosine"})
    matrix = cosine.embed(data, checkpoint=checkpoint, runtime=CPU)
    plain = Penultimate().embed(data, checkpoint=checkpoint, runtime=CPU).vectors
    assert matrix.normalised and matrix.metric == "cosine"
    lengths = np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(matrix.vectors, plain / lengths, rtol=1e-5, atol=1e-6)


def test_vectors_of_other_weights_do_not_pass_for_the_same(data, checkpoint) -> None:
    other = network(MODEL, data.shape, len(data.classes), mean=data.mean, std=data.std, seed=1)
    new = open_data({"name": "synthetic", "n": 30, "size": 8, "seed": 1})
    names = [
        Penultimate().embed(part, checkpoint=made, runtime=CPU).encoder
        for part, made in ((data, checkpoint), (new, checkpoint), (new, checkpoint_of(other, MODEL, 0)))
    ]
    assert names[0] == names[1] != names[2]
    values = np.random.default_rng(0).random(20)
    scores = ScoreTable(data.ids, values, name="s", important="high", low=0, high=1)
    known = Penultimate().embed(data, checkpoint=checkpoint, runtime=CPU)
    unknown = Penultimate().embed(new, checkpoint=checkpoint_of(other, MODEL, 0), runtime=CPU)
    with pytest.raises(
        MethodError, match=r"have encoder penultimate \w{8}, the unknown penultimate \w{8}.*same weights"
    ):
        extrapolate(scores, known, unknown, held_out=0, runtime=CPU)


def test_what_cannot_be_embedded_is_said(data, checkpoint) -> None:
    with pytest.raises(MethodError, match=r"Penultimate: features are a network's, and no checkpoint was given"):
        Penultimate().embed(data, checkpoint=None, runtime=CPU)
    larger = open_data({"name": "synthetic", "n": 20, "size": 16})
    with pytest.raises(MethodError, match=r"has images of 3×16×16, and the checkpoint takes images of 3×8×8"):
        Penultimate().embed(larger, checkpoint=checkpoint, runtime=CPU)
