"""What a scorer is: one number for each example, from recorded dynamics, from a network, or from the data alone.

A scorer says which end of its scale marks the important examples, between which ends its values lie, and what it needs.
Batches, devices, modes of the network and checks are the business of the three functions below, so that a method holds
a formula and nothing else.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from paredown.artifacts.dynamics import TrainingDynamics
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.artifacts.ids import ExampleIds
from paredown.artifacts.scores import Direction
from paredown.artifacts.uids import told
from paredown.catalog import find, path_of
from paredown.data.dataset import AbstractDataset, LearnableDataset
from paredown.data.loader import runs
from paredown.errors import MethodError
from paredown.method import Method
from paredown.models.build import inputs
from paredown.models.taps import features
from paredown.progress import bar as open_bar
from paredown.rng import key
from paredown.runtime import Runtime
from paredown.scoring.statistics import Statistics, blocks, calibrate, normalisations, restored


class AbstractScorer(Method):
    """One number an example. Subclass one of the three kinds below."""

    kind: ClassVar[str] = "scorer"
    needs: ClassVar[frozenset[str]]
    paper: ClassVar[str] = ""

    @property
    @abstractmethod
    def important(self) -> Direction:
        """Whether a `high` or a `low` value marks an example that teaches much; `none` where it says nothing."""

    @property
    @abstractmethod
    def low(self) -> float:
        """The lowest value there can be; an infinite end means that there is none."""

    @property
    @abstractmethod
    def high(self) -> float:
        """The highest value there can be; an infinite end means that there is none."""

    @property
    def infinite(self) -> bool:
        """Whether values may themselves be infinite."""
        return False


class AbstractDynamicsScorer(AbstractScorer):
    """A score from what training saw, epoch by epoch: write `init`, `update`, `finish` and say which `quantities`."""

    needs: ClassVar[frozenset[str]] = frozenset({"dynamics"})

    @property
    @abstractmethod
    def quantities(self) -> tuple[str, ...]:
        """Which of `artifacts.QUANTITIES` each epoch must hold."""

    def epochs_of(self, dynamics: TrainingDynamics) -> int:
        """Gives how many epochs are looked at, from the first on: all, unless a score stops sooner."""
        return len(dynamics)

    @abstractmethod
    def init(self, examples: int) -> Any:
        """Gives the state before the first epoch."""

    @abstractmethod
    def update(self, state: Any, epoch: Mapping[str, np.ndarray]) -> Any:
        """Gives the state after one more epoch.

        Args:
            state: what `init` or the last `update` gave.
            epoch: quantity → float32 (N,), NaN where an example was not presented.
        """

    @abstractmethod
    def finish(self, state: Any) -> np.ndarray:
        """Gives the values, shape (N,); NaN for an example that was never presented."""


class AbstractModelScorer(AbstractScorer):
    """A score from one network: write `values`."""

    needs: ClassVar[frozenset[str]] = frozenset({"checkpoint", "data"})

    @property
    def bn(self) -> Statistics:
        """Statistics of batch normalisation, see `scoring.statistics`; a field of this name offers the choice."""
        return "running"

    def notes(self, network: nn.Module, x: Tensor, y: Tensor) -> Mapping[str, Any]:
        """Gives what a reader should know of how the scores of this network were computed; usually nothing."""
        return {}

    @abstractmethod
    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        """Gives one number an example; the number of one must not depend on the others.

        Args:
            network: in inference mode; from pixels to logits. Gradients are off unless they are turned on here.
            x: un-augmented images, float32 in [0, 1], shape (B, C, H, W).
            y: labels, int64 (B,).

        Returns:
            Shape (B,).
        """


class AbstractDataScorer(AbstractScorer):
    """A score that needs no network: write `of`."""

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    @abstractmethod
    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        """Gives one number an example of the data, shape (N,)."""


class AbstractEmbeddingScorer(AbstractScorer):
    """A score of where examples lie among the others: write `of`."""

    needs: ClassVar[frozenset[str]] = frozenset({"embeddings"})

    @abstractmethod
    def of(self, embeddings: EmbeddingMatrix, *, runtime: Runtime, seed: int) -> np.ndarray:
        """Gives one number an example, shape (N,); the vectors are read block by block where they are many."""


class AbstractFeatureScorer(AbstractScorer):
    """A score that compares examples through one network's features and logits: write `of`."""

    needs: ClassVar[frozenset[str]] = frozenset({"checkpoint", "data"})

    @abstractmethod
    def of(
        self, features: np.ndarray, logits: np.ndarray, labels: np.ndarray, *, runtime: Runtime, seed: int
    ) -> np.ndarray:
        """Gives one number an example, shape (N,).

        Args:
            features: penultimate, un-augmented, in inference mode; float32, shape (N, F).
            logits: float32, shape (N, classes).
            labels: int64, shape (N,).
            runtime: its device.
            seed: for a score that draws.
        """


