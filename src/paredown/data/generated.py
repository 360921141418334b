"""Images that a generative model made in the likeness of CIFAR-10: millions of them, mapped into memory from one file.

An `.npz` is a zip archive. Where it is not compressed, as `numpy.savez` leaves it, each array lies in one piece, and
the system reads the pages that are looked at and lets go of them again: 2 million images take 6 GB on the disk and none
of the memory for good. The file must stay as it is meanwhile.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Literal

import numpy as np

from paredown.data.augment import Augmentation
from paredown.data.cifar import MEAN, STD, TEN
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset
from paredown.data.source import AbstractSource
from paredown.errors import DataError

LOCAL_HEADER = 30
"""Bytes of the fixed part of what stands before each file of a zip archive."""


@dataclass(frozen=True)
class GeneratedImages(AbstractSource):
    """Generated images of CIFAR-10's classes: arrays `image`, uint8 (N, 32, 32, 3), and `label` of one `.npz` file.

    The form of Wang et al. 2023, Better Diffusion Models Further Improve Adversarial Training (`1m.npz`, `5m.npz`, …).
    Those files go class by class, so that a beginning of one is a single class. A compressed file cannot be mapped and
    is read into memory.

    Args:
        path: the file.
        start: the first row that is taken.
        count: how many rows are taken; none takes all from `start` on.
        split: train; such images are for training.
        noise: label noise.
    """

    splits: ClassVar[tuple[str, ...]] = ("train",)
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (MEAN, STD)
    standard: ClassVar[Augmentation | None] = Augmentation(crop=4, flip=True)

    path: str
    start: int = 0
    count: int | None = None
    split: Literal["train"] = "train"
    noise: LabelNoise | None = None

    def read(self, workers: int) -> ImageDataset:
        file = Path(self.path).expanduser()
        images, labels = (_array(self.where, file, name) for name in ("image", "label"))
        if images.dtype != np.uint8 or images.shape[1:] != (32, 32, 3):
            raise DataError(
                f"{self.where}: 'image' is {images.dtype} of shape {images.shape}, and generated images are uint8 of "
                "shape (N, 32, 32, 3). Read other images with the source npz."
            )
        if labels.dtype.kind not in "iu" or labels.shape != (len(images),):
            raise DataError(
                f"{self.where}: 'label' is {labels.dtype} of shape {labels.shape} beside {len(images)} images. Store "
                "one whole number for each image."
            )
        stop = len(images) if self.count is None else self.start + self.count
        if not 0 <= self.start < stop <= len(images):
            raise DataError(
                f"{self.where}: rows {self.start} to {stop} are wanted, and the file has {len(images)}. Lower start or "
                "count."
            )
        whole = stop - self.start == len(images)
        images, labels = images[self.start : stop], labels[self.start : stop].astype(np.int64)
        missing = sorted(set(range(len(TEN))) - set(np.unique(labels).tolist()))
        if missing and not whole:
            raise DataError(
                f"{self.where}: rows {self.start} to {stop} hold no {TEN[missing[0]]}, because the file goes class by "
                "class. Take all rows, or mix the file."
            )
        return self.dataset(images, labels, TEN, reader="generated-images", parts=[images, labels], stem=file.stem)


def _array(where: str, file: Path, name: str) -> np.ndarray:
    """Gives an array of an `.npz`: mapped into memory where it lies there in one piece, else read.

    The map is private: what would be written to it never reaches the file.
    """
    if not file.is_file():
        raise DataError(f"{where}: there is no such file. Give the path of an .npz file.")
    try:
        with zipfile.ZipFile(file) as archive:
            member = f"{name}.npy"
            if member not in archive.namelist():
                held = ", ".join(entry.removesuffix(".npy") for entry in archive.namelist()) or "nothing"
                raise DataError(f"{where}: there is no array '{name}'; the file holds {held}. Name it image and label.")
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
