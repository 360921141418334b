"""Baselines of the DataComp benchmark that look at metadata only: sizes of images and lengths of captions.

With `threshold` they are the benchmark's basic filter (Gadre et al. 2023), except for the language of the
caption: more than two words, more than five characters, a smaller side of at least 200 pixels, an aspect ratio of at
most 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from paredown.artifacts.scores import Direction
from paredown.artifacts.uids import told
from paredown.data.dataset import AbstractDataset
from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.scoring.base import AbstractDataScorer
from paredown.scoring.columns import numbers

PAPER = "Gadre et al. 2023, DataComp, basic filtering"


@dataclass(frozen=True)
class ImageSize(AbstractDataScorer):
    """Image size: the smaller side of the image in pixels, from two columns of metadata.

    Args:
        width: column of widths.
        height: column of heights.
    """

    width: str = "original_width"
    height: str = "original_height"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = PAPER

    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        return np.minimum(*_sides("ImageSize", data, self.width, self.height))


@dataclass(frozen=True)
class AspectRatio(AbstractDataScorer):
    """Aspect ratio: the longer side of the image over the shorter one, from two columns of metadata.

    Args:
        width: column of widths.
        height: column of heights.
    """

    width: str = "original_width"
    height: str = "original_height"

    important: ClassVar[Direction] = "low"
    low: ClassVar[float] = 1.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = PAPER

    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        width, height = _sides("AspectRatio", data, self.width, self.height)
        return np.maximum(width, height) / np.minimum(width, height)


@dataclass(frozen=True)
class CaptionLength(AbstractDataScorer):
    """Caption length: how many words, as white space parts them, or characters; a missing caption has none.

    Args:
        unit: "words" or "characters".
        column: of the captions.
    """

    unit: Literal["words", "characters"] = "words"
    column: str = "text"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = PAPER

    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        return np.concatenate([self._lengths(data, part) for part in data.parts(self.column)])

    def _lengths(self, data: AbstractDataset, captions: Any) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.types as kinds

        texts = pa.array(captions) if isinstance(captions, np.ndarray) else captions
        if not (kinds.is_string(texts.type) or kinds.is_large_string(texts.type)):
            raise MethodError(
                f"CaptionLength(column={self.column!r}): this column of {data.name} is {texts.type} and not text. "
                "Name the column of the captions."
            )
        if self.unit == "characters":
            lengths = pc.utf8_length(texts)
        else:
            bare = pc.utf8_trim_whitespace(texts)
            words = pc.list_value_length(pc.utf8_split_whitespace(bare))
            lengths = pc.if_else(pc.equal(bare, ""), pa.scalar(0, words.type), words)
        return np.asarray(pc.fill_null(lengths, 0).to_numpy(zero_copy_only=False), np.float64)


def _sides(name: str, data: AbstractDataset, *columns: str) -> tuple[np.ndarray, np.ndarray]:
    width, height = (numbers(data, column, f"{name}({column!r})") for column in columns)
    wrong = np.flatnonzero(~((width > 0) & (height > 0)))
    if len(wrong):
        raise MethodError(
            f"{name}: the image of id {told(data.ids.keys[wrong[0]])} of {data.name} is {width[wrong[0]]:g}×"
            f"{height[wrong[0]]:g}, and sides are at least 1 pixel; {len(wrong)} images are wrong so. "
            "Correct them, or take those examples away."
        )
    return width, height
