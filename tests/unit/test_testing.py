"""The contract checks see what is wrong, and say which promise was broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paredown.artifacts import Artifact, Selection
from paredown.artifacts.scores import Direction
from paredown.data import AbstractSource, ImageDataset, LabelNoise
from paredown.data.dataset import AbstractDataset
from paredown.errors import MethodError, ParedownError
from paredown.evaluation import (
    AbstractContrastProbe,
    AbstractProbe,
    AbstractSelectionProbe,
    AbstractTrainingSetProbe,
)
from paredown.runtime import Runtime
from paredown.scoring import (
    AbstractDataScorer,
    AbstractDynamicsScorer,
    AbstractFeatureScorer,
    AbstractModelScorer,
    AbstractScorer,
)
from paredown.selection import AbstractSelector, Candidates
from paredown.testing import (
    BrokenPromise,
    check_artifact,
    check_probe,
    check_scorer,
    check_selector,
    check_source,
    example_data,
)


def own(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return network(x).gather(1, y[:, None])[:, 0]


def grown(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        next(network.parameters()).mul_(1.1)
    return own(network, x, y)


def with_gradients(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.enable_grad():
        own(network, x, y).sum().backward()
    return own(network, x, y)


def in_training_mode(network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return own(network.train(), x, y)


WAYS: dict[str, Callable[[nn.Module, Tensor, Tensor], Tensor]] = {
    "own": own,
    "grown": grown,
    "with gradients": with_gradients,
    "in training mode": in_training_mode,
    "out of range": lambda network, x, y: own(network, x, y) + 1e6,
    "of the batch": lambda network, x, y: own(network, x, y) - own(network, x, y).mean(),
    "drawn": lambda network, x, y: torch.rand(len(x)) + torch.from_numpy(np.random.rand(len(x))),
    "by place": lambda network, x, y: torch.arange(len(x)).float(),
}


@dataclass(frozen=True)
class OfModel(AbstractModelScorer):
    way: str = "own"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = -100.0
    high: ClassVar[float] = 100.0

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return WAYS[self.way](network, x, y)


@dataclass(frozen=True)
class OfDynamics(AbstractDynamicsScorer):
    way: str = "good"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 100.0
    quantities: ClassVar[tuple[str, ...]] = ("loss",)

    def init(self, examples: int) -> list[np.ndarray]:
        return [np.zeros(examples)]

    def update(self, state: list[np.ndarray], epoch: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        if self.way == "keeps arrays":
            return [*state, epoch["loss"]]
        if self.way == "writes":
            epoch["loss"][np.isnan(epoch["loss"])] = 0
        state[0] += np.nan_to_num(epoch["loss"])
        return state

    def finish(self, state: list[np.ndarray]) -> np.ndarray:
        total = np.nansum(state, axis=0)
        return total * np.arange(len(total)) / 24 if self.way == "by place" else total


@dataclass(frozen=True)
class OfData(AbstractDataScorer):
    way: str = "good"

    important: ClassVar[Direction] = "none"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def of(self, data: ImageDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        means = data.images.mean((1, 2, 3)) / 255
        return {
            "good": means,
            "by place": np.arange(len(data)) / len(data),
            "by batch": means / (1 + runtime.batch_size),
            "drawn": np.random.random(len(data)),
        }[self.way]


@dataclass(frozen=True)
class OfFeatures(AbstractFeatureScorer):
    way: str = "good"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = -10.0
    high: ClassVar[float] = 100.0

    def of(
        self, features: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, runtime: Runtime, seed: int
    ) -> np.ndarray:
        return {
            "good": logits[:, 0] - logits[:, 0].mean(),
            "by place": np.arange(len(labels)),
            "drawn": np.random.rand(len(labels)),
        }[self.way]


@dataclass(frozen=True)
class Nothing(AbstractScorer):
    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0


@dataclass(frozen=True)
class Unsaid(AbstractModelScorer):
    important: ClassVar[str] = "up"  # type: ignore[assignment]
    low: ClassVar[float] = 1.0
    high: ClassVar[float] = 0.0

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return own(network, x, y)


@pytest.mark.parametrize("scorer", [OfModel(), OfDynamics(), OfData(), OfFeatures()], ids=repr)
def test_scorers_that_keep_their_promises_pass(scorer: AbstractScorer) -> None:
    check_scorer(scorer)


@pytest.mark.parametrize(
    ("scorer", "sentence"),
    [
        (OfModel("grown"), "OfModel: it changes the network's weights or statistics"),
        (OfModel("with gradients"), "OfModel: it leaves gradients on the network"),
        (OfModel("out of range"), r"OfModel: values from .* leave \[-100.0, 100.0\]"),
        (OfModel("of the batch"), "OfModel: batches of 1 give other values than one batch"),
        (OfModel("drawn"), "OfModel: scoring again gives other values"),
        (OfModel("by place"), "OfModel: batches of 1 give other values"),
        (OfDynamics("keeps arrays"), "OfDynamics: it keeps the arrays of earlier epochs"),
        (OfDynamics("writes"), r"OfDynamics: update\(\) writes into the epoch"),
        (OfDynamics("by place"), "OfDynamics: permuting the examples changes their values"),
        (OfData("by place"), "OfData: permuting the examples changes their values"),
        (OfData("by batch"), "OfData: batches of 5 give other values"),
        (OfData("drawn"), "OfData: scoring again with the same seed gives other values"),
        (OfFeatures("by place"), "OfFeatures: permuting the examples changes their values"),
        (OfFeatures("drawn"), "OfFeatures: scoring again gives other values"),
        (Nothing(), "Nothing: it is none of the kinds of scorers"),
        (Unsaid(), "Unsaid: important is 'up', not high, low or none"),
    ],
)
def test_a_scorers_broken_promise_is_named(scorer: AbstractScorer, sentence: str) -> None:
    with pytest.raises(BrokenPromise, match=sentence):
        check_scorer(scorer)


def test_training_mode_is_seen() -> None:
    with pytest.raises(BrokenPromise, match="OfModel: it changes the network's weights or statistics"):
        check_scorer(OfModel("in training mode"))


def test_a_broken_promise_is_a_failed_assertion() -> None:
    assert issubclass(BrokenPromise, AssertionError) and issubclass(BrokenPromise, ParedownError)


@dataclass(frozen=True)
class Chooses(AbstractSelector):
    way: str = "good"

    needs: ClassVar[frozenset[str]] = frozenset({"values", "labels"})

    def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
        assert candidates.values is not None and candidates.labels is not None
        order = np.lexsort((candidates.keys, candidates.values))
        if self.way == "strict" and len(np.unique(candidates.values)) == 1:
            raise MethodError("there is nothing to choose by")
        if self.way == "writes":
            candidates.labels[:] = 0
        return {
            "good": order[:count],
            "strict": order[:count],
            "writes": order[:count],
            "reversed": order[:count][::-1],
            "too few": order[: count - 1],
            "drawn": np.random.permutation(len(candidates))[:count],
            "by row": np.arange(count),
            "by name": np.argsort(candidates.keys % 7 + candidates.keys / 1e6)[:count],
        }[self.way]


def test_a_selector_that_keeps_its_promises_passes() -> None:
    check_selector(Chooses())


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("strict", r"Chooses: 16 of 40 candidates could not be chosen: there is nothing to choose by"),
        ("too few", r"Chooses: 16 of 40 candidates could not be chosen: Chooses gave int64 of shape \(15,\)"),
        ("reversed", "Chooses, drawn: 1 chosen are not the beginning of 16 chosen"),
        ("drawn", "Chooses, drawn: the same seed gives another order"),
        ("by row", "Chooses, drawn: the order of the rows changes which are chosen"),
        ("by name", "Chooses, drawn: other names for the ids, in the same order, change which are chosen"),
        ("writes", "Chooses: it writes into the candidates' labels"),
    ],
)
def test_a_selectors_broken_promise_is_named(way: str, sentence: str) -> None:
    with pytest.raises(BrokenPromise, match=sentence):
        check_selector(Chooses(way))


def test_a_selector_that_needs_what_there_is_not() -> None:
    @dataclass(frozen=True)
    class Wishes(AbstractSelector):
        needs: ClassVar[frozenset[str]] = frozenset({"weather"})

        def choose(self, candidates: Candidates, count: int, rng: np.random.Generator) -> np.ndarray:
            return np.arange(count)

    with pytest.raises(MethodError, match="has no"):
        check_selector(Wishes())  # a class inside a function cannot be built again by name


class Numbers(Artifact):
    """Numbers in a file, with a fault on request."""

    def __init__(self, numbers: np.ndarray, way: str = "good") -> None:
        self.numbers, self.way = numbers, way

    def header(self) -> dict[str, Any]:
        return {"way": self.way}

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "numbers", self.numbers

    def write(self, folder: Path) -> None:
        (folder / "numbers.bin").write_bytes(self.numbers.tobytes())

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        numbers = np.frombuffer((folder / "numbers.bin").read_bytes(), np.float64)
        if header["way"] != "trusting" and len(numbers) != 6:
            raise ValueError("short")
        return cls(numbers + (header["way"] == "inexact"), header["way"])

    def describe(self) -> str:
        return "" if self.way == "wordless" else "six numbers"


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("inexact", "Numbers: what was opened is not what was saved"),
        ("wordless", "Numbers: it has no description"),
        ("trusting", r"Numbers: numbers.bin is cut short, and opening it gives None"),
    ],
)
def test_an_artifacts_broken_promise_is_named(way: str, sentence: str) -> None:
    check_artifact(Numbers(np.arange(6.0)))
    with pytest.raises(BrokenPromise, match=sentence):
        check_artifact(Numbers(np.arange(6.0), way))


READ = 0


@dataclass(frozen=True)
class Reads(AbstractSource):
    way: str = "good"
    split: str = "train"
    noise: LabelNoise | None = None

    splits: ClassVar[tuple[str, ...]] = ()

    def read(self, workers: int) -> ImageDataset:
        global READ
        READ += 1
        data = example_data()
        if self.way == "other pixels":
            return ImageDataset.from_arrays(data.images // READ, data.labels)
        if self.way == "other labels":
            return replace(data, labels=np.roll(data.labels, READ))
        if self.way == "one id":
            return replace(data, ids=data.ids.take(np.zeros(len(data), np.int64)))
        return replace(data, settings={"way": object()}) if self.way == "unspeakable" else data


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("other pixels", "Reads: reading it again gives another fingerprint"),
        ("other labels", "Reads: reading it again gives other labels or ids"),
        ("one id", "Reads: two examples share an id"),
        ("unspeakable", r"Reads: identity\(\) is not data that JSON can hold"),
    ],
)
def test_a_sources_broken_promise_is_named(way: str, sentence: str) -> None:
    check_source(Reads())
    with pytest.raises(BrokenPromise, match=sentence):
        check_source(Reads(way))


@dataclass(frozen=True)
class Measures(AbstractProbe):
    way: str = "good"

    def measure(
        self, network: nn.Module, data: ImageDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        row = {"metric": "m", "value": 1.0, "n": 3, "spread": 0.1}
        if self.way == "eval":
            network.eval()
        return {
            "good": [row],
            "eval": [row],
            "nothing": [],
            "twice": [row, row],
            "bare": [row | {"spread": None}],
            "by batch": [row | {"value": 1.0 / runtime.batch_size}],
            "drawn": [row | {"value": np.random.random()}],
        }[self.way]


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("eval", "Measures: it changes the network's modes"),
        ("nothing", "Measures: it measures nothing"),
        ("twice", "Measures: two figures have the same metric and group"),
        ("bare", r"Measures: \['m'\] has n above 1 and no spread"),
        ("by batch", "Measures: batches of 5 gives other figures"),
        ("drawn", "Measures: measuring again gives other figures"),
    ],
)
def test_a_probes_broken_promise_is_named(way: str, sentence: str) -> None:
    check_probe(Measures())
    with pytest.raises(BrokenPromise, match=sentence):
        check_probe(Measures(way))


@dataclass(frozen=True)
class Contrasts(AbstractContrastProbe):
    way: str = "good"

    def measure(
        self, network: nn.Module, data: ImageDataset, against: ImageDataset, **given: Any
    ) -> list[Mapping[str, Any]]:
        if self.way == "train":
            network.train().eval()
        return [{"metric": "m", "value": len(data) + len(against) + len(given["rows"]), "n": 3, "spread": 0.1}]


@dataclass(frozen=True)
class Teaches(AbstractTrainingSetProbe):
    way: str = "good"

    def measure(self, sets: Any, data: ImageDataset, **given: Any) -> list[Mapping[str, Any]]:
        left = given["folder"] / "left"
        again = left.exists()
        given["folder"].mkdir(exist_ok=True)
        left.touch()
        if self.way == "writes":
            sets[0].ids.keys[0] += 1
        row = {"metric": "m", "value": float(len(sets)), "n": 3, "spread": 0.1, "subject": sets[0].digest()[:16]}
        return {
            "left": [row | {"value": float(again)}],
            "strange": [row | {"subject": "somebody"}],
            "bare": [row | {"spread": None}],
            "by batch": [row | {"value": 1.0 / given["runtime"].batch_size}],
        }.get(self.way, [row])


@pytest.mark.parametrize(
    ("probe", "sentence"),
    [
        (Contrasts("train"), "Contrasts: it changes the network's modes"),
        (Teaches("left"), "Teaches: what a killed measurement left gives other figures"),
        (Teaches("strange"), r"Teaches: \{'somebody'\} is none of the sets"),
        (Teaches("writes"), "Teaches: it writes into what it is given"),
        (Teaches("bare"), r"Teaches: \['m'\] has n above 1 and no spread"),
        (Teaches("by batch"), "Teaches: batches of 5 gives other figures"),
    ],
)
def test_the_broken_promise_of_a_probe_of_two_data_sets_or_of_training_sets_is_named(probe: Any, sentence: str) -> None:
    check_probe(type(probe)())
    with pytest.raises(BrokenPromise, match=sentence):
        check_probe(probe)


@dataclass(frozen=True)
class Counts(AbstractSelectionProbe):
    way: str = "good"

    def measure(self, selection: Selection, data: AbstractDataset, **given: Any) -> list[Mapping[str, Any]]:
        value = {
            "good": len(selection),
            "by row": data.ids.positions_of(selection.ids)[0],
            "by place": len(given["others"][1]),
        }
        if self.way == "writes":
            given["embeddings"].vectors[0] = 0
        return [{"metric": "m", "value": value.get(self.way, 1), "n": 3, "spread": None}]


@pytest.mark.parametrize(
    ("way", "sentence"),
    [
        ("by row", "Counts: another order of the data gives other figures"),
        ("by place", "Counts: another order of the selections beside it gives other figures"),
        ("writes", "Counts: it writes into what it is given"),
    ],
)
def test_the_broken_promise_of_a_probe_of_selections_is_named(way: str, sentence: str) -> None:
    check_probe(Counts())
    with pytest.raises(BrokenPromise, match=sentence):
        check_probe(Counts(way))
