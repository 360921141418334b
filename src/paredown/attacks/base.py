"""What an attack is: it looks for a nearby image that the network gets wrong, inside the ball that it is allowed.

Images lie in [0, 1]; so do the distances: 8/255 is eight grey levels. The base class projects every answer into the
ball and clips it to the box, leaves the network as it found it, and never computes a gradient of a weight.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from paredown.errors import MethodError
from paredown.method import Method

Norm = Literal["linf", "l2"]
Loss = Callable[[Tensor], Tensor]
"""From logits (B, C) to one number an example (B,); an attack makes it large."""

TINY = 1e-12


@dataclass(frozen=True)
class Ball:
    """The images that an attack may give: at most `eps` away from the clean one, and inside the box.

    Args:
        norm: "linf" (no pixel changes by more) or "l2" (Euclidean length of the change).
        eps: the radius, in units of [0, 1] pixels.
    """

    norm: Norm
    eps: float

    def project(self, moved: Tensor, x: Tensor) -> Tensor:
        """Gives allowed images near those given.

        In L2 the box comes first: shrinking a change that stays in the box keeps it there, and more of the ball is used
        than if what the box cuts off were lost.
        """
        if self.norm == "linf":
            return (x + self.shorten(moved - x)).clamp(0.0, 1.0)
        return x + self.shorten(moved.clamp(0.0, 1.0) - x)

    def shorten(self, change: Tensor) -> Tensor:
        """Gives the nearest change that the radius allows."""
        if self.norm == "linf":
            return change.clamp(-self.eps, self.eps)
        return change * (self.eps / lengths(change).clamp_min(TINY)).clamp_max(1.0)

    def direction(self, gradient: Tensor) -> Tensor:
        """Gives the steepest direction of length one in this norm; zero where the gradient is."""
        if self.norm == "linf":
            return gradient.sign()
        return gradient / lengths(gradient).clamp_min(TINY)

    def draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Gives images drawn uniformly from the ball and clipped to the box."""
        if self.norm == "linf":
            noise = torch.rand(x.shape, generator=generator, device=x.device, dtype=x.dtype) * 2 - 1
            return (x + self.eps * noise).clamp(0.0, 1.0)
        noise = torch.randn(x.shape, generator=generator, device=x.device, dtype=x.dtype)
        radius = torch.rand(len(x), generator=generator, device=x.device, dtype=x.dtype)
        radius = radius.pow(1 / x[0].numel()).view(-1, *[1] * (x.dim() - 1))
        return self.project(x + self.eps * radius * noise / lengths(noise).clamp_min(TINY), x)


