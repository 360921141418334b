"""Any folder of image files with one sub-folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset
from paredown.data.images import decode
from paredown.data.source import PART_WORDS, AbstractSource, choose_part, held_out
from paredown.errors import DataError, MethodError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})


@dataclass(frozen=True)
class Folder(AbstractSource):
    """Images from `path/class/…` or, with parts, `path/train/class/…` and `path/test/class/…` (or val).

    Classes are the sub-folders by name; rows are the files by path. Without a folder for testing, a fifth of each
    class is held out.

    Args:
        path: the folder.
        split: train, test, or another part of the folder; "all" for a folder without parts.
        size: side of the square to which each image is brought; None wants images of one size.
        noise: label noise for the training rows.
    """

    splits: ClassVar[tuple[str, ...]] = ()

    path: str
    split: str = "train"
    size: int | None = None
    noise: LabelNoise | None = None

    def __post_init__(self) -> None:
        if self.size is not None and self.size < 1:
            raise MethodError(f"Folder(size={self.size}): images need a side of at least one pixel.")

    def read(self, workers: int) -> ImageDataset:
        root = Path(self.path).expanduser()
        return read_folders(self, root, workers, stem=root.resolve().name, size=self.size)


def read_folders(
    source: AbstractSource,
    root: Path,
    workers: int,
    *,
    stem: str,
    size: int | None = None,
    joined: Sequence[str] = (),
    official: Sequence[str] | None = None,
) -> ImageDataset:
    """Reads the split of a source from a folder of classes, or of parts with classes.

    Args:
        source: asks, and makes the data set.
        root: the folder.
        workers: threads that decode.
        stem: the name in reports.
        size: as in `Folder`.
        joined: parts that make up the split "train", in order; by default the part of that name alone.
        official: the classes that a published data set has, in parts that nothing stands in for; None takes what
            there is.
    """
    where = source.where
    if not root.is_dir():
        raise DataError(
            f"{where}: there is no such folder. Give a folder with one sub-folder of images for each class."
        )
    parts = find_parts(root)
    part, folder, share = choose_part(source, parts, official=official is not None)
    folders = [parts[name] for name in joined if name in parts] if joined and part == "train" else [folder]
    classes = list(official or _classes(parts.get("train", folder)))
    if not classes:
        raise DataError(
            f"{where}: {folder.name} has no sub-folders. Put the images of each class into a folder of its own."
        )
    files: list[Path] = []
    labels: list[int] = []
    for folder in folders:
        strange = sorted(set(_classes(folder)) - set(classes))
        if strange:
            raise DataError(
                f"{where}: class '{strange[0]}' of {folder.name} is not among the {len(classes)} classes of the "
                "training part. Rename or remove that folder."
            )
        for number, name in enumerate(classes):
            found = _images(folder / name)
            if not found:
                raise DataError(
                    f"{where}: class '{name}' has no images in {folder.name}. Add some, or remove that folder."
                )
            files.extend(found)
            labels.extend([number] * len(found))
    numbers = np.array(labels, dtype=np.int64)
    rows = held_out(numbers, source.split) if share else np.arange(len(numbers))
    chosen = [files[row] for row in rows]
    names = [file.relative_to(root).as_posix() for file in files]
    images = decode(
        len(chosen),
        lambda position: chosen[position].read_bytes(),
        called=lambda position: chosen[position].relative_to(root).as_posix(),
        where=where,
        size=size,
        workers=workers,
    )
    stored = [part for pair in zip(names, files, strict=True) for part in pair]
    return source.dataset(
        images, numbers[rows], classes,
        reader="folder", parts=stored, stem=stem, part=source.split if share else part, held_out=share,
        paths=[names[row] for row in rows],
    )  # fmt: skip


def find_parts(root: Path) -> dict[str, Path]:
    """Gives the folder of each part; one part "all", the folder itself, when there is no sub-folder for training."""
    inside = {folder.name.lower(): folder for folder in root.iterdir() if folder.is_dir()}
    found = {
        part: inside[next(word for word in words if word in inside)]
        for part, words in PART_WORDS.items()
        if any(word in inside for word in words)
    }
    return found if "train" in found else {"all": root}


def _classes(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    files = (file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    return sorted(files, key=lambda file: file.relative_to(folder).as_posix())
