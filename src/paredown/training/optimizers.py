"""Torch's optimizers as methods: their settings are fields, their parameters are a network's."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from paredown.errors import MethodError
from paredown.method import Method

NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
"""What normalises; the first stands for batch and instance normalisation in any number of dimensions."""


class AbstractOptimizer(Method):
    """How a gradient becomes a step. The rate is the field `lr` times the schedule's share."""

    kind: ClassVar[str] = "optimizer"
    lr: float

    @abstractmethod
    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        """Makes the optimizer of a network's trainable parameters."""


@dataclass(frozen=True)
class Sgd(AbstractOptimizer):
    """Stochastic gradient descent: `g ← g + λw; m ← μm + g; w ← w − η(g + μm)` with Nesterov's momentum.

    Args:
        lr: the rate η that the schedule scales.
        momentum: μ.
        nesterov: look ahead along the momentum; without it `w ← w − ηm`.
        weight_decay: λ, added to the gradient.
        spare_norms: leave biases and the scales of normalisation without weight decay. The data-diet papers decay all.
    """

    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    spare_norms: bool = False

    def __post_init__(self) -> None:
        _check("Sgd", self.lr, self.weight_decay)
        if not 0 <= self.momentum < 1:
            raise MethodError(f"Sgd(momentum={self.momentum}): momentum lies from 0 up to, not including, 1.")

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        # Without momentum there is nothing to look ahead along, and torch refuses the pair.
        nesterov = self.nesterov and self.momentum > 0
        groups = _groups(network, self.weight_decay, self.spare_norms)
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, nesterov=nesterov)


@dataclass(frozen=True)
class Adam(AbstractOptimizer):
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient.

    Args:
        lr: the rate that the schedule scales.
        betas: how slowly the first and the second moment forget.
        eps: added to the root of the second moment.
        weight_decay: the coefficient of the weights in the gradient.
        spare_norms: leave biases and the scales of normalisation without weight decay.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    spare_norms: bool = False

    def __post_init__(self) -> None:
        _check("Adam", self.lr, self.weight_decay, self.betas)

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        groups = _groups(network, self.weight_decay, self.spare_norms)
        return torch.optim.Adam(groups, lr=self.lr, betas=self.betas, eps=self.eps)


@dataclass(frozen=True)
class AdamW(AbstractOptimizer):
    """Adam with the weights decayed apart from the gradient (Loshchilov and Hutter 2019).

    Args:
        lr: the rate that the schedule scales.
        betas: how slowly the first and the second moment forget.
        eps: added to the root of the second moment.
        weight_decay: the share of each weight, times the rate, that a step takes away.
        spare_norms: leave biases and the scales of normalisation without weight decay.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.01
    spare_norms: bool = True

    def __post_init__(self) -> None:
        _check("AdamW", self.lr, self.weight_decay, self.betas)

    def build(self, network: nn.Module) -> torch.optim.Optimizer:
        groups = _groups(network, self.weight_decay, self.spare_norms)
        return torch.optim.AdamW(groups, lr=self.lr, betas=self.betas, eps=self.eps)


def set_rate(optimizer: torch.optim.Optimizer, rate: float, momentum: float | None = None) -> None:
    """Gives every group of an optimizer the same rate, and the same momentum where one is given."""
    for group in optimizer.param_groups:
        group["lr"] = rate
        if momentum is not None:
            group["momentum"] = momentum


def _groups(network: nn.Module, weight_decay: float, spare_norms: bool) -> list[dict[str, Any]]:
    learnt = [weight for weight in network.parameters() if weight.requires_grad]
    if not spare_norms:
        return [{"params": learnt, "weight_decay": weight_decay}]
    # By the type of the module, not by its name; the scales of layer normalisation may have as many axes as a weight.
    scales = {scale for norm in network.modules() if isinstance(norm, NORMS) for scale in norm.parameters()}
    decayed = [weight for weight in learnt if weight.ndim > 1 and weight not in scales]
    spared = [weight for weight in learnt if weight.ndim <= 1 or weight in scales]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": spared, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _check(owner: str, lr: float, weight_decay: float, betas: tuple[float, float] = (0.0, 0.0)) -> None:
    if lr <= 0:
        raise MethodError(f"{owner}(lr={lr}): nothing would be learnt. Give a rate above 0.")
    if weight_decay < 0:
        raise MethodError(f"{owner}(weight_decay={weight_decay}): weights would grow. Give 0 or more.")
    if not all(0 <= beta < 1 for beta in betas):
        raise MethodError(f"{owner}(betas={betas}): each lies from 0 up to, not including, 1.")
