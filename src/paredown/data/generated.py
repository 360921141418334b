"""Images that a generative model made in the likeness of CIFAR-10: millions of them, mapped into memory from files.

An `.npz` is a zip archive. Where it is not compressed, as `numpy.savez` leaves it, each array lies in one piece, and
the system reads the pages that are looked at and lets go of them again: 2 million images take 6 GB on the disk and none
of the memory for good. The file must stay as it is meanwhile.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

import numpy as np

from paredown.data.augment import Augmentation
from paredown.data.cifar import MEAN, STD, TEN
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractDataset, AbstractImages, ImageDataset, Whiten
from paredown.data.fingerprint import Stretch
from paredown.data.pool import pooled
from paredown.data.source import AbstractSource
from paredown.errors import DataError

LOCAL_HEADER = 30
"""Bytes of the fixed part of what stands before each file of a zip archive."""
BLOCK = 4096
"""Images that are written at once."""


@dataclass(frozen=True)
class GeneratedImages(AbstractSource):
    """Generated images of CIFAR-10's classes: arrays `image`, uint8 (N, 32, 32, 3), and `label` of `.npz` files.

    The form of Wang et al. 2023, Better Diffusion Models Further Improve Adversarial Training (`1m.npz`, `5m.npz`, …).
    Those files go class by class, so that a beginning of one is a single class. A compressed file cannot be mapped and
    is read into memory. Without labels they are for the source `pseudo-labelled`.

    Args:
        path: the file, or several (`[20m_part1.npz, 20m_part2.npz]`), whose rows follow each other.
        start: the first row that is taken.
        count: how many rows are taken; none takes all from `start` on.
        split: train; such images are for training.
        noise: label noise.
        whiten: "zca" lets networks begin by whitening the images.
    """

    splits: ClassVar[tuple[str, ...]] = ("train",)
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (MEAN, STD)
    standard: ClassVar[Augmentation | None] = Augmentation(crop=4, flip=True)

    path: str | tuple[str, ...]
    start: int = 0
    count: int | None = None
    split: Literal["train"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> AbstractDataset:
        return self._pool([_File.open(file, labelled=True) for file in self._files()])

    def unlabelled(self, workers: int) -> AbstractDataset:
        """Gives the images; each is of the first class where the file has no labels."""
        return self._pool([_File.open(file, labelled=False) for file in self._files()])

    def _files(self) -> list[Path]:
        paths = [self.path] if isinstance(self.path, str) else list(self.path)
        if not paths:
            raise DataError("GeneratedImages(path=[]): there is no file to read. Give the path of an .npz file.")
        return [Path(path).expanduser() for path in paths]

    def _pool(self, files: list[_File]) -> AbstractDataset:
        rows = sum(len(file.images) for file in files)
        stop = rows if self.count is None else self.start + self.count
        if not 0 <= self.start < stop <= rows:
            has = "the file has" if len(files) == 1 else f"the {len(files)} files have"
            raise DataError(
                f"{self.where}: rows {self.start} to {stop} are wanted, and {has} {rows}. Lower start or count."
            )
        parts, first = [], 0
        for file in files:
            begin, end = max(self.start - first, 0), min(stop - first, len(file.images))
            first += len(file.images)
            if begin < end:
                parts.append(file.rows(begin, end))
        labels = np.concatenate([part.labels if part.labelled else np.arange(len(TEN)) for part in parts])
        missing = sorted(set(range(len(TEN))) - set(np.unique(labels).tolist()))
        if missing and stop - self.start < rows:
            raise DataError(
                f"{self.where}: rows {self.start} to {stop} hold no {TEN[missing[0]]}, because the file goes class by "
                "class. Take all rows, or mix the file."
            )
        self.check_labels(labels, TEN, self.split)
        return pooled([self._data(part) for part in parts])

    def _data(self, part: _File) -> ImageDataset:
        # Of several files each may hold some of the classes only, so what is checked is all of them together.
        about = self.identified(
            len(part.images), reader="generated-images", parts=part.content(), stem=part.path.stem, part=self.split,
            held_out=False,
        )  # fmt: skip
        assert self.normalisation is not None and self.standard is not None
        mean, std = self.normalisation
        return ImageDataset(
            images=part.images, labels=part.labels, classes=TEN, mean=mean, std=std, augmentation=self.standard,
            whiten=self.whiten, **about,
        )  # fmt: skip


@dataclass(frozen=True)
class _File:
    """Rows of a file.

    Args:
        path: the file.
        images: mapped where they can be.
        labels: one each; zeros where the file has none.
        labelled: whether it has.
        offset: the first byte of the images in the file; none where they were read.
    """

    path: Path
    images: np.ndarray
    labels: np.ndarray
    labelled: bool
    offset: int | None

    @classmethod
    def open(cls, path: Path, *, labelled: bool) -> _File:
        where = f"GeneratedImages(path={str(path)!r})"
        images, labels = _array(where, path, "image"), _array(where, path, "label")
        if images is None:
            raise DataError(
                f"{where}: there is no array 'image'; the file holds {_held(path)}. Name it image and label."
            )
        if labels is None and labelled:
            raise DataError(
                f"{where}: there is no array 'label'; the file holds {_held(path)}. Store one label for each image, or "
                "have a network label them: {name: pseudo-labelled, images: …, checkpoint: …}."
            )
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            raise DataError(
                f"{where}: 'image' is {images.dtype} of shape {images.shape}, and generated images are uint8 of "
                "shape (N, 32, 32, 3). Read other images with the source npz."
            )
        if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != (len(images),)):
            raise DataError(
                f"{where}: 'label' is {labels.dtype} of shape {labels.shape} beside {len(images)} images. Store "
                "one whole number for each image."
            )
        classes = np.zeros(len(images), np.int64) if labels is None else labels.astype(np.int64)
        return cls(path, images, classes, labels is not None, getattr(images, "offset", None))

    def rows(self, start: int, stop: int) -> _File:
        offset = None if self.offset is None else self.offset + start * self.images.strides[0]
        return replace(self, images=self.images[start:stop], labels=self.labels[start:stop], offset=offset)

    def content(self) -> list[np.ndarray | Stretch]:
        """What is hashed: mapped images are read through their file, which leaves none of them in memory."""
        images: np.ndarray | Stretch = self.images
        if self.offset is not None:
            images = Stretch(self.path, self.offset, self.images.dtype, self.images.shape)
        return [images, self.labels] if self.labelled else [images]


def _held(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return ", ".join(entry.removesuffix(".npy") for entry in archive.namelist()) or "nothing"


def _array(where: str, file: Path, name: str) -> np.ndarray | None:
    """Gives an array of an `.npz`: mapped into memory where it lies there in one piece, else read; none without it.

    The map is private: what would be written to it never reaches the file.
    """
    if not file.is_file():
        raise DataError(f"{where}: there is no such file. Give the path of an .npz file.")
    try:
        with zipfile.ZipFile(file) as archive:
            member = f"{name}.npy"
            if member not in archive.namelist():
                return None
            entry = archive.getinfo(member)
            if entry.compress_type == zipfile.ZIP_STORED:
                with file.open("rb") as stored:
                    found = _mapped(file, stored, entry)
                if found is not None:
                    return found
            with archive.open(member) as packed:
                return np.lib.format.read_array(packed, allow_pickle=False)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{where}: the file is damaged, or holds no plain arrays of numbers ({error}). Make or copy it again."
        ) from error


def _mapped(file: Path, stored: BinaryIO, entry: zipfile.ZipInfo) -> np.ndarray | None:
    # The lengths in the local header decide where the array begins; those of the directory may differ.
    stored.seek(entry.header_offset)
    local = stored.read(LOCAL_HEADER)
    begin = entry.header_offset + LOCAL_HEADER + int.from_bytes(local[26:28], "little")
    begin += int.from_bytes(local[28:30], "little")
    stored.seek(begin)
    version = np.lib.format.read_magic(stored)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read(stored)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if columns_first or dtype.hasobject or not size:
        return None
    if stored.tell() + size > begin + entry.file_size:
        raise ValueError("it is truncated")
    return np.memmap(file, dtype, mode="c", offset=stored.tell(), shape=shape)


def write_generated(data: AbstractImages, path: str | Path) -> Path:
    """Writes images and labels as `generated-images` reads them: an `.npz` that is not compressed, block by block.

    Args:
        data: images of 32×32 in colour.
        path: the file, which is there only once it is whole; the same data make the same bytes.

    Raises:
        DataError: images of another size.
    """
    if data.shape != (3, 32, 32):
        raise DataError(f"{data.name} has {data.form}, and a file of generated images holds images of 3×32×32.")
    file, beside = Path(path), Path(f"{path}.new")
    members = (
        ("image", np.dtype(np.uint8), (len(data), 32, 32, 3), data.read),
        ("label", np.dtype(np.int64), (len(data),), lambda rows: data.labels[rows]),
    )
    with zipfile.ZipFile(beside, "w") as archive:
        for name, dtype, shape, rows in members:
            # A name alone would take the date into the file.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                for start in range(0, len(data), BLOCK):
                    block = rows(np.arange(start, min(start + BLOCK, len(data))))
                    member.write(np.ascontiguousarray(block, dtype).data)
    beside.replace(file)
    return file
