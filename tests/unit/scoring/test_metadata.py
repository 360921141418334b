from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pools import write_shard

from paredown.artifacts.uids import from_hex
from paredown.data import AbstractDataset, open_data
from paredown.data.datacomp import DataCompPool
from paredown.data.metadata import MemoryShard
from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.scoring import AspectRatio, CaptionLength, ImageSize, score_data

QUIET = Runtime(progress=False)


def pool(**columns: Any) -> DataCompPool:
    size = len(next(iter(columns.values())))
    keys = from_hex(np.array([f"{number:032x}" for number in range(size)]))
    return DataCompPool("made", [MemoryShard(columns)], keys, signature="")


def values(scorer: Any, data: AbstractDataset) -> list[float]:
    return score_data(scorer, data, runtime=QUIET).tolist()


def test_sizes_of_images() -> None:
    data = pool(
        original_width=np.array([200, 600, 64]), original_height=np.array([400, 200, 64]), w=np.array([1, 2, 3])
    )
    assert values(ImageSize(), data) == [200, 200, 64]
    assert values(AspectRatio(), data) == [2, 3, 1]
    assert values(ImageSize(width="w"), data) == [1, 2, 3]


def test_a_side_that_is_none_is_named() -> None:
    data = pool(original_width=np.array([2.0, 0, np.nan]), original_height=np.array([4, 2, 6]))
    for scorer in (ImageSize(), AspectRatio()):
        with pytest.raises(MethodError, match=r"the image of id 0{31}1 of made is 0×2, .*; 2 images are wrong so"):
            values(scorer, data)


@given(st.lists(st.one_of(st.none(), st.text(alphabet="ab \t\n\u3000\u00a0é\u0301𝄞", max_size=12)), min_size=1))
def test_lengths_of_captions_are_pythons(captions: list[str | None]) -> None:
    data = pool(text=pa.array(captions, pa.string()))
    assert values(CaptionLength(), data) == [len((caption or "").split()) for caption in captions]
    assert values(CaptionLength(unit="characters"), data) == [len(caption or "") for caption in captions]


def test_captions_are_read_shard_by_shard(tmp_path: Path) -> None:
    for number, captions in enumerate((["one", "one two"], ["", " a  b c "], [None, "x"])):
        uids = [f"{2 * number + row:032x}" for row in range(2)]
        text = pa.array(captions, pa.large_string() if number else pa.string())
        write_shard(tmp_path, str(number), {"uid": uids, "url": uids, "text": text, "size": [1, 2]}, {})
    data = open_data(tmp_path)
    assert values(CaptionLength(), data) == [1, 2, 0, 3, 0, 1]
    assert values(CaptionLength(unit="characters", column="text"), data) == [3, 7, 0, 8, 0, 1]
    with pytest.raises(MethodError, match="this column of datacomp is int64 and not text"):
        values(CaptionLength(column="size"), data)
