"""Native ids of 16 bytes, as DataComp names its pairs: 32 hexadecimal digits, kept as two whole numbers.

The halves are numbers, not bytes: the uid `h` is (int(h[:16], 16), int(h[16:], 16)), so the order of the numbers is the
order of the texts. Everything here goes over whole arrays, because a pool has millions of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paredown.errors import ArtifactError

NATIVE = np.dtype([("high", "<u8"), ("low", "<u8")])
"""The type of 16-byte native ids, as DataComp writes them."""

DATACOMP = np.dtype([("f0", "<u8"), ("f1", "<u8")])
"""The same under the names of fields that DataComp's own files have."""

DIGITS = 32

_VALUES = np.full(256, 255, np.uint8)
for _letters in (b"0123456789abcdef", b"0123456789ABCDEF"):
    _VALUES[np.frombuffer(_letters, np.uint8)] = np.arange(16)
_LETTERS = np.frombuffer(b"0123456789abcdef", np.uint8)


def from_hex(texts: np.ndarray) -> np.ndarray:
    """Gives the keys of uids.

    Args:
        texts: ASCII letters, uint8 (N, 32); or text of 32 letters, (N,).

    Returns:
        `NATIVE`, shape (N,).

    Raises:
        ArtifactError: a letter that is no hexadecimal digit, or another length; names the row.
    """
    if texts.dtype.kind in "USO":
        texts = np.asarray(texts, dtype=np.str_)
        lengths = np.char.str_len(texts)
        if (lengths != DIGITS).any():
            row = int(np.argmax(lengths != DIGITS))
            raise ArtifactError(f"Uid '{texts[row]}' of row {row} has {lengths[row]} letters, and a uid has {DIGITS}.")
        letters = texts.astype(f"<U{DIGITS}").view(np.uint32).reshape(-1, DIGITS)
        texts = np.where(letters < 128, letters, 0).astype(np.uint8)
    nibbles = _VALUES[texts]
    if nibbles.size and nibbles.max() > 15:
        row = int(np.argmax((nibbles > 15).any(axis=1)))
        told = texts[row].tobytes().decode("ascii", "replace")
        raise ArtifactError(f"Uid '{told}' of row {row} is not {DIGITS} hexadecimal digits.")
    return from_bytes((nibbles[:, 0::2] << 4) | nibbles[:, 1::2])


def from_bytes(pairs: np.ndarray) -> np.ndarray:
    """Gives the keys of uids that are stored as their 16 bytes, in the order of the digits; uint8 (N, 16)."""
    halves = np.ascontiguousarray(pairs).view(">u8").reshape(-1, 2)
    return halves.astype("<u8").view(NATIVE).reshape(-1)


def to_bytes(keys: np.ndarray) -> np.ndarray:
    """Gives the 16 bytes of each uid, in the order of its digits: uint8 (N, 16)."""
    return _halves(keys).astype(">u8").view(np.uint8).reshape(-1, 16)


def to_hex(keys: np.ndarray) -> np.ndarray:
    """Gives the 32 digits of each uid, text of shape (N,)."""
    pairs = to_bytes(keys)
    letters = np.empty((len(pairs), DIGITS), np.uint8)
    letters[:, 0::2], letters[:, 1::2] = _LETTERS[pairs >> 4], _LETTERS[pairs & 15]
    return letters.view(f"S{DIGITS}").reshape(-1).astype(np.str_)


def told(key: Any) -> str:
    """Gives one id as people write it: a uid by its digits, a position as the number that it is."""
    return f"{int(key['high']):016x}{int(key['low']):016x}" if np.asarray(key).dtype == NATIVE else str(key)


def ranked(keys: np.ndarray) -> np.ndarray:
    """Gives positions in ascending order of the keys, shape (N,); of equal keys the first stands first."""
    if keys.dtype != NATIVE:
        return np.argsort(keys, kind="stable")
    # By the first half alone, which is fast and enough where no two share it, as in every pool of hashes.
    high = np.ascontiguousarray(keys["high"])
    order = np.argsort(high)
    lined = high[order]
    return order if (lined[1:] > lined[:-1]).all() else np.lexsort((keys["low"], high))


def repeated(keys: np.ndarray) -> np.ndarray:
    """Gives the keys that stand more than once, ascending, each once."""
    lined = keys[ranked(keys)]
    return np.unique(lined[1:][same(lined[1:], lined[:-1])])


def same(keys: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Gives whether the keys of two lists of one length are equal, place by place, bool (N,)."""
    if keys.dtype != others.dtype:
        return np.zeros(len(keys), bool)
    if keys.dtype != NATIVE:
        return np.asarray(keys == others)
    return np.asarray((keys["high"] == others["high"]) & (keys["low"] == others["low"]))


def places(lined: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Gives where keys stand in an ascending list; -1 where one is not there.

    Args:
        lined: ascending, shape (N,), each at most once.
        wanted: shape (M,), in any order.

    Returns:
        int64, shape (M,).
    """
    if not len(lined) or lined.dtype != wanted.dtype:
        return np.full(len(wanted), -1, np.int64)
    # In ascending order the search walks through memory forwards, which is ten times as fast.
    order = ranked(wanted)
    asked = wanted[order]
    if lined.dtype == NATIVE:
        first, last = (np.searchsorted(lined["high"], asked["high"], side=side) for side in ("left", "right"))
        # Among those of one first half, halve until nothing is left; where no two share it, that is one step.
        while (open_ := first < last).any():
            middle = (first + last) // 2
            below = lined["low"][np.minimum(middle, len(lined) - 1)] < asked["low"]
            first, last = np.where(open_ & below, middle + 1, first), np.where(open_ & ~below, middle, last)
    else:
        first = np.searchsorted(lined, asked)
    inside = np.minimum(first, len(lined) - 1)
    found = np.empty(len(wanted), np.int64)
    found[order] = np.where(same(lined[inside], asked), inside, -1)
    return found


def write_uids(path: str | Path, keys: np.ndarray) -> Path:
    """Writes uids as DataComp's own tools take them: a `.npy` of pairs of 64-bit numbers, ascending.

    Args:
        path: the file.
        keys: `NATIVE`, shape (N,), in any order.
    """
    np.save(path, keys[ranked(keys)].view(DATACOMP), allow_pickle=False)
    return Path(path)


def read_uids(path: str | Path) -> np.ndarray:
    """Reads what `write_uids`, or DataComp's own filters, wrote: `NATIVE`, shape (N,).

    Raises:
        ArtifactError: the file holds something else.
    """
    try:
        stored = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ArtifactError(f"{path} cannot be read as uids ({error}). Give a .npy file of pairs of u8.") from error
    pairs = isinstance(stored, np.ndarray) and stored.ndim == 1 and stored.dtype.names and len(stored.dtype.names) == 2
    if not pairs or stored.dtype.itemsize != 16 or any(kind.kind != "u" for kind, _ in stored.dtype.fields.values()):
        raise ArtifactError(f"{path} holds no uids: they are pairs of 64-bit numbers, and this is {stored.dtype}.")
    return stored.view(NATIVE)


def _halves(keys: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(keys).view("<u8").reshape(-1, 2)
