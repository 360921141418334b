"""The contract of an index sees what is wrong; work is spread over cores and comes back in order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from paredown.neighbors import AbstractIndex, Exact
from paredown.neighbors.base import spread
from paredown.testing import BrokenPromise, check_index

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Wrong(AbstractIndex):
    """Exact search with one thing done wrong."""

    exact: ClassVar[bool] = True
    fault: str = ""

    def prepare(self, vectors: Any, *, metric: str, device: torch.device, block_mb: int, folder: Path | None) -> Any:
        if self.fault == "writes":
            vectors[0] += 1
        if self.fault == "resumes" and folder is not None:
            folder.mkdir(exist_ok=True)
            (folder / f"{len(list(folder.iterdir()))}").touch()
            vectors = vectors[:] if len(list(folder.iterdir())) < 2 else vectors[::-1]
        return Exact().prepare(vectors, metric=metric, device=device, block_mb=block_mb, folder=folder), len(vectors)

    def order(self, state: Any) -> np.ndarray | None:
        return np.zeros(state[1], np.int64) if self.fault == "order" else None

    def nearest(self, state: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        positions, distances = Exact().nearest(state[0], queries, k + 2)
        if self.fault == "misses":
            positions, distances = np.delete(positions, 3, axis=1), np.delete(distances, 3, axis=1)
        if self.fault == "itself":
            positions, distances = positions[:, 2:], distances[:, 2:]
        if self.fault == "repeats":
            positions[:, 2], distances[:, 2] = positions[:, 1], distances[:, 1]
        if self.fault == "far first":
            positions, distances = positions[:, ::-1], distances[:, ::-1]
        if self.fault == "squares":
            distances = distances**2
        return positions[:, :k].copy(), distances[:, :k].copy()


def test_an_index_that_keeps_its_promises_passes() -> None:
    check_index(Wrong())


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("writes", "it writes into the vectors"),
        ("order", "its order leaves vectors out or repeats"),
        ("misses", "it is not exact, and says so"),
        ("itself", "a vector and its duplicate are not at distance 0"),
        ("repeats", "it gives a position twice"),
        ("far first", "its distances do not ascend"),
        ("squares", "a distance is not that of its position"),
        ("resumes", "what it left in its folder gives other neighbours"),
    ],
)
def test_a_broken_promise_is_named(fault: str, words: str) -> None:
    with pytest.raises(BrokenPromise, match=f"Wrong: {words}"):
        check_index(Wrong(fault))


def test_work_is_spread_over_cores_and_comes_back_in_order() -> None:
    before, seen = torch.get_num_threads(), set()
    torch.set_num_threads(3)
    try:

        def square(number: int) -> int:
            seen.add((threading.get_ident(), torch.get_num_threads()))
            return number * number

        assert spread(square, range(50), CPU) == [number * number for number in range(50)]
        assert torch.get_num_threads() == 3
        assert {threads for _, threads in seen} == {1}
        seen.clear()
        torch.set_num_threads(1)
        assert spread(square, range(5), CPU) == [0, 1, 4, 9, 16]
        assert seen == {(threading.get_ident(), 1)}
    finally:
        torch.set_num_threads(before)


def test_a_fault_ends_the_work_at_once_and_gives_the_cores_back() -> None:
    before, done = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:

        def fail(number: int) -> None:
            done.append(number)
            threading.Event().wait(0.01)
            if number == 3:
                raise ValueError("three")

        with pytest.raises(ValueError, match="three"):
            spread(fail, range(200), CPU)
        assert len(done) < 50
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
