"""What a strategy is worth: accuracy of the pruned network, clean and attacked, on examples that are held out.

The hold-out is a fixed part of the training data with every class in it, the same for every strategy, and so are the
starts of the attack: two rewards differ by what the strategies do and by nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paredown.artifacts.apportion import apportion
from paredown.artifacts.strategy import PruningStrategy
from paredown.attacks import AbstractAttack, Pgd
from paredown.data.dataset import LearnableDataset
from paredown.data.loader import AbstractInputs
from paredown.errors import MethodError
from paredown.method import Method
from paredown.models.build import AbstractNetwork, inputs
from paredown.rng import key, stream
from paredown.runtime import Runtime
from paredown.searching.episodes import Outcome
from paredown.searching.folding import fold, foldable
from paredown.searching.problem import Problem
from paredown.searching.ranking import Ranking
from paredown.searching.tuning import tune
from paredown.sparsity.layers import shape_of
from paredown.training import Training
from paredown.training.devices import Place

Mode = Literal["sum", "product", "clean"]
Statistics = Literal["recalibrated", "batch", "running"]


def combined(clean: float, robust: float, mode: Mode = "sum", beta: float = 1.0) -> float:
    """Gives the reward of two accuracies: clean + β · robust, clean · e^robust, or clean alone."""
    if mode == "sum":
        return clean + beta * robust
    return clean * math.exp(robust) if mode == "product" else clean


@dataclass(frozen=True)
class PrunedAccuracy(Method):
    """Accuracy of the network that magnitude leaves of a strategy, without training it or after a short training.

    Zhao et al. 2022 take `mode="sum"`, `statistics="batch"`, `batch=128`, a tenth of the training data and plain PGD of
    ten steps.

    Args:
        share: of the examples that is held out; each class gives its share.
        mode: `sum`, clean + β · robust; `product`, clean · e^robust; `clean`, for which nothing is attacked.
        beta: β.
        attack: what moves images; none is as `mode="clean"`. PGD that stops at the first wrong answer leaves no more
            images right than plain PGD and is done sooner; `statistics="batch"` needs the plain one.
        top: a label counts as found among so many of the largest logits.
        statistics: of batch normalisation, which no longer fit a pruned network. `recalibrated` gathers them anew on
            examples that are not held out; then only what is classified rightly is attacked. `batch` normalises each
            batch by itself, as published; `running` leaves those of the dense network.
        calibration: how many examples `recalibrated` looks at.
        batch: examples that are looked at together.
        fine_tune: a short training of the pruned network, on examples that are not held out; none for no training.
    """

    kind: ClassVar[str] = "reward"
    version: ClassVar[int] = 2

    share: float = 0.1
    mode: Mode = "sum"
    beta: float = 1.0
    attack: AbstractAttack | None = Pgd(early_stop=True)  # noqa: RUF009  (frozen)
    top: int = 1
    statistics: Statistics = "recalibrated"
    calibration: int = 1000
    batch: int = 256
    fine_tune: Training | None = None

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise MethodError(f"PrunedAccuracy(share={self.share:g}): a share to hold out lies between 0 and 1.")
        for field in ("top", "calibration", "batch"):
            if getattr(self, field) < 1:
                raise MethodError(f"PrunedAccuracy({field}={getattr(self, field)}): at least 1 is needed.")
        if self.statistics == "batch" and self.batch < 2:
            raise MethodError("PrunedAccuracy(statistics=batch, batch=1): one image has no statistics. Take more.")
        if self.statistics == "batch" and self.attacked and getattr(self.attack, "early_stop", False):
            raise MethodError(
                "PrunedAccuracy(statistics=batch): an attack with early_stop takes images out of the batch whose "
                "statistics they are part of. Give attack: {name: pgd}, which leaves them in."
            )
        if self.mode == "product" and self.beta != 1:
            raise MethodError(f"PrunedAccuracy(mode=product, beta={self.beta:g}): only a sum has β. Leave it out.")

    @property
    def attacked(self) -> bool:
        """Whether images are attacked."""
        return self.mode != "clean" and self.attack is not None

    def judge(
        self,
        network: AbstractNetwork,
        problem: Problem,
        data: LearnableDataset,
        *,
        rows: np.ndarray | None = None,
        seed: int = 0,
        runtime: Runtime = Runtime(),  # noqa: B008  (frozen)
        place: Place | None = None,
    ) -> PrunedJudge:
        """Gives what tells the worth of strategies.

        Args:
            network: where it is evaluated; left as it is.
            problem: its layers and groups.
            data: training data.
            rows: the examples that may be used; None takes all.
            seed: of what the attack draws, and of the training.
            runtime: threads that decode images.
            place: the device and the precision; None is that of the network, in float32.

        Raises:
            MethodError: a class would have no example on one side, or what are no images would be attacked.
        """
        return PrunedJudge(self, network, problem, data, rows=rows, seed=seed, runtime=runtime, place=place)


def hold_out(data: LearnableDataset, share: float, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Gives the rows that are held out and the rest, each class mixed with the others, a function of the data alone.

    Args:
        data: the examples.
        share: of them that is held out; each class gives its share.
        rows: those that there are; None takes all.

    Raises:
        MethodError: a class would have no example on one side.
    """
    there = np.arange(len(data)) if rows is None else np.sort(np.asarray(rows))
    labels = data.labels[there]
    sizes = np.bincount(labels, minlength=len(data.classes))
    counts = apportion(sizes, max(1, round(share * len(there))))
    held, rest = [], []
    for label, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        if size and not 0 < count < size:
            raise MethodError(
                f"A share of {share:g} of {len(there)} examples holds out {count} of {size} of class "
                f"'{data.classes[label]}', and both sides need one of each. Hold out another share, or use more data."
            )
        mixed = stream(0, "search-hold-out", label).permutation(there[labels == label])
        held.append(mixed[:count])
        rest.append(mixed[count:])
    mix = stream(0, "search-hold-out", "mix")
    return mix.permutation(np.concatenate(held)), mix.permutation(np.concatenate(rest))


