"""Distilled images as data: what a training sees, what is looked at, and what networks begin with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.artifacts.test_distilled import made, whitening

from paredown import evaluate, reading, train
from paredown.artifacts import DistilledSet
from paredown.data import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.distilled import DistilledImages, Learnt
from paredown.errors import MethodError
from paredown.models.build import load
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.store import Store
from paredown.verbs import VERBS

CPU = Runtime(device="cpu", progress=False, threads=1)
MODEL = {"name": "factory", "target": "tests.unit.data.test_distilled_images:flat"}
TRAINING = {"steps": 3, "batch_size": 3, "objective": "squared-error", "optimizer": {"name": "sgd", "lr": 0.1}}


def flat(shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), classes))


def distilled(**changes: object) -> DistilledSet:
    return made([4, 1, 9], [0, 2, 1], **changes)


def test_it_is_the_set_with_the_digest_as_its_pool() -> None:
    held = distilled()
    data = DistilledImages.of(held)
    assert len(data) == 3 and data.shape == (3, 2, 2) and data.name == "distilled cats:train"
    assert data.ids.pool.fingerprint == held.digest() and data.identity()["digest"] == held.digest()
    assert data.labels.tolist() == [0, 2, 1] and data.form == "images of 3×2×2"
    assert np.array_equal(data.read(np.array([2])), held.pictures()[[2]])
    x, y = data[1]
    assert np.array_equal(x.numpy(), held.pixels()[1]) and np.array_equal(y.numpy(), held.labels[1])


def test_a_training_sees_rows_and_a_look_sees_classes() -> None:
    held = distilled()
    inputs = Learnt(DistilledImages.of(held), "cpu")
    rows = np.array([2, 0])
    assert np.array_equal(inputs.labels(rows).numpy(), held.labels[rows])
    x, y = inputs.batch(rows)
    assert np.array_equal(x.numpy(), held.pixels()[rows]) and y.tolist() == [1, 0]
    assert torch.equal(inputs.augmented(rows, None, 0), x)
    flipped = inputs.augmented(rows, Augmentation(flip=True), 1)
    assert flipped.shape == x.shape and flipped.dtype == torch.float32


@pytest.mark.parametrize("whitened", [False, True])
def test_a_network_that_begins_on_it_has_its_space(whitened: bool) -> None:
    held = distilled(whitening=whitening() if whitened else None)
    data = DistilledImages.of(held)
    network = ConvNet(width=2, depth=1).start(data, 0)
    np.testing.assert_allclose(network.first(torch.from_numpy(data.values)), held.images, atol=1e-4)  # type: ignore[operator]


def test_train_and_evaluate_take_a_set_and_its_folder_alike(tmp_path: Path) -> None:
    held = distilled(whitening=whitening())
    folder = held.save(tmp_path / "set")
    by_object = train(held, MODEL, TRAINING, runtime=CPU)
    by_folder = train(str(folder), MODEL, TRAINING, runtime=CPU)
    assert by_object == by_folder
    store = Store(tmp_path / "store")
    addresses = {store.address(VERBS["train"], data=data, model=MODEL) for data in (held, str(folder), folder)}
    assert len(addresses) == 1
    report = evaluate(by_object, held, runtime=CPU)
    assert report.rows[0].data == "distilled cats:train" and report.rows[0].n == 3


def test_a_checkpoint_carries_its_whitening_so_that_none_can_be_wrong() -> None:
    held = distilled(whitening=whitening())
    checkpoint = train(held, MODEL, TRAINING, runtime=CPU).checkpoint
    x = torch.from_numpy(held.pixels())
    body = load(checkpoint).body
    with torch.no_grad():
        np.testing.assert_allclose(load(checkpoint)(x), body(torch.from_numpy(held.images)), atol=1e-4)


def test_one_step_of_squared_error_aims_at_the_learnt_labels() -> None:
    held = distilled()
    data = DistilledImages.of(held)
    plain = {"name": "sgd", "lr": 0.1, "momentum": 0, "nesterov": False, "weight_decay": 0}
    training = TRAINING | {"steps": 1, "schedule": "constant", "optimizer": plain, "checkpoints_at": [0]}
    made = train(data, MODEL, training, runtime=CPU)
    begun, trained = made.early[0].weights, made.checkpoint
    weight, bias = begun["body.1.weight"], begun["body.1.bias"]
    flat_images = held.images.reshape(3, -1)
    errors = flat_images @ weight.T + bias - held.labels
    expected = weight - 0.1 * errors.T @ flat_images / 3
    np.testing.assert_allclose(trained.weights["body.1.weight"], expected, atol=1e-5)


def test_what_it_cannot_do_is_refused() -> None:
    data = DistilledImages.of(distilled())
    with pytest.raises(MethodError, match="has learnt labels, and label noise changes classes"):
        data.with_noise(LabelNoise(fraction=0.5))
    with pytest.raises(
        MethodError, match="learnt labels and pixels beyond black and white, which no attack here moves"
    ):
        train(data, MODEL, TRAINING | {"objective": "madry"}, runtime=CPU)
    assert isinstance(reading.read("data", distilled()), DistilledImages)
