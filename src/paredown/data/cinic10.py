"""CINIC-10, from arrays (`X_train.npy`, …) or from its folders of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from paredown.data.augment import Augmentation
from paredown.data.cifar import TEN
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.folder import read_folders
from paredown.data.locate import locate
from paredown.data.source import AbstractSource
from paredown.errors import DataError

PARTS = {"train": ("train", "valid"), "test": ("test",)}


@dataclass(frozen=True)
class Cinic10(AbstractSource):
    """CINIC-10 of Darlow et al. 2018: the classes of CIFAR-10 in 32×32 colour images, partly from ImageNet.

    As in the original data-diet system, training rows are the train part followed by the valid part (180000); the
    test part has 90000.

    Args:
        path: folder of the arrays or of train/, valid/ and test/; None searches the usual places.
        split: train or test.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (0.47889522, 0.47227842, 0.43047404),
        (0.24205776, 0.23828046, 0.25874835),
    )
    standard: ClassVar[Augmentation | None] = Augmentation(crop=4, flip=True)

    path: str | None = None
    split: Literal["train", "test"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        parts = PARTS[self.split]

        def find(folder: Path) -> tuple[Path, str] | None:
            if all((folder / f"{kind}_{part}.npy").is_file() for kind in "XY" for part in parts):
                return folder, "arrays"
            return (folder, "folders") if all((folder / part).is_dir() for part in parts) else None

        folder, form = locate(
            self.where,
            path=self.path,
            folders=("cinic10", "CINIC-10", "cinic-10"),
            find=find,
            wants="X_train.npy, Y_train.npy and so on for valid and test, or the folders train/, valid/ and test/",
        )
        if form == "folders":
            return read_folders(self, folder, workers, stem="cinic10", joined=("train", "validation"), official=TEN)
        files = [(folder / f"X_{part}.npy", folder / f"Y_{part}.npy") for part in parts]
        pairs = [(_array(self.where, images), _array(self.where, labels)) for images, labels in files]
        for (file, _), (images, labels) in zip(files, pairs, strict=True):
            if images.ndim != 4 or images.shape[3] != 3 or len(images) != labels.size or images.dtype.kind not in "iuf":
                raise DataError(
                    f"{self.where}: {file.name} has shape {images.shape} and its labels {labels.shape}, and images "
                    "(N, 32, 32, 3) with one label each are needed."
                )
        pixels = [_bytes(self.where, file, pair[0]) for (file, _), pair in zip(files, pairs, strict=True)]
        images = np.concatenate(pixels)
        labels = np.concatenate([pair[1].reshape(-1).astype(np.int64) for pair in pairs])
        return self.dataset(images, labels, TEN, reader="cinic10-npy", parts=[images, labels])


def _array(where: str, file: Path) -> np.ndarray:
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{where}: {file.name} is truncated or is no plain array ({error}). Copy it again.") from error


def _bytes(where: str, file: Path, images: np.ndarray) -> np.ndarray:
    """Gives pixels of 0 … 255, in whatever type they were stored, as uint8."""
    if images.dtype == np.uint8:
        return images
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 255:
        raise DataError(f"{where}: {file.name} has pixels outside 0…255 or NaN. Store the images as they were.")
    return np.round(images).astype(np.uint8)
