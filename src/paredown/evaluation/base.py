"""What a probe is: figures about one network on one data set, or about one selection of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from paredown.artifacts import Checkpoint, EmbeddingMatrix, Row, Selection
from paredown.data.dataset import AbstractDataset, LearnableDataset
from paredown.data.device import choose
from paredown.errors import MethodError
from paredown.method import Method
from paredown.models.build import load, refuse_other_form
from paredown.runtime import Runtime


class AbstractProbe(Method):
    """Measures a network: write `measure`."""

    kind: ClassVar[str] = "probe"
    needs: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def measure(
        self, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        """Gives figures, each as the fields of `artifacts.Row` that it knows: metric, value, n, spread, group.

        Args:
            network: from examples as they are stored to logits; left as it was.
            data: what to measure on, un-augmented.
            runtime: its batch size; it changes no figure beyond rounding.
            seed: for what is drawn by chance.
        """


class AbstractSelectionProbe(Method):
    """Measures a selection: write `measure`."""

    kind: ClassVar[str] = "probe"
    needs: ClassVar[frozenset[str]] = frozenset()
    """Of "embeddings" and "labels", what it cannot do without."""

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


def measured(
    subjects: Sequence[Checkpoint | Selection],
    data: AbstractDataset,
    probes: Sequence[AbstractProbe | AbstractSelectionProbe],
    *,
    embeddings: EmbeddingMatrix | None = None,
    seed: int = 0,
    runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
) -> list[Row]:
    """Gives the figures of every probe on every subject.

    Raises:
        MethodError: a probe of networks meets a selection or the other way round, or something it needs is lacking.
    """
    rows: list[Row] = []
    # Once each: a choice in which chance plays no part is the same for every seed.
    subjects = list({subject.digest(): subject for subject in subjects}.values())
    selections = [subject for subject in subjects if isinstance(subject, Selection)]
    for subject in subjects:
        figures: list[Mapping[str, Any]] = []
        if isinstance(subject, Selection):
            data.ids.same_pool(subject.ids, "the data", "the selection")
            for probe in probes:
                if not isinstance(probe, AbstractSelectionProbe):
                    raise MethodError(
                        f"{type(probe).__name__} measures networks, and a selection was given. Give its training, or a "
                        "probe of selections."
                    )
                _check_needs(probe, data, embeddings)
                figures += probe.measure(
                    subject, data, others=selections, embeddings=embeddings, runtime=runtime, seed=seed
                )
        else:
            if not isinstance(data, LearnableDataset):
                raise MethodError(f"evaluate needs labelled examples, and {data.name} has only {data.noun}.")
            refuse_other_form(subject, data)
            network = load(subject, choose(runtime.device))
            for probe in probes:
                if not isinstance(probe, AbstractProbe):
                    raise MethodError(f"{type(probe).__name__} measures selections, and a network was given.")
                figures += probe.measure(network, data, runtime=runtime, seed=seed)
        rows += [Row(data=data.name, subject=subject.digest()[:16], **figure) for figure in figures]
    return rows


def _check_needs(probe: AbstractSelectionProbe, data: AbstractDataset, embeddings: EmbeddingMatrix | None) -> None:
    name = type(probe).__name__
    if "embeddings" in probe.needs:
        if embeddings is None:
            raise MethodError(f"{name} needs embeddings=, and evaluate() was given none.")
        data.ids.same_pool(embeddings.ids, "the data", "the embeddings")
    if "labels" in probe.needs and data.labels is None:
        raise MethodError(f"{name} needs labels, and {data.name} has none.")
