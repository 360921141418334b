"""Stored images in batches: the same whoever decodes them, ahead of whoever asks, and never more than a few batches."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.photographs import as_bytes, imagenet_folder, photograph

from paredown.data import Augmentation, OnDevice, Square, StoredImages, Streamed, open_data, streaming
from paredown.data.encoded import Held
from paredown.errors import DataError
from paredown.models import AbstractModel, ResNet18, inputs
from paredown.runtime import Runtime
from paredown.training import Recording, Sgd, Training, fit
from paredown.training.begin import choose_examples
from paredown.training.devices import Place
from paredown.training.feed import Feed

WINDOWS = Augmentation(area=0.3, flip=True)


def photos(tmp_path: Path, **fields: object) -> StoredImages:
    data = open_data(str(imagenet_folder(tmp_path / "photos")), size=24, stored=True, **fields)  # type: ignore[arg-type]
    assert isinstance(data, StoredImages)
    return data


def test_a_batch_holds_the_images_and_labels_of_its_positions(tmp_path: Path) -> None:
    data, positions = photos(tmp_path), np.array([7, 3, 11])
    x, y = Streamed(data, "cpu").batch(positions)
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(x.permute(0, 2, 3, 1), data.read(positions) / 255, rtol=1e-6)
    np.testing.assert_array_equal(y, data.labels[positions])


@pytest.mark.parametrize("augmentation", [None, Augmentation(crop=2, flip=True), WINDOWS])
def test_what_is_read_ahead_is_what_is_asked_for_one_by_one(
    tmp_path: Path, augmentation: Augmentation | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "RUN", 2)
    data = photos(tmp_path)
    parts = [(np.random.default_rng(seed).permutation(12)[:5], seed) for seed in range(9)]
    one, many = Streamed(data, "cpu", workers=1), Streamed(data, "cpu", workers=5)
    for (positions, seed), x in zip(parts, many.ahead(iter(parts), augmentation), strict=True):
        assert torch.equal(x, one.augmented(positions, augmentation, seed))
    rows = [positions for positions, _ in parts]
    for positions, (x, y) in zip(rows, many.batches(rows), strict=True):
        other, labels = one.batch(positions)
        assert torch.equal(x, other) and torch.equal(y, labels)


@pytest.mark.parametrize("augmentation", [None, Augmentation(crop=2, flip=True), WINDOWS])
def test_of_several_processes_each_decodes_its_share(augmentation: Augmentation | None) -> None:
    data = slow(24)
    whole = Streamed(data, "cpu").augmented(np.arange(24), augmentation, 3)
    for rank in range(3):
        Slow.begun, share = 0, slice(rank, None, 3)
        parts = [(np.arange(24), 3)]
        (mine,) = Streamed(data, "cpu", workers=2).ahead(parts, augmentation, share)
        assert Slow.begun == 8 and mine.shape == whole.shape
        assert torch.equal(mine[share], whole[share])


def test_another_seed_gives_other_windows(tmp_path: Path) -> None:
    examples, positions = Streamed(photos(tmp_path), "cpu"), np.arange(6)
    assert not torch.equal(examples.augmented(positions, WINDOWS, 1), examples.augmented(positions, WINDOWS, 2))
    assert torch.equal(examples.augmented(positions, WINDOWS, 1), examples.augmented(positions, WINDOWS, 1))


def test_windows_of_stored_images_are_those_of_images_in_memory() -> None:
    # Of square images at their own size, a window is the same whether it is cut from the file or on the device.
    stored, memory = (open_data("synthetic", n=24, size=40, spread=0.2, stored=kept) for kept in (True, False))
    assert isinstance(stored, StoredImages)
    far = Streamed(stored, "cpu").augmented(np.arange(24), WINDOWS, 5)
    near = OnDevice(memory, "cpu").augmented(np.arange(24), WINDOWS, 5)  # type: ignore[arg-type]
    assert (far - near).abs().mean() < 0.01


class Slow(Held):
    """Counts how many images were asked for, and how many at once."""

    begun = at_once = most = 0
    lock = threading.Lock()

    def stored(self, number: int) -> bytes:
        cls = type(self)
        with cls.lock:
            cls.begun += 1
            cls.at_once += 1
            cls.most = max(cls.most, cls.at_once)
        time.sleep(0.002)
        with cls.lock:
            cls.at_once -= 1
        return super().stored(number)


def slow(count: int) -> StoredImages:
    Slow.begun = Slow.at_once = Slow.most = 0
    base = open_data("synthetic", n=count, stored=True)
    assert isinstance(base, StoredImages) and isinstance(base.encoded, Held)
    return replace(base, encoded=Slow(base.encoded.images))


def test_only_a_few_batches_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "RUN", 1)
    looked: list[int] = []

    def parts() -> Iterator[np.ndarray]:
        for number in range(30):
            looked.append(number)
            yield np.arange(number * 4, number * 4 + 4)

    batches = Streamed(slow(120), "cpu", workers=3).batches(parts())
    next(batches)
    assert len(looked) == streaming.AHEAD + 1
    time.sleep(0.2)
    assert Slow.begun == 4 * (streaming.AHEAD + 1) and 1 < Slow.most <= 3
    assert sum(1 for _ in batches) == 29 and Slow.begun == 120


def test_who_stops_looking_leaves_no_thread_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "RUN", 1)
    before = threading.active_count()
    batches = Streamed(slow(120), "cpu", workers=2).batches(np.arange(120).reshape(-1, 20))
    next(batches)
    batches.close()
    assert threading.active_count() == before and Slow.begun < 100


def test_a_damaged_image_ends_the_pass_and_is_named(tmp_path: Path) -> None:
    data, before = photos(tmp_path), threading.active_count()
    assert data.paths is not None
    (tmp_path / "photos" / data.paths[9]).write_bytes(b"none")
    batches = Streamed(data, "cpu", workers=2).batches(np.arange(12).reshape(6, 2))
    seen = []
    with pytest.raises(DataError, match=r"n01440002_1.JPEG cannot be decoded, because its format is not known"):
        seen.extend(batches)
    assert len(seen) == 4 and threading.active_count() == before


def test_networks_take_stored_images(tmp_path: Path) -> None:
    data = photos(tmp_path)
    net = ResNet18(stages=(1, 1), width=4, stem="large").start(data, 0)
    examples = inputs(net, data, workers=2)
    assert isinstance(examples, Streamed) and examples.workers == 2
    x, _ = examples.batch(np.arange(4))
    assert net(x).shape == (4, 3)


def test_a_training_is_the_same_whoever_decodes(tmp_path: Path) -> None:
    data = photos(tmp_path)
    model: AbstractModel = ResNet18(stages=(1, 1), width=4, stem="large")
    training = Training(steps=7, batch_size=4, optimizer=Sgd(lr=0.05))
    made = []
    for name, workers in (("one", 1), ("many", 4)):
        how = Runtime(device="cpu", precision="float32", workers=workers, threads=1, progress=False)
        record = Recording(quantities=("margin", "correct"))
        fit(data, model, training, recording=record, runtime=how, folder=tmp_path / name)
        parts = sorted(path for path in (tmp_path / name).rglob("*") if path.suffix == ".safetensors")
        made.append([path.read_bytes() for path in parts])
    assert len(made[0]) > 2 and made[0] == made[1]


def test_a_feed_passes_augmented_batches_of_stored_images(tmp_path: Path) -> None:
    data = photos(tmp_path)
    examples = choose_examples(data, np.arange(8), None)
    training = Training(steps=4, batch_size=4)
    feed = Feed(Streamed(data, "cpu"), examples, training, WINDOWS, seed=0, place=Place(torch.device("cpu")))
    parts = list(feed.epoch(0))
    batches = list(feed.whole(parts, 1))
    assert [len(x) for x in batches] == [4, 4]
    x, y, rows, _ = feed.share(parts[1], batches[1])
    assert x is batches[1]
    np.testing.assert_array_equal(y, data.labels[rows])


def test_images_of_any_size_share_a_batch() -> None:
    stored = tuple(as_bytes(photograph(*size)) for size in ((30, 90), (400, 100), (64, 64), (31, 30)))
    data = open_data("synthetic", n=4, stored=True)
    assert isinstance(data, StoredImages)
    mixed = replace(data, encoded=Held(stored), square=Square(28, 32))
    assert Streamed(mixed, "cpu").augmented(np.arange(4), WINDOWS, 0).shape == (4, 3, 28, 28)
