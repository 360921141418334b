"""Caltech-UCSD Birds-200-2011, from the folder of images and the tables beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.folder import decoded_files, refuse_no_pixels
from paredown.data.locate import locate
from paredown.data.source import AbstractSource
from paredown.errors import DataError

TABLES = ("images.txt", "image_class_labels.txt", "train_test_split.txt", "classes.txt")


@dataclass(frozen=True)
class Cub200(AbstractSource):
    """Birds of Wah et al. 2011: 5,994 images and 5,794 to test on, of 200 kinds of birds.

    Each image gives the square in its middle, made smaller by means.

    Args:
        path: folder of `images/`, `images.txt` and the other tables; None searches the usual places.
        split: train or test, as `train_test_split.txt` deals them.
        size: side of the squares; distilled sets are published at 32.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (0.4810, 0.4964, 0.4245),
        (0.2129, 0.2084, 0.2468),
    )

    path: str | None = None
    split: Literal["train", "test"] = "train"
    size: int = 32
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def __post_init__(self) -> None:
        refuse_no_pixels(self, self.size)

    def read(self, workers: int) -> ImageDataset:
        root = locate(
            self.where,
            path=self.path,
            folders=("CUB_200_2011", "CUB_200_2011/CUB_200_2011", "cub-200"),
            find=_find,
            wants="images/, images.txt, image_class_labels.txt, train_test_split.txt and classes.txt",
        )
        files, labels, splits, classes = (self._table(root / name) for name in TABLES)
        numbers = {name: position for position, name in enumerate(classes)}
        wanted = "1" if self.split == "train" else "0"
        names, chosen = [], []
        for image, file in files.items():
            if labels.get(image) not in numbers or splits.get(image) not in ("0", "1"):
                raise DataError(
                    f"{self.where}: image {image} ({file}) has no class in image_class_labels.txt or no part in "
                    "train_test_split.txt. Unpack the archive again."
                )
            if splits[image] == wanted:
                names.append(f"images/{file}")
                chosen.append(numbers[labels[image]])
        # `001.Black_footed_Albatross`
        called = [name.split(".", 1)[-1].replace("_", " ") for name in classes.values()]
        return decoded_files(self, root, names, np.array(chosen, np.int64), called, workers, size=self.size)

    def _table(self, file: Path) -> dict[str, str]:
        """Gives what stands behind the number that each line begins with."""
        rows = [line.split(maxsplit=1) for line in file.read_text("utf-8").splitlines() if line.strip()]
        wrong = next((number for number, row in enumerate(rows, 1) if len(row) != 2), None)
        if wrong is not None:
            raise DataError(
                f"{self.where}: row {wrong} of {file.name} is no number with something behind it. Unpack the archive "
                "again."
            )
        return {row[0]: row[1].strip() for row in rows}


def _find(folder: Path) -> Path | None:
    return folder if (folder / "images").is_dir() and all((folder / name).is_file() for name in TABLES) else None
