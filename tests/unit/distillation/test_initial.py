"""Which real images are learnt from and which the learnt ones begin as."""

from __future__ import annotations

import numpy as np
import pytest

from paredown.data import ImageDataset
from paredown.distillation.initial import begin_as, members
from paredown.errors import MethodError


def images(labels: list[int], classes: int = 4) -> ImageDataset:
    pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4, 1)).astype(np.uint8)
    return ImageDataset.from_arrays(pixels, np.array(labels), classes=[f"kind {n}" for n in range(classes)], name="few")


DATA = images([0, 1, 2, 3] * 5)


def test_rows_of_some_classes() -> None:
    assert members(DATA, None).tolist() == list(range(20))
    assert members(DATA, (3, 1)).tolist() == [row for row in range(20) if row % 4 in (1, 3)]


def test_as_many_of_each_class_in_the_order_of_the_classes() -> None:
    first = begin_as(DATA, members(DATA, None), per_class=3, chosen=None, seed=0)
    assert DATA.labels[first].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] and len(set(first.tolist())) == 12
    assert not np.array_equal(first, begin_as(DATA, members(DATA, None), per_class=3, chosen=None, seed=1))


def test_a_smaller_draw_is_the_beginning_of_a_larger_one() -> None:
    rows = members(DATA, None)
    few, more = (begin_as(DATA, rows, per_class=n, chosen=None, seed=5).reshape(4, n) for n in (2, 4))
    assert np.array_equal(few, more[:, :2])


def test_a_selection_gives_its_first_of_each_class() -> None:
    chosen = np.array([19, 2, 7, 0, 6, 3, 1, 4, 5])
    first = begin_as(DATA, members(DATA, (0, 2, 3)), per_class=2, chosen=chosen, seed=0)
    assert first.tolist() == [0, 4, 2, 6, 19, 7]


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ((), "name each class once, and one at least"),
        ((1, 1), r"distill\(classes=\[1, 1\]\): name each class once"),
        ((4,), "there is no class 4; few has 0 to 3"),
        ((-1,), "there is no class -1"),
    ],
)
def test_classes_that_are_none(classes: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        members(DATA, classes)


def test_a_class_without_images_is_named() -> None:
    data = images([0, 1, 3, 3])
    with pytest.raises(MethodError, match=r"class 2 \('kind 2'\) has no image in few, so nothing can be learnt of it"):
        members(data, None)
    assert members(data, (0, 3)).tolist() == [0, 2, 3]


def test_more_than_a_class_has_are_refused() -> None:
    rows = members(DATA, None)
    with pytest.raises(MethodError, match=r"class 0 \('kind 0'\) has 5 images in few, .* Ask for at most 5 a class"):
        begin_as(DATA, rows, per_class=6, chosen=None, seed=0)
    with pytest.raises(MethodError, match=r"has 1 images in the selection"):
        begin_as(DATA, rows, per_class=2, chosen=np.array([0, 1, 5, 2, 6, 3, 7]), seed=0)
    with pytest.raises(MethodError, match=r"class 3 \('kind 3'\) has no image in the selection to begin as"):
        begin_as(DATA, rows, per_class=1, chosen=np.array([0, 1, 2]), seed=0)
    with pytest.raises(MethodError, match="Ask for at least one"):
        begin_as(DATA, rows, per_class=0, chosen=None, seed=0)
