"""Accuracy of networks whose answers are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown.data.dataset import ImageDataset
from paredown.errors import MethodError
from paredown.evaluation import Accuracy
from paredown.evaluation.accuracy import places
from paredown.runtime import Runtime


class Pixels(nn.Module):
    """Gives the pixels of an image as logits: what is stored is what is answered."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x.flatten(1) * self.scale)


def answers(rows: list[list[int]], labels: list[int], classes: int | None = None) -> ImageDataset:
    images = np.array(rows, np.uint8)[:, None, :, None]
    names = [f"class {number}" for number in range(classes or images.shape[2])]
    return ImageDataset.from_arrays(images, np.array(labels), classes=names)


def figures(data: ImageDataset, batch_size: int = 512, scale: float = 1.0) -> dict[tuple[str, str], Mapping[str, Any]]:
    rows = Accuracy().measure(Pixels(scale), data, runtime=Runtime(batch_size=batch_size), seed=0)
    return {(row["metric"], row.get("group", "")): row for row in rows}


def test_accuracy_in_all_and_by_class() -> None:
    got = figures(answers([[9, 0, 0], [0, 9, 0], [9, 0, 0], [0, 0, 9]], [0, 1, 1, 2]))
    assert got["accuracy", ""]["value"] == 0.75
    assert got["accuracy", ""]["n"] == 4
    assert got["accuracy", ""]["spread"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert got["accuracy", "class 0"]["value"] == 1
    assert got["accuracy", "class 1"]["value"] == 0.5
    assert got["accuracy", "class 2"] == {
        "metric": "accuracy",
        "value": 1.0,
        "n": 1,
        "spread": None,
        "group": "class 2",
    }
    assert not any(metric == "top-5" for metric, _ in got)


def test_a_class_without_examples_has_no_accuracy() -> None:
    assert ("accuracy", "class 2") not in figures(answers([[9, 0, 0], [0, 9, 0]], [0, 1]))


def test_top_five_where_there_are_more_classes() -> None:
    got = figures(answers([[1, 2, 3, 4, 5, 6], [6, 2, 3, 4, 5, 1]], [1, 5]))
    assert got["accuracy", ""]["value"] == 0
    assert got["top-5", ""]["value"] == 0.5


def test_mean_loss_is_that_of_torch() -> None:
    data = answers([[9, 0, 200], [0, 90, 0], [9, 0, 0]], [0, 1, 1])
    x = torch.from_numpy(data.images[:, 0, :, 0]).float() / 255
    expected = nn.functional.cross_entropy(x, torch.from_numpy(data.labels), reduction="none")
    row = figures(data)["loss", ""]
    assert row["value"] == pytest.approx(float(expected.mean()))
    assert row["spread"] == pytest.approx(float(expected.std() / math.sqrt(3)))


def test_equal_logits_are_not_all_right() -> None:
    logits, labels = torch.zeros(6, 6), torch.arange(6)
    assert places(logits, labels).tolist() == [0, 1, 2, 3, 4, 5]
    assert figures(answers([[0] * 6] * 6, list(range(6))))["accuracy", ""]["value"] == pytest.approx(1 / 6)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_the_batch_size_changes_nothing(batch_size: int) -> None:
    rng = np.random.default_rng(0)
    data = answers(rng.integers(0, 255, (7, 6)).tolist(), rng.integers(0, 6, 7).tolist())
    whole, batched = figures(data), figures(data, batch_size)
    assert whole.keys() == batched.keys()
    for name, row in whole.items():
        assert batched[name]["value"] == pytest.approx(row["value"], rel=1e-6)


def test_the_network_comes_back_as_it_was() -> None:
    network = Pixels()
    network.dropout.eval()
    Accuracy().measure(network, answers([[9, 0], [0, 9]], [0, 1]), runtime=Runtime(), seed=0)
    assert network.training and not network.dropout.training


def test_only_the_whole_on_request() -> None:
    rows = Accuracy(by_class=False).measure(Pixels(), answers([[9, 0]], [0]), runtime=Runtime(), seed=0)
    assert [row["metric"] for row in rows] == ["accuracy", "loss"]


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(MethodError, match=r"knows 2 classes and arrays has 3"):
        figures(answers([[9, 0]], [0], classes=3))


def test_a_diverged_network_is_refused() -> None:
    with pytest.raises(MethodError, match=r"logits that are not finite.*diverged"):
        figures(answers([[9, 0]], [0]), scale=math.nan)
