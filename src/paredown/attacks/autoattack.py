"""AutoAttack itself, by the library `pyautoattack`: the robust accuracy that papers report."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from paredown.attacks.base import AbstractAttack, Norm
from paredown.errors import MethodError, require

TARGETS = 9
"""Classes that the targeted attacks aim at where there are so many others."""
NORMS = {"linf": "Linf", "l2": "L2"}


@dataclass(frozen=True)
class AutoAttack(AbstractAttack):
    """AutoAttack: Auto-PGD, targeted Auto-PGD, targeted FAB and Square, one after the other, without a setting to tune.

    An image that none of the four fools comes back clean (Croce and Hein 2020, section 5). With fewer than ten classes
    the targeted attacks aim at all the others.

    Args:
        norm: of the ball.
        eps: its radius ε.
        variant: "standard" is what papers report; "plus" adds the untargeted DLR and FAB attacks and restarts.
    """

    norm: Norm = "linf"
    eps: float | None = 8 / 255
    variant: Literal["standard", "plus"] = "standard"

    paper: ClassVar[str] = (
        "Croce, Hein 2020, Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
        "Parameter-free Attacks, section 5"
    )

    def __post_init__(self) -> None:
        self.check()

    @property
    def libraries(self) -> Mapping[str, str]:
        return {"pyautoattack": "autoattack"}

    def perturb(self, network: nn.Module, x: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
        library = require("pyautoattack", "autoattack")
        # It works in float32 whatever the images are.
        whole = x.float()
        with torch.no_grad():
            classes = network(x[:1]).shape[1]
        if classes < 4:
            raise MethodError(
                f"AutoAttack: its targeted loss compares four classes, and this network knows {classes}. "
                "Use quick_ensemble, which does not."
            )
        seed = int(torch.randint(0, 2**31, (1,), generator=generator, device=x.device))
        with _quiet(), _forked():
            ensemble = library.AutoAttack(
                lambda pixels: network(pixels.to(x.dtype)).float(),
                norm=NORMS[self.norm],
                eps=self.eps,
                seed=seed,
                version=self.variant,
                device=x.device,
            )
            ensemble.apgd_targeted.n_target_classes = ensemble.fab.n_target_classes = min(TARGETS, classes - 1)
            moved, _ = ensemble.run_standard_evaluation(whole, y, batch_size=len(x))
        return torch.where(moved == whole, x, moved.to(x.dtype))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the library from logging, and a debugger or a coverage tool attached, which one of its checks lets go of.

    What its checks look for, probabilities and random networks among others, `RobustAccuracy` says in its own words.
    """
    logger, trace = logging.getLogger("auto-attack"), sys.gettrace()
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
        sys.settrace(trace)


@contextmanager
def _forked() -> Iterator[None]:
    """Gives torch's own random numbers back as they were: the library seeds them anew for each attack."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        yield
