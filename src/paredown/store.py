"""The store: what was asked for is where it is.

An address is the verb and a sha256 of everything that was asked: the verb's version, every argument with its defaults
filled in, methods with their versions, artifacts and data by the digest of their content. `Runtime` is not part of it.
Asking twice is asking for the same folder; a folder without `.partial` is complete and never changes.

    store/score-3f9a0c1be27d5542/            complete
      manifest.json                          what was asked, what is in it: deterministic
      made.json                              how: seconds, versions, device
      meta.json scores.parquet               the artifact
    store/train-77b1….partial/               in progress or interrupted; the same call resumes it
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from paredown.artifacts.base import HEADER, Artifact, canonical, write_json
from paredown.artifacts.stored import open_artifact
from paredown.errors import ArtifactError, StoreError
from paredown.method import to_identity
from paredown.runtime import Runtime, rank

PARTIAL = ".partial"
MANIFEST, MADE = "manifest.json", "made.json"
HALF_A_FILE = ("*.new", ".tmp*")
"""What an interruption leaves of a file: ours, and those that safetensors writes before it renames them."""
LIBRARIES = ("paredown", "torch", "numpy", "pyarrow", "safetensors", "accelerate")


class Verb(Protocol):
    """What the store needs of a verb; `paredown.verbs` makes them."""

    name: str
    version: int

    def bind(self, **arguments: Any) -> dict[str, Any]:
        """Gives every argument, read and with defaults filled in."""

    def how(self, runtime: Runtime) -> Mapping[str, Any]:
        """Gives what the runtime means on this machine: device, precision, threads."""

    def run(self, bound: Mapping[str, Any], *, runtime: Runtime, folder: Path) -> Artifact:
        """Does the work; may leave files in the folder to resume from."""


@dataclass(frozen=True)
class Entry:
    """One folder of the store.

    Args:
        address: its name.
        folder: where it is.
        complete: whether it was committed.
    """

    address: str
    folder: Path
    complete: bool

    @property
    def manifest(self) -> dict[str, Any]:
        """What was asked for and what is in it."""
        return _read(self.folder / MANIFEST)

    @property
    def made(self) -> dict[str, Any]:
        """How it was made: seconds, versions, device."""
        return _read(self.folder / MADE)


class Store:
    """A folder of artifacts, each under the address of what was asked.

    Args:
        root: the folder; it is made when something is first put into it.
    """

    def __init__(self, root: str | Path = "store") -> None:
        self.root = Path(root)

    def address(self, verb: Verb, **arguments: Any) -> str:
        """Gives the address of a call without making it."""
        return _address(verb, verb.bind(**arguments))

    def make(self, verb: Verb, *, runtime: Runtime | None = None, **arguments: Any) -> Artifact:
        """Gives what a verb makes of some arguments: from the store when it is there, else made, kept and opened.

        Args:
            verb: one of `paredown.verbs`.
            runtime: how to carry it out; no part of the address.
            arguments: the verb's arguments, as objects, names or plain data.

        Returns:
            The artifact, opened from its folder; `artifact.address` is its address.

        Raises:
            StoreError: another process is making the same thing, or the folder cannot be written.
        """
        runtime = runtime or Runtime()
        bound = verb.bind(**arguments)
        address = _address(verb, bound)
        final = self.root / address
        if final.exists():
            return self.open(address)
        partial = self.root / (address + PARTIAL)
        if rank() > 0:
            return self._follow(verb, bound, runtime, partial, final)
        try:
            partial.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"The store cannot be written: {partial}: {error.strerror}. Use --store FOLDER."
            ) from error
        with _locked(partial):
            if final.exists():  # another process finished it between the look and the lock
                shutil.rmtree(partial, ignore_errors=True)
                return self.open(address)
            resumed = any(path.name != "lock" for path in partial.iterdir())
            start = time.perf_counter()
            try:
                artifact = verb.run(bound, runtime=runtime, folder=partial)
            except BaseException:
                if [path.name for path in partial.iterdir()] == ["lock"]:  # nothing was begun that could be resumed
                    shutil.rmtree(partial)
                raise
            if not (partial / HEADER).exists():
                artifact.save(partial)
            seconds = time.perf_counter() - start
            for pattern in HALF_A_FILE:
                for leftover in partial.rglob(pattern):
                    leftover.unlink()
            identity = _identity(verb, bound)
            manifest = {
                "address": address,
                "identity": identity,
                "artifact": type(artifact).__name__,
                "digest": artifact.digest(),
                "files": {name: _sha256(partial / name) for name in _files(partial)},
            }
            made = _how(runtime) | dict(verb.how(runtime)) | {"seconds": round(seconds, 3), "resumed": resumed}
            write_json(partial / MADE, made)
            write_json(partial / MANIFEST, manifest)
            (partial / "lock").unlink()
            partial.rename(final)
            _sync(self.root)
        return self.open(address)

    def open(self, address: str) -> Artifact:
        """Opens a complete artifact by its address, by an unambiguous beginning of it, or by its folder.

        Raises:
            StoreError: there is none, it is unfinished, or the beginning fits several.
        """
        entry = self.find(address)
        if not entry.complete:
            raise StoreError(f"{entry.address} is unfinished. Give the command that began it again: it resumes.")
        artifact = open_artifact(entry.folder)
        artifact.address = entry.address
        return artifact

    def find(self, address: str) -> Entry:
        """Gives the entry of an address, of an unambiguous beginning of it, or of its folder."""
        wanted = Path(address).name if Path(address).parent == self.root else address
        fits = [entry for entry in self.entries() if entry.address == wanted or entry.address.startswith(wanted)]
        exact = [entry for entry in fits if entry.address == wanted]
        if exact:
            return exact[0]
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise StoreError(f"'{address}' fits {len(fits)} artifacts: {', '.join(e.address for e in fits[:4])}.")
        raise StoreError(f"There is no '{address}' in {self.root}. `pare list` names what is there.")

    def entries(self) -> Iterator[Entry]:
        """Gives everything in the store, unfinished work too, by name."""
        if not self.root.exists():
            return
        for folder in sorted(self.root.iterdir()):
            if folder.is_dir() and (folder.name.endswith(PARTIAL) or (folder / MANIFEST).exists()):
                yield Entry(folder.name.removesuffix(PARTIAL), folder, not folder.name.endswith(PARTIAL))

    def verify(self, address: str) -> None:
        """Checks every file of an entry against the sha256 of its manifest.

        Raises:
            ArtifactError: a file is missing or was changed.
        """
        entry = self.find(address)
        for name, expected in entry.manifest["files"].items():
            path = entry.folder / name
            if not path.exists() or _sha256(path) != expected:
                raise ArtifactError(f"{path} is missing or was changed since it was made. Remove {entry.folder.name}.")

    def remove(self, entry: Entry) -> None:
        """Removes an entry, unless a process is at work on it."""
        if entry.complete:
            shutil.rmtree(entry.folder)
            return
        with _locked(entry.folder):
            shutil.rmtree(entry.folder)

    def _follow(self, verb: Verb, bound: Mapping[str, Any], runtime: Runtime, partial: Path, final: Path) -> Artifact:
        # One of several processes of a distributed training: the first one writes and commits, the others only compute.
        with suppress(ArtifactError, OSError):  # the first process may rename the folder while this one reads it
            verb.run(bound, runtime=runtime, folder=partial)
        deadline = time.monotonic() + 600
        while not final.exists():
            if time.monotonic() > deadline:
                raise StoreError(
                    f"The first process did not commit {final.name} within ten minutes. Look at its output."
                )
            time.sleep(0.05)
        return self.open(final.name)


def _identity(verb: Verb, bound: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {name: _stands_for(value) for name, value in bound.items()}
    return {"verb": verb.name, "version": verb.version, "arguments": arguments}


def _stands_for(value: Any) -> Any:
    if isinstance(value, Artifact):
        return {"artifact": type(value).__name__, "digest": value.digest()}
    if isinstance(value, list | tuple):
        return [_stands_for(part) for part in value]
    identity: Callable[[], Any] | None = getattr(value, "identity", None)
    return identity() if identity is not None else to_identity(value)


def _address(verb: Verb, bound: Mapping[str, Any]) -> str:
    return f"{verb.name}-{hashlib.sha256(canonical(_identity(verb, bound)).encode()).hexdigest()[:16]}"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # The system releases the lock of a process that died, however it died, so nobody has to judge whether it is alive.
    with (folder / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise StoreError(
                f"{folder.name} is being made by {owner}. Wait for it, or stop it: what it did so far is kept."
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _how(runtime: Runtime) -> dict[str, Any]:
    versions = {}
    for library in LIBRARIES:
        try:
            versions[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions | {"python": platform.python_version()},
        "cores": os.cpu_count(),
        "runtime": runtime.plain(),
    }


def _files(folder: Path) -> list[str]:
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if name not in (MANIFEST, MADE, "lock"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is missing or damaged. Remove {path.parent.name} and make it again.") from error
    return dict(value)
