"""`Exported`: a network as files that other programs run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from paredown.artifacts.base import Artifact
from paredown.errors import ArtifactError

Format = Literal["onnx", "torch"]
FILES: dict[str, str] = {"onnx": "network.onnx", "torch": "network.pt2"}
"""Format → the file that holds it."""
ONNX = {"onnx": "export", "onnxscript": "export", "onnxruntime": "export"}
"""What writing and trying an ONNX file needs: import name → the extra that brings it."""


class Exported(Artifact):
    """A network in formats that need no paredown.

    Each takes pixels in [0, 1], float32 of shape (B, C, H, W) with any B, and gives logits (B, classes).

    Args:
        files: content by name, uint8: `network.onnx` for ONNX, `network.pt2` for `torch.export.load`.
        about: by name what is known of a file: largest difference of its logits, versions.
        shape: channels, height and width of one image.
        classes: how many logits.
        checkpoint: digest of the network.
    """

    def __init__(
        self,
        files: Mapping[str, np.ndarray],
        *,
        about: Mapping[str, Mapping[str, Any]],
        shape: tuple[int, ...],
        classes: int,
        checkpoint: str,
    ) -> None:
        self.files = files
        self.about = {str(name): dict(told) for name, told in about.items()}
        self.shape = tuple(int(size) for size in shape)
        self.classes = int(classes)
        self.checkpoint = checkpoint

    def path(self, name: str) -> Path:
        """Gives where a file lies.

        Raises:
            ArtifactError: there is no such file, or it lies in memory until the artifact is saved.
        """
        if name not in self.files:
            raise ArtifactError(f"Exported: there is no '{name}'. There are: {', '.join(self.files)}.")
        if not isinstance(self.files, _Stored):
            raise ArtifactError(f"Exported: '{name}' lies in memory. Save it into a folder and open that.")
        return self.files.folder / name

    def bytes_of(self, name: str) -> int:
        """Gives the size of a file."""
        return self.files.sizes[name] if isinstance(self.files, _Stored) else len(self.files[name])

    def header(self) -> dict[str, Any]:
        return {
            "files": {name: {"bytes": self.bytes_of(name)} | self.about.get(name, {}) for name in sorted(self.files)},
            "shape": list(self.shape),
            "classes": self.classes,
            "checkpoint": self.checkpoint,
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        return ((name, np.asarray(self.files[name], np.uint8)) for name in sorted(self.files))

    def write(self, folder: Path) -> None:
        for name, content in self.arrays():
            content.tofile(folder / name)

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        told = {name: dict(about) for name, about in header["files"].items()}
        sizes = {name: int(about.pop("bytes")) for name, about in told.items()}
        return cls(
            _Stored(folder, sizes),
            about=told,
            shape=tuple(header["shape"]),
            classes=header["classes"],
            checkpoint=header["checkpoint"],
        )

    def describe(self) -> str:
        sizes = ", ".join(f"{name} ({self.bytes_of(name) / 1e6:.2f} MB)" for name in sorted(self.files))
        form = "×".join(map(str, self.shape))
        return f"a network for {self.classes} classes of {form} images as {sizes}"


class _Stored(Mapping[str, np.ndarray]):
    """Files in a folder, each read when it is asked for."""

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        self.folder, self.sizes = folder, dict(sizes)
        for name, size in self.sizes.items():
            path = folder / name
            if not path.exists() or path.stat().st_size != size:
                raise ArtifactError(f"{path} is missing, damaged or truncated. Export the network again.")

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.sizes:
            raise KeyError(name)
        return np.fromfile(self.folder / name, np.uint8)

    def __iter__(self) -> Iterator[str]:
        return iter(self.sizes)

    def __len__(self) -> int:
        return len(self.sizes)