class PrunedJudge:
    """Tells what strategies are worth; see `PrunedAccuracy.judge`."""

    def __init__(
        self,
        reward: PrunedAccuracy,
        network: AbstractNetwork,
        problem: Problem,
        data: LearnableDataset,
        *,
        rows: np.ndarray | None,
        seed: int,
        runtime: Runtime,
        place: Place | None,
    ) -> None:
        if reward.attacked and data.noun != "images":
            raise MethodError(
                f"PrunedAccuracy(attack={reward.attack.name if reward.attack else None}): {data.name} has {data.noun}, "
                "and only images are attacked. Leave the attack out."
            )
        self.reward, self.seed = reward, seed
        self.place = place or Place(next(network.parameters()).device)
        self.ranking = Ranking(network, problem)
        self.folded = () if reward.statistics == "batch" else foldable(network, shape_of(network, None))
        self.held, self.rest = hold_out(data, reward.share, rows)
        self.data = data
        self.inputs: AbstractInputs = inputs(network, data, workers=runtime.workers)
        self.evaluated = 0

    def __call__(self, strategy: PruningStrategy) -> Outcome:
        """Gives the reward of a strategy, and the two accuracies.

        Raises:
            MethodError: it is for another architecture.
        """
        reward = self.reward
        network, masks = self.ranking.network_of(strategy)
        if reward.fine_tune is not None:
            tune(
                network,
                masks,
                reward.fine_tune,
                inputs=self.inputs,
                data=self.data,
                rows=self.rest,
                seed=self.seed,
                place=self.place,
            )
        self._set_statistics(network)
        fold(network, self.folded)
        clean, robust = self._accuracies(network)
        self.evaluated += 1
        worth = combined(clean, robust or 0.0, reward.mode if reward.attacked else "clean", reward.beta)
        return Outcome(worth, clean, robust)

    def _set_statistics(self, network: nn.Module) -> None:
        network.eval()
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        if self.reward.statistics == "batch":
            for norm in norms:
                # In training mode without tracking a layer normalises by its batch and writes nothing.
                norm.training, norm.track_running_stats = True, False
        elif self.reward.statistics == "recalibrated":
            chosen = self.rest[: self.reward.calibration]
            with torch.no_grad(), self.place.autocast():
                recalibrate(network, (x for x, _ in self.inputs.batches(parts(chosen, self.reward.batch))))

    def _accuracies(self, network: nn.Module) -> tuple[float, float | None]:
        reward, total = self.reward, len(self.held)
        right_before = right_after = 0
        left: list[tuple[Tensor, Tensor]] = []
        for number, (x, y) in enumerate(self.inputs.batches(parts(self.held, reward.batch))):
            with torch.no_grad(), self.place.autocast():
                right = self._right(network, x, y)
            right_before += int(right.sum())
            if reward.attacked and reward.statistics == "batch":
                right_after += self._after(network, x, y, right, number)
            elif reward.attacked:
                left.append((x[right], y[right]))
        if right_before and left:
            # What is right of all batches is attacked in whole batches again: small ones take nearly as long.
            x, y = (torch.cat(part) for part in zip(*left, strict=True))
            pieces = -(-len(y) // reward.batch)
            for number, (images, labels) in enumerate(zip(x.chunk(pieces), y.chunk(pieces), strict=True)):
                right_after += self._after(network, images, labels, torch.ones_like(labels, dtype=torch.bool), number)
        return right_before / total, right_after / total if reward.attacked else None

    def _after(self, network: nn.Module, x: Tensor, y: Tensor, right: Tensor, number: int) -> int:
        """Gives how many that were right stay so."""
        assert self.reward.attack is not None
        with self.place.autocast():
            moved = self.reward.attack(network, x, y, seed=key(self.seed, "search-attack", number))
            with torch.no_grad():
                return int((right & self._right(network, moved, y)).sum())

    def _right(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        logits = network(x).float()
        if self.reward.top == 1:
            return logits.argmax(dim=1) == y
        return (logits.topk(min(self.reward.top, logits.shape[1]), dim=1).indices == y[:, None]).any(dim=1)


def parts(rows: np.ndarray, batch: int) -> list[np.ndarray]:
    """Gives rows in batches of nearly the same size, none above `batch`."""
    return np.array_split(rows, -(-len(rows) // batch))


def recalibrate(network: nn.Module, batches: Iterator[Tensor]) -> None:
    """Gathers the running statistics of batch normalisation anew: the mean over batches of what each would give.

    Args:
        network: in inference mode, and left so; other layers stay in it, so that nothing is drawn.
        batches: images.
    """
    norms = [
        module for module in network.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True  # none takes the plain mean over batches
    for batch in batches:
        network(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum, norm.training = momentum, False
