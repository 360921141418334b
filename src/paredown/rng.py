"""Named random streams from one seed.

Every draw is a function of `(seed, name, …, counter)` and of nothing that happened before. Two consequences: adding a
draw somewhere does not shift the draws elsewhere, and a loop that was interrupted resumes exactly by knowing its step,
without any stored generator state.
"""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, *names: str | int) -> int:
    """Gives the 63-bit key of the stream called `names` under `seed`; it also seeds a `torch.Generator`."""
    text = "\x1f".join([str(int(seed)), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """Gives the generator (Philox, counter-based) of the stream called `names` under `seed`."""
    return np.random.Generator(np.random.Philox(key(seed, *names)))
