"""Costs are said in the unit that people would use."""

from __future__ import annotations

import os

import pytest

from paredown.estimate import Estimate, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (119, "119 s"), (120, "2 min"), (7199, "120 min"), (7200, "2 h"), (90_000, "25 h")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_an_estimate_counts_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    estimate = Estimate(operations=8e12, memory=3 * 2**30, rate=2e9)
    assert estimate.seconds == 1000
    assert str(estimate) == "about 17 min and 3.0 GiB of memory on this machine's processor"
    assert "and 5 MiB of memory" in str(Estimate(1, 5 * 2**20))
