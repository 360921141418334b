"""Copies between data sets: real and generated images as one pool, and images that leaked from a test set."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.tiny_sscd import tiny_sscd

from paredown import EmbeddingMatrix, ExampleIds, Runtime, ScoreTable, Selection, Store, embed, score, select, train
from paredown.artifacts import Pool
from paredown.data import ImageDataset, LearnableDataset, parted, pooled
from paredown.errors import DataError, MethodError, PoolMismatch
from paredown.scoring import NearestSimilarity
from paredown.training import Mixing, Sgd, Training
from paredown.verbs import VERBS

QUIET = Runtime(device="cpu", batch_size=7, progress=False)
TRAINING = Training(epochs=1, batch_size=6, optimizer=Sgd(lr=0.01), mixing=Mixing(share=0.5))


def photographs(count: int, seed: int) -> np.ndarray:
    """Smooth colour images, no two alike."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    fine = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic").clamp(0, 1)
    return (fine * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def images(pixels: np.ndarray, name: str) -> ImageDataset:
    return ImageDataset.from_arrays(pixels, np.arange(len(pixels)) % 2, name=name)


def slightly(pixels: np.ndarray) -> np.ndarray:
    """The same images, as a careless generator remembers them."""
    noise = np.random.default_rng(0).integers(-2, 3, pixels.shape)
    return np.clip(pixels.astype(np.int64) + noise, 0, 255).astype(np.uint8)


REAL = images(photographs(12, 0), "real")
OWN = photographs(10, 1)
# Rows 10 and 11 are real images again, and row 12 is one of its own again.
GENERATED = images(np.concatenate([OWN, slightly(REAL.images[[3, 8]]), slightly(OWN[[4]])]), "generated")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("weights") / "sscd.torchscript.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.script(tiny_sscd()), str(file))
    return str(file)


def embedded(weights: str, data: LearnableDataset) -> EmbeddingMatrix:
    """Vectors about their mean: random weights give all images nearly the same direction, which trained ones do not."""
    matrix = embed({"name": "sscd", "weights": weights, "size": 64, "normalise": False}, data=data, runtime=QUIET)
    middle = embed({"name": "sscd", "weights": weights, "size": 64, "normalise": False}, data=REAL, runtime=QUIET)
    vectors = np.asarray(matrix.vectors) - np.asarray(middle.vectors).mean(axis=0)
    return EmbeddingMatrix(data.ids, vectors, metric="cosine", encoder="sscd")


def near(threshold: float = 0.99) -> dict[str, Any]:
    return {"name": "near-duplicates", "threshold": threshold}


def test_of_real_and_generated_ones_the_real_stay(weights: str) -> None:
    pool = pooled([REAL, GENERATED])
    kept = select(near(), embeddings=embedded(weights, pool), runtime=QUIET)
    assert sorted(kept.ids.keys.tolist()) == [*range(12), *range(12, 22)]
    real, generated = parted(kept, [REAL, GENERATED])
    assert sorted(real.ids.keys.tolist()) == list(range(12)) and real.base == 12
    assert sorted(generated.ids.keys.tolist()) == list(range(10)) and generated.base == 13
    assert generated.positions_in(GENERATED).tolist() == generated.ids.keys.tolist()


def test_with_scores_the_most_important_stays_and_the_rest_is_chosen_within(weights: str) -> None:
    pool = pooled([REAL, GENERATED])
    values = np.arange(25.0)
    table = ScoreTable(pool.ids, values, name="s", important="high", low=0, high=25)
    kept = select(near(), embeddings=embedded(weights, pool), scores=table, runtime=QUIET)
    assert set(range(25)) - set(kept.ids.keys.tolist()) == {3, 8, 16}
    first = select({**near(), "keep": "first"}, embeddings=embedded(weights, pool), scores=table, runtime=QUIET)
    assert set(range(25)) - set(first.ids.keys.tolist()) == {22, 23, 24}
    best = select("highest", scores=table, count=4, within=first, runtime=QUIET)
    assert best.ids.keys.tolist() == [21, 20, 19, 18] and best.base == 25


def test_any_encoder_will_do() -> None:
    trained = train(REAL, "simple-cnn", {"steps": 1, "batch_size": 4}, runtime=QUIET)
    pool = pooled([REAL, images(np.concatenate([OWN, REAL.images[[5]]]), "copied")])
    vectors = embed(
        {"name": "penultimate", "metric": "cosine"}, data=pool, checkpoint=trained.checkpoint, runtime=QUIET
    )
    kept = select(near(1.0), embeddings=vectors, runtime=QUIET)
    assert set(range(23)) - set(kept.ids.keys.tolist()) == {22}


def test_a_choice_from_the_pool_trains_on_both(weights: str, tmp_path: Path) -> None:
    kept = select(near(), embeddings=embedded(weights, pooled([REAL, GENERATED])), runtime=QUIET)
    how: dict[str, Any] = {"extra": GENERATED, "runtime": QUIET}
    once = train(REAL, "simple-cnn", TRAINING, selection=kept, **how)
    each = train(REAL, "simple-cnn", TRAINING, selection=parted(kept, [REAL, GENERATED]), **how)
    whole = train(REAL, "simple-cnn", TRAINING, **how)
    assert once.checkpoint.digest() == each.checkpoint.digest() != whole.checkpoint.digest()


def test_a_pool_among_the_members_counts_by_its_own() -> None:
    third = images(photographs(5, 3), "third")
    flat, nested = pooled([REAL, GENERATED, third]), pooled([REAL, pooled([GENERATED, third])])
    for pool in (flat, nested):
        chosen = Selection(pool.ids.take(np.array([29, 0, 12])), base=30, weight=np.array([1.0, 2, 3]))
        real, rest = parted(chosen, [REAL, pooled([GENERATED, third])])
        assert (real.ids.keys.tolist(), rest.ids.keys.tolist()) == ([0], [17, 0])
        assert rest.weight is not None and rest.weight.tolist() == [1, 3] and not rest.nested
    with pytest.raises(PoolMismatch, match=r"not the pool of generated \+ real in this order\. Select from that pool"):
        parted(Selection(pooled([REAL, GENERATED]).ids, base=25), [GENERATED, REAL])


# How similar the most similar one is ----------------------------------------------------------------------------------


def unit(size: int, seed: int, name: str = "a") -> EmbeddingMatrix:
    vectors = np.random.default_rng(seed).standard_normal((size, 5)).astype(np.float32)
    return EmbeddingMatrix(ExampleIds.of_pool(Pool((name,), size, name * 8)), vectors, metric="euclidean", encoder="e")


def slow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (first, second))
    return np.asarray(first @ second.T)


