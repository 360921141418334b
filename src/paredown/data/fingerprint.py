"""The fingerprint of a pool: a sha256 of what a source stores, the same on every machine and however it is read."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Stretch:
    """An array that lies in a file in one piece.

    Args:
        path: the file.
        offset: its first byte.
        dtype: of its numbers, in row order.
        shape: how many they are.
    """

    path: Path
    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    def parts(self) -> Iterator[bytes]:
        """Gives its bytes, read rather than mapped, so that none of them stay in memory."""
        left = math.prod(self.shape) * self.dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(self.offset)
            while left and (block := file.read(min(left, 1 << 20))):
                yield block
                left -= len(block)


def fingerprint(reader: str, split: str, parts: Iterable[np.ndarray | Stretch | bytes | str | Path]) -> str:
    """Gives the sha256 (hex) of what is stored: the reader, the split, then each part with its length.

    Args:
        reader: the format, so that equal bytes read in two ways are two pools.
        split: which part of the source.
        parts: arrays (dtype, shape and bytes, the same in memory and in a file), text, bytes, or files (read in
            blocks), in a fixed order.
    """
    digest = hashlib.sha256(f"{reader}\n{split}\n".encode())
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}\n".encode())
            digest.update(np.ascontiguousarray(part).data)
        elif isinstance(part, Stretch):
            digest.update(f"{part.dtype.str}{part.shape}\n".encode())
            for block in part.parts():
                digest.update(block)
        elif isinstance(part, Path):
            digest.update(f"{part.stat().st_size}\n".encode())
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        else:
            stored = part.encode() if isinstance(part, str) else part
            digest.update(f"{len(stored)}\n".encode())
            digest.update(stored)
    return digest.hexdigest()
