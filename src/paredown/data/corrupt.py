"""Label noise that leaves rows where they are and remembers which rows it touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.errors import MethodError
from paredown.method import Method


@dataclass(frozen=True)
class LabelNoise(Method):
    """Gives some training rows another label, and says which.

    With n = floor(fraction · N) rows drawn without replacement:

    - `permutation` (Paul et al. 2021, the original code): the labels of the drawn rows are shuffled among those
      rows, so that class totals stay and about 1/C of the rows keep their label. Drawn with numpy's legacy
      `RandomState`, as there: with R the rows as drawn, row sorted(R)[i] takes the old label of row R[i].
    - `uniform`: each drawn row takes one of the other classes, all equally likely.
    - `asymmetric`: each drawn row takes the next class, (y + 1) mod C.

    Args:
        pattern: which of the three.
        fraction: share of rows drawn, in [0, 1].
        seed: of the draw.
    """

    kind: ClassVar[str] = "noise"

    pattern: Literal["uniform", "asymmetric", "permutation"] = "uniform"
    fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fraction <= 1:
            raise MethodError(f"LabelNoise(fraction={self.fraction}): a share of the rows lies in 0 to 1.")

    def apply(self, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Gives the noisy labels and which of them differ from before.

        Args:
            labels: (N,) whole numbers below `classes`; left as they are.
            classes: how many classes there are.

        Returns:
            noisy labels int64 (N,) and the corruption mask bool (N,), in the rows' own order.
        """
        labels = np.asarray(labels, dtype=np.int64)
        if classes < 2 and self.pattern != "permutation":
            raise MethodError(f"LabelNoise(pattern={self.pattern!r}): one class leaves no other label to give.")
        random = np.random.RandomState(self.seed)
        rows = random.choice(len(labels), int(self.fraction * len(labels)), replace=False)
        noisy = labels.copy()
        if self.pattern == "permutation":
            noisy[np.sort(rows)] = labels[rows]
        elif self.pattern == "uniform":
            noisy[rows] = (labels[rows] + random.randint(1, classes, len(rows))) % classes if len(rows) else 0
        else:
            noisy[rows] = (labels[rows] + 1) % classes
        return noisy, noisy != labels
