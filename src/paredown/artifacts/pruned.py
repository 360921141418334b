"""`Pruned`: what a pruning leaves, a network whose masked weights are 0 and the masks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from paredown.artifacts.base import HEADER, Artifact, write_json
from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.masks import MaskSet
from paredown.errors import ArtifactError


class Pruned(Artifact):
    """What one pruning leaves.

    Args:
        checkpoint: the network; every masked weight is 0.
        masks: which weights are kept.
    """

    def __init__(self, checkpoint: Checkpoint, masks: MaskSet) -> None:
        self.checkpoint = checkpoint
        self.masks = masks

    def check(self) -> None:
        """Raises ArtifactError where the masks are of other weights than the checkpoint's, or a masked one is not 0."""
        for name, mask in self.masks.masks.items():
            weight = self.checkpoint.weights.get(f"{name}.weight")
            if weight is None or weight.shape != mask.shape:
                raise ArtifactError(f"Pruned: the checkpoint has no weight '{name}.weight' of the mask's shape.")
            if np.any(weight[~mask]):
                raise ArtifactError(f"Pruned: masked weights of '{name}' are not 0. Set them to 0.")

    @classmethod
    def adopt(cls, folder: Path) -> Self:
        """Opens parts that were written into a folder and gives it its header, so that the folder is whole."""
        pruned = cls.parts(folder)
        pruned.check()
        header = {"artifact": cls.__name__, "format": cls.format, "digest": pruned.digest()} | pruned.header()
        write_json(folder / HEADER, header)
        return pruned

    @classmethod
    def parts(cls, folder: Path) -> Self:
        """Opens parts that were written into a folder, which need not be a whole artifact yet."""
        return cls(Checkpoint.open(folder / "checkpoint"), MaskSet.open(folder / "masks"))

    def in_memory(self) -> Pruned:
        """Gives the same with its weights in memory: the folder is no longer needed."""
        return Pruned(self.checkpoint.in_memory(), self.masks)

    def header(self) -> dict[str, Any]:
        return {"checkpoint": self.checkpoint.digest(), "masks": self.masks.digest()}

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        return ()

    def write(self, folder: Path) -> None:
        self.check()
        self.checkpoint.save(folder / "checkpoint")
        self.masks.save(folder / "masks")

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        pruned = cls.parts(folder)
        if pruned.header() != {key: header[key] for key in ("checkpoint", "masks")}:
            raise ArtifactError(f"{folder}: its parts are not those that the pruning left. Prune again.")
        return pruned

    def describe(self) -> str:
        return f"{self.checkpoint.describe()}; {self.masks.describe()}"
