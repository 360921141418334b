"""Attacks that look for the nearest image that is classified wrongly: DeepFool, and Carlini and Wagner in L2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from paredown.attacks import losses
from paredown.attacks.base import TINY, AbstractAttack, Norm, full, lengths
from paredown.errors import MethodError


@dataclass(frozen=True)
class DeepFool(AbstractAttack):
    """DeepFool: walks to the nearest boundary of the network's linear approximation, again and again.

    For each class k: distance |z_k - z_c| / ‖∇z_k - ∇z_c‖_q (q = 2 for L2, 1 for L∞) from the present class c; the
    nearest one is crossed, with a little more (Moosavi-Dezfooli et al. 2016, algorithm 2). It leaves the network's own
    class, not the label, and stops where it has left it.

    Args:
        norm: in which the image is to be near.
        eps: the radius that the answer is cut back to, so that it can be compared with other attacks; none for the
            nearest image wherever it is.
        steps: rounds; each takes a backward pass for each class.
        overshoot: how much further than the boundary, as a share.
    """

    norm: Norm = "l2"
    eps: float | None = None
    steps: int = 50
    overshoot: float = 0.02

    bounded: ClassVar[bool] = False
    paper: ClassVar[str] = (
        "Moosavi-Dezfooli, Fawzi, Frossard 2016, DeepFool: a Simple and Accurate Method to Fool Deep Neural Networks"
    )

    def __post_init__(self) -> None:
        self.check()
        if self.steps < 1 or self.overshoot < 0:
            raise MethodError(
                f"DeepFool(steps={self.steps}, overshoot={self.overshoot:g}): at least one round, and no overshoot "
                "below 0."
            )

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        shape = (-1, *[1] * (x.dim() - 1))
        with torch.no_grad():
            first = network(x).argmax(dim=1)
        change, moved = torch.zeros_like(x), x.clone()
        for _ in range(self.steps):
            logits, slopes = _slopes(network, moved)
            alive = logits.argmax(dim=1) == first
            if not alive.any():
                break
            gap = (logits - logits.gather(1, first[:, None])).abs()
            slope = slopes - slopes[torch.arange(len(x), device=x.device), first][:, None]
            size = slope.flatten(2).norm(p=2 if self.norm == "l2" else 1, dim=2)
            distance = (gap / size.clamp_min(TINY)).scatter(1, first[:, None], torch.inf)
            near, nearest = distance.min(dim=1)
            along = slope[torch.arange(len(x), device=x.device), nearest]
            along = along / lengths(along).clamp_min(TINY) if self.norm == "l2" else along.sign()
            change = change + torch.where(alive.view(shape), (near.view(shape) + 1e-6) * along, 0.0)
            moved = (x + (1 + self.overshoot) * change).clamp(0.0, 1.0)
        return moved


@dataclass(frozen=True)
class CarliniWagner(AbstractAttack):
    """Carlini and Wagner's L2 attack: the smallest change that makes another class win, by Adam over tanh space.

    Minimises ‖x' - x‖² + c · max(z_y - max_{k≠y} z_k + κ, 0) with a binary search over c for each example (Carlini and
    Wagner 2017, section VI-A).

    Args:
        norm: L2 only.
        eps: the radius that the answer is cut back to; none for the nearest image wherever it is.
        steps: of Adam, for each c.
        searches: values of c that are tried.
        lr: of Adam.
        confidence: κ, by how much the other class must win.
        c: the first of them.
    """

    norm: Norm = "l2"
    eps: float | None = None
    steps: int = 200
    searches: int = 6
    lr: float = 0.01
    confidence: float = 0.0
    c: float = 1.0

    bounded: ClassVar[bool] = False
    paper: ClassVar[str] = "Carlini, Wagner 2017, Towards Evaluating the Robustness of Neural Networks, section VI-A"

    def __post_init__(self) -> None:
        self.check()
        if self.norm != "l2":
            raise MethodError(f"CarliniWagner(norm={self.norm!r}): this attack measures in L2 only. Use norm=l2.")
        if self.steps < 1 or self.searches < 1 or self.lr <= 0 or self.c <= 0:
            raise MethodError("CarliniWagner: steps, searches, lr and c are above 0, and one of these is not.")

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        count, shape = len(x), (-1, *[1] * (x.dim() - 1))
        inside = (2 * x - 1).clamp(-1 + 1e-6, 1 - 1e-6)
        best, nearest = x.clone(), full(x).new_full((count,), torch.inf)
        low, high = full(x).new_zeros(count), full(x).new_full((count,), torch.inf)
        weight = full(x).new_full((count,), self.c)
        for _ in range(self.searches):
            place = torch.atanh(inside).requires_grad_(True)
            adam = torch.optim.Adam([place], lr=self.lr)
            reached = torch.zeros(count, dtype=torch.bool, device=x.device)
            for _ in range(self.steps):
                with torch.enable_grad():
                    moved = (torch.tanh(place) + 1) / 2
                    logits = full(network(moved))
                    far = (moved - x).flatten(1).square().sum(dim=1)
                    held = (-losses.margin(logits, y) + self.confidence).clamp_min(0.0)
                    (place.grad,) = torch.autograd.grad((far + weight * held).sum(), place)
                wrong = (losses.margin(logits.detach(), y) > self.confidence) & (far.detach() < nearest)
                best[wrong], nearest[wrong] = moved.detach()[wrong], far.detach()[wrong]
                reached |= losses.margin(logits.detach(), y) > self.confidence
                adam.step()
            high = torch.where(reached, torch.minimum(high, weight), high)
            low = torch.where(reached, low, torch.maximum(low, weight))
            weight = torch.where(high.isinf(), weight * 10, (low + high) / 2)
        found = nearest.isfinite().view(shape)
        return torch.where(found, best, x)


def _slopes(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Gives the logits (B, C) and the gradient of each by the image (B, C, …)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = full(network(x))
        rows = [
            torch.autograd.grad(logits[:, column].sum(), x, retain_graph=column + 1 < logits.shape[1])[0]
            for column in range(logits.shape[1])
        ]
    return logits.detach(), torch.stack(rows, dim=1)
