"""A random number for each id, whatever the order or the company in which the ids come."""

from __future__ import annotations

import numpy as np

from paredown.rng import key


def uniform_by_id(keys: np.ndarray, seed: int, *names: str) -> np.ndarray:
    """Gives a number in [0, 1) for each id, drawn by the id and not by its place.

    The bits of the id and of the stream's key are mixed by the finaliser of SplitMix64 (Steele, Lea, Flood 2014).

    Args:
        keys: int64 or 16-byte ids, shape (N,).
        seed: the seed of the draw.
        names: what the draw is for, so that two purposes under one seed are independent.

    Returns:
        float64, shape (N,).
    """
    words = np.ascontiguousarray(keys).view(np.uint64).reshape(len(keys), -1)
    state = np.full(len(keys), key(seed, *names), dtype=np.uint64)
    for word in words.T:
        # Whole numbers wrap around at 64 bits, which is what the mixing relies on.
        state = _mix(state ^ _mix(word + np.uint64(0x9E3779B97F4A7C15)))
    return (state >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
