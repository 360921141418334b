"""What a step minimises: plain cross-entropy, or a loss of images that an attack has moved.

Every adversarial objective works alike: an attack looks for images near the clean ones, with weights that need no
gradient and running statistics that stay as they are; then the passes that train are made, the clean one first, and
each of these updates the running statistics. What the attack draws follows the seed, the step and the process. Those
that take a single step of an attack stand in `single_step`.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from paredown.attacks import AbstractAttack, Pgd, ascend, losses
from paredown.attacks.base import Ball, Loss, full
from paredown.errors import MethodError
from paredown.method import Method
from paredown.training import robust_losses
from paredown.training.labels import hard
from paredown.training.passes import Mode, Passes

NEAR = 0.001
"""Standard deviation of the noise from which some attacks begin; at the clean image itself a divergence is flat."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What an objective gives for a batch.

    Args:
        losses: one an example, with gradient, shape (B,).
        clean: logits of the clean images, shape (B, C); none where no such pass was made.
        adversarial: logits of what the attack reached, shape (B, C); none without an attack.
    """

    losses: Tensor
    clean: Tensor | None = None
    adversarial: Tensor | None = None

    def detached(self) -> Seen:
        """Gives the same without gradient."""
        parts = (self.losses, self.clean, self.adversarial)
        return Seen(*(None if part is None else part.detach() for part in parts))  # type: ignore[arg-type]


class AbstractObjective(Method):
    """What a step minimises: write `losses`."""

    kind: ClassVar[str] = "objective"
    paper: ClassVar[str] = ""
    attacks: ClassVar[bool] = True
    """Whether it gives adversarial logits, which only images have."""
    smooths: ClassVar[bool] = True
    """Whether it takes label smoothing."""
    replays: int = 1
    """How many steps are taken on a batch before the next one comes."""
    persists: Literal["step", "epoch", "training"] = "step"
    """How long a change of the images lasts that one step hands to the next in `Passes.perturbation`."""

    @property
    def looks_clean(self) -> bool:
        """Whether it gives clean logits."""
        return True

    @abstractmethod
    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        """Gives the loss of each example, and the logits that it comes from.

        Args:
            passes: the network.
            x: a batch, shape (B, …); images lie in [0, 1].
            y: labels, int64 (B,).
            label_smoothing: ε; 0 where the objective takes none.
        """


@dataclass(frozen=True)
class CrossEntropy(AbstractObjective):
    """Cross-entropy of the examples as they are: -log p_y; of a learnt label y is the class that stands highest."""

    attacks: ClassVar[bool] = False

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        (logits,) = passes.logits(x)
        return Seen(smoothed(logits, hard(y), label_smoothing), logits)


@dataclass(frozen=True)
class Madry(AbstractObjective):
    """Adversarial training: cross-entropy of images that an attack has moved.

    min_θ E max_{x' in the ball} CE(f(x'), y) (Madry et al. 2018, section 2). With a clean share s the loss is
    s · CE(f(x), y) + (1 - s) · CE(f(x'), y).

    Args:
        attack: the inner one.
        clean_share: s; at 0 no clean pass is made.
        looks: the mode in which the attack sees the network: "evaluation" normalises by running statistics, "training"
            by those of the batch.
    """

    attack: AbstractAttack = Pgd()  # noqa: RUF009  (frozen)
    clean_share: float = 0.0
    looks: Mode = "evaluation"

    paper: ClassVar[str] = "Madry et al. 2018, Towards Deep Learning Models Resistant to Adversarial Attacks, section 2"

    def __post_init__(self) -> None:
        if not 0 <= self.clean_share < 1:
            raise MethodError(
                f"Madry(clean_share={self.clean_share:g}): a share lies from 0 up to below 1. "
                "For clean images alone take cross-entropy."
            )
        _refuse_unbounded("Madry", self.attack)

    @property
    def looks_clean(self) -> bool:
        return self.clean_share > 0

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        moved = passes.attacked(self.attack, x, y, mode=self.looks)
        if not self.looks_clean:
            (adversarial,) = passes.logits(moved)
            return Seen(smoothed(adversarial, y, label_smoothing), None, adversarial)
        clean, adversarial = passes.logits(x, moved)
        natural, robust = (smoothed(logits, y, label_smoothing) for logits in (clean, adversarial))
        return Seen(self.clean_share * natural + (1 - self.clean_share) * robust, clean, adversarial)


@dataclass(frozen=True)
class Trades(AbstractObjective):
    """TRADES: cross-entropy of the clean image, and how far the moved one's probabilities lie from the clean one's.

    CE(f(x), y) + β · KL(P(x) ‖ P(x')) (Zhang et al. 2019, equation 5). The attack climbs that divergence from the
    detached clean probabilities.

    Args:
        beta: β, called 1/λ in the paper.
        attack: its ball, step, number of steps and momentum. In L∞ it begins anywhere in the ball, in L2 at the clean
            image plus 0.001 times normal noise. The published code takes 2ε/steps for the step in L2.
        looks: the mode in which the attack, and the clean probabilities that it leaves behind, see the network:
            "training" normalises by the batch, as Wang et al. 2023 do; "evaluation" by running statistics, as the
            paper's own code does.
    """

    beta: float = 5.0
    attack: Pgd = Pgd()  # noqa: RUF009  (frozen)
    looks: Mode = "training"

    paper: ClassVar[str] = (
        "Zhang et al. 2019, Theoretically Principled Trade-off between Robustness and Accuracy, equation 5"
    )

    def __post_init__(self) -> None:
        _refuse_beta("Trades", self.beta)
        _refuse_other_pgd("Trades", self.attack)

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        ball = self.attack.ball
        with passes.looking(self.looks) as generator:
            with torch.no_grad():
                target = full(passes.network(x)).softmax(dim=1)
            begun = ball.draw(x, generator) if ball.norm == "linf" else beside(x, ball, generator)
            moved = _climbed(passes, self.attack, x, begun, partial(losses.divergence, clean=target))
        clean, adversarial = passes.logits(x, moved)
        lost = robust_losses.trades(clean, adversarial, y, beta=self.beta, label_smoothing=label_smoothing)
        return Seen(lost, clean, adversarial)


@dataclass(frozen=True)
class Mart(AbstractObjective):
    """MART: a boosted cross-entropy of the moved image, and the divergence, weighted by how unsure the clean one is.

    BCE(P(x'), y) + β · (1 - P(x)_y) · KL(P(x) ‖ P(x')) (Wang et al. 2020, equation 7). The attack climbs the
    cross-entropy from the clean image plus 0.001 times normal noise.

    Args:
        beta: β, called λ in the paper.
        attack: its ball, step, number of steps and momentum.
        looks: the mode in which the attack sees the network: "evaluation" normalises by running statistics, "training"
            by those of the batch.
    """

    beta: float = 5.0
    attack: Pgd = Pgd()  # noqa: RUF009  (frozen)
    looks: Mode = "evaluation"

    smooths: ClassVar[bool] = False
    paper: ClassVar[str] = (
        "Wang et al. 2020, Improving Adversarial Robustness Requires Revisiting Misclassified Examples, equation 7"
    )

    def __post_init__(self) -> None:
        _refuse_beta("Mart", self.beta)
        _refuse_other_pgd("Mart", self.attack)

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        with passes.looking(self.looks) as generator:
            begun = beside(x, self.attack.ball, generator)
            moved = _climbed(passes, self.attack, x, begun, partial(losses.cross_entropy, y=y))
        clean, adversarial = passes.logits(x, moved)
        return Seen(robust_losses.mart(clean, adversarial, y, beta=self.beta), clean, adversarial)


def beside(x: Tensor, ball: Ball, generator: torch.Generator) -> Tensor:
    """Gives the clean images plus 0.001 times normal noise, inside the ball."""
    noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
    return ball.project(x + NEAR * noise, x)


def _climbed(passes: Passes, attack: Pgd, x: Tensor, begun: Tensor, loss: Loss) -> Tensor:
    return ascend(
        passes.network,
        x,
        begun,
        loss,
        ball=attack.ball,
        step=attack.step,
        steps=attack.steps,
        momentum=attack.momentum,
    ).detach()


def smoothed(logits: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
    """Gives the cross-entropy of each example, shape (B,)."""
    return functional.cross_entropy(logits, y, reduction="none", label_smoothing=label_smoothing)


def _refuse_beta(owner: str, beta: float) -> None:
    if not 0 <= beta < float("inf"):
        raise MethodError(f"{owner}(beta={beta:g}): images that resist would be punished. Give 0 or more.")


def _refuse_unbounded(owner: str, attack: AbstractAttack) -> None:
    if attack.eps is None:
        raise MethodError(f"{owner}(attack={attack.name}): the attack has no radius. Give eps, such as 8/255.")


def _refuse_other_pgd(owner: str, attack: Pgd) -> None:
    """What would be ignored is refused: these objectives have a start and a loss of their own."""
    plain = Pgd(norm=attack.norm, eps=attack.eps, step=attack.step, steps=attack.steps, momentum=attack.momentum)
    if attack != plain:
        raise MethodError(
            f"{owner}(attack=…): it has a start and a loss of its own, and of the attack it takes norm, eps, step, "
            "steps and momentum. Leave the other fields out."
        )
