"""MNIST and its kin: the IDX format, plain or gzipped."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.locate import Download, locate
from paredown.data.source import AbstractSource
from paredown.errors import DataError

STEMS = {"train": "train", "test": "t10k"}
WANTS = "train-images-idx3-ubyte(.gz), train-labels-idx1-ubyte(.gz) and the two t10k files"
FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def _downloads(base: str, sums: tuple[str, str, str, str]) -> tuple[Download, ...]:
    names = [f"{stem}-{kind}-ubyte.gz" for stem in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    return tuple(Download(base + name, md5) for name, md5 in zip(names, sums, strict=True))


@dataclass(frozen=True)
class Mnist(AbstractSource):
    """Handwritten digits of LeCun et al. 1998: 60000 and 10000 grey images of 28×28.

    Args:
        path: folder of the IDX files; None searches the usual places.
        split: train or test.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = ((0.1307,), (0.3081,))
    standard: ClassVar[Augmentation | None] = Augmentation(crop=2)
    downloads: ClassVar[tuple[Download, ...]] = _downloads(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    )

    path: str | None = None
    split: Literal["train", "test"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        return _read(self, self.path, ("mnist", "MNIST/raw", "MNIST"), self.downloads, [str(d) for d in range(10)])


@dataclass(frozen=True)
class FashionMnist(AbstractSource):
    """Pictures of clothes of Xiao et al. 2017: 60000 and 10000 grey images of 28×28.

    Args:
        path: folder of the IDX files; None searches the usual places, Debian's `dataset-fashion-mnist` among them.
        split: train or test.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = ((0.2860,), (0.3530,))
    standard: ClassVar[Augmentation | None] = Augmentation(crop=2, flip=True)
    downloads: ClassVar[tuple[Download, ...]] = _downloads(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    )

    path: str | None = None
    split: Literal["train", "test"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        return _read(self, self.path, ("fashion-mnist", "FashionMNIST/raw", "FashionMNIST"), self.downloads, FASHION)


@dataclass(frozen=True)
class Idx(AbstractSource):
    """Any data in the files of MNIST (KMNIST, one's own): a folder with images and labels of train and t10k.

    Args:
        path: the folder.
        split: train or test.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    path: str
    split: Literal["train", "test"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        return _read(self, self.path, (), (), None)


def _read(
    source: AbstractSource,
    path: str | None,
    folders: tuple[str, ...],
    downloads: tuple[Download, ...],
    classes: list[str] | tuple[str, ...] | None,
) -> ImageDataset:
    stem = STEMS[source.split]

    def find(folder: Path) -> tuple[Path, Path] | None:
        for place in (folder, folder / "raw"):
            files = [_file(place, f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")]
            if files[0] is not None and files[1] is not None:
                return files[0], files[1]
        return None

    files = locate(source.where, path=path, folders=folders, find=find, wants=WANTS, downloads=downloads)
    stored = [_content(source.where, file) for file in files]
    images = read_idx(source.where, files[0].name, stored[0], dimensions=3)
    labels = read_idx(source.where, files[1].name, stored[1], dimensions=1).astype(np.int64)
    name = ""
    if classes is None:
        name = files[0].parent.name
        every = (_file(files[1].parent, f"{part}-labels-idx1-ubyte") for part in STEMS.values())
        there = [file for file in every if file is not None]
        both = [read_idx(source.where, file.name, _content(source.where, file), dimensions=1) for file in there]
        classes = [str(number) for number in range(1 + max(int(part.max(initial=0)) for part in both))]
    # The fingerprint is of the unpacked bytes, so that a gzipped and a plain copy are the same pool.
    return source.dataset(images[..., None], labels, classes, reader="idx", parts=stored, stem=name)


def _file(folder: Path, name: str) -> Path | None:
    return next((folder / (name + ending) for ending in ("", ".gz") if (folder / (name + ending)).is_file()), None)


def _content(where: str, file: Path) -> bytes:
    stored = file.read_bytes()
    if file.suffix != ".gz":
        return stored
    try:
        return gzip.decompress(stored)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"{where}: {file.name} is truncated or damaged ({error}). Copy or download it again."
        ) from error


def read_idx(where: str, name: str, content: bytes, *, dimensions: int) -> np.ndarray:
    """Gives the uint8 array of an IDX file: two zero bytes, type 8, the number of dimensions, their sizes, the
    values.

    Args:
        where, name: the beginning of a message, and the file in it.
        content: the unpacked file.
        dimensions: 3 for images, 1 for labels.
    """
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise DataError(f"{where}: {name} does not begin like an IDX file of {dimensions} dimensions. Copy it again.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, 4))
    expected = header + int(np.prod(shape))
    if len(content) != expected:
        raise DataError(
            f"{where}: {name} has {len(content)} bytes and announces {expected}, so it is truncated or damaged. "
            "Copy or download it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
