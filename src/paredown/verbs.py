"""The verbs: the whole API, and its table of contents.

A verb is a function; the method it works by is a value handed to it. Each verb checks that its inputs belong together,
calls the method, checks what came back and wraps it. Inputs may be objects, names or plain data (`"el2n"`, `{"name":
"window", "offset": 0.2}`, a folder of an artifact), so Python, the command line and a recipe go through one door, and
`Store.make(verb, …)` gives the same address for the same work from all three.

`runtime` says how a verb is carried out and `folder` where it keeps what it needs to resume; neither is part of an
address.
"""

from __future__ import annotations

import functools
import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from paredown import reading
from paredown.artifacts import EmbeddingMatrix, Report, Row, ScoreTable, Selection, Trained
from paredown.artifacts.selection import count_of
from paredown.errors import MethodError
from paredown.runtime import Runtime

if TYPE_CHECKING:
    from paredown.artifacts import Artifact, Checkpoint, TrainingDynamics
    from paredown.data.dataset import AbstractDataset, ImageDataset
    from paredown.embedding.base import AbstractEncoder
    from paredown.evaluation.base import AbstractProbe
    from paredown.models.build import AbstractModel
    from paredown.scoring.base import AbstractScorer
    from paredown.selection.base import AbstractSelector
    from paredown.training import Recording, Training

P = ParamSpec("P")
R = TypeVar("R", bound="Artifact")


class Verb(Generic[P, R]):
    """A function of this module, which also tells the store what a call of it stands for."""

    def __init__(self, function: Callable[P, R], version: int, needed: Callable[[dict[str, Any]], None] | None) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__
        self.version = version
        self.needed = needed
        self.signature = inspect.signature(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        given = self.signature.bind(*args, **kwargs).arguments
        how = {name: given.pop(name) for name in ("runtime", "folder") if name in given}
        bound = self.bind(**given)
        return self.run(bound, runtime=how.get("runtime") or Runtime(), folder=how.get("folder"))

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The arguments that say what is made: all but `runtime` and `folder`."""
        return {n: p for n, p in self.signature.parameters.items() if n not in ("runtime", "folder")}

    def bind(self, **arguments: Any) -> dict[str, Any]:
        """Gives every argument as what the function takes, defaults filled in, and what is not needed left out.

        Raises:
            MethodError: an unknown argument, one that is missing, or one that cannot be read.
        """
        for name in arguments:
            if name not in self.parameters:
                raise MethodError(f"{self.name} has no argument '{name}'. It has: {', '.join(self.parameters)}.")
        for name, parameter in self.parameters.items():
            if parameter.default is inspect.Parameter.empty and name not in arguments:
                raise MethodError(f"{self.name} needs {name}=.")
        defaults = {name: parameter.default for name, parameter in self.parameters.items()}
        bound = {name: reading.read(name, value) for name, value in (defaults | arguments).items()}
        if self.needed is not None:
            self.needed(bound)
        return bound

    def run(self, bound: Mapping[str, Any], *, runtime: Runtime, folder: Path | None) -> R:
        """Calls the function on arguments that `bind` gave."""
        how: dict[str, Any] = {"runtime": runtime}
        if "folder" in self.signature.parameters:
            how["folder"] = folder
        return self.function(**bound, **how)  # type: ignore[call-arg]


def verb(
    *, version: int, needed: Callable[[dict[str, Any]], None] | None = None
) -> Callable[[Callable[P, R]], Verb[P, R]]:
    """Makes a function a verb.

    Args:
        version: rises when what the verb makes of the same arguments changes.
        needed: takes out of the bound arguments what the method at hand does not look at, so that it is no part of the
            address; raises when something is lacking.
    """
    return lambda function: Verb(function, version, needed)


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
    # Without a folder of one's own the files live as long as what was opened from them.
    temporary = tempfile.TemporaryDirectory(prefix="paredown-") if folder is None else None
    place = Path(temporary.name) if temporary is not None else Path(folder or ".")
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
    trained = Trained.adopt(place)
    trained.temporary = temporary
    return trained


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
    from paredown.scoring.base import score_data, score_dynamics, score_model

    method: Any = scorer
    how = runtime or Runtime()
    if "dynamics" in method.needs:
        return ScoreTable.mean([score_dynamics(method, part) for part in reading.as_list(dynamics)])
    if "checkpoint" in method.needs:
        return ScoreTable.mean(
            [score_model(method, part, data, runtime=how, seed=seed) for part in reading.as_list(checkpoint)]
        )
    return score_data(method, data, runtime=how, seed=seed)


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
    for name in ("scores", "embeddings"):
        if name in bound["selector"].needs and bound[name] is None:
            raise MethodError(f"{type(bound['selector']).__name__} needs {name}=, and select() was given none.")
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
    from paredown.selection.base import choose

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
    return choose(
        cast("AbstractSelector", selector),
        ids,
        wanted,
        base=base,
        scores=table,
        labels=None
        if examples is None
        else examples.labels[examples.ids.positions_of(ids, "the data", "the candidates")],
        embeddings=vectors,
        by_class=by_class,
        seed=seed,
        asked={"fraction": fraction, "count": count, "by_class": by_class},
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
    from paredown.models import load

    how = runtime or Runtime()
    test = cast("AbstractDataset", data)
    rows = []
    for checkpoint in reading.as_list(subject):
        network = load(checkpoint)
        for probe in probes:
            measured = cast("AbstractProbe", probe).measure(network, test, runtime=how, seed=seed)
            rows += [Row(data=test.name, subject=checkpoint.digest()[:16], **figure) for figure in measured]
    return Report(rows)


VERBS: dict[str, Verb[Any, Any]] = {part.name: part for part in (train, score, embed, select, evaluate)}
"""The verbs by name, in the order in which one uses them."""
