"""The progress bar that `progress.bar` draws with `rich`."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    """Units of work a second."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} {self.unit}/s")


class Bar:
    """A progress bar with rate and time left, on standard error.

    Args:
        title: what is being done.
        total: how many units it takes.
        done: how many were done before.
        unit: their name, in the plural.
        console: where to draw instead.
    """

    def __init__(
        self, title: str, total: int, *, done: int = 0, unit: str = "steps", console: Console | None = None
    ) -> None:
        console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} " + unit),
            _Rate(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total, completed=done, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def move(self, done: int) -> None:
        """Says how many units are done now."""
        self._progress.update(self._task, completed=done)

    def note(self, words: str) -> None:
        """Says a word about the last of them."""
        self._progress.update(self._task, note=words)
