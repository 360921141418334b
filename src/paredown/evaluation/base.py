"""What a probe is: figures about one network on one data set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from paredown.data.dataset import ImageDataset
from paredown.method import Method
from paredown.runtime import Runtime


class AbstractProbe(Method):
    """Measures a network: write `measure`."""

    kind: ClassVar[str] = "probe"

    @abstractmethod
    def measure(
        self, network: nn.Module, data: ImageDataset, *, runtime: Runtime, seed: int
    ) -> list[Mapping[str, Any]]:
        """Gives figures, each as the fields of `artifacts.Row` that it knows: metric, value, n, spread, group.

        Args:
            network: from pixels in [0, 1] to logits; left as it was.
            data: what to measure on, un-augmented.
            runtime: its batch size; it changes no figure beyond rounding.
            seed: for what is drawn by chance.
        """