@dataclass(frozen=True)
class FunctionScorer(AbstractModelScorer):
    """Makes a scorer of a function, where a class would be too much.

    Args:
        function: called as `function(network, x, y)`, gives one number an example, shape (B,); a function at the top of
            a module, or "module:function".
        important: which end marks the important examples: "high", "low" or "none".
        lowest: the lowest value there can be; none when there is no end.
        highest: the highest value there can be; none when there is no end.
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    function: str | Callable[..., Tensor]
    important: Direction = "high"
    lowest: float | None = None
    highest: float | None = None
    bn: Statistics = "running"

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", path_of(self.function))

    @property
    def low(self) -> float:
        return -math.inf if self.lowest is None else self.lowest

    @property
    def high(self) -> float:
        return math.inf if self.highest is None else self.highest

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return find("scorer", str(self.function))(network, x, y)


def score_dynamics(scorer: AbstractDynamicsScorer, dynamics: TrainingDynamics) -> np.ndarray:
    """Gives the values of a score, streamed over the epochs, so that one epoch at a time is in memory.

    Returns:
        float64, shape (N,), in the order of `dynamics.ids`.

    Raises:
        MethodError: a quantity was not recorded, there are no epochs, or an example was never presented.
    """
    name = type(scorer).__name__
    for quantity in scorer.quantities:
        if quantity not in dynamics.quantities:
            raise MethodError(
                f"{name} needs '{quantity}', and the dynamics hold {', '.join(dynamics.quantities)}. "
                f"Train again and record {quantity}."
            )
    if len(dynamics) == 0:
        raise MethodError(f"{name}: the dynamics hold no epoch. Train for at least one.")
    state = scorer.init(len(dynamics.ids))
    for number in range(scorer.epochs_of(dynamics)):
        state = scorer.update(state, dynamics[number])
    values = np.asarray(scorer.finish(state), dtype=np.float64)
    if unseen := int(np.isnan(values).sum()):
        raise MethodError(
            f"{name}: {unseen} of {len(values)} examples were presented in none of the epochs that it looks at, so "
            "nothing is known of them. Train for more epochs, record by evaluation, or score what was trained on."
        )
    return _checked(scorer, values, dynamics.ids)


def score_model(
    scorer: AbstractModelScorer, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int = 0
) -> np.ndarray:
    """Gives the values of a score for every row of the data, un-augmented, in float32, in inference mode.

    The network comes back as it was: its modes, its statistics and its weights.

    Args:
        scorer: the score.
        network: from pixels in [0, 1] to logits; scored on the device that it is on.
        data: what to score.
        runtime: its batch size; it changes no value beyond rounding.
        seed: for a score that draws with torch's own generators.

    Returns:
        float64, shape (N,), in the order of `data.ids`.

    Raises:
        MethodError: statistics of batch normalisation were chosen for a network without any, or a value is not finite.
    """
    if scorer.bn != "running" and not normalisations(network):
        raise MethodError(
            f"{type(scorer).__name__}(bn={scorer.bn!r}): the network has no batch normalisation, so there are no "
            "statistics to choose. Use bn='running'."
        )
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    examples = inputs(network, data, workers=runtime.workers)
    values = np.full(len(data), np.nan)
    bar = open_bar(f"scoring {scorer.name}", len(data), unit="examples", shown=runtime.progress)
    with restored(network), _exact_float32(), _seeded(seed, device), torch.no_grad(), bar:
        done = 0
        parts = [np.arange(len(data))]
        if scorer.bn != "running":
            parts = blocks(data.ids.keys)
        if scorer.bn == "recalibrated":
            calibrate(network, (x for x, _ in examples.batches(parts)))
            parts = [np.arange(len(data))]
        for part in parts:
            if scorer.bn == "batch":
                calibrate(network, [examples.batch(part)[0]])
            batches = np.split(part, range(runtime.batch_size, len(part), runtime.batch_size))
            for batch, (x, y) in zip(batches, examples.batches(batches), strict=True):
                values[batch] = _one_each(scorer, scorer.values(network, x, y), len(batch))
                done += len(batch)
                bar.move(done)
    return _checked(scorer, values, data.ids)


def notes_of(scorer: AbstractModelScorer, network: nn.Module, data: LearnableDataset) -> Mapping[str, Any]:
    """Gives a scorer's notes on a network, from a look at two examples of the data."""
    return scorer.notes(network, *inputs(network, data).batch(np.arange(min(2, len(data)))))


