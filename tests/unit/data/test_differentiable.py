"""Differentiable augmentation: each operation beside a slow one, neutral parameters, gradients, draws, its space."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from paredown.artifacts import Trained
from paredown.data import Augmentation, ImageDataset, OnDevice, Streamed, open_data
from paredown.data.differentiable import (
    SingleOperation,
    colored,
    cropped,
    cut_out,
    flipped,
    rotated,
    scaled,
    translated,
)
from paredown.errors import MethodError
from paredown.method import build
from paredown.models import ConvNet
from paredown.runtime import Runtime
from paredown.training import Training, fit

EVERY = ("color", "crop", "rotate", "translate", "cutout", "flip", "scale")


def images(count: int = 4, channels: int = 3, height: int = 7, width: int = 9, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, height, width, generator=torch.Generator().manual_seed(seed))


def read_slowly(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """A pixel between pixels, by hand; beyond the border the border."""
    _, height, width = image.shape
    row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
    top, left = math.floor(row), math.floor(column)
    found = np.zeros(len(image))
    for y, wy in ((top, 1 - (row - top)), (min(top + 1, height - 1), row - top)):
        for x, wx in ((left, 1 - (column - left)), (min(left + 1, width - 1), column - left)):
            found += wy * wx * image[:, y, x]
    return found


def moved_slowly(image: Tensor, place) -> np.ndarray:
    """Reads every pixel where `place` says, given and answered from the centre."""
    pixels = image.double().numpy()
    _, height, width = pixels.shape
    middle = ((height - 1) / 2, (width - 1) / 2)
    out = np.zeros_like(pixels)
    for row in range(height):
        for column in range(width):
            r, c = place(row - middle[0], column - middle[1])
            out[:, row, column] = read_slowly(pixels, r + middle[0], c + middle[1])
    return out


@given(st.integers(0, 10_000))
def test_moves_are_those_written_out(seed: int) -> None:
    draw = np.random.default_rng(seed)
    x = images(2, height=int(draw.integers(2, 9)), width=int(draw.integers(2, 9)), seed=seed)
    angles, zoom = draw.uniform(-2, 2, 2), draw.uniform(0.5, 2, 2)
    shifts, factors = draw.uniform(-3, 3, (2, 2)), draw.uniform(0.5, 2, (2, 2))
    there = lambda array: torch.from_numpy(array).float()  # noqa: E731
    found = {
        "rotate": rotated(x, there(angles)),
        "translate": translated(x, there(shifts)),
        "crop": cropped(x, there(zoom), there(shifts)),
        "scale": scaled(x, there(factors)),
    }
    for i in range(2):
        cos, sin, z = math.cos(angles[i]), math.sin(angles[i]), zoom[i]
        (dy, dx), (fy, fx) = shifts[i], factors[i]
        slow = {
            "rotate": moved_slowly(x[i], lambda r, c: (cos * r + sin * c, -sin * r + cos * c)),  # noqa: B023
            "translate": moved_slowly(x[i], lambda r, c: (r - dy, c - dx)),  # noqa: B023
            "crop": moved_slowly(x[i], lambda r, c: ((r + dy) / z, (c + dx) / z)),  # noqa: B023
            "scale": moved_slowly(x[i], lambda r, c: (r / fy, c / fx)),  # noqa: B023
        }
        for name, expected in slow.items():
            np.testing.assert_allclose(found[name][i].numpy(), expected, atol=2e-5, err_msg=name)


def test_colour_is_brightness_then_contrast_then_saturation() -> None:
    x = images()
    add, contrast, saturation = torch.rand(3, 4)
    for i in range(4):
        y = x[i] + add[i]
        y = (y - y.mean()) * contrast[i] + y.mean()
        y = (y - y.mean(dim=0)) * saturation[i] + y.mean(dim=0)
        torch.testing.assert_close(colored(x, add, contrast, saturation)[i], y)
    grey = images(channels=1)
    ones = torch.ones(4)
    torch.testing.assert_close(colored(grey, ones * 0, ones, ones * 3), grey)


def test_a_square_becomes_zero() -> None:
    x = images() + 10
    out = cut_out(x, torch.tensor([[0.0, 0.0], [2.0, 3.0], [5.0, 7.0], [1.0, 1.0]]), 2)
    for i, (row, column) in enumerate([(0, 0), (2, 3), (5, 7), (1, 1)]):
        assert (out[i, :, row : row + 2, column : column + 2] == 0).all() and int((out[i] == 0).sum()) == 4 * 3
    torch.testing.assert_close(out[out != 0], x[out != 0])


def test_nothing_happens_with_neutral_parameters() -> None:
    x, ones, zeros = images(), torch.ones(4), torch.zeros(4)
    pairs = torch.zeros(4, 2)
    for same in (
        colored(x, zeros, ones, ones),
        rotated(x, zeros),
        translated(x, pairs),
        cropped(x, ones, pairs),
        scaled(x, pairs + 1),
    ):
        torch.testing.assert_close(same, x, atol=1e-5, rtol=1e-5)
    assert torch.equal(flipped(x, zeros.bool()), x) and torch.equal(cut_out(x, pairs, 0), x)
    assert torch.equal(flipped(flipped(x, ones.bool()), ones.bool()), x)
    assert torch.equal(flipped(x, ones.bool()), x.flip(3))


@pytest.mark.parametrize("operation", EVERY)
def test_gradients_flow_to_the_images(operation: str) -> None:
    x = images().double().requires_grad_(True)
    augmentation = SingleOperation(operations=(operation,))

    def apply(pixels: Tensor) -> Tensor:
        return augmentation.apply(pixels, torch.Generator().manual_seed(3))

    assert torch.autograd.gradcheck(apply, (x,))
    assert apply(x).shape == x.shape and not torch.equal(apply(x), x)


@pytest.mark.parametrize("operation", EVERY)
def test_draws_stay_within_their_bounds(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, tuple] = {}
    for name in ("colored", "cropped", "rotated", "translated", "cut_out", "flipped", "scaled"):
        monkeypatch.setattr(
            f"paredown.data.differentiable.{name}",
            lambda x, *parameters, name=name: seen.__setitem__(name, parameters) or x,
        )
    SingleOperation(operations=(operation,)).apply(images(4000, 1, 32, 32), torch.Generator().manual_seed(0))
    ((name, given_),) = seen.items()

    def spans(values: Tensor, low: float, high: float) -> None:
        assert low <= values.min() and values.max() <= high
        assert values.min() < low + 0.02 * (high - low) and values.max() > high - 0.02 * (high - low)

    if name == "colored":
        spans(given_[0], -0.25, 0.25)
        for factor in given_[1:]:
            spans(factor.log(), -0.25, 0.25)
    elif name == "cropped":
        spans(given_[0].log(), math.log(0.8), math.log(1.25))
        assert (given_[1].abs() <= (32 * given_[0] - 32).abs()[:, None] / 2 + 1e-5).all()
    elif name == "rotated":
        spans(given_[0], -math.pi / 12, math.pi / 12)
    elif name == "translated":
        spans(given_[0], -4, 4)
    elif name == "scaled":
        spans(given_[0].log(), -math.log(1.2), math.log(1.2))
    elif name == "flipped":
        assert abs(float(given_[0].float().mean()) - 0.5) < 0.03
    else:
        assert given_[1] == 8 and set(given_[0].unique().tolist()) == set(range(25))


def test_one_operation_a_batch_and_no_flip_of_grey_images() -> None:
    def drawn(channels: int, operations: tuple | None = None) -> list[int]:
        """How many columns of numbers each of many batches drew: what tells the operations apart."""
        x = images(8, channels)
        results = []
        for seed in range(60):
            out = SingleOperation(operations).apply(x, torch.Generator().manual_seed(seed))
            mirrored = [torch.equal(out[i], x[i].flip(2)) or torch.equal(out[i], x[i]) for i in range(8)]
            results.append(all(mirrored))
        return results

    assert any(drawn(3)) and not any(drawn(1)) and all(drawn(1, ("flip",)))


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(MethodError, match="there is no operation to draw"):
        SingleOperation(operations=())
    with pytest.raises(MethodError, match=r"torch.uint8 cannot be augmented differentiably"):
        SingleOperation().apply(torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.Generator())
    with pytest.raises(MethodError, match="not one of color, crop"):
        build("augmentation", {"name": "single-operation", "operations": ["colour"]})


def test_the_usual_augmentation_needs_no_name_still() -> None:
    assert build("augmentation", {"crop": 2}) == Augmentation(crop=2)
    named = build("training", {"augmentation": {"name": "single-operation", "operations": ["flip", "scale"]}})
    assert named.augmentation == SingleOperation(("flip", "scale"))
    assert build("training", named.plain()) == named


@pytest.mark.parametrize("whiten", ["zca", None])
@pytest.mark.parametrize("stored", [False, True])
def test_batches_are_augmented_as_the_network_sees_them(whiten: str | None, stored: bool) -> None:
    data = open_data("synthetic", n=40, stored=stored, whiten=whiten)
    inputs = Streamed(data, "cpu") if stored else OnDevice(data, "cpu")
    net = ConvNet(width=2).start(data, 0)
    positions, augmentation = np.arange(9), SingleOperation(("cutout",))
    out = net.first(inputs.augmented(positions, augmentation, seed=5))
    expected = augmentation.apply(net.first(inputs.batch(positions)[0]), torch.Generator().manual_seed(5))
    torch.testing.assert_close(out, expected, atol=1e-4, rtol=1e-4)
    assert int((expected == 0).sum()) == 9 * 2 * 2 * 3


def test_a_training_takes_it(tmp_path: Path) -> None:
    data = open_data("synthetic", n=40, whiten="zca")
    assert isinstance(data, ImageDataset)
    digests = []
    for number, augmentation in enumerate((SingleOperation(), SingleOperation(), SingleOperation(("flip",)))):
        training = Training(steps=6, batch_size=20, augmentation=augmentation)
        runtime = Runtime(device="cpu", progress=False)
        fit(data, ConvNet(width=4, depth=2), training, runtime=runtime, folder=tmp_path / str(number))
        digests.append(Trained.adopt(tmp_path / str(number)).checkpoint.digest())
    assert digests[0] == digests[1] != digests[2]
