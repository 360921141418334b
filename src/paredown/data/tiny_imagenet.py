"""Tiny-ImageNet, from the folder that the archive of Stanford's course CS231n unpacks to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.folder import decoded_files, files_of
from paredown.data.locate import locate
from paredown.data.source import AbstractSource
from paredown.errors import DataError

SIZE = 64


@dataclass(frozen=True)
class TinyImageNet(AbstractSource):
    """Tiny-ImageNet of Le & Yang 2015: 100,000 and 10,000 colour images of 64×64 in 200 classes of ImageNet.

    The published test part has no labels, so the validation part is what one tests on. Classes are numbered in the
    order of their WordNet ids and named by the first word of `words.txt`.

    Args:
        path: folder of `wnids.txt`, `train/` and `val/`; None searches the usual places.
        split: train or test.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = (
        (0.4759, 0.4481, 0.3926),
        (0.2763, 0.2687, 0.2813),
    )

    path: str | None = None
    split: Literal["train", "test"] = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        root = locate(
            self.where,
            path=self.path,
            folders=("tiny-imagenet-200", "tiny-imagenet"),
            find=_find,
            wants="wnids.txt, train/ and val/ as tiny-imagenet-200.zip unpacks",
        )
        ids = sorted((root / "wnids.txt").read_text("utf-8").split())
        if self.split == "train":
            found, labels = files_of(self, root, root / "train", ids)
            names = [name for name, _ in found]
        else:
            names, labels = self._annotated(root, ids)
        return decoded_files(self, root, names, labels, _named(root, ids), workers, size=SIZE)

    def _annotated(self, root: Path, ids: list[str]) -> tuple[list[str], np.ndarray]:
        """Gives the images to test on by the table beside them, or by their folders where somebody sorted them."""
        if not (root / "val" / "images").is_dir() and (root / "val" / ids[0]).is_dir():
            found, labels = files_of(self, root, root / "val", ids)
            return [name for name, _ in found], labels
        table = root / "val" / "val_annotations.txt"
        if not table.is_file():
            raise DataError(
                f"{self.where}: val/val_annotations.txt is missing, which names the class of each image there. Unpack "
                "the archive again."
            )
        number = {name: position for position, name in enumerate(ids)}
        names: list[str] = []
        numbers: list[int] = []
        for line, text in enumerate(table.read_text("utf-8").splitlines(), 1):
            file, class_id, *_ = [*text.split("\t"), "", ""]
            if class_id not in number:
                raise DataError(
                    f"{self.where}: line {line} of val_annotations.txt names no class of wnids.txt, but '{class_id}'. "
                    "Unpack the archive again."
                )
            names.append(f"val/images/{file}")
            numbers.append(number[class_id])
        return names, np.array(numbers, np.int64)


def _find(folder: Path) -> Path | None:
    return folder if (folder / "wnids.txt").is_file() and (folder / "train").is_dir() else None


def _named(root: Path, ids: list[str]) -> list[str]:
    """Gives a word for each id, and the id itself where there is no word or several classes share it."""
    table = root / "words.txt"
    lines = table.read_text("utf-8").splitlines() if table.is_file() else []
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    named = [words.get(name, name).split(",")[0].strip() for name in ids]
    return [word if named.count(word) == 1 else name for word, name in zip(named, ids, strict=True)]
