"""Loops over graphs at the speed of machine code, where numba is installed; as plain Python where it is not.

numba takes half a second to import and a function some seconds to compile the first time on a machine, so both wait
until a function is called; what was compiled is kept in numba's cache.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compiles a function of numbers and numpy arrays when it is first called.

    The function may call other compiled functions only through `inline`. It must not rely on Python's big integers:
    compiled, whole numbers have 64 bits.
    """
    fast: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if not fast:
            fast.append(_compile(function))
        return fast[0](*args, **kwargs)

    return call


def inline(function: Callable[P, R]) -> Callable[P, R]:
    """Marks a small function that compiled functions call: it must be compiled before them, when it is defined."""
    try:
        import numba
    except ImportError:
        return function
    made: Callable[P, R] = numba.njit(cache=True)(function)
    return made


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    try:
        import numba
    except ImportError:
        return function
    made: Callable[..., Any] = numba.njit(cache=True)(function)
    return made
