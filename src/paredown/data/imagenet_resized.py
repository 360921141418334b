"""ImageNet made small: all images at 8, 16, 32 or 64 pixels, from the arrays that are published."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.images import MEMORY_SHARE, memory
from paredown.data.locate import locate
from paredown.data.source import AbstractSource
from paredown.errors import DataError

CLASSES = 1000
BATCHES = 10


@dataclass(frozen=True)
class ImageNetResized(AbstractSource):
    """Downsampled ImageNet of Chrabaszcz et al. 2017: 1,281,167 training images and 50,000 to test on, 1000 classes.

    The published `.npz` files, in one folder or in one for each archive: `train_data_batch_1.npz` to `…_10.npz` and
    `val_data.npz`, each with `data`, three planes of pixels a row, and `labels` from 1 to 1000. These numbers, which
    follow an order of their authors' own, name the classes. At 64 pixels the training images take 15 GB of memory.

    Args:
        path: folder of the files; None searches the usual places.
        split: train or test, which is the validation part.
        size: side of the images.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (0.4815, 0.4578, 0.4082),
        (0.2686, 0.2613, 0.2758),
    )

    path: str | None = None
    split: Literal["train", "test"] = "train"
    size: Literal[8, 16, 32, 64] = 64
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        names = [f"train_data_batch_{number}.npz" for number in range(1, BATCHES + 1)]
        names = names if self.split == "train" else ["val_data.npz"]

        def find(folder: Path) -> list[Path] | None:
            # An archive unpacks to a folder of its own, such as Imagenet64_train_part1_npz.
            found = [next(iter(sorted([*folder.glob(name), *folder.glob(f"*/{name}")])), None) for name in names]
            return [file for file in found if file is not None] if None not in found else None

        files = locate(
            self.where,
            path=self.path,
            folders=(f"imagenet-resized-{self.size}", f"Imagenet{self.size}", f"imagenet{self.size}"),
            find=find,
            wants=f"the files {names[0]}" + (f" to {names[-1]}" if len(names) > 1 else ""),
        )
        labels = [self._labels(file) for file in files]
        count, there = sum(map(len, labels)), memory()
        needed = count * 3 * self.size**2
        if there is not None and needed > MEMORY_SHARE * there:
            raise DataError(
                f"{self.where}: its images take {needed / 2**30:,.0f} GiB of memory, and the machine has "
                f"{there / 2**30:,.0f} GiB. Use a smaller size, or folders of images with the source folder, stored."
            )
        images = np.empty((count, self.size, self.size, 3), np.uint8)
        start = 0
        for file, part in zip(files, labels, strict=True):
            planes = self._array(file, "data")
            if planes.dtype != np.uint8 or planes.shape != (len(part), 3 * self.size**2):
                raise DataError(
                    f"{self.where}: 'data' of {file.name} is {planes.dtype} of shape {planes.shape} beside {len(part)} "
                    f"labels, and images of {self.size}×{self.size} are uint8 rows of {3 * self.size**2}. Set size to "
                    "that of the files."
                )
            shape = (len(part), 3, self.size, self.size)
            images[start : start + len(part)] = planes.reshape(shape).transpose(0, 2, 3, 1)
            start += len(part)
        numbers = np.concatenate(labels)
        called = [str(number) for number in range(1, CLASSES + 1)]
        return self.dataset(images, numbers, called, reader="imagenet-resized", parts=[images, numbers])

    def _labels(self, file: Path) -> np.ndarray:
        labels = self._array(file, "labels").reshape(-1)
        if labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 1 or labels.max() > CLASSES:
            raise DataError(
                f"{self.where}: 'labels' of {file.name} are not whole numbers from 1 to {CLASSES}. Download it again."
            )
        return labels.astype(np.int64) - 1

    def _array(self, file: Path, name: str) -> np.ndarray:
        try:
            with np.load(file, allow_pickle=False) as stored:
                return stored[name]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(
                f"{self.where}: {file.name} is damaged or holds no plain array '{name}' ({error}). Download it again."
            ) from error
