"""Labels that are learnt: a row of numbers an example in place of one class, and the objectives that aim at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from paredown.errors import MethodError
from paredown.training.labels import targets
from paredown.training.objectives import AbstractObjective, Seen
from paredown.training.passes import Passes


@dataclass(frozen=True)
class SquaredError(AbstractObjective):
    """Half the squared error of the logits, ½ Σ_c (z_c − Y_c)²: the loss that students of distilled images train by.

    Y are learnt labels as they are; a class is the row that is 1 − 1/C there and −1/C elsewhere (Zhou et al. 2022,
    FRePo, section 3.2).
    """

    attacks: ClassVar[bool] = False
    smooths: ClassVar[bool] = False
    paper: ClassVar[str] = "Zhou et al. 2022, Dataset Distillation using Neural Feature Regression, section 3.2"

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        (logits,) = passes.logits(x)
        return Seen((logits - targets(y, logits.shape[1])).square().sum(dim=1) / 2, logits)


@dataclass(frozen=True)
class SoftCrossEntropy(AbstractObjective):
    """Cross-entropy with learnt labels made probabilities, −Σ_c softmax(Y / T)_c log softmax(z)_c.

    Args:
        temperature: T; the lower, the nearer to the class that stands highest. A class alone stays a class.
    """

    attacks: ClassVar[bool] = False
    smooths: ClassVar[bool] = False

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise MethodError(
                f"SoftCrossEntropy(temperature={self.temperature:g}): labels are divided by it. Give a number above 0."
            )

    def losses(self, passes: Passes, x: Tensor, y: Tensor, *, label_smoothing: float = 0.0) -> Seen:
        (logits,) = passes.logits(x)
        aim = y if y.dim() == 1 else (y / self.temperature).softmax(dim=1)
        return Seen(functional.cross_entropy(logits, aim, reduction="none"), logits)
