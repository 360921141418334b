"""Any folder of image files with one sub-folder for each class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractImages, ImageDataset, Whiten
from paredown.data.encoded import Files
from paredown.data.images import decode
from paredown.data.source import AbstractSource, choose_part, held_out
from paredown.data.squares import Square
from paredown.data.stored_images import StoredImages, refuse_no_size, stored_images
from paredown.data.tables import PART_WORDS
from paredown.errors import DataError, MethodError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})


@dataclass(frozen=True)
class Folder(AbstractSource):
    """Images from `path/class/…` or, with parts, `path/train/class/…` and `path/test/class/…` (or val).

    Classes are the sub-folders by name; rows are the files by path. Without a folder for testing, a fifth of each
    class is held out. Images are read into memory; those that would take more than half of it are refused, and
    `stored` leaves them in their files instead, to be decoded when they are read. A pool of stored images is known by
    the paths and the sizes of its files, since hashing the content of millions would read all of it.

    Args:
        path: the folder.
        split: train, test, or another part of the folder; "all" for a folder without parts.
        size: side of the square to which each image is brought; None wants images of one size.
        stored: leave the images in their files; needs a size.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    splits: ClassVar[tuple[str, ...]] = ()

    path: str
    split: str = "train"
    size: int | None = None
    stored: bool = False
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def __post_init__(self) -> None:
        if self.size is not None:
            refuse_no_pixels(self, self.size)
        refuse_no_size(self, self.size, self.stored)

    def read(self, workers: int) -> AbstractImages:
        root = Path(self.path).expanduser()
        stem = root.resolve().name
        if self.stored and self.size:
            return stored_folders(self, root, square=Square(self.size, self.size, "bicubic"), stem=stem)
        return read_folders(self, root, workers, stem=stem, size=self.size)


@dataclass(frozen=True)
class Found:
    """The image files of a split.

    Args:
        names: paths below the folder.
        sizes: bytes of each file.
        labels: the class of each, int64 (N,).
        classes: their names.
        part: which part was found.
        held_out: whether the split is a share of it.
    """

    names: list[str]
    sizes: list[int]
    labels: np.ndarray
    classes: list[str]
    part: str
    held_out: bool


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
    found = find_images(source, root, joined=joined, official=official)
    rows = held_out(found.labels, source.split) if found.held_out else np.arange(len(found.labels))
    names = [found.names[row] for row in rows]
    images = decode(
        len(names),
        lambda position: (root / names[position]).read_bytes(),
        called=lambda position: names[position],
        where=source.where,
        size=size,
        workers=workers,
    )
    stored = [part for name in found.names for part in (name, root / name)]
    return source.dataset(
        images, found.labels[rows], found.classes,
        reader="folder", parts=stored, stem=stem, part=source.split if found.held_out else found.part,
        held_out=found.held_out, paths=names,
    )  # fmt: skip


def stored_folders(
    source: AbstractSource, root: Path, *, square: Square, stem: str, official: Sequence[str] | None = None
) -> StoredImages:
    """Gives the split of a source whose images stay in their files; see `read_folders`."""
    found = find_images(source, root, official=official)
    return stored_images(
        source, Files(source.where, root, tuple(found.names)), found.labels, found.classes,
        square=square, parts=["\n".join(found.names), np.array(found.sizes, np.int64)], stem=stem,
        part=source.split if found.held_out else found.part,
        rows=held_out(found.labels, source.split) if found.held_out else None, held_out=found.held_out,
        paths=found.names,
    )  # fmt: skip


def find_images(
    source: AbstractSource, root: Path, *, joined: Sequence[str] = (), official: Sequence[str] | None = None
) -> Found:
    """Finds the image files of a split and their labels, without reading one; see `read_folders`."""
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
    files: list[tuple[str, int]] = []
    parts_labels: list[np.ndarray] = []
    for folder in folders:
        strange = sorted(set(_classes(folder)) - set(classes))
        if strange:
            raise DataError(
                f"{where}: class '{strange[0]}' of {folder.name} is not among the {len(classes)} classes of the "
                "training part. Rename or remove that folder."
            )
        found, labels = files_of(source, root, folder, classes)
        files.extend(found)
        parts_labels.append(labels)
    names, sizes = ([file[column] for file in files] for column in (0, 1))
    return Found(names, sizes, np.concatenate(parts_labels), classes, part, share)  # type: ignore[arg-type]


def files_of(
    source: AbstractSource, root: Path, folder: Path, classes: Sequence[str]
) -> tuple[list[tuple[str, int]], np.ndarray]:
    """Gives the image files of each class in a folder, as paths below the root with their bytes, and their labels."""
    files: list[tuple[str, int]] = []
    counts = []
    for name in classes:
        found = _images(folder / name)
        if not found:
            raise DataError(
                f"{source.where}: class '{name}' has no images in {folder.name}. Add some, or remove that folder."
            )
        below = (folder / name).relative_to(root).as_posix()
        files.extend((f"{below}/{file}", size) for file, size in found)
        counts.append(len(found))
    return files, np.repeat(np.arange(len(classes)), counts)


def decoded_files(
    source: AbstractSource,
    root: Path,
    names: Sequence[str],
    labels: np.ndarray,
    classes: Sequence[str],
    workers: int,
    *,
    size: int,
) -> ImageDataset:
    """Reads the listed files of a published data set: colour squares from the middle, made smaller by means.

    Args:
        source: asks, and makes the data set.
        root: what the names lie below.
        names: of the files.
        labels: of each.
        classes: their names.
        workers: threads that decode.
        size: side of the squares.
    """

    def stored(position: int) -> bytes:
        try:
            return (root / names[position]).read_bytes()
        except OSError as error:
            raise DataError(
                f"{source.where}: {names[position]} is listed and cannot be read ({error.strerror}). Unpack the "
                "archive again."
            ) from error

    if not len(names):
        raise DataError(f"{source.where}: there are no images in {source.split}.")
    images = decode(
        len(names), stored, called=lambda position: names[position],
        where=source.where, size=size, workers=workers, means=True, colour=True,
    )  # fmt: skip
    parts = [part for name in names for part in (name, root / name)]
    return source.dataset(images, labels, classes, reader="files", parts=parts, paths=names)


def refuse_no_pixels(source: AbstractSource, size: int) -> None:
    """Raises MethodError for images without a side."""
    if size < 1:
        raise MethodError(f"{type(source).__name__}(size={size}): images need a side of at least one pixel.")


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


def _images(folder: Path) -> list[tuple[str, int]]:
    """Gives the path below the folder, and the bytes, of each image file in it or further down, by path."""
    return sorted(_below(str(folder), "")) if folder.is_dir() else []


def _below(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    # Over millions of files, a path object for each would take longer than all the rest.
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _below(entry.path, f"{prefix}{entry.name}/")
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES and not entry.name.startswith("."):  # noqa: PTH122
                try:
                    yield f"{prefix}{entry.name}", entry.stat().st_size
                except OSError:  # a link that leads nowhere: whoever reads the image says so
                    yield f"{prefix}{entry.name}", 0
