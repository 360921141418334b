"""Batches of data and extra data: shares, order, what a training makes of them, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.training.conftest import make_images

from paredown.artifacts.checkpoint import Trained
from paredown.data import ImageDataset, OnDevice, open_data, pooled
from paredown.errors import DataError, MethodError
from paredown.method import build
from paredown.models.convnet import ConvNet
from paredown.runtime import Runtime
from paredown.training import Extra, Mixing, Recording, Sgd, Training, Validation, fit
from paredown.training.begin import Examples, choose_both, choose_examples
from paredown.training.devices import Place
from paredown.training.feed import Feed
from paredown.training.mixing import Mixture

MODEL = ConvNet(width=4, depth=1)
QUIET = Runtime(device="cpu", precision="float32", progress=False)
TRAINING = Training(epochs=2, batch_size=16, optimizer=Sgd(lr=0.05))


def epochs(mixture: Mixture, own: int, batch: int, count: int, *, drop_last: bool = False) -> list[list[np.ndarray]]:
    sizes = [batch] * (own // batch) + ([] if drop_last or not own % batch else [own % batch])
    orders = [np.random.default_rng(number).permutation(own) for number in range(count)]
    return [list(mixture.epoch(number, order, sizes)) for number, order in enumerate(orders)]


def original(size: int, share: float) -> tuple[int, int]:
    """Counts of the published sampler, whose two sides are rounded apart; a batch of ten becomes one of eleven."""
    return math.ceil(size * (1 - share)), math.floor(size * share)


# Examples, batch, share; whole batches; the original's counts and ours of a whole batch and of the last one.
COUNTS = [
    (48976, 512, 0.8, 95, (103, 409), (102, 410), (68, 268), (67, 269)),
    (48976, 512, 0.7, 95, (154, 358), (154, 358), (101, 235), (101, 235)),
    (48976, 1024, 0.8, 47, (205, 819), (205, 819), (170, 678), (170, 678)),
    (36732, 512, 0.8, 71, (103, 409), (102, 410), (76, 304), (76, 304)),
    (100, 10, 0.7, 10, (4, 7), (3, 7), None, None),
]


@pytest.mark.parametrize(("own", "batch", "share", "batches", "theirs", "ours", "their_last", "our_last"), COUNTS)
def test_a_batch_has_its_exact_size_and_share(
    own: int, batch: int, share: float, batches: int, theirs: Any, ours: Any, their_last: Any, our_last: Any
) -> None:
    (parts,) = epochs(Mixture(Mixing(share), 60_000, seed=0), own, batch, 1)
    counts = [(int((rows < own).sum()), int((rows >= own).sum())) for rows in parts]
    assert counts[:batches] == [ours] * batches and sum(ours) == batch
    assert counts[batches:] == ([] if our_last is None else [our_last])
    assert original(batch, share) == theirs
    assert their_last is None or original(own % batch, share) == their_last


@settings(max_examples=60, deadline=None)
@given(
    own=st.integers(4, 60), batch=st.integers(2, 20), share=st.floats(0.1, 0.9), extra=st.integers(1, 90),
    seed=st.integers(0, 3),
)  # fmt: skip
def test_each_extra_example_is_drawn_before_one_is_drawn_twice(
    own: int, batch: int, share: float, extra: int, seed: int
) -> None:
    whole = epochs(Mixture(Mixing(share), extra, seed=seed), own, batch, 8)
    drawn = np.concatenate([rows[rows >= own] - own for parts in whole for rows in parts])
    for start in range(0, len(drawn) - extra + 1, extra):
        assert sorted(drawn[start : start + extra]) == list(range(extra)), "a whole cycle is a permutation"
    rest = drawn[len(drawn) // extra * extra :]
    assert len(set(rest.tolist())) == len(rest)
    for parts in whole:
        assert all(len(rows) == batch for rows in parts[: own // batch])
        mine = np.concatenate([rows[rows < own] for rows in parts])
        assert len(set(mine.tolist())) == len(mine), "of the data each is shown once an epoch at most"
        assert all((np.diff((rows >= own).astype(int)) >= 0).all() for rows in parts), "the data's own stand first"


def test_every_extra_image_is_reached_and_cycles_differ() -> None:
    mixture = Mixture(Mixing(0.8), 70, seed=1)
    drawn = np.concatenate([rows[rows >= 20] - 20 for parts in epochs(mixture, 20, 10, 20) for rows in parts])
    assert len(drawn) == 20 * 16
    assert set(drawn[:70].tolist()) == set(range(70))
    assert drawn[:70].tolist() != drawn[70:140].tolist()


def test_a_pool_shorter_than_a_batch_wraps_around() -> None:
    (parts,) = epochs(Mixture(Mixing(0.75), 5, seed=0), 32, 16, 1)
    for rows in parts:
        counts = np.bincount(rows[rows >= 32] - 32, minlength=5)
        assert len(rows) == 16 and counts.sum() == 12 and counts.min() >= 2


def test_draws_with_replacement_are_of_the_whole_pool() -> None:
    mixture = Mixture(Mixing(0.5, draws="with-replacement"), 100, seed=0)
    drawn = np.concatenate([rows[rows >= 40] - 40 for parts in epochs(mixture, 40, 20, 30) for rows in parts])
    counts = np.bincount(drawn, minlength=100)
    assert len(drawn) == 600 and counts.max() > 6 and drawn.min() >= 0 and drawn.max() < 100
    assert (counts > 0).sum() > 95


@pytest.mark.parametrize("draws", ["in-turn", "with-replacement"])
def test_an_epoch_is_a_function_of_seed_and_number_alone(draws: Any) -> None:
    def third(first: bool, seed: int = 0) -> list[list[int]]:
        mixture = Mixture(Mixing(0.6, draws=draws), 30, seed=seed)
        order, sizes = np.arange(25), [10, 10, 5]
        if first:
            for number in range(3):
                list(mixture.epoch(number, order, sizes))
        return [rows.tolist() for rows in mixture.epoch(3, order, sizes)]

    assert third(True) == third(False)
    assert third(False) != third(False, seed=1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"share": 0.0}, "share=0.*lies above 0 and below 1. Leave extra out"),
        ({"share": 1}, "To train on the extra data alone, give them as data="),
        ({"share": -0.2}, "lies above 0"),
        ({"draws": "twice"}, "not a way to draw"),
    ],
)
def test_shares_that_mix_nothing_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        Mixing(**fields)


@pytest.fixture
def more() -> ImageDataset:
    return replace(make_images(50, seed=5), name="more")


def feed(data: ImageDataset, extra: Extra | None, training: Training, *, rank: int = 0, processes: int = 1) -> Feed:
    examples, both = choose_examples(data, np.arange(10, 50), None), data
    if extra is not None:
        examples, both = choose_both(data, examples, extra), pooled([data, extra.data])  # type: ignore[assignment]
    place = Place(torch.device("cpu"), rank=rank, processes=processes)
    return Feed(OnDevice(both, "cpu"), examples, training, None, seed=3, place=place)


def test_a_feed_gives_the_pixels_labels_and_weights_of_both(images: ImageDataset, more: ImageDataset) -> None:
    weights = np.arange(1.0, 31.0)
    fed = feed(images, Extra(more, np.arange(20, 50), weights), replace(TRAINING, mixing=Mixing(0.5)))
    parts = list(fed.epoch(0))
    assert len(parts) == 2
    for rows, x in zip(parts, fed.whole(parts, 1), strict=True):
        own = fed.own(rows)
        assert own == 8
        pixels, labels, where, counted = fed.share(rows, x)
        chosen, others = rows[:own] + 10, rows[own:] - 40 + 20
        wanted = np.concatenate([images.images[chosen], more.images[others]])
        np.testing.assert_array_equal((pixels * 255).round().permute(0, 2, 3, 1).numpy(), wanted)
        assert labels.tolist() == [*images.labels[chosen], *more.labels[others]]
        assert where.tolist() == rows.tolist()
        np.testing.assert_allclose(counted, [*np.ones(8), *(weights[others - 20] / weights.mean())], rtol=1e-6)


def test_processes_share_each_side_of_a_batch(images: ImageDataset, more: ImageDataset) -> None:
    training = replace(TRAINING, mixing=Mixing(0.3), drop_last=False)
    alone = feed(images, Extra(more), training)
    pair = [feed(images, Extra(more), training, rank=rank, processes=2) for rank in range(2)]
    for rows in alone.epoch(1):
        shares = [rows[one.mine] for one in pair]
        assert sorted(np.concatenate(shares)) == sorted(rows)
        for one, share in zip(pair, shares, strict=True):
            assert one.own(rows) == (share < 40).sum() and (share[: one.own(rows)] < 40).all()
            assert [part.tolist() for part in one.epoch(1)] == [part.tolist() for part in alone.epoch(1)]


def trained(folder: Path, data: ImageDataset, training: Training, **rest: Any) -> Trained:
    fit(data, MODEL, training, runtime=QUIET, folder=folder, **rest)
    return Trained.adopt(folder)


def test_extra_data_change_the_network_and_not_the_number_of_steps(
    tmp_path: Path, images: ImageDataset, more: ImageDataset
) -> None:
    plain = trained(tmp_path / "plain", images, TRAINING)
    mixed = trained(tmp_path / "mixed", images, TRAINING, extra=Extra(more))
    named = trained(tmp_path / "named", images, replace(TRAINING, mixing=Mixing()), extra=Extra(more))
    assert plain.checkpoint.step == mixed.checkpoint.step == 6
    assert mixed.checkpoint.digest() == named.checkpoint.digest() != plain.checkpoint.digest()
    head = (tmp_path / "mixed" / "metrics.jsonl").read_text().splitlines()[0]
    assert '"extra": 50' in head and '"extra_of_batch": 13' in head and '"examples": 60' in head


def test_only_the_data_is_recorded(tmp_path: Path, images: ImageDataset, more: ImageDataset) -> None:
    training = replace(TRAINING, epochs=4, mixing=Mixing(0.5), drop_last=False)
    for by in ("presentations", "evaluation"):
        made = trained(tmp_path / by, images, training, extra=Extra(more), recording=Recording(by=by))
        assert made.dynamics is not None and made.dynamics.ids.pool == images.ids.pool and len(made.dynamics.ids) == 60
        seen = [int(np.isfinite(epoch["confidence"]).sum()) for epoch in made.dynamics]
        # Half of 16, 16, 16 and 12 are the data's, six of the last twelve.
        assert seen == ([30] * 4 if by == "presentations" else [60] * 4)


def test_the_order_in_which_the_rows_of_both_are_named_is_nothing(
    tmp_path: Path, images: ImageDataset, more: ImageDataset
) -> None:
    chosen, others = np.arange(5, 45), np.arange(10, 40)
    one = trained(tmp_path / "one", images, TRAINING, positions=chosen, extra=Extra(more, others))
    two = trained(tmp_path / "two", images, TRAINING, positions=chosen[::-1], extra=Extra(more, others[::-1]))
    assert one.checkpoint.digest() == two.checkpoint.digest()


def test_a_pool_of_extra_data_is_as_good_as_one_data_set(tmp_path: Path, images: ImageDataset) -> None:
    parts = [replace(make_images(20, seed=seed), name=str(seed)) for seed in (5, 6)]
    pool = pooled(parts)
    whole = ImageDataset.from_arrays(
        np.concatenate([part.images for part in parts]), pool.labels, classes=pool.classes, name="whole"
    )
    one = trained(tmp_path / "one", images, TRAINING, extra=Extra(pool))  # type: ignore[arg-type]
    two = trained(tmp_path / "two", images, TRAINING, extra=Extra(whole))
    assert one.checkpoint.digest() == two.checkpoint.digest()


def test_what_cannot_be_mixed_is_refused(tmp_path: Path, images: ImageDataset, more: ImageDataset) -> None:
    sentences = open_data("synthetic-sentences", n=40)
    larger = ImageDataset.from_arrays(np.zeros((9, 9, 9, 1), np.uint8), np.arange(9) % 3, name="larger")
    fewer = ImageDataset.from_arrays(more.images, more.labels % 2, name="fewer")
    both = pooled([images, more])
    cases: list[tuple[Any, Any, Training, type[Exception], str]] = [
        (images, None, replace(TRAINING, mixing=Mixing()), MethodError, "there are no other data to mix in"),
        (images, images, TRAINING, DataError, "these images are among the data already"),
        (images, both, TRAINING, DataError, "these images are among the data already"),
        (both, more, TRAINING, DataError, "these images are among the data already"),
        (images, sentences, TRAINING, MethodError, "has sentences, and only images are mixed"),
        (sentences, images, TRAINING, MethodError, "has sentences, and only images are mixed"),
        (images, larger, TRAINING, DataError, "larger has images of 9×9×1 and quarters of 8×8×1"),
        (images, fewer, TRAINING, DataError, "have different classes"),
        (images, more, replace(TRAINING, batch_size=2), MethodError, "of a batch of 2 no example would be of the data"),
        (images, more, replace(TRAINING, mixing=Mixing(0.02)), MethodError, "of a batch of 16 no example would be ext"),
    ]
    for number, (data, extra, training, error, words) in enumerate(cases):
        with pytest.raises(error, match=words):
            fit(
                data,
                MODEL,
                training,
                extra=None if extra is None else Extra(extra),
                runtime=QUIET,
                folder=tmp_path / str(number),
            )
        assert not (tmp_path / str(number)).exists()


def test_rows_of_the_extra_data_are_checked(tmp_path: Path, images: ImageDataset, more: ImageDataset) -> None:
    for positions, words in ((np.array([50]), "more has 50 rows"), (np.array([3, 3]), "Row 3 is to be trained on twi")):
        with pytest.raises(DataError, match=words):
            fit(images, MODEL, TRAINING, extra=Extra(more, positions), runtime=QUIET, folder=tmp_path)


def test_joined_examples_count_alike_where_no_weight_is_given() -> None:
    extra = Examples(np.array([7, 8]))
    both = Examples(np.array([1, 2, 3]), np.array([0.5, 1.5, 1.0], np.float32), extra=extra).joined()
    assert both.positions.tolist() == [1, 2, 3, 7, 8]
    assert both.weights is not None and both.weights.tolist() == [0.5, 1.5, 1.0, 1.0, 1.0]
    assert Examples(np.array([1]), extra=extra).joined().weights is None


def test_validation_is_held_out_of_the_data_alone(tmp_path: Path, images: ImageDataset, more: ImageDataset) -> None:
    training = replace(TRAINING, validation=Validation(examples=12), average=0.5, mixing=Mixing(0.5))
    made = trained(tmp_path, images, training, extra=Extra(more), recording=Recording(by="evaluation"))
    assert made.validation is not None and made.validation.pool == images.ids.pool and len(made.validation) == 12
    assert made.dynamics is not None and len(made.dynamics.ids) == 48
    assert not made.dynamics.ids.holds(made.validation).any()


def test_each_objective_takes_mixed_batches(tmp_path: Path) -> None:
    data, more = (replace(make_images(22, seed=seed), name=str(seed)) for seed in (0, 1))
    for name in ("trades", "free"):
        training = Training(
            steps=6, batch_size=8, drop_last=False, optimizer=Sgd(lr=0.01), objective=build("objective", name)
        )
        assert trained(tmp_path / name, data, training, extra=Extra(more), recording=Recording()).checkpoint.step == 6
