"""The spectral score: how much the label's probability moved over the whole training, summed over its frequencies.

A Fourier transform needs all epochs of an example at once, and an epoch file holds all examples of one. The epochs
therefore go through a temporary file, float32, of which blocks of examples are then read: the memory is that of a
block, whatever the number of epochs and examples.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown.artifacts.dynamics import TrainingDynamics
from paredown.artifacts.scores import Direction
from paredown.errors import MethodError
from paredown.scoring.base import AbstractDynamicsScorer
from paredown.scoring.windows import Until, epochs_until

BLOCK_BYTES = 32 * 2**20
"""Of one block of examples over all epochs, float32; its transform takes four times as much."""


class Traces:
    """The values of each example over the epochs, in a temporary file that is gone with this object.

    Args:
        examples: how many there are.
    """

    def __init__(self, examples: int) -> None:
        self.examples, self.epochs = examples, 0
        self._file = tempfile.TemporaryFile(prefix="paredown-")  # noqa: SIM115  (closed by the next line)
        weakref.finalize(self, self._file.close)

    def put(self, values: np.ndarray) -> None:
        """Takes one epoch, NaN where there is no value."""
        try:
            self._file.write(np.ascontiguousarray(values, np.float32).data)
            self._file.flush()
        except OSError as error:
            need = 4 * self.examples * (self.epochs + 1) / 2**20
            raise MethodError(
                f"Spectral: a temporary file of more than {need:.0f} MiB cannot be written in "
                f"{tempfile.gettempdir()} ({error.strerror}). Set TMPDIR to a folder with more room."
            ) from error
        self.epochs += 1

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Gives which examples, and their values in memory, (epochs, n), block by block."""
        if not self.examples:
            return
        step = max(1, BLOCK_BYTES // (4 * self.epochs))
        for start in range(0, self.examples, step):
            rows = slice(start, min(start + step, self.examples))
            # Read, not mapped: of a mapped file the system may count much more than what is looked at.
            values = np.empty((self.epochs, rows.stop - start), np.float32)
            for epoch, row in enumerate(values):
                self._file.seek(4 * (epoch * self.examples + start))
                self._file.readinto(row.data)
            yield rows, values


@dataclass(frozen=True)
class Spectral(AbstractDynamicsScorer):
    """Spectral: the L1 norm of the spectrum of the label's probability over the epochs, without its mean.

    Σ_{f=1}^{K-1} |X_f|, X_f = Σ_k p_k exp(-2πi f k / K) over all K epochs. Nieth et al. 2024, who call it fundamental
    frequency. It grows with the number of epochs, so only scores of equally many compare. In an epoch in which an
    example was not presented it keeps the value of its presentation before, and before the first that of the first.

    Args:
        of: "confidence", of the image as it is; or "adversarial-confidence", of the one that the training attack
            reached, which an adversarial training records.
        until: "end" of the training; or "best", the epoch that was best by validation.
    """

    of: Literal["confidence", "adversarial-confidence"] = "confidence"
    until: Until = "end"

    important: ClassVar[Direction] = "high"
    low: ClassVar[float] = 0.0
    high: ClassVar[float] = math.inf
    paper: ClassVar[str] = (
        "Nieth et al. 2024, Large-Scale Dataset Pruning in Adversarial Training through Data Importance Extrapolation"
    )

    @property
    def quantities(self) -> tuple[str, ...]:
        return (self.of,)

    def epochs_of(self, dynamics: TrainingDynamics) -> int:
        return epochs_until("Spectral", self.until, dynamics)

    def init(self, examples: int) -> Traces:
        return Traces(examples)

    def update(self, state: Traces, epoch: Mapping[str, np.ndarray]) -> Traces:
        state.put(epoch[self.of])
        return state

    def finish(self, state: Traces) -> np.ndarray:
        if state.epochs < 2:
            best = " up to the best one" if self.until == "best" else ""
            raise MethodError(
                f"Spectral(of={self.of}): the dynamics hold {state.epochs} epoch{best}, and one value has no "
                "frequencies. Train longer."
            )
        values = np.empty(state.examples)
        for rows, traces in state.blocks():
            values[rows] = spectrum_norm(without_gaps(traces))
        return values


def spectrum_norm(traces: np.ndarray) -> np.ndarray:
    """Gives the L1 norm of each column's spectrum without the mean, float64, shape (n,); Nieth et al. 2024.

    Args:
        traces: shape (epochs, n); a column with NaN gives NaN.
    """
    epochs = len(traces)
    # In float64, and about the first value: then a trace that never moves has exactly 0.
    moved = traces.astype(np.float64) - traces[:1]
    size = np.abs(np.fft.rfft(moved, axis=0)[1:])
    # Each frequency but the middle one of an even number stands for itself and for its mirror image.
    total = 2 * size.sum(axis=0)
    return total if epochs % 2 else total - size[-1]


def without_gaps(traces: np.ndarray) -> np.ndarray:
    """Gives the same with each NaN replaced by the value before it in its column, or by the first one there is.

    Args:
        traces: shape (epochs, n); a column of NaN alone stays so.
    """
    there = ~np.isnan(traces)
    if there.all():
        return traces
    epochs = np.arange(len(traces))[:, None]
    last = np.maximum.accumulate(np.where(there, epochs, -1), axis=0)
    return np.take_along_axis(traces, np.where(last < 0, there.argmax(axis=0), last), axis=0)
