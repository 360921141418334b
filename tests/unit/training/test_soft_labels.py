"""Learnt labels in objectives: rows and classes, their losses, and what is recorded of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.unit.artifacts.test_distilled import made
from torch import nn

from paredown import train
from paredown.data.distilled import DistilledImages
from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.training import CrossEntropy, Passes
from paredown.training.labels import hard, targets
from paredown.training.soft_labels import SoftCrossEntropy, SquaredError

X = torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 0.25]])
ROWS = torch.tensor([[0.6, -0.3, -0.3], [-0.2, -0.4, 0.6]])
CLASSES = torch.tensor([0, 2])


def losses(objective: CrossEntropy | SquaredError | SoftCrossEntropy, y: torch.Tensor) -> torch.Tensor:
    return objective.losses(Passes(nn.Identity(), seed=0), X, y).losses


def test_rows_become_classes_and_classes_rows() -> None:
    assert torch.equal(hard(ROWS), CLASSES) and hard(CLASSES) is CLASSES
    assert targets(ROWS, 3) is ROWS
    np.testing.assert_allclose(targets(CLASSES, 3), np.eye(3)[[0, 2]] - 1 / 3, atol=1e-7)
    assert hard(torch.tensor([[1.0, 1.0]])).tolist() == [0]


def test_squared_error_is_half_the_sum_over_classes() -> None:
    np.testing.assert_allclose(losses(SquaredError(), ROWS), ((X - ROWS) ** 2).sum(1) / 2, atol=1e-6)
    centred = torch.eye(3)[CLASSES] - 1 / 3
    np.testing.assert_allclose(losses(SquaredError(), CLASSES), ((X - centred) ** 2).sum(1) / 2, atol=1e-6)


def test_cross_entropy_takes_the_class_that_stands_highest() -> None:
    assert torch.equal(losses(CrossEntropy(), ROWS), losses(CrossEntropy(), CLASSES))


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_soft_cross_entropy_takes_probabilities(temperature: float) -> None:
    p = (ROWS / temperature).softmax(1)
    expected = -(p * X.log_softmax(1)).sum(1)
    np.testing.assert_allclose(losses(SoftCrossEntropy(temperature), ROWS), expected, atol=1e-6)
    assert torch.equal(losses(SoftCrossEntropy(temperature), CLASSES), losses(CrossEntropy(), CLASSES))


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(MethodError, match=r"SoftCrossEntropy\(temperature=0\): labels are divided by it"):
        SoftCrossEntropy(0)


@pytest.mark.parametrize("objective", ["squared-error", "soft-cross-entropy", "cross-entropy"])
def test_a_training_on_rows_is_recorded_by_their_classes(objective: str) -> None:
    data = DistilledImages.of(made([4, 1, 9], [0, 2, 1]))
    training = {"epochs": 2, "batch_size": 2, "drop_last": False, "objective": objective}
    model = {"name": "factory", "target": "tests.unit.data.test_distilled_images:flat"}
    runtime = Runtime(device="cpu", progress=False)
    seen = train(data, model, training, record=["confidence", "correct"], runtime=runtime).dynamics
    assert seen is not None and len(list(seen)) == 2
    assert set(np.unique(list(seen)[-1]["correct"])) <= {0.0, 1.0}
