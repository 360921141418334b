"""Errors in words, named random streams, the runtime."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paredown.errors import MethodError, MissingExtra, ParedownError, did_you_mean, require
from paredown.rng import key, stream
from paredown.runtime import Runtime


def test_the_nearest_word_is_offered_only_when_it_is_near() -> None:
    assert did_you_mean("el2", ["el2n", "grand"]) == " Did you mean 'el2n'?"
    assert did_you_mean("zzz", ["el2n", "grand"]) == ""


def test_a_missing_library_names_its_extra() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'paredown\[mlflow\]'"):
        require("no_such_library_at_all", "mlflow")
    assert require("json", "none").loads("1") == 1


@given(st.integers(0, 2**40), st.text(max_size=8), st.integers(0, 10**6))
def test_a_stream_depends_on_seed_name_and_counter_alone(seed: int, name: str, step: int) -> None:
    first, again = stream(seed, name, step).random(4), stream(seed, name, step).random(4)
    assert np.array_equal(first, again)
    assert 0 <= key(seed, name, step) < 2**63
    assert key(seed, name, step) != key(seed, name, step + 1)
    assert key(seed, name, step) != key(seed + 1, name, step)


def test_streams_are_the_same_in_another_process() -> None:
    code = "from paredown.rng import key; print(key(7, 'shuffle', 3))"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(other.stdout) == key(7, "shuffle", 3)


@pytest.mark.parametrize(
    "field", [{"precision": "float8"}, {"batch_size": 0}, {"workers": -1}, {"threads": 0}, {"trackers": ("wandb",)}]
)
def test_nonsense_in_the_runtime_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(MethodError, match=rf"Runtime\({next(iter(field))}="):
        Runtime(**field)  # type: ignore[arg-type]


def test_all_errors_are_one_family() -> None:
    assert issubclass(MethodError, ParedownError)
