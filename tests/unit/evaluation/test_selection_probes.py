"""Measures of selections whose answers are known, beside slow and obvious ones."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import spearmanr

from paredown import evaluate
from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool, Row, Selection
from paredown.data import ImageDataset
from paredown.errors import MethodError, PoolMismatch

N = 40


def data(labels: Any = None) -> ImageDataset:
    labels = np.arange(N) % 4 if labels is None else np.asarray(labels)
    images = np.zeros((len(labels), 2, 2, 1), np.uint8)
    return ImageDataset.from_arrays(images, labels, classes=["ant", "bee", "cat", "dog"])


def chosen(*positions: int, of: ImageDataset | None = None) -> Selection:
    ids = (of or data()).ids
    return Selection(ids.take(np.array(positions)), base=len(ids))


def vectors(metric: Any = "euclidean", width: int = 3) -> EmbeddingMatrix:
    rows = np.random.default_rng(5).standard_normal((N, width)).astype(np.float32)
    return EmbeddingMatrix(data().ids, rows, metric=metric)


def figures(probe: Any, *selections: Selection, of: ImageDataset | None = None, **rest: Any) -> dict[Any, Row]:
    """Gives (metric, group) → row of the first selection."""
    rows = evaluate(list(selections), of or data(), [probe], **rest).rows
    return {(row.metric, row.group): row for row in rows if row.subject == selections[0].digest()[:16]}


def test_the_mix_of_classes() -> None:
    got = figures("class-balance", chosen(0, 4, 8, 1, 5, 2))  # three ants, two bees, a cat
    p = np.array([3, 2, 1]) / 6
    assert got["class balance", ""].value == pytest.approx(-(p * np.log(p)).sum() / np.log(4))
    assert got["class shift", ""].value == pytest.approx((1 / 4 + 1 / 12 + 1 / 12 + 1 / 4) / 2)
    assert got["least kept class", ""].value == 0
    assert got["kept", "ant"].value == pytest.approx(0.3)
    assert (got["kept", "dog"].value, got["kept", "dog"].n) == (0, 10)


@given(st.sets(st.integers(0, N - 1), min_size=1), st.lists(st.integers(0, 3), min_size=N, max_size=N))
def test_balance_stays_in_its_bounds(positions: set[int], labels: list[int]) -> None:
    found = data(labels)
    got = figures("class-balance", chosen(*positions, of=found), of=found)
    assert 0 <= got["class shift", ""].value < 1
    assert -1e-12 <= got["least kept class", ""].value <= 1 + 1e-12
    assert got["class balance", ""].value >= 0
    everything = figures("class-balance", chosen(*range(N), of=found), of=found)
    assert [everything[name, ""].value for name in ("class balance", "class shift", "least kept class")] == [1, 0, 1]


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_coverage_is_the_mean_distance_to_the_nearest_chosen(metric: Any) -> None:
    matrix, kept = vectors(metric), [3, 17, 30, 8]
    left = np.setdiff1d(np.arange(N), kept)
    nearest = cdist(matrix.vectors[left], matrix.vectors[kept], metric=metric).min(axis=1)
    got = figures("coverage", chosen(*kept), embeddings=matrix)
    assert got["coverage", ""].value == pytest.approx(nearest.mean(), rel=1e-5)
    assert got["coverage", ""].spread == pytest.approx(nearest.std(ddof=1) / 6, rel=1e-5)
    assert got["coverage radius", ""].value == pytest.approx(nearest.max(), rel=1e-5)


def test_coverage_of_a_sample_is_near_it_and_has_no_radius() -> None:
    matrix, kept = vectors(), chosen(*range(0, N, 4))
    whole, part = (figures({"name": "coverage", "sample": sample}, kept, embeddings=matrix) for sample in (None, 20))
    assert ("coverage radius", "") not in part
    row = part["coverage", ""]
    assert row.n == 20 and row.spread is not None
    assert row.value == pytest.approx(whole["coverage", ""].value, abs=4 * row.spread)


def test_everything_covers_everything() -> None:
    got = figures("coverage", chosen(*range(N)), embeddings=vectors())
    assert [row.value for row in got.values()] == [0, 0]


def test_embeddings_may_be_of_more_and_in_another_order() -> None:
    order = np.random.default_rng(1).permutation(N)
    part = data()
    half = ImageDataset(part.name, part.images[:20], part.labels[:20], part.classes, part.ids.take(np.arange(20)),
                        part.mean, part.std)  # fmt: skip
    matrix, kept = vectors(), chosen(1, 5, 9)
    moved = EmbeddingMatrix(part.ids.take(order), matrix.vectors[order], metric="euclidean")
    nearest = cdist(matrix.vectors[np.setdiff1d(np.arange(20), [1, 5, 9])], matrix.vectors[[1, 5, 9]]).min(axis=1)
    assert figures("coverage", kept, of=half, embeddings=moved)["coverage", ""].value == pytest.approx(nearest.mean())


def test_redundancy_is_the_distance_to_the_nearest_other() -> None:
    matrix, kept = vectors(), [3, 17, 30, 8, 21]
    apart = cdist(matrix.vectors[kept], matrix.vectors[kept])
    np.fill_diagonal(apart, np.inf)
    got = figures("redundancy", chosen(*kept), embeddings=matrix)
    assert got["nearest kept", ""].value == pytest.approx(apart.min(axis=1).mean(), rel=1e-5)


def test_what_crowds_is_redundant_and_what_keeps_apart_is_not() -> None:
    # Ten points lie within a hair of each other, the others far from everything.
    rows = np.random.default_rng(2).standard_normal((N, 8)).astype(np.float32) * 100
    rows[:10] = rows[0] + np.random.default_rng(3).standard_normal((10, 8)).astype(np.float32) / 100
    matrix = EmbeddingMatrix(data().ids, rows, metric="euclidean")
    crowd, spread = (
        figures("redundancy", chosen(*positions), embeddings=matrix)["redundant", ""].value
        for positions in (range(10), range(9, 39))
    )
    assert crowd == 1
    assert spread < 0.6


def test_equal_vectors_are_wholly_redundant() -> None:
    matrix = EmbeddingMatrix(data().ids, np.ones((N, 3), np.float32), metric="euclidean")
    got = figures("redundancy", chosen(1, 2, 3), embeddings=matrix)
    assert (got["nearest kept", ""].value, got["redundant", ""].value) == (0, 1)


def test_overlap_is_of_sets_and_of_orders() -> None:
    first, second = chosen(5, 1, 2, 9, 7), chosen(9, 2, 5, 30)
    other = second.digest()[:16]
    got = figures("overlap", first, second)
    assert got["shared", other].value == pytest.approx(3 / 4)
    assert got["jaccard", other].value == pytest.approx(3 / 6)
    # The shared 5, 2, 9 stand at places 0, 2, 3 of the one and 2, 1, 0 of the other.
    assert got["rank agreement", other].value == pytest.approx(spearmanr([0, 2, 3], [2, 1, 0]).statistic)


def test_a_selection_is_compared_with_each_other_once_and_not_with_itself() -> None:
    selections = [chosen(0, 1), chosen(1, 2), chosen(2, 3), chosen(0, 1)]
    rows = evaluate(selections, data(), ["overlap"]).of("shared", group=selections[1].digest()[:16])
    assert len(rows) == 2
    pairs = {(row.subject, row.group) for row in evaluate(selections, data(), ["overlap"]).rows}
    digests = {selection.digest()[:16] for selection in selections}
    assert pairs == set(itertools.permutations(digests, 2))


def test_without_anything_shared_there_is_no_order_to_compare() -> None:
    got = figures("overlap", chosen(0, 1), chosen(2, 3))
    assert {metric for metric, _ in got} == {"shared", "jaccard"}
    assert {row.value for row in got.values()} == {0}


@pytest.mark.parametrize(
    ("probe", "match"),
    [
        ({"name": "coverage", "sample": 0}, r"Coverage\(sample=0\): a mean needs at least one example"),
        ("redundancy", "Redundancy: one chosen example has no other beside it"),
        ("coverage", "Coverage needs embeddings=, and evaluate"),
    ],
)
def test_what_cannot_be_measured_is_refused(probe: Any, match: str) -> None:
    given = {} if "needs embeddings" in match else {"embeddings": vectors()}
    with pytest.raises(MethodError, match=match):
        evaluate(chosen(3), data(), [probe], **given)


def test_vectors_that_stand_for_outer_products_are_refused() -> None:
    matrix = EmbeddingMatrix(data().ids, np.ones((N, 5), np.float32), metric="euclidean", factors=(2, 3))
    with pytest.raises(MethodError, match="Coverage: these embeddings stand for outer products"):
        evaluate(chosen(3), data(), ["coverage"], embeddings=matrix)


def test_embeddings_of_other_data_are_refused() -> None:
    ids = ExampleIds.of_pool(Pool(("other",), N, "1" * 64))
    matrix = EmbeddingMatrix(ids, np.ones((N, 2), np.float32), metric="euclidean")
    with pytest.raises(PoolMismatch):
        evaluate(chosen(3), data(), ["coverage"], embeddings=matrix)
