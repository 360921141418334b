"""Scores that need no network: the norm of the input, and chance. They show what a better score has to beat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from paredown.artifacts.scores import Direction
from paredown.data.dataset import AbstractDataset, AbstractImages
from paredown.errors import MethodError
from paredown.runtime import Runtime
from paredown.scoring.base import AbstractDataScorer
from paredown.scoring.draws import uniform_by_id


@dataclass(frozen=True)
class InputNorm(AbstractDataScorer):
    """Input norm: the L2 norm of the normalised image, ‖(x - mean) / std‖₂, by the data's own mean and std.

    What GraNd at initialisation mostly measures (Kirsch 2023): a score that does no better has learnt nothing.
    """

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = 'Kirsch 2023, Does "Deep Learning on a Data Diet" reproduce?'

    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        if not isinstance(data, AbstractImages):
            raise MethodError(
                f"InputNorm is of the pixels of images, and {data.name} has {data.noun}. Use another score."
            )
        mean, std = np.array(data.mean, np.float32), np.array(data.std, np.float32)
        norms = np.empty(len(data))
        for start in range(0, len(data), runtime.batch_size):
            batch = np.arange(start, min(start + runtime.batch_size, len(data)))
            pixels = (data.read(batch).astype(np.float32) / 255 - mean) / std
            norms[batch] = np.sqrt(np.einsum("nhwc,nhwc->n", pixels, pixels, dtype=np.float64))
        return norms


@dataclass(frozen=True)
class Random(AbstractDataScorer):
    """Random: a number in [0, 1) drawn for each id, which says nothing about the example."""

    important: ClassVar[Direction] = "none"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0

    def of(self, data: AbstractDataset, *, runtime: Runtime, seed: int) -> np.ndarray:
        return uniform_by_id(data.ids.keys, seed, "score")
