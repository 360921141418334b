"""The verbs: the whole API, and its table of contents.

A verb is a function; the method it works by is a value handed to it. Each verb checks that its inputs belong together,
calls the method, checks what came back and wraps it. Inputs may be objects, names or plain data (`"el2n"`, `{"name":
"window", "offset": 0.2}`, a folder of an artifact), so Python, the command line and a recipe go through one door, and
`Store.make(verb, …)` gives the same address for the same work from all three.

`runtime` says how a verb is carried out and `folder` where it keeps what it needs to resume; neither is part of an
address.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from paredown import reading
from paredown.artifacts import EmbeddingMatrix, ExampleIds, Report, Row, ScoreTable, Selection, Trained
from paredown.artifacts.selection import count_of
from paredown.errors import MethodError
from paredown.runtime import Runtime, rank
from paredown.verb import Verb, verb

if TYPE_CHECKING:
    from paredown.artifacts import Checkpoint, TrainingDynamics
    from paredown.data.dataset import AbstractDataset, ImageDataset
    from paredown.embedding.base import AbstractEncoder
    from paredown.evaluation.base import AbstractProbe
    from paredown.models.build import AbstractModel
    from paredown.scoring.base import AbstractScorer
    from paredown.selection.base import AbstractSelector
    from paredown.training import Recording, Training


@verb(version=1)
def train(
    data: AbstractDataset | str | Mapping[str, Any],
    model: AbstractModel | str | Mapping[str, Any],
    training: Training | Mapping[str, Any] | None = None,
    *,
    selection: Selection | str | None = None,
    record: Recording | Sequence[str] | Mapping[str, Any] | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
    folder: Path | None = None,
) -> Trained:
    """Trains a network, recording on request what training saw of each example.

    Args:
        data: what to train on.
        model: which architecture.
        training: steps or epochs, optimizer, schedule, augmentation; the defaults of `Training` when left out.
        selection: train on these examples only, with as many steps as the whole data would get (`Training.budget`).
        record: which quantities of each example to record each epoch: confidence, correct, margin, loss, el2n.
        seed: of the initialisation, the order and the augmentation.
        runtime: device, precision, threads.
        folder: where the training keeps its files; resumes what is there.

    Returns:
        The checkpoint, the dynamics if they were recorded, and the early checkpoints that `Training` asks for.

    Raises:
        PoolMismatch: the selection was made from other data.
        MethodError: a setting that makes no sense for this data, or a loss that is no longer a number.
    """
    from paredown.training import fit

    images, chosen = cast("ImageDataset", data), cast("Selection | None", selection)
    positions = None if chosen is None else images.ids.positions_of(chosen.ids, "the data", "the selection")
    if folder is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise MethodError(
            "Several processes train into one folder. Give folder=, or use Store.make or the command line."
        )
    with ExitStack() as stack:
        temporary = None if folder else stack.enter_context(tempfile.TemporaryDirectory(prefix="paredown-"))
        place = Path(temporary or folder or ".")
        fit(
            images,
            cast("AbstractModel", model),
            cast("Training", training),
            positions=positions,
            weights=None if chosen is None else chosen.weight,
            recording=cast("Recording | None", record),
            seed=seed,
            runtime=runtime or Runtime(),
            folder=place,
        )
        if rank() > 0:
            return Trained.parts(place).in_memory()
        trained = Trained.adopt(place)
        return trained if temporary is None else trained.in_memory()


def _needed_by_scorer(bound: dict[str, Any]) -> None:
    scorer = bound["scorer"]
    for name in ("dynamics", "checkpoint", "data"):
        if name not in scorer.needs:
            bound[name] = None
        elif bound[name] is None:
            needs = " and ".join(f"{need}=" for need in sorted(scorer.needs))
            raise MethodError(f"{type(scorer).__name__} needs {needs}, and score() was given no {name}.")


@verb(version=1, needed=_needed_by_scorer)
def score(
    scorer: AbstractScorer | str | Mapping[str, Any],
    *,
    dynamics: TrainingDynamics | Sequence[TrainingDynamics] | str | Sequence[str] | None = None,
    checkpoint: Checkpoint | Sequence[Checkpoint] | str | Sequence[str] | None = None,
    data: AbstractDataset | str | Mapping[str, Any] | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
) -> ScoreTable:
    """Scores every example, from recorded dynamics or with a checkpoint; the mean of the values where there are
    several.

    Args:
        scorer: what to measure.
        dynamics: what training saw; one run or many.
        checkpoint: one network or many.
        data: the examples to score with a checkpoint; never augmented.
        seed: of the scorers that draw.
        runtime: device, batch size.

    Returns:
        One value an example, with the values of each run where there were several.

    Raises:
        MethodError: the scorer needs something that was not given.
        PoolMismatch: the runs saw different data.
    """
    from paredown.models.build import load
    from paredown.scoring.base import notes_of, score_data, score_dynamics, score_model
    from paredown.training.devices import choose as choose_device

    method: Any = scorer
    how = runtime or Runtime()

    def table(ids: ExampleIds, values: np.ndarray, notes: Mapping[str, Any] | None = None) -> ScoreTable:
        return ScoreTable(
            ids,
            values,
            name=method.name,
            important=method.important,
            low=method.low,
            high=method.high,
            paper=method.paper,
            notes={"scorer": method.plain()} | dict(notes or {}),
        )

    if "dynamics" in method.needs:
        return ScoreTable.mean([table(part.ids, score_dynamics(method, part)) for part in reading.as_list(dynamics)])
    examples = cast("ImageDataset", data)
    if "checkpoint" not in method.needs:
        return table(examples.ids, score_data(method, examples, runtime=how, seed=seed))
    device = choose_device(how.device)
    runs = []
    for part in reading.as_list(checkpoint):
        _same_form(part, examples)
        network = load(part, device)
        values = score_model(method, network, examples, runtime=how, seed=seed)
        runs.append(table(examples.ids, values, notes_of(method, network, examples)))
    return ScoreTable.mean(runs)


@verb(version=1)
def embed(
    encoder: AbstractEncoder | str | Mapping[str, Any],
    *,
    data: AbstractDataset | str | Mapping[str, Any],
    checkpoint: Checkpoint | str | None = None,
    runtime: Runtime | None = None,
) -> EmbeddingMatrix:
    """Gives one vector an example.

    Args:
        encoder: what makes the vectors.
        data: the examples; never augmented.
        checkpoint: the network whose features they are, where the encoder needs one.
        runtime: device, batch size.

    Returns:
        A matrix of shape (N, D) with the examples' ids.
    """
    method: Any = encoder
    if "checkpoint" in method.needs and checkpoint is None:
        raise MethodError(f"{type(method).__name__} needs checkpoint=, and embed() was given none.")
    return method.embed(data, checkpoint=checkpoint, runtime=runtime or Runtime())


def _needed_by_selector(bound: dict[str, Any]) -> None:
    if (bound["fraction"] is None) == (bound["count"] is None):
        both = "both" if bound["count"] is not None else "neither"
        raise MethodError(f"select needs either fraction= or count=, and was given {both}.")
    if bound["by_class"] and bound["data"] is None:
        raise MethodError("select(by_class=True) needs data=, whose labels say the classes.")
    if all(bound[name] is None for name in ("scores", "embeddings", "data")):
        raise MethodError("select needs scores=, embeddings= or data= to know what there is to choose from.")


@verb(version=1, needed=_needed_by_selector)
def select(
    selector: AbstractSelector | str | Mapping[str, Any],
    *,
    scores: ScoreTable | str | None = None,
    data: AbstractDataset | str | Mapping[str, Any] | None = None,
    embeddings: EmbeddingMatrix | str | None = None,
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
    from paredown.selection.base import Candidates, choose

    table, vectors = cast("ScoreTable | None", scores), cast("EmbeddingMatrix | None", embeddings)
    examples, inside = cast("AbstractDataset | None", data), cast("Selection | None", within)
    sources: dict[str, Any] = {"the scores": table, "the embeddings": vectors, "the data": examples}
    given = {name: part for name, part in sources.items() if part is not None}
    first, whole = next(iter(given.items()))
    for name, part in given.items():
        whole.ids.same_pool(part.ids, first, name)
    base = len(whole.ids)
    ids = whole.ids if inside is None else inside.ids
    wanted = count_of(fraction, base) if fraction is not None else int(count or 0)
    if not 1 <= wanted <= len(ids):
        raise MethodError(
            f"select: {wanted} examples are wanted and there are {len(ids)} to choose from. Ask for a smaller share."
        )
    at = None if table is None else table.ids.positions_of(ids, "the scores", "the candidates")
    rows = None if examples is None else examples.ids.positions_of(ids, "the data", "the candidates")
    candidates = Candidates(
        ids.keys,
        values=None if table is None else table.values[at],
        importance=None if table is None or table.important == "none" else table.importance()[at],
        labels=None if examples is None else examples.labels[rows],
        embeddings=None if vectors is None else vectors.vectors[vectors.ids.positions_of(ids)],
    )
    method = cast("AbstractSelector", selector)
    chosen = choose(method, candidates, wanted, by_class=by_class, seed=seed)
    return Selection(
        ids.take(chosen),
        base=base,
        asked={
            "selector": method.plain(),
            "fraction": fraction,
            "count": count,
            "by_class": by_class,
            "within": None if inside is None else inside.digest(),
            "scores": None if table is None else table.name,
        },
        stratum=None if examples is None or not by_class else examples.labels[rows][chosen],
    )


@verb(version=1)
def evaluate(
    subject: Checkpoint | Sequence[Checkpoint] | str | Sequence[str],
    data: AbstractDataset | str | Mapping[str, Any],
    probes: Sequence[AbstractProbe | str | Mapping[str, Any]] = ("accuracy",),
    *,
    seed: int = 0,
    runtime: Runtime | None = None,
) -> Report:
    """Measures one or many networks.

    Args:
        subject: the checkpoints.
        data: what to measure them on; never augmented.
        probes: what to measure.
        seed: of the probes that draw.
        runtime: device, batch size.

    Returns:
        A row for each checkpoint and metric; a row's subject is the first 16 digits of the checkpoint's digest.
    """
    from paredown.models.build import load
    from paredown.training.devices import choose as choose_device

    how = runtime or Runtime()
    test, device = cast("ImageDataset", data), choose_device(how.device)
    rows = []
    for checkpoint in reading.as_list(subject):
        _same_form(checkpoint, test)
        network = load(checkpoint, device)
        for probe in probes:
            measured = cast("AbstractProbe", probe).measure(network, test, runtime=how, seed=seed)
            rows += [Row(data=test.name, subject=checkpoint.digest()[:16], **figure) for figure in measured]
    return Report(rows)


def _same_form(checkpoint: Checkpoint, data: ImageDataset) -> None:
    if (checkpoint.shape, checkpoint.classes) != (data.shape, len(data.classes)):
        takes, has = ("×".join(map(str, shape)) for shape in (checkpoint.shape, data.shape))
        raise MethodError(
            f"The network takes images of {takes} in {checkpoint.classes} classes, and {data.name} has images of {has} "
            f"in {len(data.classes)} classes. Use the data that it was trained for."
        )


VERBS: dict[str, Verb[Any, Any]] = {part.name: part for part in (train, score, embed, select, evaluate)}
"""The verbs by name, in the order in which one uses them."""
