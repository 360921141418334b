"""The verbs: the whole API, and its table of contents.

A verb is a function; the method it works by is a value handed to it. Each verb checks that its inputs belong together,
calls the method, checks what came back and wraps it. Inputs may be objects, names or plain data (`"el2n"`, `{"name":
"window", "offset": 0.2}`, a folder of an artifact), so Python, the command line and a recipe go through one door, and
`Store.make(verb, …)` gives the same address for the same work from all three.

`runtime` says how a verb is carried out and `folder` where it keeps what it needs to resume; neither is part of an
address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from paredown import needed, reading
from paredown.artifacts import DistilledSet, EmbeddingMatrix, NeighborGraph, Report, ScoreTable, Selection, Trained
from paredown.runtime import Runtime
from paredown.shrinking import compact, export, prune, search
from paredown.verb import Verb, place_of, verb

if TYPE_CHECKING:
    from paredown.artifacts import Checkpoint, TrainingDynamics
    from paredown.data.dataset import AbstractDataset
    from paredown.distillation.base import AbstractDistiller
    from paredown.embedding.base import AbstractEncoder
    from paredown.evaluation.base import AnyProbe
    from paredown.models.build import AbstractModel
    from paredown.neighbors import AbstractIndex
    from paredown.scoring.base import AbstractScorer
    from paredown.scoring.extrapolation import AbstractExtrapolation
    from paredown.selection.base import AbstractSelector
    from paredown.training import Recording, Training


@verb(version=1, needed=needed.by_training)
def train(
    data: AbstractDataset | DistilledSet | str | Mapping[str, Any],
    model: AbstractModel | str | Mapping[str, Any],
    training: Training | Mapping[str, Any] | None = None,
    *,
    extra: AbstractDataset | str | Mapping[str, Any] | Sequence[Any] | None = None,
    selection: Selection | Sequence[Selection] | str | Sequence[str] | None = None,
    record: Recording | Sequence[str] | Mapping[str, Any] | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> Trained:
    """Trains a network, recording on request what training saw of each example.

    Args:
        data: what to train on; a distilled set too.
        model: which architecture.
        training: steps or epochs, objective, optimizer, schedule, augmentation; what is left out is that of `Training`.
        extra: more data, such as generated images, that are mixed into every batch (`Training.mixing`); a list of
            several makes one pool. They change neither the number of steps nor what is recorded, which is of `data`.
        selection: train on these examples only, with as many steps as the whole data would get (`Training.budget`);
            of the data or of the extra ones, whichever it was made from, or one of each; or of the pool of both.
        record: which quantities of each example to record each epoch: confidence, correct, margin, loss, el2n;
            probability-margin and divergence for the scores that need them; adversarial-confidence and
            adversarial-correct of an adversarial objective.
        seed: of the initialisation, the order and the augmentation.
        runtime: device, precision, threads.
        folder: where the training keeps its files; resumes what is there.

    Returns:
        The checkpoint, of the best epoch where `Training.validation` holds examples out to choose it; the dynamics if
        they were recorded; and the early checkpoints that `Training` asks for.

    Raises:
        PoolMismatch: a selection was made from other data.
        MethodError: a setting that makes no sense for this data, or a loss that is no longer a number.
    """
    from paredown.training.trained import trained

    with place_of(folder) as place:
        made = trained(
            needed.learnable("train", data),
            cast("AbstractModel", model),
            cast("Training", training),
            extra=None if extra is None else needed.learnable("train", extra),
            selections=reading.as_list(selection) if selection is not None else [],
            recording=cast("Recording | None", record),
            seed=seed,
            runtime=runtime or Runtime(),
            folder=place,
        )
        return made if folder else made.in_memory()


@verb(version=1, needed=needed.by_scorer)
def score(
    scorer: AbstractScorer | str | Mapping[str, Any],
    *,
    dynamics: TrainingDynamics | Sequence[TrainingDynamics] | str | Sequence[str] | None = None,
    checkpoint: Checkpoint | Sequence[Checkpoint] | str | Sequence[str] | None = None,
    data: AbstractDataset | str | Mapping[str, Any] | None = None,
    embeddings: EmbeddingMatrix | str | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
) -> ScoreTable:
    """Scores every example, from recorded dynamics, with a checkpoint, from embeddings or from what is stored beside
    the data; the mean of the values where there are several runs.

    Args:
        scorer: what to measure.
        dynamics: what training saw; one run or many.
        checkpoint: one network or many.
        data: the examples to score; never augmented.
        embeddings: one vector an example.
        seed: of the scorers that draw.
        runtime: device, batch size.

    Returns:
        One value an example, with the values of each run where there were several.

    Raises:
        MethodError: the scorer needs something that was not given.
        PoolMismatch: the runs saw different data.
    """
    from paredown.scoring.tables import table

    runs: dict[str, Any] = {"dynamics": reading.as_list(dynamics), "checkpoints": reading.as_list(checkpoint)}
    given: dict[str, Any] = {"data": data, "embeddings": embeddings}
    return table(cast("AbstractScorer", scorer), **runs, **given, seed=seed, runtime=runtime or Runtime())


@verb(version=3, needed=needed.by_encoder)
def embed(
    encoder: AbstractEncoder | str | Mapping[str, Any],
    *,
    data: AbstractDataset | str | Mapping[str, Any],
    checkpoint: Checkpoint | str | None = None,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> EmbeddingMatrix:
    """Gives one vector an example.

    Args:
        encoder: what makes the vectors.
        data: the examples; never augmented.
        checkpoint: the network whose features they are, where the encoder needs one.
        runtime: device, batch size.
        folder: where the vectors are written shard by shard; resumes what is there.

    Returns:
        A matrix of shape (N, D) with the examples' ids.
    """
    method: Any = encoder
    return method.embed(data, checkpoint=checkpoint, runtime=runtime or Runtime(), folder=folder)


@verb(version=1)
def connect(
    embeddings: EmbeddingMatrix | str,
    index: AbstractIndex | str | Mapping[str, Any] = "exact",
    *,
    neighbors: int = 5,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> NeighborGraph:
    """Finds the nearest neighbours of every example among the others.

    Args:
        embeddings: one vector an example; its metric is the graph's.
        index: how to search: exactly, or approximately for millions.
        neighbors: how many to find for each, k.
        runtime: device, memory of a block.
        folder: where the graph is written shard by shard; resumes what is there.

    Returns:
        The graph, with the recall that was measured against exact search on a sample.

    Raises:
        MethodError: more neighbours than there are others, or a vector that has none.
    """
    from paredown.neighbors import connected

    matrix, method = cast("EmbeddingMatrix", embeddings), cast("AbstractIndex", index)
    return connected(matrix, method, neighbors, runtime=runtime or Runtime(), folder=folder)


@verb(version=1, needed=needed.by_extrapolation)
def extrapolate(
    scores: ScoreTable | Sequence[ScoreTable] | str | Sequence[str],
    known: EmbeddingMatrix | Sequence[EmbeddingMatrix] | str | Sequence[str],
    unknown: EmbeddingMatrix | str,
    extrapolation: AbstractExtrapolation | str | Mapping[str, Any] = "nearest-mean",
    *,
    data: AbstractDataset | str | Mapping[str, Any] | None = None,
    held_out: float = 0.1,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> ScoreTable:
    """Predicts scores of examples that were never trained on from those of examples near them.

    Args:
        scores: measured scores of the known examples; of one pool or of many.
        known: their vectors, for each table of scores in the same order.
        unknown: vectors, by the same encoder, of the examples whose scores are wanted.
        extrapolation: how to predict.
        data: the known and the unknown examples with their labels; each is then predicted from those of its class.
        held_out: which share of the scores is predicted from the rest first; no better than chance is refused. 0 skips.
        seed: of what is drawn: who is held out, landmarks.
        runtime: device, memory of a block.
        folder: where the values are written shard by shard; resumes what is there.

    Returns:
        A predicted value for each of the unknown; the notes say how well held-out scores were predicted.

    Raises:
        MethodError: the vectors do not compare, or held-out scores cannot be predicted.
        PoolMismatch: scores and known are of different pools.
    """
    from paredown.scoring.extrapolated import extrapolated

    vectors, method = cast("tuple[EmbeddingMatrix, AbstractExtrapolation]", (unknown, extrapolation))
    how: dict[str, Any] = {"held_out": held_out, "seed": seed, "runtime": runtime or Runtime(), "folder": folder}
    labelled = None if data is None else needed.learnable("extrapolate", data)
    return extrapolated(reading.as_list(scores), reading.as_list(known), vectors, method, data=labelled, **how)


@verb(version=2, needed=needed.by_selector)
def select(
    selector: AbstractSelector | str | Mapping[str, Any],
    *,
    scores: ScoreTable | str | None = None,
    data: AbstractDataset | str | Mapping[str, Any] | None = None,
    embeddings: EmbeddingMatrix | str | None = None,
    graph: NeighborGraph | str | None = None,
    bins: ScoreTable | str | None = None,
    fraction: float | None = None,
    count: int | None = None,
    by_class: bool = False,
    within: Selection | str | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
) -> Selection:
    """Chooses which examples to keep, best first.

    Args:
        selector: how to choose.
        scores: one value an example.
        data: the examples; its labels are the classes.
        embeddings: one vector an example.
        graph: their nearest neighbours, where they are known already.
        bins: a score that numbers the bin of each example, for selectors that share a budget between bins.
        fraction: share of the whole data to keep, also when `within` narrows the choice.
        count: how many examples to keep, instead of a share.
        by_class: keep the same share of each class.
        within: choose only from these.
        seed: of the selectors that draw.
        runtime: device.

    Returns:
        The chosen ids in order; `with_fraction` gives any smaller budget without choosing again.

    Raises:
        MethodError: no budget or two, more than there is, or something the selector needs is lacking.
        PoolMismatch: scores, data and `within` are of different pools.
    """
    from paredown.selection.selected import selected

    given: dict[str, Any] = {"scores": scores, "data": data, "embeddings": embeddings, "graph": graph, "bins": bins}
    asked: dict[str, Any] = {"fraction": fraction, "count": count, "by_class": by_class, "within": within}
    return selected(cast("AbstractSelector", selector), **given, **asked, seed=seed, runtime=runtime or Runtime())


@verb(version=1, needed=needed.by_distiller)
def distill(
    data: AbstractDataset | str | Mapping[str, Any],
    distiller: AbstractDistiller | str | Mapping[str, Any] = "feature-regression",
    *,
    per_class: int = 10,
    classes: Sequence[int] | None = None,
    selection: Selection | str | None = None,
    scores: ScoreTable | str | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> DistilledSet:
    """Learns a few images, with labels, that train a network in place of the whole data.

    Args:
        data: the real images; never augmented. `whiten: zca` lets images be learnt, and networks begin, whitened.
        distiller: how to learn them.
        per_class: how many of each class.
        classes: the numbers of the classes that are learnt, of all that the labels know; all when left out.
        selection: the learnt images begin as its first ones of each class, in place of ones drawn by chance.
        scores: how hard each real image is, in place of the method's own measure; important ones are hard.
        seed: of the images that are drawn, the networks and the order.
        runtime: device, precision, threads.
        folder: where the work keeps its files, with pictures of its course; resumes what is there.

    Returns:
        Images and labels; `train` takes them as its data.

    Raises:
        MethodError: fewer images in a class than are to be learnt, or numbers that are no longer finite.
    """
    from paredown.distillation.base import distilled

    asked: dict[str, Any] = {"per_class": per_class, "classes": classes, "selection": selection, "scores": scores}
    with place_of(folder) as place:
        given = cast("Any", (distiller, data))
        return distilled(*given, **asked, seed=seed, runtime=runtime or Runtime(), folder=place)


@verb(version=2, needed=needed.by_probes)
def evaluate(
    subject: Checkpoint | Selection | DistilledSet | str | Sequence[Checkpoint | Selection | DistilledSet | str],
    data: AbstractDataset | str | Mapping[str, Any],
    probes: Sequence[AnyProbe | str | Mapping[str, Any]] = ("accuracy",),
    *,
    against: AbstractDataset | str | Mapping[str, Any] | None = None,
    selection: Selection | str | None = None,
    embeddings: EmbeddingMatrix | str | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> Report:
    """Measures networks, selections, or what selections and distilled sets teach.

    Args:
        subject: the checkpoints, the selections, or the distilled sets.
        data: what to measure networks on, never augmented; or what the selections were made from.
        probes: what to measure.
        against: the other data set, for the probes that want two: who was not trained on, or what was chosen from.
        selection: of the data, only these are held against the others, such as those that were trained on.
        embeddings: one vector an example, for the probes of selections that look at distances.
        seed: of the probes that draw.
        runtime: device, batch size.
        folder: where probes that train networks keep them until all are measured; resumes what is there.

    Returns:
        A row for each subject and metric; a row's subject is the first 16 digits of its digest.
    """
    from paredown.evaluation.base import measured

    given: dict[str, Any] = {"data": data, "probes": probes, "against": against, "selection": selection}
    how: dict[str, Any] = {"embeddings": embeddings, "seed": seed, "runtime": runtime or Runtime(), "folder": folder}
    return Report(measured(reading.as_list(subject), **given, **how))


_ALL = (train, score, embed, connect, extrapolate, select, distill, search, prune, compact, export, evaluate)
VERBS: dict[str, Verb[Any, Any]] = {v.name: v for v in _ALL}
"""The verbs by name, in the order in which one uses them."""
