"""Where files are looked for, and how they come when nothing is there: whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.wrong_inputs import cifar_binary, idx_folder

from paredown.data import open_data
from paredown.data.locate import Download, locate
from paredown.errors import DataError

CONTENT = b"a published file"
FILE = Download("https://example.org/files/data.bin", hashlib.md5(CONTENT).hexdigest())

Server = Callable[[bytes], None]


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only folders of this test are searched, and there is no network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PAREDOWN_DATA", str(tmp_path / "own"))
    monkeypatch.setattr("paredown.data.locate.SYSTEM", tmp_path / "system")

    def offline(url: str, timeout: float) -> io.BytesIO:
        raise urllib.error.URLError("Network is unreachable")

    monkeypatch.setattr(urllib.request, "urlopen", offline)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    def serve(content: bytes) -> None:
        monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(content))

    return serve


def found(*downloads: Download) -> Path:
    def find(folder: Path) -> Path | None:
        return folder / "data.bin" if (folder / "data.bin").is_file() else None

    return locate("Thing", path=None, folders=("thing",), find=find, wants="data.bin", downloads=downloads)


def test_the_folder_of_the_environment_comes_before_the_system(tmp_path: Path) -> None:
    for place in ("own", "system"):
        folder = tmp_path / place / "fashion-mnist"
        folder.mkdir(parents=True)
        idx_folder(folder)
    (tmp_path / "own" / "fashion-mnist" / "train-images-idx3-ubyte").write_bytes(b"not IDX")
    with pytest.raises(DataError, match="does not begin like an IDX file"):
        open_data("fashion-mnist")
    assert len(open_data("fashion-mnist", split="test")) == 10


def test_cifar10_is_found_under_the_name_of_its_archive(tmp_path: Path) -> None:
    folder = tmp_path / "own" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    cifar_binary(folder)
    assert len(open_data("cifar10")) == 50


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist", "mnist", "svhn"])
def test_offline_the_message_names_the_folders_and_what_to_put_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"downloading failed \(Network is unreachable\)\. Put .* into one") as caught:
        open_data(name)
    for place in ("own", "system", "cache/paredown/data"):
        assert str(tmp_path / place / name) in str(caught.value)
    assert "is not set" not in str(caught.value)
    assert not list(tmp_path.rglob("*.part"))


def test_data_without_an_address_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PAREDOWN_DATA")
    with pytest.raises(DataError, match=r"PAREDOWN_DATA is not set\), and it has no address to download from"):
        open_data("cinic10")


def test_a_wrong_path_is_not_searched_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        open_data({"name": "mnist", "path": str(tmp_path / "none")})
    with pytest.raises(DataError, match="the folder holds no train-images"):
        open_data({"name": "mnist", "path": str(tmp_path)})


def test_a_download_is_named_only_when_it_is_whole(tmp_path: Path, server: Server) -> None:
    server(CONTENT)
    assert found(FILE).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "cache" / "paredown" / "data" / "thing").iterdir()] == ["data.bin"]


def test_a_download_with_another_checksum_is_thrown_away(tmp_path: Path, server: Server) -> None:
    server(CONTENT[:-1])
    with pytest.raises(DataError, match=r"its checksum differs. Download it by other means"):
        found(FILE)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_archive_is_unpacked_beside(tmp_path: Path, server: Server) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo("inner/data.bin")
        entry.size = len(CONTENT)
        archive.addfile(entry, io.BytesIO(CONTENT))
    server(buffer.getvalue())
    packed = Download("https://example.org/thing.tar.gz", hashlib.md5(buffer.getvalue()).hexdigest())
    assert found(packed).read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "cache" / "paredown" / "data" / "thing").iterdir()] == ["data.bin"]


def test_a_download_of_other_files_is_said(server: Server) -> None:
    server(CONTENT)
    with pytest.raises(DataError, match="the download holds other files"):
        found(Download("https://example.org/other.bin", FILE.md5))
