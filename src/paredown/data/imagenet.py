"""ImageNet-1K, from its folders of JPEG files or from Parquet shards; no image is read before it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import Whiten
from paredown.data.folder import SUFFIXES, find_parts, stored_folders
from paredown.data.locate import locate
from paredown.data.parquet import stored_tables
from paredown.data.source import AbstractSource
from paredown.data.squares import Square
from paredown.data.stored_images import IMAGENET, IMAGENET_STATISTICS, StoredImages
from paredown.errors import DataError, MethodError

BELOW = (".", "ILSVRC/Data/CLS-LOC", "data")
"""Where the parts lie below the folder: in itself, or as two well-known archives unpack."""


@dataclass(frozen=True)
class ImageNet(AbstractSource):
    """ImageNet-1K of Russakovsky et al. 2015: 1,281,167 training images and 50,000 to validate on, in 1000 classes.

    Either the folders `train/` and `val/` with one sub-folder of JPEG files for each class, whose numbers follow the
    order of the sub-folders' names, or Parquet shards as Hugging Face stores them. Any share of the classes will do, as
    long as both parts have them. Nobody may publish the images, so there is nothing to download them from.

    Training sees random windows of 8 % to all of the area, mirrored or not; everything else sees the middle of an image
    whose shorter side was brought to `resize` pixels. The pool is known by the names and the sizes of the files (or the
    footers of the shards), since hashing their content would read 150 GB.

    Args:
        path: the folder; None searches the usual places.
        split: train or validation.
        size: side of the square that a network sees.
        resize: the shorter side of an image before the middle is cut out.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "validation")
    standard: ClassVar[Augmentation | None] = IMAGENET
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = IMAGENET_STATISTICS

    path: str | None = None
    split: Literal["train", "validation"] = "train"
    size: int = 224
    resize: int = 256
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise MethodError(
                f"ImageNet(size={self.size}, resize={self.resize}): the middle of an image cannot be larger than it. "
                "Use a size from 1 to resize."
            )

    def read(self, workers: int) -> StoredImages:
        folder, form = locate(
            self.where,
            path=self.path,
            folders=("imagenet", "imagenet-1k", "ILSVRC2012"),
            find=_find,
            wants="train/ and val/ with one sub-folder of images for each class, or the Parquet shards of both",
        )
        square = Square(self.size, self.resize)
        if form == "tables":
            return stored_tables(self, folder, square=square, stem="imagenet", official=True)
        self._refuse_flat(folder)
        classes = sorted(entry.name for entry in find_parts(folder)["train"].iterdir() if entry.is_dir())
        return stored_folders(self, folder, square=square, stem="imagenet", official=classes)

    def _refuse_flat(self, folder: Path) -> None:
        for part in (folder for name, folder in find_parts(folder).items() if name in self.splits):
            first = next(part.iterdir(), None)
            if first is not None and first.is_file() and first.suffix.lower() in SUFFIXES:
                raise DataError(
                    f"{self.where}: {part.name}/ holds images but no class folders, as the archive of the validation "
                    "images unpacks. Move each image into a folder named for its class."
                )


def _find(folder: Path) -> tuple[Path, str] | None:
    for place in (folder / below for below in BELOW):
        if not place.is_dir():
            continue
        if any(True for pattern in ("train*.parquet", "train/*.parquet") for _ in place.glob(pattern)):
            return place, "tables"
        if {"train", "validation"} <= find_parts(place).keys():
            return place, "folders"
    return None
