"""What every check is made of: a promise, and small examples to hold it against."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from paredown.artifacts import ALL_QUANTITIES, EmbeddingMatrix, ExampleIds, Pool, TrainingDynamics
from paredown.data import ImageDataset
from paredown.errors import ParedownError
from paredown.method import Method, build
from paredown.models import Network
from paredown.rng import stream

EXAMPLES = 24
CLASSES = 3


class BrokenPromise(ParedownError, AssertionError):
    """A method or artifact does not keep its contract; the message says which part."""


def promise(kept: bool, name: str, otherwise: str) -> None:
    """Raises `BrokenPromise` unless something holds."""
    if not kept:
        raise BrokenPromise(f"{name}: {otherwise}.")


def check_plain(method: Method) -> None:
    """Checks that `build` gives a method back from its plain data."""
    name = type(method).__name__
    fault = fault_of(lambda: json.dumps(method.plain(), allow_nan=False))
    promise(fault is None, name, f"plain() is not data that JSON can hold: {fault}")
    built = build(method.kind, method.plain())
    promise(built == method, name, f"built again from its plain data it is {built!r}, not {method!r}")


def same_values(first: np.ndarray, second: np.ndarray, tolerance: float = 1e-4) -> bool:
    """Whether values agree beyond rounding; with a tolerance of 0, exactly."""
    return first.shape == second.shape and np.allclose(first, second, rtol=tolerance, atol=tolerance / 10)


def fault_of(call: Callable[[], Any]) -> Exception | None:
    """Gives what a call raises, if it does."""
    try:
        call()
    except Exception as error:
        return error
    return None


@contextmanager
def left_alone(network: nn.Module, name: str) -> Iterator[None]:
    """Checks that a network leaves the block as it came in."""
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    yield
    same = all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    promise(same, name, "it changes the network's weights or statistics")
    promise(modes == [module.training for module in network.modules()], name, "it changes the network's modes")
    promise(all(p.grad is None for p in network.parameters()), name, "it leaves gradients on the network")


class Example(ImageDataset):
    """Images with columns of metadata beside them, each a function of the image, so that both move together."""

    def column(self, name: str) -> np.ndarray:
        pixels = self.images.reshape(len(self.images), -1).astype(np.int64)
        columns = {
            "brightness": pixels.mean(axis=1),
            "original_width": pixels[:, 0] + 1,
            "original_height": pixels[:, 1] + 1,
            "text": np.array(["word " * int(count) for count in pixels[:, 2] % 9]),
        }
        return columns[name] if name in columns else super().column(name)


def example_data(part: str = "data") -> ImageDataset:
    """Gives a data set of 24 images in three classes, sorted by class; of another part, with other images."""
    rng = stream(0, "contract", part)
    images = rng.integers(0, 256, (EXAMPLES, 8, 8, 3), dtype=np.uint8)
    labels = np.sort(np.arange(EXAMPLES) % CLASSES)
    return Example.from_arrays(images, labels, classes=[f"class {label}" for label in range(CLASSES)], name="contract")


def example_network() -> Network:
    """Gives a network for `example_data` with batch normalisation and dropout, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.5),
            nn.Linear(54, CLASSES),
        )
        nn.init.normal_(body[1].running_mean, 0, 0.3)  # type: ignore[arg-type]
    return Network(body, shape=(3, 8, 8), classes=CLASSES, mean=(0.5,) * 3, std=(0.25,) * 3)


def example_dynamics() -> TrainingDynamics:
    """Gives twelve epochs of 24 examples, the ninth the best; some are not presented in every second epoch."""
    rng = stream(0, "contract", "dynamics")
    epochs = []
    for number in range(12):
        epoch = {quantity: rng.random(EXAMPLES).astype(np.float32) for quantity in ALL_QUANTITIES}
        epoch["correct"] = epoch["correct"].round()
        if number == 0:
            epoch["divergence"][:] = np.nan  # there is no presentation before the first
        if number % 2:
            absent = rng.random(EXAMPLES) < 0.2
            epoch = {quantity: np.where(absent, np.float32(np.nan), column) for quantity, column in epoch.items()}
        epochs.append(epoch)
    ids = ExampleIds.of_pool(Pool(("contract",), EXAMPLES, "0" * 64))
    return TrainingDynamics(ids, epochs, quantities=ALL_QUANTITIES, best_epoch=9)


def example_embeddings() -> EmbeddingMatrix:
    """Gives 24 vectors of six numbers in three clusters, two of them equal."""
    rng = stream(0, "contract", "embeddings")
    vectors = rng.standard_normal((CLASSES, 6))[np.arange(EXAMPLES) % CLASSES] + rng.standard_normal((EXAMPLES, 6)) / 2
    vectors[1] = vectors[4]
    ids = ExampleIds.of_pool(Pool(("contract",), EXAMPLES, "0" * 64))
    return EmbeddingMatrix(ids, vectors.astype(np.float32), metric="euclidean")


def rows_of(data: ImageDataset, rows: np.ndarray) -> ImageDataset:
    """Gives some rows of a data set under their own ids."""
    return replace(data, images=data.images[rows], labels=data.labels[rows], ids=data.ids.take(rows))
