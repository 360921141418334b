"""The store: one address for one question, nothing half done, nothing done twice."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paredown.artifacts import Artifact, ExampleIds, Pool, ScoreTable
from paredown.errors import ArtifactError, StoreError
from paredown.runtime import Runtime
from paredown.store import Store

IDS = ExampleIds.of_pool(Pool(("made",), 4, "a" * 64))


class Counting:
    """A verb that counts how often it works, and can be made to fail half way."""

    name = "score"
    version = 1

    def __init__(self) -> None:
        self.calls = 0
        self.fail = False

    def bind(self, **arguments: Any) -> dict[str, Any]:
        return {"scale": 1.0, "of": None} | arguments

    def how(self, runtime: Runtime) -> dict[str, Any]:
        return {"device": "cpu"}

    def run(self, bound: Mapping[str, Any], *, runtime: Runtime, folder: Path) -> Artifact:
        self.calls += 1
        for name in ("half.new", ".tmpA1b2C3"):
            (folder / name).write_text("unfinished")
        if self.fail:
            raise RuntimeError("power cut")
        values = np.arange(4.0) * bound["scale"]
        return ScoreTable(IDS, values, name="made", important="high", low=0, high=100)


@pytest.fixture
def verb() -> Counting:
    return Counting()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_asking_twice_makes_once(store: Store, verb: Counting) -> None:
    first = store.make(verb, scale=2.0)
    again = store.make(verb, scale=2.0, runtime=Runtime(batch_size=7))
    assert verb.calls == 1
    assert first == again
    assert first.address == again.address == store.address(verb, scale=2.0)
    assert store.address(verb, scale=3.0) != first.address


def test_defaults_are_part_of_the_question(store: Store, verb: Counting) -> None:
    assert store.address(verb) == store.address(verb, scale=1.0)


def test_a_new_version_is_a_new_address(store: Store, verb: Counting) -> None:
    before = store.address(verb)
    verb.version = 2
    assert store.address(verb) != before


def test_an_artifact_stands_by_its_content(store: Store, verb: Counting, tmp_path: Path) -> None:
    made = store.make(verb, scale=2.0)
    copied = ScoreTable.open(made.save(tmp_path / "elsewhere"))
    in_memory = ScoreTable(IDS, np.arange(4.0) * 2, name="made", important="high", low=0, high=100)
    addresses = {store.address(verb, of=part) for part in (made, copied, in_memory)}
    assert len(addresses) == 1
    assert store.address(verb, of=[made]) not in addresses


def test_what_failed_stays_unfinished_and_is_taken_up(store: Store, verb: Counting) -> None:
    verb.fail = True
    with pytest.raises(RuntimeError):
        store.make(verb)
    (entry,) = store.entries()
    assert not entry.complete
    with pytest.raises(StoreError, match=r"is unfinished\. Give the command that began it again"):
        store.open(entry.address)
    verb.fail = False
    made = store.make(verb)
    (entry,) = store.entries()
    assert entry.complete and entry.address == made.address
    assert entry.made["resumed"] is True
    assert not [*entry.folder.rglob("*.new"), *entry.folder.rglob(".tmp*")], "half files are not kept"
    assert not (entry.folder / "lock").exists()


def test_what_failed_at_once_leaves_nothing(store: Store, verb: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> Artifact:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(verb, "run", refuse)
    with pytest.raises(RuntimeError):
        store.make(verb)
    assert list(store.entries()) == []


def test_the_manifest_is_deterministic_and_checks_the_files(tmp_path: Path, verb: Counting) -> None:
    manifests = []
    for name in "ab":
        store = Store(tmp_path / name)
        address = store.make(verb).address
        assert address is not None
        manifests.append((store.root / address / "manifest.json").read_bytes())
        store.verify(address)
    assert manifests[0] == manifests[1]
    path = store.find(address).folder / "scores.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="was changed since it was made"):
        store.verify(address)


def test_entries_are_found_by_a_beginning_and_by_folder(store: Store, verb: Counting) -> None:
    first, second = store.make(verb, scale=2.0), store.make(verb, scale=3.0)
    assert first.address and second.address
    assert store.open(first.address[:12]) == first
    assert store.open(str(store.root / first.address)) == first
    with pytest.raises(StoreError, match="fits 2 artifacts"):
        store.open("score-")
    with pytest.raises(StoreError, match="There is no 'select-"):
        store.open("select-00")


def test_a_missing_or_damaged_manifest_is_named(store: Store, verb: Counting) -> None:
    made = store.make(verb)
    assert made.address
    (store.root / made.address / "made.json").write_text("{")
    with pytest.raises(StoreError, match="missing or damaged"):
        _ = store.find(made.address).made
    assert json.loads((store.root / made.address / "manifest.json").read_text())["address"] == made.address


def _hold(folder: str, held: Any, free: Any) -> None:
    from paredown.store import _locked

    with _locked(Path(folder)):
        held.set()
        free.wait(20)
        os._exit(1)  # dies without releasing anything


def test_another_process_at_work_is_named_and_a_dead_one_is_not_waited_for(store: Store, verb: Counting) -> None:
    verb.fail = True
    with pytest.raises(RuntimeError):
        store.make(verb)
    verb.fail = False
    (entry,) = store.entries()
    context = multiprocessing.get_context("spawn")
    held, free = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(entry.folder), held, free))
    other.start()
    assert held.wait(20)
    with pytest.raises(StoreError, match=rf"is being made by process {other.pid}"):
        store.make(verb)
    with pytest.raises(StoreError, match="is being made by"):
        store.remove(entry)
    free.set()
    other.join(20)
    assert store.make(verb).address == entry.address


def test_a_store_that_cannot_be_written_is_named(tmp_path: Path, verb: Counting) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="The store cannot be written"):
        Store(tmp_path / "file").make(verb)


def test_entries_can_be_removed(store: Store, verb: Counting) -> None:
    store.make(verb)
    for entry in store.entries():
        store.remove(entry)
    assert list(store.entries()) == []
