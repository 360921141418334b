"""Scores of one network's mistakes: how far its probabilities p = softmax(f(x)) are from the label y.

The formulas are functions on logits and labels; the classes below only say which one, its direction and its range.
All are computed in float32. The error of the label itself, p_y - 1, is computed as -Σ_{c≠y} p_c, so that examples
that the network is almost sure of keep their order instead of all rounding to 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.artifacts.scores import Direction
from paredown.errors import MethodError
from paredown.scoring.base import AbstractModelScorer
from paredown.scoring.statistics import Statistics

DATA_DIET = "Paul, Ganguli, Dziugaite 2021, Deep Learning on a Data Diet"


def el2n(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives the L2 norm of the error of the probabilities, ‖p - e_y‖₂, in [0, √2].

    Args:
        logits: f(x), shape (B, C).
        labels: y, shape (B,).

    Returns:
        float32, shape (B,).

    >>> el2n(torch.zeros(1, 2), torch.tensor([0]))
    tensor([0.7071])
    """
    others, missing = _probabilities(logits, labels)
    # One norm of the whole error vector: squares of tiny probabilities would underflow one by one.
    return torch.linalg.vector_norm(torch.cat([others, missing[:, None]], dim=1), dim=1)


def el1n(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives the L1 norm of the error of the probabilities, ‖p - e_y‖₁ = 2 (1 - p_y), in [0, 2]."""
    _, missing = _probabilities(logits, labels)
    return 2 * missing


def margin_max(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives by how much the most probable other class leads, max_{c≠y} p_c - p_y, in [-1, 1]."""
    others, missing = _probabilities(logits, labels)
    if logits.shape[1] < 2:
        raise MethodError(
            "MaxMargin: the network has one class, and a margin is between two. Use data with more classes."
        )
    return others.amax(dim=1) - (1 - missing)


def margin_sum(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives Σ_{c≠y} (p_c - p_y) = 1 - C p_y, in [1 - C, 1]."""
    _, missing = _probabilities(logits, labels)
    return missing - (logits.shape[1] - 1) * (1 - missing)


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives the cross-entropy -log p_y (natural logarithm), at least 0."""
    check_shapes(logits, labels)
    return functional.cross_entropy(logits.float(), labels, reduction="none")


def entropy(logits: Tensor) -> Tensor:
    """Gives the entropy of the probabilities, -Σ_c p_c log p_c (natural logarithm), in [0, log C]."""
    return torch.special.entr(functional.softmax(logits.float(), dim=1)).sum(dim=1)


def confidence(logits: Tensor, labels: Tensor) -> Tensor:
    """Gives the probability of the label, p_y, in [0, 1]."""
    check_shapes(logits, labels)
    return functional.softmax(logits.float(), dim=1).gather(1, labels[:, None])[:, 0]


def _probabilities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the probabilities with the label's set to 0, shape (B, C), and what the label's lacks to 1, shape (B,)."""
    check_shapes(logits, labels)
    others = functional.softmax(logits.float(), dim=1).scatter(1, labels[:, None], 0.0)
    return others, others.sum(dim=1)


def check_shapes(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise MethodError(
            f"Scores need logits of shape (examples, classes) and one label each; the network gave "
            f"{tuple(logits.shape)} for {len(labels)} labels. Use a network that classifies."
        )
    if len(labels) and int(labels.max()) >= logits.shape[1]:
        raise MethodError(
            f"Label {int(labels.max())} has no logit: the network knows {logits.shape[1]} classes. "
            "Score the data that it was trained for."
        )


@dataclass(frozen=True)
class El2n(AbstractModelScorer):
    """EL2N: the L2 norm of the error of the probabilities, ‖p - e_y‖₂.

    Published after a few epochs of training (20 of 200 on CIFAR-10) as a mean over ten runs. Paul, Ganguli, Dziugaite
    2021, section 2.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.sqrt(2.0)
    paper: ClassVar[str] = f"{DATA_DIET}, section 2"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return el2n(network(x), y)


@dataclass(frozen=True)
class El1n(AbstractModelScorer):
    """EL1N: the L1 norm of the error of the probabilities, ‖p - e_y‖₁; the same order as confidence, turned.

    It stands in the code of Paul, Ganguli, Dziugaite 2021 and not in the paper.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 2.0
    paper: ClassVar[str] = f"{DATA_DIET}, code only"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return el1n(network(x), y)


@dataclass(frozen=True)
class MaxMargin(AbstractModelScorer):
    """Max margin: by how much the most probable other class leads the label, max_{c≠y} p_c - p_y.

    It stands in the code of Paul, Ganguli, Dziugaite 2021 and not in the paper.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = -1.0
    high: ClassVar[float] = 1.0
    paper: ClassVar[str] = f"{DATA_DIET}, code only"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return margin_max(network(x), y)


@dataclass(frozen=True)
class SumMargin(AbstractModelScorer):
    """Sum margin: by how much the other classes together lead the label, Σ_{c≠y} (p_c - p_y).

    Its lower end, 1 - C, depends on the number of classes. It stands in the code of Paul, Ganguli, Dziugaite 2021 and
    not in the paper.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = -math.inf
    high: ClassVar[float] = 1.0
    paper: ClassVar[str] = f"{DATA_DIET}, code only"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return margin_sum(network(x), y)


@dataclass(frozen=True)
class Loss(AbstractModelScorer):
    """Loss: the cross-entropy of the label, -log p_y.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = "Loshchilov, Hutter 2016, Online Batch Selection for Faster Training of Neural Networks"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return loss(network(x), y)


@dataclass(frozen=True)
class Entropy(AbstractModelScorer):
    """Entropy: how undecided the network is, -Σ_c p_c log p_c, whatever the label.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = (
        "Coleman et al. 2020, Selection via Proxy: Efficient Data Selection for Deep Learning, section 3"
    )

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return entropy(network(x))


@dataclass(frozen=True)
class Confidence(AbstractModelScorer):
    """Confidence: the probability that the network gives the label, p_y; low means hard.

    Args:
        bn: statistics of batch normalisation, see `scoring.statistics`.
    """

    bn: Statistics = "running"

    important: ClassVar[Direction] = "low"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    paper: ClassVar[str] = "Swayamdipta et al. 2020, Dataset Cartography, section 2.1, of one epoch"

    def values(self, network: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        return confidence(network(x), y)
