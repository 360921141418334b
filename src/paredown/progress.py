"""A progress bar with rate and time left; where `rich` is not installed, nothing is drawn and nothing is missed."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Protocol, Self


class AbstractBar(Protocol):
    """What a job tells of its progress, between entering and leaving."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def move(self, done: int) -> None:
        """Says how many units are done now."""

    def note(self, words: str) -> None:
        """Says a word about the last of them."""


def bar(title: str, total: int, *, done: int = 0, unit: str = "steps", shown: bool = True) -> AbstractBar:
    """Gives a progress bar on standard error, drawn when that is a terminal.

    Args:
        title: what is being done.
        total: how many units it takes.
        done: how many were done before.
        unit: their name, in the plural.
        shown: draw nothing when false.
    """
    if not (shown and sys.stderr.isatty()):
        return Silence()
    try:
        from paredown.bar import Bar
    except ImportError:
        return Silence()
    return Bar(title, total, done=done, unit=unit)


class Silence:
    """A bar that is not drawn."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def move(self, done: int) -> None:
        """Says nothing."""

    def note(self, words: str) -> None:
        """Says nothing."""
