"""ZCA whitening against arrays of the original code.

Where there are fewer images than numbers in each, the original puts 1 in place of all eigenvalues but one of the
directions in which no image differs; which direction that one is, is up to the eigensolver. There the whitened images
are compared, on which it has no effect, and the matrix in the directions that the images span.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest

from paredown.artifacts.whitening import Whitening
from paredown.data import ImageDataset
from paredown.data.whitening import fitted, zca

Golden = Callable[[str, str], Mapping[str, np.ndarray]]


def whitened(arrays: Mapping[str, np.ndarray], blocks: int) -> tuple[Whitening, np.ndarray, np.ndarray]:
    """The whitening of the stored images, these as pixels, and whitened; (N, C, H, W)."""
    images = arrays["images_uint8"]
    data = ImageDataset.from_arrays(images, np.arange(len(images)) % 2)
    data = replace(data, mean=tuple(arrays["mean"].tolist()), std=tuple(arrays["std"].tolist()))
    found = fitted(data, blocks)
    pixels = images.transpose(0, 3, 1, 2) / 255
    return found, pixels, found.apply(pixels)


def near(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Within 1e-4 of the largest number."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * float(np.abs(theirs).max()))


@pytest.mark.parametrize(("name", "blocks"), [("plain", 1), ("checker_meanblock", 2)])
def test_matrix_and_inverse(name: str, blocks: int, golden: Golden) -> None:
    arrays = golden("isa", f"zca_{name}")
    found, _, _ = whitened(arrays, blocks)
    assert found.blocks == blocks
    near(found.center.reshape(-1), arrays["zca_mean"])
    near(found.matrix, arrays["whitening"])
    near(found.inverse, arrays["rev_whitening"])


@pytest.mark.parametrize(("name", "blocks"), [("plain", 1), ("rank_deficient", 1), ("checker_meanblock", 2)])
def test_whitened_images_and_back(name: str, blocks: int, golden: Golden) -> None:
    arrays = golden("isa", f"zca_{name}")
    found, pixels, out = whitened(arrays, blocks)
    near(out.transpose(0, 2, 3, 1), arrays["out"])
    back = found.invert(out)
    near(back.transpose(0, 2, 3, 1), arrays["inverse"])
    near(back, pixels)


def test_with_few_images_the_matrix_agrees_where_they_differ(golden: Golden) -> None:
    arrays = golden("isa", "zca_rank_deficient")
    found, pixels, _ = whitened(arrays, 1)
    rows = ((pixels - pixels.mean(axis=0)).transpose(0, 2, 3, 1) / arrays["std"]).reshape(len(pixels), -1)
    span = np.linalg.svd(rows)[2][: len(rows) - 1].T
    near(found.matrix @ span, arrays["whitening"] @ span)
    near(found.inverse @ span, arrays["rev_whitening"] @ span)


def test_quarters_apart(golden: Golden) -> None:
    """The original can whiten contiguous quarters each by its own matrix, which nothing uses; the formula is one."""
    arrays = golden("isa", "zca_block_separate")
    normalised = (arrays["images_uint8"] / 255 - arrays["mean"]) / arrays["std"]
    centered = normalised - normalised.mean(axis=0)
    side = int(arrays["block_size"])
    for number, (top, left) in enumerate((a, b) for a in (0, side) for b in (0, side)):
        quarter = centered[:, top : top + side, left : left + side].reshape(len(centered), -1)
        covariance = quarter.T @ quarter / len(quarter)
        near(covariance, arrays["cov"][number])
        out = arrays["out"][:, top : top + side, left : left + side].reshape(len(quarter), -1)
        near(quarter @ zca(covariance, len(quarter))[0], out)
