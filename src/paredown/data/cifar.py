"""CIFAR-10 and CIFAR-100: the official binary files, Parquet, or the Python batches, read without running them."""

from __future__ import annotations

import importlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.locate import Download, locate
from paredown.data.parquet import read_tables
from paredown.data.source import AbstractSource
from paredown.errors import DataError

PIXELS = 3 * 32 * 32
# Both data sets use the constants of CIFAR-10, as the original system does.
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@dataclass(frozen=True)
class Cifar10(AbstractSource):
    """CIFAR-10 of Krizhevsky 2009: 50000 and 10000 colour images of 32×32, ten classes.

    Rows are in the order of the official files (batch 1 to 5) or of the Parquet file. The forms differ in their
    bytes and so are different pools; a form that was scored must be the form that is trained on.

    Args:
        path: folder of the files; None searches the usual places.
        split: train or test.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (MEAN, STD)
    standard: ClassVar[Augmentation | None] = Augmentation(crop=4, flip=True)

    path: str | None = None
    split: Literal["train", "test"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        batches = [f"data_batch_{number}" for number in range(1, 6)] if self.split == "train" else ["test_batch"]
        folder, form = locate(
            self.where,
            path=self.path,
            folders=("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py", "cifar-10"),
            find=lambda folder: _form(folder, batches),
            wants="the binary version unpacked (data_batch_1.bin …), the Python batches, or Parquet files",
            downloads=(
                Download("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
            ),
        )
        if form == "parquet":
            return read_tables(
                self, folder, workers, stem="cifar10", columns=(None, "label"), classes=TEN, official=True
            )
        if form == "binary":
            return _binary(self, [folder / f"{name}.bin" for name in batches], TEN, label_bytes=1, label_at=0)
        return _pickled(self, [folder / name for name in batches], TEN, b"labels")


@dataclass(frozen=True)
class Cifar100(AbstractSource):
    """CIFAR-100 of Krizhevsky 2009: 50000 and 10000 colour images of 32×32, a hundred fine or twenty coarse classes.

    Args:
        path: folder of the files; None searches the usual places.
        split: train or test.
        labels: the fine or the coarse ones.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (MEAN, STD)
    standard: ClassVar[Augmentation | None] = Augmentation(crop=4, flip=True)

    path: str | None = None
    split: Literal["train", "test"] = "train"
    labels: Literal["fine", "coarse"] = "fine"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        folder, form = locate(
            self.where,
            path=self.path,
            folders=("cifar100", "cifar-100-binary", "cifar-100-python", "cifar-100"),
            find=lambda folder: _form(folder, [self.split]),
            wants="the binary version unpacked (train.bin, test.bin), its Python files, or Parquet files",
            downloads=(
                Download(
                    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"
                ),
            ),
        )
        column = f"{self.labels}_label"
        if form == "parquet":
            return read_tables(self, folder, workers, stem="cifar100", columns=(None, column), official=True)
        if form == "binary":
            names = _listed(folder / f"{self.labels}_label_names.txt") or self._numbers()
            at = 1 if self.labels == "fine" else 0
            return _binary(self, [folder / f"{self.split}.bin"], names, label_bytes=2, label_at=at)
        return _pickled(self, [folder / self.split], self._numbers(), f"{column}s".encode())

    def _numbers(self) -> list[str]:
        return [str(number) for number in range(100 if self.labels == "fine" else 20)]


def _form(folder: Path, stems: Sequence[str]) -> tuple[Path, str] | None:
    """Gives which of the three forms a folder holds."""
    if all((folder / f"{stem}.bin").is_file() for stem in stems):
        return folder, "binary"
    if any(True for _ in folder.rglob("*.parquet")):
        return folder, "parquet"
    if all((folder / stem).is_file() for stem in stems):
        return folder, "pickled"
    return None


def _listed(file: Path) -> list[str] | None:
    return file.read_text("utf-8").split() if file.is_file() else None


def _binary(
    source: AbstractSource, files: Sequence[Path], classes: Sequence[str], *, label_bytes: int, label_at: int
) -> ImageDataset:
    record = label_bytes + PIXELS
    for file in files:
        if file.stat().st_size == 0 or file.stat().st_size % record:
            raise DataError(
                f"{source.where}: {file.name} has {file.stat().st_size} bytes, which is not a number of whole records "
                f"of {record}, so it is truncated. Copy or download it again."
            )
    rows = np.concatenate([np.fromfile(file, np.uint8).reshape(-1, record) for file in files])
    labels = rows[:, label_at].astype(np.int64)
    return source.dataset(_images(rows[:, label_bytes:]), labels, classes, reader="cifar-binary", parts=files)


def _images(planes: np.ndarray) -> np.ndarray:
    """Gives (N, 32, 32, 3) from rows of three colour planes."""
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


class _ArraysOnly(pickle.Unpickler):
    """Reads pickles that hold numpy arrays and plain values, and nothing that could run code."""

    ADMITTED = frozenset(
        {("multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module.rpartition(".")[2] if module.startswith("numpy.") else module, name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        if name == "_reconstruct":  # old files ask for it in numpy.core, where newer versions only warn
            return np.ndarray(0).__reduce__()[0]
        return getattr(importlib.import_module(module), name)


def _pickled(source: AbstractSource, files: Sequence[Path], classes: Sequence[str], key: bytes) -> ImageDataset:
    images, labels = [], []
    for file in files:
        try:
            content = _ArraysOnly(io.BytesIO(file.read_bytes()), encoding="bytes").load()
            planes, numbers = np.asarray(content[b"data"]), np.asarray(content[key])
            if planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape[1] != PIXELS or numbers.dtype.kind != "i":
                raise ValueError("its arrays are not images of 32×32 with labels")
        except Exception as error:  # a damaged pickle can raise anything
            raise DataError(
                f"{source.where}: {file.name} is not read as a Python batch, because {error}. "
                "Download the binary version instead, which holds no Python objects."
            ) from error
        images.append(planes)
        labels.append(numbers)
    return source.dataset(
        _images(np.concatenate(images)), np.concatenate(labels).astype(np.int64), classes,
        reader="cifar-python", parts=files,
    )  # fmt: skip
