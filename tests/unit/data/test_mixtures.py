"""Mixtures of real images in place of generated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paredown.data import ImageDataset, mixtures, open_data
from paredown.data.mixtures import GeneratedMixtures
from paredown.data.npz import Npz
from paredown.data.synthetic import Synthetic
from paredown.errors import DataError, MethodError

BASE = Synthetic(n=40, classes=4, size=8, spread=0.0)


def made(**fields: Any) -> ImageDataset:
    found = GeneratedMixtures(**{"base": BASE, "count": 24, "grain": 0.0} | fields).load()
    assert isinstance(found, ImageDataset)
    return found


def levels(place: Path) -> Npz:
    """Images of one grey level each: 10 and 20 in class 0, 110 and 120 in class 1."""
    level = np.array([10, 110, 20, 120], np.uint8)
    np.savez(place / "levels.npz", x=np.broadcast_to(level[:, None, None], (4, 6, 6)), y=[0, 1, 0, 1])
    return Npz(str(place / "levels.npz"), split="all")


def test_a_mixture_lies_between_two_images_of_its_class(tmp_path: Path) -> None:
    real = levels(tmp_path).load()
    data = made(base=levels(tmp_path), count=200)
    assert data.classes == real.classes and data.augmentation == real.augmentation
    assert (data.mean, data.std, data.shape) == (real.mean, real.std, real.shape)
    assert data.labels.tolist() == [row % 2 for row in range(200)]
    flat = data.images.reshape(200, -1).astype(int)
    assert (np.ptp(flat, axis=1) == 0).all(), "what has one level keeps it"
    shares = (flat[:, 0] - 100 * data.labels - 10) / 10
    assert shares.min() == 0 and shares.max() == 1 and 0.3 < shares.mean() < 0.7
    assert len(set(shares.tolist())) == 11


def test_the_noise_differs_from_image_to_image() -> None:
    clean, noisy = made(count=200), made(count=200, grain=20.0)
    change = (noisy.images.astype(float) - clean.images).reshape(200, -1).std(axis=1)
    assert change.min() < 8 and change.max() > 28 and 15 < change.mean() < 25


def test_what_is_drawn_follows_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = made()
    assert np.array_equal(first.images, made().images) and first.identity() == made().identity()
    other = made(seed=1)
    assert not np.array_equal(first.images, other.images)
    assert len({data.ids.pool.fingerprint for data in (first, other, open_data(BASE))}) == 3
    monkeypatch.setattr(mixtures, "BLOCK", 10)
    assert len(made()) == 24


def test_where_the_base_lies_is_no_part_of_what_the_data_are(tmp_path: Any) -> None:
    def at(folder: str) -> dict[str, Any]:
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "a.npz", x=np.arange(6 * 64).reshape(6, 8, 8).astype(np.uint8), y=np.arange(6) % 2)
        base = {"name": "npz", "path": str(tmp_path / folder / "a.npz"), "split": "all"}
        return open_data("generated-mixtures", base=base, count=8).identity()

    assert at("here") == at("there")


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(MethodError, match="nothing would be made"):
        made(count=0)
    with pytest.raises(MethodError, match="has 4 classes, and each needs an image"):
        made(count=3)
    with pytest.raises(MethodError, match="a deviation of noise is at least 0"):
        made(grain=-1.0)
    with pytest.raises(DataError, match="has sentences, and only images are mixed"):
        open_data("generated-mixtures", base={"name": "synthetic-sentences", "n": 40})
    with pytest.raises(DataError, match="no split 'test', only train"):
        made(split="test")
