"""From measured scores of some examples to predicted scores of others: checked, shard by shard.

How good a prediction is can be known beforehand: some measured examples are held out and predicted from the rest. Where
that fails, nothing is predicted.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paredown.artifacts import EmbeddingMatrix, ScoreTable
from paredown.artifacts.shards import BLOCK_BYTES, SHARD_ROWS, Rows, ShardWriter, View, open_shards
from paredown.data.dataset import LearnableDataset
from paredown.data.device import choose, limited
from paredown.data.pool import ImagePool
from paredown.errors import MethodError, PoolMismatch
from paredown.neighbors.base import refuse_bad_vectors, slices
from paredown.progress import bar as open_bar
from paredown.rng import stream
from paredown.runtime import Runtime
from paredown.scoring.extrapolation import AbstractExtrapolation, Predict
from paredown.scoring.quality import Quality, quality

LEAST_HELD_OUT = 10
"""Fewer held-out scores cannot tell a prediction from chance."""

MOST_HELD_OUT = 10_000
"""More would only take time: of so many a rank correlation is known to 0.01."""

DOUBTS = 2.0
"""How many standard errors above 0 the rank correlation has to be."""

PREDICTED = "predicted"
"""Folder of an unfinished table: the values predicted so far."""


def extrapolated(
    scores: Sequence[ScoreTable],
    known: Sequence[EmbeddingMatrix],
    unknown: EmbeddingMatrix,
    extrapolation: AbstractExtrapolation,
    *,
    data: LearnableDataset | None = None,
    held_out: float,
    seed: int,
    runtime: Runtime,
    folder: Path | None,
    shard: int = SHARD_ROWS,
) -> ScoreTable:
    """Gives predicted scores of every example of `unknown`.

    Values are brought into the score's own range, which a method that is no mean may leave. An example that has a
    score already is predicted like the others, so that all of them are on one scale.

    Args:
        scores: measured, of some or all of the known; the same score of one pool or of many, which are one reference.
        known: vectors of the examples that have scores, pool by pool in the same order.
        unknown: vectors of those whose scores are wanted, by the same encoder.
        extrapolation: how to predict.
        data: all these examples with their labels: each is then predicted from those of its own class alone.
        held_out: which share of the measured scores is predicted from the rest first, at most `MOST_HELD_OUT`; 0
            leaves that out, and nothing is refused then.
        seed: of what is drawn: who is held out, landmarks.
        runtime: device, threads, memory of a block.
        folder: where values are written shard by shard, and resumed; without it they stay in memory.
        shard: rows of a shard.

    Raises:
        MethodError: the vectors do not compare, the scores cannot be learnt from, or predicting the held-out ones was
            no better than chance.
        PoolMismatch: scores and known are of different pools, an example that has a score has no vector, or the data
            are others.
    """
    refuse_no_pairs(scores, known)
    for matrix in known:
        refuse_other_vectors(matrix, unknown)
    refuse_unlearnable(scores)
    reference = Reference.of(scores, known, data)
    wanted = labels_of(data, unknown, "the unknown vectors")
    refuse_missing_classes(data, reference.labels, wanted)
    for matrix in (*known, unknown):
        refuse_bad_vectors(matrix.vectors, metric=matrix.metric, keys=matrix.ids.keys)
    first = scores[0]
    classes = None if data is None else data.classes
    task = _Task(reference, first, unknown.metric, extrapolation, seed, runtime, classes)
    with limited(runtime.threads):
        found = task.check(held_out) if held_out else None
        predict = task.learn(np.arange(len(reference.rows)))
        if folder is None:
            values = np.concatenate(list(task.predicted(predict, unknown.vectors, wanted, 0, shard)))
        else:
            writer = ShardWriter(folder / PREDICTED, total=len(unknown.ids), size=shard)
            for part in task.predicted(predict, unknown.vectors, wanted, writer.done, shard):
                writer.put(values=part)
            values = open_shards(folder / PREDICTED, ["values"], rows=len(unknown.ids))["values"][:]
    table = ScoreTable(
        unknown.ids,
        values,
        name=first.name,
        important=first.important,
        low=first.low,
        high=first.high,
        paper=first.paper,
        notes=dict(first.notes)
        | {
            "extrapolated": {
                "extrapolation": extrapolation.plain(),
                "scores": [table.digest() for table in scores],
                "measured": len(reference.rows),
                "held_out": None if found is None else found.plain(),
            }
            | ({} if data is None else {"by_class": True})
        },
    )
    if folder is not None:
        table.save(folder)
        shutil.rmtree(folder / PREDICTED, ignore_errors=True)
    return table


@dataclass(frozen=True, eq=False)
class Reference:
    """What is known: vectors and scores, of all pools one after the other.

    Args:
        vectors: of everything known, (M, D): an array, or rows that are read when they are indexed.
        rows: which of them have scores, int64 (N,).
        values: those scores, float64 (N,).
        labels: the class of each, int64 (N,); all are of one where classes do not count.
    """

    vectors: np.ndarray | Rows
    rows: np.ndarray
    values: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(
        cls, scores: Sequence[ScoreTable], known: Sequence[EmbeddingMatrix], data: LearnableDataset | None
    ) -> Reference:
        """Pairs scores with vectors and labels, pool by pool."""
        starts = np.cumsum([0, *(len(matrix.ids) for matrix in known)])
        rows = [
            start + matrix.ids.positions_of(table.ids, "the known vectors", "the scores")
            for start, table, matrix in zip(starts[:-1].tolist(), scores, known, strict=True)
        ]
        vectors = known[0].vectors
        if len(known) > 1:
            parts = [matrix.vectors for matrix in known]
            vectors = Rows([inner for part in parts for inner in (part.parts if isinstance(part, Rows) else [part])])
        labels = np.concatenate([labels_of(data, matrix, "the known vectors") for matrix in known])
        chosen = np.concatenate(rows)
        return cls(vectors, chosen, np.concatenate([table.values for table in scores]), labels[chosen])

    def at(self, chosen: np.ndarray) -> Any:
        """Gives the vectors of some of those with scores; they are read when they are indexed, where they are many."""
        rows = self.rows[chosen]
        if len(rows) == len(self.vectors) and np.array_equal(rows, np.arange(len(rows))):
            return self.vectors
        return View(self.vectors, rows) if isinstance(self.vectors, Rows) else self.vectors[rows]


class _Task:
    """One extrapolation: what is known, and how to predict from it."""

    def __init__(
        self,
        reference: Reference,
        score: ScoreTable,
        metric: str,
        extrapolation: AbstractExtrapolation,
        seed: int,
        runtime: Runtime,
        classes: Sequence[str] | None,
    ) -> None:
        self.reference, self.score, self.metric, self.classes = reference, score, metric, classes
        self.extrapolation, self.seed, self.runtime = extrapolation, seed, runtime

    def learn(self, chosen: np.ndarray) -> dict[int, Predict]:
        """Learns from some of the measured scores, class by class."""
        labels, learnt = self.reference.labels[chosen], {}
        for label in np.unique(labels).tolist():
            try:
                learnt[label] = self._learnt(chosen[labels == label])
            except MethodError as error:
                of = "" if self.classes is None else f"Class '{self.classes[label]}' alone: "
                raise MethodError(f"{of}{error}") from error
        return learnt

    def _learnt(self, chosen: np.ndarray) -> Predict:
        return self.extrapolation.learn(
            self.reference.at(chosen),
            self.reference.values[chosen],
            metric=self.metric,
            device=choose(self.runtime.device),
            block_mb=self.runtime.block_mb,
            seed=self.seed,
        )

    def check(self, held_out: float) -> Quality:
        """Predicts held-out scores from the rest, and refuses to go on where that is no better than chance."""
        count = len(self.reference.rows)
        out = min(round(held_out * count), MOST_HELD_OUT)
        if not 0 < held_out < 1:
            raise MethodError(f"extrapolate(held_out={held_out:g}): a share below 1 is needed, such as 0.1, or 0.")
        if out < LEAST_HELD_OUT:
            raise MethodError(
                f"extrapolate(held_out={held_out:g}): that is {out} of {count} scores, too few to say whether they can "
                f"be predicted. Hold out at least {LEAST_HELD_OUT}, or none (held_out=0) to go on unchecked."
            )
        drawn = np.zeros(count, bool)
        drawn[stream(self.seed, "extrapolate", "held-out").permutation(count)[:out]] = True
        predict = self.learn(np.flatnonzero(~drawn))
        # A class of which nothing is left to learn from says nothing of the others.
        hidden = np.flatnonzero(drawn & np.isin(self.reference.labels, list(predict)))
        labels = self.reference.labels[hidden]
        values = list(self.predicted(predict, self.reference.at(hidden), labels, 0, SHARD_ROWS))
        # Turned so that high is what is kept first; correlations do not change by it.
        turn = -1.0 if self.score.important == "low" else 1.0
        found = quality(turn * np.concatenate(values), turn * self.reference.values[hidden])
        if found.spearman < DOUBTS * found.doubt:
            raise MethodError(
                f"extrapolate: these vectors do not tell the score '{self.score.name}': {found}. Embed by another "
                "encoder or measure more scores; held_out=0 goes on regardless."
            )
        return found

    def predicted(
        self, predict: Mapping[int, Predict], vectors: Any, labels: np.ndarray, done: int, shard: int
    ) -> Iterator[np.ndarray]:
        """Gives the values of consecutive parts, from a row on."""
        low, high = self.score.low, self.score.high
        step = max(1, BLOCK_BYTES // max(1, vectors.shape[1] * 4))
        about = f"predicting {self.score.name} by {self.extrapolation.name}"
        with open_bar(about, len(vectors), done=done, unit="examples", shown=self.runtime.progress) as bar:
            # A part never spans two shards, so that a resumed prediction asks the same together as an undisturbed one.
            for whole in slices(len(vectors), shard):
                if whole.start < done:
                    continue
                for part in slices(whole.stop - whole.start, step):
                    rows = slice(whole.start + part.start, whole.start + part.stop)
                    yield np.clip(asked(predict, np.asarray(vectors[rows]), labels[rows]), low, high)
                    bar.move(rows.stop)


def asked(predict: Mapping[int, Predict], vectors: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Gives what the class of each vector predicts for it, float64 (Q,)."""
    if len(predict) == 1:
        return next(iter(predict.values()))(vectors)
    found = np.empty(len(vectors))
    for label in np.unique(labels).tolist():
        mine = labels == label
        found[mine] = predict[label](vectors[mine])
    return found


