"""ZCA whitening of images: fitted to a whole training set, kept by content where that takes long.

x ↦ (x - μ) · U S^-1/2 Uᵀ for normalised images x with mean μ, where U S Uᵀ = Σ + 0.1 · (tr Σ / D) · I and Σ is their
covariance (Bell & Sejnowski, "Edges are the independent components of natural scenes", NeurIPS 1996; the ridge as in
Nguyen, Chen & Lee, "Dataset meta-learning from kernel ridge-regression", ICLR 2021, appendix D).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from paredown.artifacts.whitening import Whitening, rows_of
from paredown.data.locate import cache
from paredown.errors import ArtifactError, DataError

REGULARISER = 0.1
"""Ridge on the covariance, in units of its mean diagonal."""
SIDE = 64
"""Pixels, each way, from which on an image is whitened as sub-images, because the matrix would be too large."""
KEPT_FROM = 2048
"""Rows of a matrix from which on it is kept in a file, since finding it takes more than some seconds."""
BLOCK = 1024
"""Images that are multiplied at once. Products of two pixels less 128 are whole numbers up to 2¹⁴, so that float32 adds
up so many of them without rounding."""
NULL = 1e-9
"""Eigenvalues below this share of the mean one are those of directions in which no image differs."""


class Images(Protocol):
    """What is needed of a data set; those of images of 8 bits have it."""

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    settings: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Gives images, uint8 (B, H, W, C)."""

    def identity(self) -> dict[str, Any]:
        """Gives what tells these data apart."""

    def __len__(self) -> int:
        """How many there are."""


def zca(covariance: np.ndarray, count: int, *, regulariser: float = REGULARISER) -> tuple[np.ndarray, np.ndarray]:
    """Gives the whitening matrix of a covariance, and its inverse, float64.

    Where there are fewer images than numbers in each, most directions are known by the regulariser alone; whitening
    would amplify them the most. There eigenvalues from number `count` on become 1, and so do those of all directions
    in which no image differs: the published rule stops at `count`, one too late, at a direction that any other
    eigensolver chooses differently. Images whitened either way are the same.

    Args:
        covariance: (D, D), n in the denominator.
        count: of the images.
        regulariser: what is added to the diagonal, in units of its mean.
    """
    size = len(covariance)
    mean = np.trace(covariance) / size
    ridged = covariance.copy()
    np.fill_diagonal(ridged, covariance.diagonal() + regulariser * mean)
    values, vectors = np.linalg.eigh(ridged)
    if count < size:
        descending = np.arange(size)[::-1]
        values = np.where((descending >= count) | (values < (regulariser + NULL) * mean), 1.0, values)
    roots = np.sqrt(values)
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T


def whitening_of(data: Images) -> Whitening:
    """Gives the whitening that is fitted to all images of a data set.

    From 64 pixels on a side, sub-images share one matrix: that of the mean of their covariances. Matrices of 2048 rows
    or more are kept in the user's cache folder, under a digest of all that they depend on.

    Raises:
        DataError: there are fewer than two images, they are all alike, or cannot be cut into equal sub-images.
    """
    channels, height, width = data.shape
    blocks = -(-max(height, width) // SIDE)
    if height % blocks or width % blocks:
        raise DataError(
            f"{data.name}: images of {height}×{width} cannot be whitened, because they do not make {blocks}×{blocks} "
            f"equal sub-images of at most {SIDE} pixels a side. Use a size that is a multiple of {blocks}."
        )
    if len(data) < 2:
        raise DataError(f"{data.name}: one image has no covariance to whiten by. Use more, or leave whiten out.")
    file = None
    if height * width * channels // blocks**2 >= KEPT_FROM:
        file = kept() / f"{_digest(data)}.safetensors"
        found = _read(file)
        if found is not None and found.shape == data.shape:
            return found
    made = fitted(data, blocks)
    if file is not None:
        _write(made, file)
    return made


def kept() -> Path:
    """Gives the folder in which large matrices are kept."""
    return cache().parent / "whitening"


def fitted(data: Images, blocks: int) -> Whitening:
    """Gives the whitening of images by b·b sub-images each, without looking for a kept one; see `whitening_of`."""
    channels, height, width = data.shape
    total, products = _moments(data, blocks)
    scale = np.tile(255 * np.array(data.std, np.float64), height * width // blocks**2)
    means = rows_of((total / len(data)).reshape(1, height, width, channels), blocks)
    # E[(x - 128)(x - 128)ᵀ] less the product of the means, sub-image by sub-image, then the mean over sub-images; in
    # place, because such a matrix may take a gigabyte.
    covariance = products
    covariance /= len(data)
    covariance -= means.T @ means
    covariance /= blocks**2 * scale
    covariance /= scale[:, None]
    if not np.trace(covariance) > 0:
        raise DataError(
            f"{data.name}: all {len(data)} images are alike, so there is nothing to whiten. Leave whiten out, or look "
            "at the images."
        )
    matrix, inverse = zca(covariance, len(data))
    center = ((total / len(data) + 128).reshape(height, width, channels) / 255 - data.mean) / data.std
    return Whitening(
        data.mean, data.std, center.astype(np.float32), matrix.astype(np.float32), inverse.astype(np.float32)
    )


def _moments(data: Images, blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives the sums over all images of their numbers and of the products of these, each less 128, exactly."""
    size = int(np.prod(data.shape))
    total = np.zeros(size)
    products = np.zeros((size // blocks**2, size // blocks**2))
    for pixels in _pixels(data):
        signed = pixels.astype(np.float32) - 128
        total += signed.reshape(len(pixels), -1).sum(axis=0, dtype=np.float64)
        rows = rows_of(signed, blocks)
        for part in (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)):
            products += part.T @ part
    return total, products


def _pixels(data: Images) -> Iterator[np.ndarray]:
    positions = np.arange(len(data))
    return (data.read(positions[start : start + BLOCK]) for start in range(0, len(data), BLOCK))


def _digest(data: Images) -> str:
    """Gives sixteen hex digits of what the matrix depends on: the images, how they are normalised, the constants."""
    told = data.identity()
    # Labels and augmentation change no image.
    content = {
        "pool": told["pool"],
        "settings": {key: value for key, value in data.settings.items() if key != "noise"},
        "square": told.get("square"),
        "shape": data.shape,
        "mean": data.mean,
        "std": data.std,
        "constants": [REGULARISER, SIDE, NULL],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _read(file: Path) -> Whitening | None:
    """Gives what is kept in a file; none where it is missing or damaged."""
    try:
        return Whitening.of_arrays(load_file(file)) if file.is_file() else None
    except (SafetensorError, ArtifactError, OSError):
        return None


def _write(made: Whitening, file: Path) -> None:
    """Keeps a whitening: the file has its name only when it is whole. A folder that cannot be written keeps none."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with suppress(OSError, SafetensorError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(made.arrays(), temporary)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
