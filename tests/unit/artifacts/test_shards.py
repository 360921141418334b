"""Rows of mapped files: what is read is right, and what was read is let go of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paredown.artifacts.shards import Rows, ShardWriter, blocks, open_shards

STATUS = Path("/proc/self/status")


def stored(folder: Path, size: int, width: int, shard: int) -> tuple[np.ndarray, Rows]:
    vectors = np.random.default_rng(0).standard_normal((size, width), np.float32)
    ShardWriter(folder, total=size, size=shard).put(vectors=vectors)
    return vectors, open_shards(folder, ["vectors"], rows=size)["vectors"]


def test_rows_can_be_read_again_and_again(tmp_path: Path) -> None:
    vectors, rows = stored(tmp_path, 1000, 8, 130)
    for _ in range(2):
        for start, block in blocks(rows, size=77):
            np.testing.assert_array_equal(block, vectors[start : start + 77])
        chosen = np.random.default_rng(1).integers(0, 1000, 50)
        np.testing.assert_array_equal(rows[chosen], vectors[chosen])
    assert rows[7:7].shape == (0, 8)


@pytest.mark.skipif(not STATUS.exists(), reason="needs Linux's account of memory")
def test_passing_over_a_file_does_not_hold_it(tmp_path: Path) -> None:
    def mapped() -> int:
        return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith("RssFile"))

    _, rows = stored(tmp_path, 40_000, 256, 10_000)
    before, most = mapped(), 0
    for _, block in blocks(rows, size=4000):
        assert np.isfinite(block).all()
        most = max(most, mapped() - before)
    assert most < 10_000, f"{most} of 40,000 KiB are still held"
