"""Street View House Numbers, the cropped digits, from the official `.mat` files."""

from __future__ import annotations

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

SUMS = {
    "train": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test": "eb5a983be6a315427106f1b164d9cef3",
    "extra": "a93ce644f1a588dc4d68dda5feec44a7",
}


@dataclass(frozen=True)
class Svhn(AbstractSource):
    """SVHN of Netzer et al. 2011: 73257, 26032 and 531131 colour images of 32×32, ten digits.

    The files call the digit zero "10"; here it is class 0.

    Args:
        path: folder of `train_32x32.mat`, `test_32x32.mat`; None searches the usual places.
        split: train, test or extra.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "test", "extra")
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (0.4377, 0.4438, 0.4728),
        (0.1980, 0.2010, 0.1970),
    )
    standard: ClassVar[Augmentation | None] = Augmentation(crop=2)

    path: str | None = None
    split: Literal["train", "test", "extra"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        name = f"{self.split}_32x32.mat"

        def find(folder: Path) -> Path | None:
            return folder / name if (folder / name).is_file() else None

        download = Download(f"http://ufldl.stanford.edu/housenumbers/{name}", SUMS[self.split])
        file = locate(
            self.where, path=self.path, folders=("svhn", "SVHN"), find=find, wants=name, downloads=(download,)
        )
        images, labels = _arrays(self.where, file)
        return self.dataset(images, labels, [str(digit) for digit in range(10)], reader="svhn", parts=[images, labels])


def _arrays(where: str, file: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    try:
        content = loadmat(file, variable_names=["X", "y"])
    except Exception as error:  # scipy raises whatever a damaged header leads to
        raise DataError(
            f"{where}: {file.name} is truncated or damaged ({error}). Copy or download it again."
        ) from error
    images, labels = content.get("X"), content.get("y")
    if images is None or labels is None or images.ndim != 4 or images.shape[2] != 3 or images.dtype != np.uint8:
        raise DataError(f"{where}: {file.name} does not hold images X (32, 32, 3, N) and labels y. Download it again.")
    numbers = labels.reshape(-1).astype(np.int64)
    numbers[numbers == 10] = 0
    return np.ascontiguousarray(images.transpose(3, 0, 1, 2)), numbers
