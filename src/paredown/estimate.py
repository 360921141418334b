"""What a computation will cost, said before it begins."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """What a computation will cost, counted from its sizes and not measured.

    Args:
        operations: floating-point operations, or steps of a loop.
        memory: bytes beyond the input.
        rate: operations a second on one core, of this kind.
    """

    operations: float
    memory: float
    rate: float = 20e9

    @property
    def seconds(self) -> float:
        """How long that takes on all cores."""
        return self.operations / (self.rate * (os.cpu_count() or 1))

    def __str__(self) -> str:
        size = f"{self.memory / 2**30:.1f} GiB" if self.memory >= 2**30 else f"{max(1, self.memory / 2**20):.0f} MiB"
        return f"about {duration(self.seconds)} and {size} of memory on this machine's processor"


def duration(seconds: float) -> str:
    """Gives a time in the unit that people would use."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1, round(seconds))} s"
