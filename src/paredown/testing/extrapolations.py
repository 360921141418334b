"""The contract of an extrapolation."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paredown.artifacts import EmbeddingMatrix, ExampleIds, Pool, ScoreTable
from paredown.artifacts.shards import ShardWriter, open_shards
from paredown.rng import stream
from paredown.runtime import Runtime
from paredown.scoring.extrapolated import extrapolated
from paredown.scoring.extrapolation import AbstractExtrapolation, Predict
from paredown.scoring.quality import correlation, ranks
from paredown.testing.promises import check_plain, promise, same_values

KNOWN, UNKNOWN, WIDTH, SHARD = 220, 90, 4, 25


def check_extrapolation(extrapolation: AbstractExtrapolation) -> None:
    """Checks an extrapolation.

    - It is plain data: `build` gives it back from `plain()`.
    - Each vector that is asked for gets one finite number, and a score that changes smoothly is told better than by
      chance; where all known scores are equal, so is what is predicted.
    - The same again gives the same. What is asked together, the order of asking, the memory of a block and whether
      vectors lie on a disk change only last digits. So does the order of the known examples, unless it draws among
      them; then predictions stay alike.
    - Vectors and scores are only read, also as float16. A prediction that was interrupted goes on to the same values.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(extrapolation)
    name = type(extrapolation).__name__
    vectors, values = _examples("known", KNOWN)
    asked, truth = _examples("unknown", UNKNOWN)
    for metric in ("euclidean", "cosine"):
        before = vectors.copy(), values.copy()
        predict = _learnt(extrapolation, vectors, values, metric)
        found = predict(asked)
        kept = np.array_equal(vectors, before[0]) and np.array_equal(values, before[1])
        promise(kept, name, "it writes into the vectors or the scores")
        promise(found.shape == (UNKNOWN,), name, f"it gives values of shape {found.shape} for {UNKNOWN} vectors")
        promise(bool(np.isfinite(found).all()), name, "a value is not finite")
        promise(correlation(ranks(found), ranks(truth)) > 0.5, name, "it does not tell a score that changes smoothly")
        order = stream(0, "contract", "order").permutation(UNKNOWN)
        parts = np.concatenate([predict(asked[start : start + 7]) for start in range(0, UNKNOWN, 7)])
        promise(same_values(parts, found), name, "asking for a few at a time gives other values")
        promise(same_values(predict(asked[order]), found[order]), name, "the order of asking changes values")
        again = _learnt(extrapolation, vectors, values, metric)(asked)
        promise(np.array_equal(again, found), name, "learning again with the same seed gives other values")
        small = _learnt(extrapolation, vectors, values, metric, block_mb=1)(asked)
        promise(same_values(small, found), name, "smaller blocks give other values")
        constant = _learnt(extrapolation, vectors, np.full(KNOWN, 0.1), metric)(asked)
        promise(same_values(constant, np.full(UNKNOWN, 0.1), 1e-6), name, "equal scores do not stay equal")
        half = _learnt(extrapolation, vectors.astype(np.float16), values, metric)(asked.astype(np.float16))
        promise(bool(np.isfinite(half).all()), name, "of float16 vectors a value is not finite")
        _check_order(extrapolation, vectors, values, asked, found, metric)
        _check_disk(extrapolation, vectors, values, asked, found, metric)
    _check_resume(extrapolation, vectors, values, asked)


def _check_order(
    extrapolation: AbstractExtrapolation,
    vectors: np.ndarray,
    values: np.ndarray,
    asked: np.ndarray,
    found: np.ndarray,
    metric: str,
) -> None:
    name, order = type(extrapolation).__name__, stream(0, "contract", "order of the known").permutation(KNOWN)
    moved = _learnt(extrapolation, vectors[order], values[order], metric)(asked)
    if extrapolation.draws:
        alike = correlation(ranks(moved), ranks(found))
        promise(alike > 0.8, name, f"permuting the known examples leaves a rank correlation of only {alike:.2f}")
    else:
        promise(same_values(moved, found), name, "permuting the known examples changes values")


def _check_disk(
    extrapolation: AbstractExtrapolation,
    vectors: np.ndarray,
    values: np.ndarray,
    asked: np.ndarray,
    found: np.ndarray,
    metric: str,
) -> None:
    with tempfile.TemporaryDirectory(prefix="paredown-") as folder:
        ShardWriter(Path(folder), total=KNOWN, size=90).put(vectors=vectors)
        rows = open_shards(Path(folder), ["vectors"], rows=KNOWN)["vectors"]
        stored = _learnt(extrapolation, rows, values, metric)(asked)
    promise(same_values(stored, found), type(extrapolation).__name__, "vectors on a disk give other values")


def _check_resume(
    extrapolation: AbstractExtrapolation, vectors: np.ndarray, values: np.ndarray, asked: np.ndarray
) -> None:
    known, unknown = (_matrix(name, rows) for name, rows in (("known", vectors), ("unknown", asked)))
    scores = ScoreTable(known.ids, values, name="smooth", important="high", low=-np.inf, high=np.inf)
    runtime = Runtime(device="cpu", progress=False)

    def run(method: AbstractExtrapolation, folder: Path | None) -> ScoreTable:
        how: dict[str, Any] = {"held_out": 0.0, "seed": 0, "runtime": runtime, "shard": SHARD}
        return extrapolated([scores], [known], unknown, method, folder=folder, **how)

    whole = run(extrapolation, None)
    with tempfile.TemporaryDirectory(prefix="paredown-") as place:
        try:
            run(_Interrupted(extrapolation, 2), Path(place))
        except _Stop:
            resumed = run(extrapolation, Path(place))
    promise(
        np.array_equal(resumed.values, whole.values),
        type(extrapolation).__name__,
        "going on after an interruption gives other values",
    )


class _Stop(Exception):
    """Ends a prediction half-way."""


class _Interrupted(AbstractExtrapolation):
    """Another extrapolation, which stops after so many parts."""

    def __init__(self, inner: AbstractExtrapolation, parts: int) -> None:
        self.inner, self.parts = inner, parts

    def plain(self) -> dict[str, Any]:
        return self.inner.plain()

    def learn(self, vectors: Any, values: np.ndarray, **how: Any) -> Predict:
        inner, asked = self.inner.learn(vectors, values, **how), iter(range(self.parts))

        def predict(queries: np.ndarray) -> np.ndarray:
            if next(asked, None) is None:
                raise _Stop
            return inner(queries)

        return predict


def _learnt(
    extrapolation: AbstractExtrapolation, vectors: Any, values: np.ndarray, metric: str, block_mb: int = 64
) -> Predict:
    device = torch.device("cpu")
    return extrapolation.learn(vectors, values, metric=metric, device=device, block_mb=block_mb, seed=0)


def _examples(name: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    # Far from the origin, so that the directions tell them apart as well; the score goes by the first coordinate.
    vectors = stream(0, "contract", name).standard_normal((size, WIDTH)).astype(np.float32)
    vectors[:, -1] += 4
    return vectors, np.tanh(vectors[:, 0]).astype(np.float64)


def _matrix(name: str, vectors: np.ndarray) -> EmbeddingMatrix:
    ids = ExampleIds.of_pool(Pool((name,), len(vectors), name.ljust(64, "0")))
    return EmbeddingMatrix(ids, vectors, metric="euclidean", encoder="contract")
