"""The contract of a scorer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

import numpy as np

from paredown.artifacts import EmbeddingMatrix, TrainingDynamics
from paredown.data import ImageDataset
from paredown.rng import stream
from paredown.runtime import Runtime
from paredown.scoring import (
    AbstractDataScorer,
    AbstractDynamicsScorer,
    AbstractEmbeddingScorer,
    AbstractFeatureScorer,
    AbstractModelScorer,
    AbstractScorer,
    score_data,
    score_dynamics,
    score_embeddings,
    score_features,
    score_model,
)
from paredown.testing.promises import (
    EXAMPLES,
    check_plain,
    example_data,
    example_dynamics,
    example_embeddings,
    example_network,
    left_alone,
    promise,
    rows_of,
    same_values,
)


def check_scorer(scorer: AbstractScorer) -> None:
    """Checks a scorer.

    - It is plain data: `build` gives it back from `plain()`.
    - It says its direction, its range and what it needs; every example has one value, finite unless it says otherwise,
      in that range.
    - The same again gives the same; permuting the examples permutes the values; the batch size changes nothing.
    - A network comes back as it was. Dynamics are only read, epoch by epoch.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(scorer)
    name = type(scorer).__name__
    promise(
        scorer.important in ("high", "low", "none"), name, f"important is {scorer.important!r}, not high, low or none"
    )
    promise(scorer.low < scorer.high, name, f"its range [{scorer.low}, {scorer.high}] is empty")
    promise(
        isinstance(
            scorer,
            AbstractDynamicsScorer
            | AbstractModelScorer
            | AbstractFeatureScorer
            | AbstractDataScorer
            | AbstractEmbeddingScorer,
        ),
        name,
        "it is none of the kinds of scorers in scoring.base, so no verb knows how to call it",
    )
    if isinstance(scorer, AbstractDynamicsScorer):
        _check_dynamics_scorer(scorer)
    elif isinstance(scorer, AbstractModelScorer):
        _check_model_scorer(scorer)
    elif isinstance(scorer, AbstractFeatureScorer):
        _check_feature_scorer(scorer)
    elif isinstance(scorer, AbstractDataScorer):
        _check_data_scorer(scorer)
    elif isinstance(scorer, AbstractEmbeddingScorer):
        _check_embedding_scorer(scorer)


def _check_dynamics_scorer(scorer: AbstractDynamicsScorer) -> None:
    name, order = type(scorer).__name__, stream(0, "contract", "order").permutation(EXAMPLES)
    seen = example_dynamics()
    values = score_dynamics(scorer, seen)
    _check_values(scorer, values, EXAMPLES)
    promise(same_values(values, score_dynamics(scorer, seen), 0), name, "scoring again gives other values")
    rows = [_rows(epoch, order) for epoch in seen]
    shuffled = TrainingDynamics(seen.ids, rows, quantities=seen.quantities, best_epoch=seen.best_epoch)
    promise(
        same_values(score_dynamics(scorer, shuffled), values[order]),
        name,
        "permuting the examples changes their values",
    )
    state, buffer = scorer.init(EXAMPLES), {name: np.empty(EXAMPLES, np.float32) for name in seen.quantities}
    for epoch in islice(example_dynamics(), scorer.epochs_of(seen)):
        for quantity, column in buffer.items():
            column[:] = epoch[quantity]
        before = {quantity: column.copy() for quantity, column in buffer.items()}
        state = scorer.update(state, buffer)
        unchanged = all(np.array_equal(before[q], buffer[q], equal_nan=True) for q in seen.quantities)
        promise(unchanged, name, "update() writes into the epoch that it is given")
    promise(
        same_values(np.asarray(scorer.finish(state), np.float64), values),
        name,
        "it keeps the arrays of earlier epochs instead of what it needs of them, so streaming gives other values",
    )