def labels_of(data: LearnableDataset | None, matrix: EmbeddingMatrix, what: str) -> np.ndarray:
    """Gives the class of each example of some vectors, int64 (N,); one class for all where there are no data.

    Raises:
        PoolMismatch: neither the data nor a member of a pool holds them.
    """
    if data is None:
        return np.zeros(len(matrix.ids), np.int64)
    for part in (data, *(data.members if isinstance(data, ImagePool) else ())):
        if part.ids.pool.fingerprint == matrix.ids.pool.fingerprint:
            return part.labels[part.ids.positions_of(matrix.ids, "the data", what)]
    raise PoolMismatch(
        f"extrapolate: {what} index {matrix.ids.pool}, and the data {data.ids.pool}. Give the labelled examples of the "
        "known and the unknown as a list: data=[…, …]."
    )


def refuse_missing_classes(data: LearnableDataset | None, known: np.ndarray, wanted: np.ndarray) -> None:
    """Raises MethodError for a class that is to be predicted and has no score."""
    missing = np.setdiff1d(wanted, known)
    if data is not None and len(missing):
        raise MethodError(
            f"extrapolate: no example of class '{data.classes[missing[0]]}' has a score, and each is predicted from "
            "its own class. Measure some of each class, or leave data= out, so that classes do not count."
        )


