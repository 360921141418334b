"""The progress bar: drawn on a terminal, silent elsewhere."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from paredown import progress
from paredown.bar import Bar
from paredown.progress import Silence


def drawn(*, terminal: bool) -> str:
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=120)
    with Bar("training convnet", 200, done=50, console=console) as bar:
        bar.move(120)
        bar.note("loss 0.5")
    return text.getvalue()


def test_a_bar_shows_what_is_done_on_a_terminal_only() -> None:
    seen = drawn(terminal=True)
    assert "training convnet" in seen and "120/200 steps" in seen and "loss 0.5" in seen
    assert drawn(terminal=False) == ""


def test_a_bar_says_the_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120, get_time=lambda: now[0])
    bar = Bar("training", 100, console=console)
    bar._progress.get_time = lambda: now[0]
    for second in range(1, 6):
        now[0] = float(second)
        bar.move(second * 10)
    with bar:
        pass
    assert "10.0 steps/s" in text.getvalue() and "0:00:05" in text.getvalue()


def test_nothing_is_drawn_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    with progress.bar("training", 10) as bar:
        bar.move(3)
        bar.note("loss 0.5")
    assert isinstance(bar, Silence)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert isinstance(progress.bar("training", 10, shown=False), Silence)
    assert isinstance(progress.bar("training", 10), Bar)


def test_without_the_library_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "paredown.bar", None)
    assert isinstance(progress.bar("training", 10), Silence)
