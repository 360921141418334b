"""Small image data whose classes can be learnt in a few steps."""

from __future__ import annotations

import numpy as np
import pytest

from paredown.data.augment import Augmentation
from paredown.data.dataset import ImageDataset


def make_images(count: int = 60, *, classes: int = 3, side: int = 8, seed: int = 0) -> ImageDataset:
    """Noise with a bright quarter, whose place is the class."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, classes, count)
    images = draw.integers(0, 100, (count, side, side, 1)).astype(np.uint8)
    half = side // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 100
    return ImageDataset.from_arrays(images, labels, name="quarters", augmentation=Augmentation(crop=1, flip=False))


@pytest.fixture
def images() -> ImageDataset:
    return make_images()