def refuse_other_vectors(known: EmbeddingMatrix, unknown: EmbeddingMatrix) -> None:
    """Raises MethodError for vectors that cannot be compared."""
    for what, mine, other in (
        ("encoder", known.encoder, unknown.encoder),
        ("metric", known.metric, unknown.metric),
        ("width", known.width, unknown.width),
        ("normalised", known.normalised, unknown.normalised),
    ):
        if mine != other:
            raise MethodError(
                f"extrapolate: the known vectors have {what} {mine or 'unnamed'}, the unknown {other or 'unnamed'}, so "
                "distances between them say nothing. Embed both in the same way, with the same weights."
            )
    if not len(unknown.ids):
        raise MethodError("extrapolate: there are no unknown vectors, so there is nothing to predict. Embed some data.")
    if known.factors or unknown.factors:
        raise MethodError(
            "extrapolate: these vectors are the factors of outer products, and distances between factors are not "
            "distances between what they stand for. Embed with an encoder whose vectors stand for themselves."
        )


def refuse_no_pairs(scores: Sequence[ScoreTable], known: Sequence[EmbeddingMatrix]) -> None:
    """Raises MethodError where scores and vectors do not pair up, or pools do not hold the same."""
    if len(scores) != len(known):
        raise MethodError(
            f"extrapolate: there are {len(scores)} tables of scores and {len(known)} of known vectors. Give one of "
            "vectors for each of scores, in the same order."
        )
    kinds = {(table.name, table.important, table.low, table.high) for table in scores}
    if len(kinds) > 1:
        raise MethodError(
            f"extrapolate: {' and '.join(sorted({table.name for table in scores}))} are not the same score in the "
            "same range, so a mean over both says nothing. Measure both in the same way."
        )
    if len({matrix.vectors.dtype for matrix in known}) > 1:
        raise MethodError("extrapolate: some known vectors are float16 and some float32. Embed all in the same way.")


def refuse_unlearnable(scores: Sequence[ScoreTable]) -> None:
    """Raises MethodError for scores of which no mean can be taken."""
    count = sum(len(table.ids) for table in scores)
    if not count:
        raise MethodError("extrapolate: there are no scores to learn from. Measure some.")
    wrong = sum(int((~np.isfinite(table.values)).sum()) for table in scores)
    if wrong:
        raise MethodError(
            f"extrapolate: {wrong} of {count} scores are infinite, and so is any mean with one of them. "
            "Score so that all are finite, such as forgetting with never_learned='hardest'."
        )
