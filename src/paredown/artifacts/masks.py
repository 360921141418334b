"""`MaskSet`: which weights of each layer are kept, a bit each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from paredown.artifacts.base import Artifact
from paredown.errors import ArtifactError

FILE = "masks.safetensors"


class MaskSet(Artifact):
    """Masks of weights.

    Args:
        masks: by layer, in module order, bool of the shape of its weight (a masked channel or filter is false
            throughout); true is kept.
        fingerprint: of the architecture.
        made: how, as plain data: pruner, granularity, rule of counting.

    Raises:
        ArtifactError: no masks, or one that is not boolean.
    """

    def __init__(
        self, masks: Mapping[str, np.ndarray], *, fingerprint: str, made: Mapping[str, Any] | None = None
    ) -> None:
        self.masks = {str(name): np.asarray(mask) for name, mask in masks.items()}
        self.fingerprint = fingerprint
        self.made = dict(made or {})
        if not self.masks:
            raise ArtifactError("MaskSet: it masks no layer. Give a mask for every layer that was pruned.")
        for name, mask in self.masks.items():
            if mask.dtype != np.bool_ or mask.size == 0:
                raise ArtifactError(
                    f"MaskSet: the mask of '{name}' is {mask.dtype} of shape {mask.shape}; a mask is bool, of the "
                    "shape of the layer's weight."
                )

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.masks[name]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Gives by layer how many weights are kept, of how many."""
        return {name: (int(mask.sum()), mask.size) for name, mask in self.masks.items()}

    @property
    def kept(self) -> int:
        """How many weights are kept in all layers."""
        return sum(kept for kept, _ in self.counts().values())

    @property
    def total(self) -> int:
        """How many weights there are in all layers."""
        return sum(mask.size for mask in self.masks.values())

    def sparsity(self) -> float:
        """Gives the share of weights that are masked, over all layers."""
        return 1 - self.kept / self.total

    def inputs(self, name: str) -> np.ndarray:
        """Gives which input channels of a layer have a kept weight, bool of shape (inputs,)."""
        mask = self.masks[name]
        return np.asarray(mask.any(axis=(0, *range(2, mask.ndim))))

    def outputs(self, name: str) -> np.ndarray:
        """Gives which filters of a layer have a kept weight, bool of shape (outputs,)."""
        mask = self.masks[name]
        return np.asarray(mask.any(axis=tuple(range(1, mask.ndim))))

    def header(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "made": self.made,
            "layers": [[name, list(mask.shape)] for name, mask in self.masks.items()],
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        return ((name, np.packbits(mask.reshape(-1))) for name, mask in self.masks.items())

    def write(self, folder: Path) -> None:
        save_file(dict(self.arrays()), folder / FILE)

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        packed = load_file(folder / FILE)
        masks = {}
        for name, shape in header["layers"]:
            size = int(np.prod(shape))
            if packed[name].shape != (-(-size // 8),):
                raise ArtifactError(f"{folder}: the mask of '{name}' has another length than its shape {tuple(shape)}.")
            masks[name] = np.unpackbits(packed[name], count=size).astype(bool).reshape(shape)
        return cls(masks, fingerprint=header["fingerprint"], made=header["made"])

    def describe(self) -> str:
        return f"masks of {len(self)} layers: {self.kept} of {self.total} weights kept ({1 - self.sparsity():.2%})"
