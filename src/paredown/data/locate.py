"""Where the files of a known data set lie: the folders that are searched, and the download when nothing is there."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from paredown.errors import DataError

Found = TypeVar("Found")

SYSTEM = Path("/usr/share/datasets")  # where Debian's dataset packages install
TIMEOUT = 20.0  # seconds of silence from a server


@dataclass(frozen=True)
class Download:
    """A published file: its address and md5, which is the checksum that the publishers of these data state."""

    url: str
    md5: str

    @property
    def file(self) -> str:
        return self.url.rpartition("/")[2]


def locate(
    where: str,
    *,
    path: str | None,
    folders: Sequence[str],
    find: Callable[[Path], Found | None],
    wants: str,
    downloads: Sequence[Download] = (),
) -> Found:
    """Gives what `find` sees in the first folder that has it: under `path` alone when given, else in the usual
    places.

    The usual places are each folder of `PAREDOWN_DATA`, Debian's `/usr/share/datasets`, and the user's cache, into
    which the files are downloaded when none has them.

    Args:
        where: the beginning of a message.
        path: the only folder to look into, if any.
        folders: names below each usual place; the first also names the folder of a download.
        find: gives what it sees in a folder, or None.
        wants: the files that `find` looks for, in words.
        downloads: where they are published.

    Raises:
        DataError: not found; the sentence names the folders searched and what to put there.
    """
    if path is not None:
        folder = Path(path).expanduser()
        found = find(folder) if folder.is_dir() else None
        if found is None:
            state = f"the folder holds no {wants}" if folder.is_dir() else "there is no such folder"
            raise DataError(f"{where}: {state}. Give the folder with {wants}.")
        return found
    for place in places():
        for folder in (place / name for name in folders):
            found = find(folder) if folder.is_dir() else None
            if found is not None:
                return found
    target = cache() / folders[0]
    reason = "it has no address to download from"
    if downloads:
        try:
            for download in downloads:
                fetch(where, download, target)
            found = find(target)
            if found is not None:
                return found
            reason = "the download holds other files"
        except (OSError, http.client.HTTPException) as error:
            reason = f"downloading failed ({getattr(error, 'reason', None) or error})"
    searched = ", ".join(str(place / folders[0]) for place in places())
    unset = "" if os.environ.get("PAREDOWN_DATA") else " (PAREDOWN_DATA is not set)"
    raise DataError(f"{where}: not found in {searched}{unset}, and {reason}. Put {wants} into one of these folders.")


def places() -> list[Path]:
    """Gives the usual places, in the order of search."""
    own = [Path(part).expanduser() for part in os.environ.get("PAREDOWN_DATA", "").split(os.pathsep) if part]
    return [*own, SYSTEM, cache()]


def cache() -> Path:
    """Gives the folder for downloaded data."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "paredown" / "data"


def fetch(where: str, download: Download, folder: Path) -> None:
    """Downloads one file into a folder, checks it, and only then gives it its name; unpacks a `.tar.gz`.

    Raises:
        OSError: no connection.
        DataError: what came has another checksum.
    """
    final = folder / download.file
    if final.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{download.file}.{os.getpid()}.part"
    try:
        digest = hashlib.md5(usedforsecurity=False)
        with urllib.request.urlopen(download.url, timeout=TIMEOUT) as answer, temporary.open("wb") as file:
            while block := answer.read(1 << 20):
                digest.update(block)
                file.write(block)
        if digest.hexdigest() != download.md5:
            raise DataError(
                f"{where}: {download.url} did not give the published file, its checksum differs. "
                f"Download it by other means and put it into {folder}."
            )
        if download.file.endswith(".tar.gz"):
            _unpack(temporary, folder)
        else:
            temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def _unpack(archive: Path, folder: Path) -> None:
    """Unpacks next to the target and moves the files in one by one, so that a crash leaves no half file."""
    staging = archive.with_suffix(".unpacked")
    try:
        with tarfile.open(archive) as files:
            files.extractall(staging, filter="data")
        for file in sorted(path for path in staging.rglob("*") if path.is_file()):
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