def _check_model_scorer(scorer: AbstractModelScorer) -> None:
    name, order = type(scorer).__name__, stream(0, "contract", "order").permutation(EXAMPLES)
    data, network = example_data(), example_network()

    def score(data: ImageDataset, batch_size: int) -> np.ndarray:
        return score_model(scorer, network, data, runtime=Runtime(batch_size=batch_size))

    with left_alone(network, name):
        values = score(data, EXAMPLES)
    _check_values(scorer, values, EXAMPLES)
    promise(same_values(values, score(data, EXAMPLES)), name, "scoring again gives other values")
    for batch_size in (1, 5):
        promise(
            same_values(score(data, batch_size), values),
            name,
            f"batches of {batch_size} give other values than one batch",
        )
    promise(
        same_values(score(rows_of(data, order), 5), values[order]), name, "permuting the examples changes their values"
    )
    if scorer.bn == "running":
        part = np.arange(0, EXAMPLES, 2)
        alone = score(rows_of(data, part), EXAMPLES)
        promise(same_values(alone, values[part]), name, "the value of an example depends on which others are scored")


def _check_feature_scorer(scorer: AbstractFeatureScorer) -> None:
    name, order = type(scorer).__name__, stream(0, "contract", "order").permutation(EXAMPLES)
    data, network = example_data(), example_network()

    def score(data: ImageDataset, batch_size: int) -> np.ndarray:
        return score_features(scorer, network, data, runtime=Runtime(device="cpu", batch_size=batch_size))

    with left_alone(network, name):
        values = score(data, EXAMPLES)
    _check_values(scorer, values, EXAMPLES)
    promise(same_values(values, score(data, EXAMPLES)), name, "scoring again gives other values")
    promise(same_values(score(data, 5), values), name, "batches of 5 give other values than one batch")
    promise(
        same_values(score(rows_of(data, order), 5), values[order]), name, "permuting the examples changes their values"
    )


def _check_data_scorer(scorer: AbstractDataScorer) -> None:
    name, order = type(scorer).__name__, stream(0, "contract", "order").permutation(EXAMPLES)
    data = example_data()

    def score(data: ImageDataset, batch_size: int) -> np.ndarray:
        return score_data(scorer, data, runtime=Runtime(batch_size=batch_size))

    values = score(data, EXAMPLES)
    _check_values(scorer, values, EXAMPLES)
    promise(same_values(values, score(data, EXAMPLES), 0), name, "scoring again with the same seed gives other values")
    promise(same_values(score(data, 5), values), name, "batches of 5 give other values than one batch")
    promise(
        same_values(score(rows_of(data, order), 5), values[order]), name, "permuting the examples changes their values"
    )


def _check_embedding_scorer(scorer: AbstractEmbeddingScorer) -> None:
    name, order = type(scorer).__name__, stream(0, "contract", "order").permutation(EXAMPLES)
    embeddings, runtime = example_embeddings(), Runtime()
    values = score_embeddings(scorer, embeddings, runtime=runtime)
    _check_values(scorer, values, EXAMPLES)
    again = score_embeddings(scorer, embeddings, runtime=runtime)
    promise(same_values(values, again, 0), name, "scoring again with the same seed gives other values")
    moved = EmbeddingMatrix(embeddings.ids.take(order), embeddings.vectors[order], metric=embeddings.metric)
    promise(
        same_values(score_embeddings(scorer, moved, runtime=runtime), values[order]),
        name,
        "permuting the examples changes their values",
    )


def _check_values(scorer: AbstractScorer, values: np.ndarray, examples: int) -> None:
    name = type(scorer).__name__
    promise(values.shape == (examples,), name, f"it gives values of shape {values.shape} for {examples} examples")
    slack = 1e-4 * max(1.0, *(abs(end) for end in (scorer.low, scorer.high) if np.isfinite(end)), 0.0)
    inside = (values >= scorer.low - slack) & (values <= scorer.high + slack)
    promise(
        bool(inside.all()),
        name,
        f"values from {values.min():g} to {values.max():g} leave [{scorer.low}, {scorer.high}]",
    )


def _rows(epoch: Mapping[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    return {quantity: column[rows] for quantity, column in epoch.items()}
