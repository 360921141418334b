"""What a probe is: figures about a network on one data set or on two, about a selection, or about what sets teach."""

from __future__ import annotations

import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np
from torch import nn

from paredown.artifacts import Checkpoint, DistilledSet, EmbeddingMatrix, Row, Selection
from paredown.data.dataset import AbstractDataset, LearnableDataset
from paredown.data.device import choose, limited
from paredown.errors import MethodError
from paredown.method import Method
from paredown.models.build import load, refuse_other_form
from paredown.runtime import Runtime, rank


class AbstractProbe(Method):
    """Measures a network: write `measure`."""

    kind: ClassVar[str] = "probe"
    needs: ClassVar[frozenset[str]] = frozenset()
    uses: ClassVar[frozenset[str]] = frozenset()
    timed: ClassVar[tuple[str, ...]] = ()
    """How the names of metrics begin that are measured by the clock, and so differ from one time to the next."""

    @abstractmethod
    def measure(
        self, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        """Gives figures, each as the fields of `artifacts.Row` that it knows: metric, value, n, spread, group; data
        where they are of something else.

        Args:
            network: from examples as they are stored to logits; left as it was.
            data: what to measure on, un-augmented.
            runtime: its batch size; it changes no figure beyond rounding.
            seed: for what is drawn by chance.
        """


class AbstractContrastProbe(Method):
    """Measures how differently a network treats two data sets: write `measure`."""

    kind: ClassVar[str] = "probe"
    timed: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[frozenset[str]] = frozenset({"against"})
    uses: ClassVar[frozenset[str]] = frozenset({"selection"})

    @abstractmethod
    def measure(
        self,
        network: nn.Module,
        data: LearnableDataset,
        against: LearnableDataset,
        *,
        rows: np.ndarray,
        runtime: Runtime,
        seed: int,
    ) -> list[Mapping[str, Any]]:
        """Gives figures, each as the fields of `artifacts.Row` that it knows: metric, value, n, spread, group.

        Args:
            network: from examples as they are stored to logits; left as it was.
            data: the one data set, un-augmented.
            against: the other one; the network takes its examples and knows its classes.
            rows: of `data`, those that count, int64, ascending.
            runtime: its batch size; it changes no figure beyond rounding.
            seed: for what is drawn by chance.
        """


class AbstractSelectionProbe(Method):
    """Measures a selection: write `measure`."""

    kind: ClassVar[str] = "probe"
    needs: ClassVar[frozenset[str]] = frozenset()
    """Of "embeddings" and "labels", what it cannot do without."""
    uses: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def measure(
        self,
        selection: Selection,
        data: AbstractDataset,
        *,
        others: Sequence[Selection],
        embeddings: EmbeddingMatrix | None,
        runtime: Runtime,
        seed: int,
    ) -> list[Mapping[str, Any]]:
        """Gives figures, each as the fields of `artifacts.Row` that it knows: metric, value, n, spread, group.

        Args:
            selection: what was chosen.
            data: what it was chosen from.
            others: every selection that is evaluated in the same call, this one too, for measures of two.
            embeddings: one vector an example, where `needs` names them.
            runtime: its device.
            seed: for what is drawn by chance.
        """


class AbstractTrainingSetProbe(Method):
    """Measures sets to train on by the networks that they make: write `measure`."""

    kind: ClassVar[str] = "probe"
    needs: ClassVar[frozenset[str]] = frozenset()
    """"against" where it cannot do without the data that the sets were made from."""
    uses: ClassVar[frozenset[str]] = frozenset({"against"})
    """What it looks at where it is given."""

    @abstractmethod
    def measure(
        self,
        sets: Sequence[TrainingSet],
        data: LearnableDataset,
        *,
        against: LearnableDataset | None,
        runtime: Runtime,
        seed: int,
        folder: Path,
    ) -> list[Mapping[str, Any]]:
        """Gives figures, each as the fields of `artifacts.Row` that it knows; `subject` says which set it is about.

        Args:
            sets: what to train on, in the order in which they were given.
            data: what the networks are tested on.
            against: the data that the sets were made from; selections say nothing without it.
            runtime: how the trainings are carried out.
            seed: of the trainings and of whatever else is drawn by chance.
            folder: for its trainings, which go on after an interruption; gone when everything is measured.
        """


TrainingSet: TypeAlias = Selection | DistilledSet
AnyProbe: TypeAlias = AbstractProbe | AbstractContrastProbe | AbstractSelectionProbe | AbstractTrainingSetProbe


def measured(
    subjects: Sequence[Checkpoint | TrainingSet],
    data: AbstractDataset,
    probes: Sequence[AnyProbe],
    *,
    against: AbstractDataset | None = None,
    selection: Selection | None = None,
    embeddings: EmbeddingMatrix | None = None,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
    folder: Path | None = None,
) -> list[Row]:
    """Gives the figures of every probe on every subject.

    Raises:
        MethodError: a probe meets a subject that it does not measure, or something it needs is lacking.
    """
    # Once each: a choice in which chance plays no part is the same for every seed.
    subjects = list({subject.digest(): subject for subject in subjects}.values())
    given = _Given(data, against, selection, embeddings, runtime, seed)
    together = [probe for probe in probes if isinstance(probe, AbstractTrainingSetProbe)]
    alone = [probe for probe in probes if not isinstance(probe, AbstractTrainingSetProbe)]
    selections = [subject for subject in subjects if isinstance(subject, Selection)]
    figures: list[Mapping[str, Any]] = []
    for subject in subjects if alone else ():
        if isinstance(subject, Selection):
            found = given.of_selection(subject, selections, alone)
        elif isinstance(subject, DistilledSet):
            raise MethodError(
                f"{type(alone[0]).__name__} measures no distilled sets. Train on this one and measure the network."
            )
        else:
            found = given.of_network(subject, alone)
        figures += [{"subject": subject.digest()[:16], **figure} for figure in found]
    sets = [subject for subject in subjects if not isinstance(subject, Checkpoint)]
    if together and len(sets) < len(subjects):
        raise MethodError(
            f"{type(together[0]).__name__} trains networks of its own, and was given one. Give it what to train on: "
            "selections or distilled sets."
        )
    with _workplace(folder) as place:
        for number, probe in enumerate(together):
            figures += probe.measure(
                sets,
                given.learnable(),
                against=given.against(probe),
                runtime=runtime,
                seed=seed,
                folder=place / str(number),
            )
    return [Row(**({"data": data.name} | dict(figure))) for figure in figures]


@contextmanager
def _workplace(folder: Path | None) -> Iterator[Path]:
    """Gives a folder for trainings, and removes it when all is measured; what an exception leaves is gone on from."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="paredown-") as temporary:
            yield Path(temporary)
        return
    place = Path(folder) / "students"
    done = place.with_name("students-done")
    shutil.rmtree(done, ignore_errors=True)
    yield place
    if rank() == 0 and place.exists():
        # Renamed first: half of a training's folder would be taken for somebody else's.
        place.rename(done)
        shutil.rmtree(done)


@dataclass(frozen=True)
class _Given:
    """What every subject of one call is measured with."""

    data: AbstractDataset
    other: AbstractDataset | None
    selection: Selection | None
    embeddings: EmbeddingMatrix | None
    runtime: Runtime
    seed: int

    def of_network(self, checkpoint: Checkpoint, probes: Sequence[AnyProbe]) -> list[Mapping[str, Any]]:
        data, figures = self.learnable(), list[Mapping[str, Any]]()
        refuse_other_form(checkpoint, data)
        network = load(checkpoint, choose(self.runtime.device))
        with limited(self.runtime.threads):
            for probe in probes:
                if isinstance(probe, AbstractContrastProbe):
                    other = self.against(probe)
                    assert other is not None  # it needs one
                    refuse_other_form(checkpoint, other)
                    rows = np.arange(len(data))
                    if self.selection is not None:
                        rows = np.sort(data.ids.positions_of(self.selection.ids, "the data", "the selection"))
                    figures += probe.measure(network, data, other, rows=rows, runtime=self.runtime, seed=self.seed)
                elif isinstance(probe, AbstractProbe):
                    figures += probe.measure(network, data, runtime=self.runtime, seed=self.seed)
                else:
                    raise MethodError(f"{type(probe).__name__} measures selections, and a network was given.")
        return figures

    def of_selection(
        self, selection: Selection, others: Sequence[Selection], probes: Sequence[AnyProbe]
    ) -> list[Mapping[str, Any]]:
        self.data.ids.same_pool(selection.ids, "the data", "the selection")
        figures: list[Mapping[str, Any]] = []
        for probe in probes:
            if not isinstance(probe, AbstractSelectionProbe):
                raise MethodError(
                    f"{type(probe).__name__} measures networks, and a selection was given. Give its training, or a "
                    "probe of selections."
                )
            _check_needs(probe, self.data, self.embeddings)
            figures += probe.measure(
                selection,
                self.data,
                others=others,
                embeddings=self.embeddings,
                runtime=self.runtime,
                seed=self.seed,
            )
        return figures

    def learnable(self) -> LearnableDataset:
        if not isinstance(self.data, LearnableDataset):
            raise MethodError(f"evaluate needs labelled examples, and {self.data.name} has only {self.data.noun}.")
        return self.data

    def against(self, probe: AbstractContrastProbe | AbstractTrainingSetProbe) -> LearnableDataset | None:
        """Gives the second data set, where there is one."""
        if self.other is None:
            if "against" in probe.needs:
                raise MethodError(f"{type(probe).__name__} needs against=, and evaluate() was given none.")
            return None
        if not isinstance(self.other, LearnableDataset):
            raise MethodError(
                f"{type(probe).__name__} needs labelled examples as against=, and {self.other.name} has only "
                f"{self.other.noun}."
            )
        return self.other


def _check_needs(probe: AbstractSelectionProbe, data: AbstractDataset, embeddings: EmbeddingMatrix | None) -> None:
    name = type(probe).__name__
    if "embeddings" in probe.needs:
        if embeddings is None:
            raise MethodError(f"{name} needs embeddings=, and evaluate() was given none.")
        data.ids.same_pool(embeddings.ids, "the data", "the embeddings")
    if "labels" in probe.needs and data.labels is None:
        raise MethodError(f"{name} needs labels, and {data.name} has none.")
