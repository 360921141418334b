"""From a scorer and what it needs to a table of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paredown.artifacts import Checkpoint, EmbeddingMatrix, ExampleIds, ScoreTable, TrainingDynamics
from paredown.data.dataset import AbstractDataset, LearnableDataset
from paredown.data.device import choose
from paredown.errors import MethodError
from paredown.models.build import load, refuse_other_form
from paredown.runtime import Runtime
from paredown.scoring.base import (
    AbstractDataScorer,
    AbstractDynamicsScorer,
    AbstractEmbeddingScorer,
    AbstractFeatureScorer,
    AbstractModelScorer,
    AbstractScorer,
    notes_of,
    score_data,
    score_dynamics,
    score_embeddings,
    score_features,
    score_model,
)


def table(
    scorer: AbstractScorer,
    *,
    dynamics: Sequence[TrainingDynamics] = (),
    checkpoints: Sequence[Checkpoint] = (),
    data: AbstractDataset | None = None,
    embeddings: EmbeddingMatrix | None = None,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
) -> ScoreTable:
    """Gives the scores of every example; the mean over runs where there are several.

    Args:
        scorer: what to measure; it says what it needs of the rest.
        dynamics: one run or many.
        checkpoints: one network or many.
        data: the examples.
        embeddings: their vectors.
        seed: of the scorers that draw.
        runtime: device, batch size.

    Raises:
        MethodError: the scorer is of no known kind, or a network takes other examples.
        PoolMismatch: the runs saw different data.
    """
    if isinstance(scorer, AbstractDynamicsScorer):
        return ScoreTable.mean([_table(scorer, run.ids, score_dynamics(scorer, run)) for run in dynamics])
    if isinstance(scorer, AbstractEmbeddingScorer):
        assert embeddings is not None
        return _table(scorer, embeddings.ids, score_embeddings(scorer, embeddings, runtime=runtime, seed=seed))
    assert data is not None
    if isinstance(scorer, AbstractDataScorer):
        return _table(scorer, data.ids, score_data(scorer, data, runtime=runtime, seed=seed))
    if not isinstance(scorer, AbstractModelScorer | AbstractFeatureScorer):
        raise MethodError(f"{type(scorer).__name__} is none of the kinds of scorers in scoring.base. Subclass one.")
    if not isinstance(data, LearnableDataset):
        raise MethodError(f"{type(scorer).__name__} needs labelled examples, and {data.name} has only {data.noun}.")
    runs = []
    for checkpoint in checkpoints:
        refuse_other_form(checkpoint, data)
        network = load(checkpoint, choose(runtime.device))
        if isinstance(scorer, AbstractFeatureScorer):
            runs.append(_table(scorer, data.ids, score_features(scorer, network, data, runtime=runtime, seed=seed)))
        else:
            values = score_model(scorer, network, data, runtime=runtime, seed=seed)
            runs.append(_table(scorer, data.ids, values, notes_of(scorer, network, data)))
    return ScoreTable.mean(runs)


def _table(
    scorer: AbstractScorer, ids: ExampleIds, values: np.ndarray, notes: Mapping[str, Any] | None = None
) -> ScoreTable:
    return ScoreTable(
        ids,
        values,
        name=scorer.name,
        important=scorer.important,
        low=scorer.low,
        high=scorer.high,
        paper=scorer.paper,
        notes={"scorer": scorer.plain()} | dict(notes or {}),
    )
