"""Imagenette and Imagewoof: ten easy and ten hard classes of ImageNet, from the folders that the archives unpack to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.folder import decoded_files, files_of, refuse_no_pixels
from paredown.data.locate import locate
from paredown.data.source import AbstractSource

NETTE = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
WOOF = {
    "n02086240": "Shih-Tzu",
    "n02087394": "Rhodesian ridgeback",
    "n02088364": "beagle",
    "n02089973": "English foxhound",
    "n02093754": "Border terrier",
    "n02096294": "Australian terrier",
    "n02099601": "golden retriever",
    "n02105641": "Old English sheepdog",
    "n02111889": "Samoyed",
    "n02115641": "dingo",
}
FORMS = ("-160", "-320", "")
"""Endings of the folders' names: the shorter side of the images in them, or images as they were."""


@dataclass(frozen=True)
class Imagenette(AbstractSource):
    """Ten easily told classes of ImageNet (Howard 2019; version 2): 9,469 images and 3,925 to test on.

    Each image gives the square in its middle, made smaller by means. The parts are `train` and `val`, the latter to
    test on.

    Args:
        path: folder of `train/` and `val/`, such as `imagenette2-160`; None searches the usual places.
        split: train or test.
        size: side of the squares.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (0.4626, 0.4588, 0.4251),
        (0.2790, 0.2745, 0.2973),
    )

    path: str | None = None
    split: Literal["train", "test"] = "train"
    size: int = 128
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def __post_init__(self) -> None:
        refuse_no_pixels(self, self.size)

    def read(self, workers: int) -> ImageDataset:
        return _read(self, self.path, "imagenette2", NETTE, self.size, workers)


@dataclass(frozen=True)
class Imagewoof(AbstractSource):
    """Ten breeds of dogs of ImageNet (Howard 2019; version 2): 9,025 images and 3,929 to test on.

    Each image gives the square in its middle, made smaller by means. The parts are `train` and `val`, the latter to
    test on.

    Args:
        path: folder of `train/` and `val/`, such as `imagewoof2-160`; None searches the usual places.
        split: train or test.
        size: side of the squares.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (0.4917, 0.4613, 0.3931),
        (0.2513, 0.2442, 0.2530),
    )

    path: str | None = None
    split: Literal["train", "test"] = "train"
    size: int = 128
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def __post_init__(self) -> None:
        refuse_no_pixels(self, self.size)

    def read(self, workers: int) -> ImageDataset:
        return _read(self, self.path, "imagewoof2", WOOF, self.size, workers)


def _read(
    source: AbstractSource, path: str | None, stem: str, classes: Mapping[str, str], size: int, workers: int
) -> ImageDataset:
    part = "train" if source.split == "train" else "val"

    def find(folder: Path) -> Path | None:
        return folder if all((folder / part / name).is_dir() for name in classes) else None

    folders = tuple(stem + form for form in FORMS)
    wants = f"train/ and val/ with the ten folders {next(iter(classes))} … as {stem}-160.tgz unpacks"
    root = locate(source.where, path=path, folders=folders, find=find, wants=wants)
    found, labels = files_of(source, root, root / part, list(classes))
    names = [name for name, _ in found]
    return decoded_files(source, root, names, labels, list(classes.values()), workers, size=size)