class AbstractAttack(Method):
    """Looks for adversarial images: write `perturb`.

    Every attack has the fields `norm` and `eps`.
    """

    kind: ClassVar[str] = "attack"
    paper: ClassVar[str] = ""
    bounded: ClassVar[bool] = True
    """Whether it searches inside the ball; one that looks for the nearest wrong image is cut back to it at the end."""

    norm: Norm
    eps: float | None
    """The radius; none, for an attack that is not `bounded`, gives the nearest wrong image wherever it is."""

    @abstractmethod
    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        """Gives images that the network is more likely to get wrong, shape (B, C, H, W).

        Args:
            network: from pixels in [0, 1] to logits; its weights need no gradient here.
            x: clean images, shape (B, C, H, W), in [0, 1].
            y: labels, int64 (B,).
            generator: for what is drawn.
        """

    @property
    def ball(self) -> Ball:
        """Where it may look."""
        return Ball(self.norm, math.inf if self.eps is None else self.eps)

    def check(self) -> None:
        """Refuses radii that cannot be meant; to be called from `__post_init__`.

        Raises:
            MethodError: an unknown norm, or a radius that is negative or larger than the box.
        """
        name = type(self).__name__
        if self.norm not in ("linf", "l2"):
            raise MethodError(f"{name}(norm={self.norm!r}): not a norm. Use linf or l2.")
        if self.eps is None:
            if self.bounded:
                raise MethodError(f"{name}(eps=None): this attack needs a radius, such as 8/255.")
            return
        if not math.isfinite(self.eps) or self.eps < 0:
            raise MethodError(f"{name}(eps={self.eps:g}): a radius is a number from 0 up.")
        if self.norm == "linf" and self.eps > 1:
            raise MethodError(
                f"{name}(eps={self.eps:g}): pixels lie in [0, 1], so this allows any image at all. "
                f"Radii in grey levels are divided by 255: write {self.eps:g}/255."
            )

    def refuse_wide(self, shape: tuple[int, ...]) -> None:
        """Refuses a radius that holds every image of a shape, as one in grey levels does.

        Raises:
            MethodError: no two images are so far apart.
        """
        if self.norm == "l2" and self.eps is not None and self.eps > math.sqrt(math.prod(shape)):
            raise MethodError(
                f"{type(self).__name__}(eps={self.eps:g}): no two images of this size are so far apart in L2. "
                f"Radii in grey levels are divided by 255: write {self.eps:g}/255."
            )

    def __call__(self, network: nn.Module, x: Tensor, y: Tensor, *, seed: int = 0) -> Tensor:
        """Gives adversarial images, inside the ball and the box, without gradient.

        Args:
            network: left as it was: weights, gradients, modes and statistics.
            x: clean images in [0, 1], shape (B, C, H, W).
            y: labels, int64 (B,).
            seed: of what it draws.

        Raises:
            MethodError: images outside [0, 1], or a network that gives no logits to climb.
        """
        name = type(self).__name__
        if len(x) and not bool(((x >= 0) & (x <= 1)).all()):
            raise MethodError(
                f"{name}: images lie from {float(x.min()):g} to {float(x.max()):g}, and they must lie in [0, 1]. "
                "Leave normalisation to the network's first layer."
            )
        self.refuse_wide(x.shape[1:])
        if not len(x) or self.eps == 0:
            return x.clone()
        generator = torch.Generator(x.device).manual_seed(seed)
        with undisturbed(network):
            moved = self.perturb(network, x.detach(), y, generator).detach()
        return self.ball.project(moved, x.detach())


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Keeps weights free of gradients and batch statistics as they are; in training mode batches still normalise.

    Running statistics are switched off and not saved and put back, so that nothing is written that another thread or a
    compiled graph could see.
    """
    weights = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    norms = [(module, module.track_running_stats) for module in network.modules() if isinstance(module, _BatchNorm)]
    for parameter, _ in weights:
        parameter.requires_grad_(False)
    for module, _ in norms:
        if module.training:
            module.track_running_stats = False
    try:
        yield
    finally:
        for parameter, needed in weights:
            parameter.requires_grad_(needed)
        for module, tracked in norms:
            module.track_running_stats = tracked


def climb(network: nn.Module, x: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Gives the gradient of the summed loss by the images, the loss of each, and the logits.

    The sum, not the mean: one image's gradient does not depend on how many others are in the batch.
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_(True)
        logits = network(x)
        losses = loss(full(logits))
        (gradient,) = torch.autograd.grad(losses.sum(), x)
    return gradient, losses.detach(), logits.detach()


def refuse_unfit(network: nn.Module, x: Tensor, owner: str) -> None:
    """Refuses a network that no attack can climb, so that what attacks find would mean nothing.

    Args:
        network: left as it was; it is looked at in evaluation mode.
        x: some images that it takes.
        owner: the beginning of the message.

    Raises:
        MethodError: it gives what is not finite, gives probabilities, or gives other logits each time.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            logits, again = full(network(x)), full(network(x))
    finally:
        for module, training in modes:
            module.training = training
    if not torch.isfinite(logits).all():
        raise MethodError(
            f"{owner}: the network gives logits that are not finite, so it has no accuracy. "
            "Its training diverged: look at the loss, and lower the learning rate."
        )
    whole = (logits.sum(dim=1) - 1).abs().max() < 1e-3
    if whole and logits.min() >= 0 and logits.max() <= 1:
        raise MethodError(
            f"{owner}: what the network gives lies in [0, 1] and sums to 1, so it gives probabilities, and where "
            "they are near 1 an attack finds no gradient. Leave out the softmax: attacks need logits."
        )
    if (logits - again).abs().max() > 1e-3 * logits.abs().max():
        raise MethodError(
            f"{owner}: the network gives other logits for the same images, so something in it is drawn by chance "
            "(dropout that stays on?), and an attack climbs noise. Turn it off in inference mode."
        )


def full(logits: Tensor) -> Tensor:
    """Gives logits in float32, or in float64 where they are."""
    return logits if logits.dtype == torch.float64 else logits.float()


def lengths(change: Tensor) -> Tensor:
    """Gives the Euclidean length of each example's change, shape (B, 1, 1, 1)."""
    return change.flatten(1).norm(dim=1).view(-1, *[1] * (change.dim() - 1))