def score_data(scorer: AbstractDataScorer, data: AbstractDataset, *, runtime: Runtime, seed: int = 0) -> np.ndarray:
    """Gives the values of a score that needs no network, float64, shape (N,), in the order of `data.ids`."""
    values = np.asarray(scorer.of(data, runtime=runtime, seed=seed), dtype=np.float64)
    return _checked(scorer, _one_each(scorer, values, len(data)), data.ids)


def score_embeddings(
    scorer: AbstractEmbeddingScorer, embeddings: EmbeddingMatrix, *, runtime: Runtime, seed: int = 0
) -> np.ndarray:
    """Gives the values of a score of embeddings, float64, shape (N,), in the order of `embeddings.ids`."""
    values = np.asarray(scorer.of(embeddings, runtime=runtime, seed=seed), dtype=np.float64)
    return _checked(scorer, _one_each(scorer, values, len(embeddings.ids)), embeddings.ids)


def score_features(
    scorer: AbstractFeatureScorer, network: nn.Module, data: LearnableDataset, *, runtime: Runtime, seed: int = 0
) -> np.ndarray:
    """Gives the values of a score that compares examples, float64, shape (N,), in the order of `data.ids`."""
    rows = runs(len(data), runtime.batch_size)
    with restored(network), _exact_float32(), torch.no_grad():
        seen = [features(network, x) for x, _ in inputs(network, data, workers=runtime.workers).batches(rows)]
    deep, logits = (torch.cat(parts).float().cpu().numpy() for parts in zip(*seen, strict=True))
    values = np.asarray(scorer.of(deep, logits, data.labels, runtime=runtime, seed=seed), dtype=np.float64)
    return _checked(scorer, _one_each(scorer, values, len(data)), data.ids)


def _one_each(scorer: AbstractScorer, values: Tensor | np.ndarray, examples: int) -> np.ndarray:
    if tuple(values.shape) != (examples,):
        raise MethodError(
            f"{type(scorer).__name__} gave values of shape {tuple(values.shape)} for {examples} examples. "
            f"Give one number an example: shape ({examples},)."
        )
    return values if isinstance(values, np.ndarray) else values.detach().cpu().double().numpy()


def _checked(scorer: AbstractScorer, values: np.ndarray, ids: ExampleIds) -> np.ndarray:
    wrong = np.isnan(values) if scorer.infinite else ~np.isfinite(values)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise MethodError(
            f"{type(scorer).__name__}: {int(wrong.sum())} of {len(values)} values are not finite; the first, of id "
            f"{told(ids.keys[first])}, is {values[first]}. The network may have diverged: look at its training loss."
        )
    return values


@contextmanager
def _exact_float32() -> Iterator[None]:
    # Scores are compared and ranked: TF32 products, which training may have switched on, would blur them.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    flags = torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False
    )
    try:
        with flags:
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key(seed, "score"))
        yield
