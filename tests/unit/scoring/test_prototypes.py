"""Distances to prototypes, in memory and over shards."""

from __future__ import annotations

import numpy as np
import pytest

from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool
from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.scoring import Prototypicality, score_embeddings
from paredown.scoring import prototypes as module

CPU = Runtime(device="cpu")


def clouds(each: int = 40, width: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gives vectors of three far clouds, and the middle of each vector's cloud."""
    rng = np.random.default_rng(seed)
    middles = np.repeat(rng.standard_normal((3, width)) * 30, each, axis=0)
    return (middles + rng.standard_normal(middles.shape)).astype(np.float32), middles


def matrix(vectors: np.ndarray, **fields: object) -> EmbeddingMatrix:
    ids = ExampleIds.of_pool(Pool(("a",), len(vectors), "0" * 64))
    return EmbeddingMatrix(ids, vectors, **({"metric": "euclidean"} | fields))  # type: ignore[arg-type]


def test_the_score_is_the_distance_to_the_mean_of_ones_cluster() -> None:
    vectors, _ = clouds()
    means = vectors.reshape(3, 40, -1).astype(np.float64).mean(axis=1).repeat(40, axis=0)
    scores = score_embeddings(Prototypicality(3), matrix(vectors), runtime=CPU)
    np.testing.assert_allclose(scores, np.linalg.norm(vectors - means, axis=1), rtol=1e-4)


def test_with_the_cosine_lengths_do_not_count() -> None:
    vectors, _ = clouds()
    lengths = np.random.default_rng(1).uniform(0.5, 2, (len(vectors), 1)).astype(np.float32)
    plain, scaled = (
        score_embeddings(Prototypicality(3), matrix(part, metric="cosine"), runtime=CPU)
        for part in (vectors, vectors * lengths)
    )
    np.testing.assert_allclose(plain, scaled, rtol=1e-3, atol=1e-6)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    means = unit.reshape(3, 40, -1).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(plain, 1 - (unit * means.repeat(40, axis=0)).sum(axis=1), rtol=1e-2, atol=1e-6)


def test_shards_give_the_same_as_memory(tmp_path) -> None:
    whole = matrix(clouds()[0].astype(np.float16))
    whole.save(tmp_path / "vectors")
    scores = [
        score_embeddings(Prototypicality(), part, runtime=CPU, seed=4)
        for part in (whole, EmbeddingMatrix.open(tmp_path / "vectors"))
    ]
    np.testing.assert_array_equal(*scores)


def test_a_sample_finds_the_prototypes_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, middles = clouds(400)
    whole = score_embeddings(Prototypicality(3), matrix(vectors), runtime=CPU)
    monkeypatch.setattr(module, "PER_CLUSTER", 60)
    sampled = score_embeddings(Prototypicality(3), matrix(vectors), runtime=CPU)
    assert not np.array_equal(whole, sampled)
    np.testing.assert_allclose(sampled, np.linalg.norm(vectors - middles, axis=1), atol=0.6)


def test_equal_vectors_lie_at_their_prototype() -> None:
    scores = score_embeddings(Prototypicality(4), matrix(np.ones((20, 3), np.float32)), runtime=CPU)
    np.testing.assert_allclose(scores, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("scorer", "embeddings", "sentence"),
    [
        (Prototypicality(9), matrix(np.ones((4, 2), np.float32)), r"clusters=9\): there are 4 examples, fewer than"),
        (
            Prototypicality(),
            matrix(np.ones((4, 5), np.float32), factors=(2, 3)),
            "these vectors stand for gradients.*Embed with penultimate",
        ),
        (
            Prototypicality(1),
            matrix(np.zeros((4, 2), np.float32), metric="cosine"),
            "The vector of id 0 is zero, so it has no direction",
        ),
        (
            Prototypicality(1),
            matrix(np.full((4, 2), np.nan, np.float32)),
            "The vector of id 0 holds NaN or infinity",
        ),
    ],
)
def test_what_is_refused(scorer: Prototypicality, embeddings: EmbeddingMatrix, sentence: str) -> None:
    with pytest.raises(MethodError, match=sentence):
        score_embeddings(scorer, embeddings, runtime=CPU)


def test_fields_are_checked() -> None:
    with pytest.raises(MethodError, match=r"Prototypicality\(clusters=0\): there is no centroid"):
        Prototypicality(0)
