"""What every test shares: the network is closed, arrays of the original systems are found or skipped."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# No clock decides a test, and every run draws the same examples.
settings.register_profile("paredown", deadline=None, derandomize=True)
settings.load_profile("paredown")

GOLDEN = Path(os.environ.get("PAREDOWN_GOLDEN", Path(__file__).resolve().parents[2] / "shared" / "golden"))


@pytest.fixture(autouse=True)
def closed_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection but a local one fails, so that no test can depend on the network."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "localhost", "::1"):
            raise OSError(f"tests may not reach the network, and one asked for {address}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def golden() -> Callable[[str, str], Mapping[str, np.ndarray]]:
    """`golden("diet", "logit_scores")`: the arrays that the original code produced, or a skip."""

    def load(folder: str, name: str) -> Mapping[str, np.ndarray]:
        path = GOLDEN / folder / f"{name}.npz"
        if not path.exists():
            pytest.skip(f"arrays of the original code are not on this machine: {folder}/{name}.npz")
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    return load