def test_the_largest_similarity_to_a_reference_and_among_the_others(tmp_path: Path) -> None:
    mine, other = unit(40, 0), unit(30, 1, "b")
    folder = str(other.save(tmp_path / "other"))
    found = score(NearestSimilarity(folder), embeddings=mine, runtime=QUIET)
    whole = slow(np.asarray(mine.vectors, np.float64), np.asarray(other.vectors, np.float64))
    np.testing.assert_allclose(found.values, whole.max(axis=1), atol=1e-6)
    among = slow(np.asarray(mine.vectors, np.float64), np.asarray(mine.vectors, np.float64))
    np.fill_diagonal(among, -1)
    found = score("nearest-similarity", embeddings=mine, runtime=QUIET)
    np.testing.assert_allclose(found.values, among.max(axis=1), atol=1e-6)
    assert (found.important, found.low, found.high) == ("low", -1, 1)


def test_images_that_leaked_from_the_test_set_are_left_out(weights: str, tmp_path: Path) -> None:
    test = images(slightly(REAL.images[[2, 7]]), "test")
    reference = str(embedded(weights, test).save(tmp_path / "test"))
    similar = score(NearestSimilarity(reference), embeddings=embedded(weights, REAL), runtime=QUIET)
    clean = select({"name": "threshold", "at_most": 0.99}, scores=similar, runtime=QUIET)
    assert set(range(12)) - set(clean.ids.keys.tolist()) == {2, 7}
    table = ScoreTable(REAL.ids, np.arange(12.0), name="s", important="low", low=0, high=12)
    best = select("lowest", scores=table, count=3, within=clean, runtime=QUIET)
    assert best.ids.keys.tolist() == [0, 1, 3]


def test_the_reference_is_known_by_its_content(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "store"), unit(30, 1, "b")
    mine = unit(8, 0)
    places = [str(other.save(tmp_path / name)) for name in ("one", "two")]
    one, two = (store.make(VERBS["score"], scorer=NearestSimilarity(place), embeddings=mine) for place in places)
    assert one.address == two.address
    third = str(unit(30, 2, "b").save(tmp_path / "three"))
    assert store.make(VERBS["score"], scorer=NearestSimilarity(third), embeddings=mine).address != one.address


def test_what_does_not_compare_is_refused(tmp_path: Path) -> None:
    mine, other = unit(8, 0), unit(9, 1, "b")
    wide = EmbeddingMatrix(other.ids, np.ones((9, 4), np.float32), metric="euclidean", encoder="e")
    with pytest.raises(MethodError, match=r"its vectors have width 4, the embeddings 5"):
        score(NearestSimilarity(str(wide.save(tmp_path / "wide"))), embeddings=mine, runtime=QUIET)
    named = EmbeddingMatrix(other.ids, other.vectors, metric="euclidean", encoder="f")
    with pytest.raises(MethodError, match=r"its vectors have encoder f, the embeddings e"):
        score(NearestSimilarity(str(named.save(tmp_path / "named"))), embeddings=mine, runtime=QUIET)
    with pytest.raises(MethodError, match="there is no other vector to compare with"):
        score("nearest-similarity", embeddings=unit(1, 0), runtime=QUIET)
    zero = EmbeddingMatrix(mine.ids, np.zeros((8, 5), np.float32), metric="euclidean", encoder="e")
    with pytest.raises(MethodError, match="has no direction"):
        score("nearest-similarity", embeddings=zero, runtime=QUIET)


def test_data_of_two_forms_are_no_pool() -> None:
    with pytest.raises(DataError, match="cannot be one pool"):
        pooled([REAL, images(photographs(3, 0)[:, :16, :16], "small")])
