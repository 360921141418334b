"""`StoredImages`: labelled images that stay encoded where they lie and are decoded when they are read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from paredown.artifacts.ids import ExampleIds
from paredown.data.augment import Augmentation
from paredown.data.dataset import AbstractByteImages, Whiten, refuse_labels_out_of_range
from paredown.data.encoded import AbstractEncoded
from paredown.data.source import AbstractSource
from paredown.data.squares import BoxesOf, Square
from paredown.errors import DataError, MethodError

IMAGENET = Augmentation(area=0.08, flip=True)
"""The usual augmentation of images of any size: windows of 8 % to all of the area, and flips."""
IMAGENET_STATISTICS = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels: what images of any size are usually normalised by."""
RUN = 16
"""Images that a thread decodes in one go."""


@dataclass(frozen=True, eq=False, repr=False)
class StoredImages(AbstractByteImages):
    """Labelled images of any sizes, encoded in files, tables or memory, of which a network sees squares.

    Args:
        name: source and split, such as `imagenet:train`.
        encoded: where the images lie.
        rows: which of those are the data set's, int64 (N,).
        labels: int64 (N,), below `len(classes)`.
        classes: the name of each class.
        ids: one id a row.
        square: how an image becomes a square.
        mean, std: per channel, in units of [0, 1] pixels.
        augmentation: this data's standard one.
        corrupted: bool (N,), which rows label noise changed; None without noise.
        clean_labels: int64 (N,), the labels before noise; None without noise.
        paths: where each image lies below its folder, for data made of image files.
        settings: what besides the pool decides the content (the reader's fields, label noise).
        whiten: whether a network's first layer whitens too, by a matrix fitted to these images.
    """

    name: str
    encoded: AbstractEncoded
    rows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    ids: ExampleIds
    square: Square
    mean: tuple[float, ...] = IMAGENET_STATISTICS[0]
    std: tuple[float, ...] = IMAGENET_STATISTICS[1]
    augmentation: Augmentation = IMAGENET
    corrupted: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    whiten: Whiten = None

    def __post_init__(self) -> None:
        if not len(self.rows) == len(self.labels) == len(self.ids):
            raise DataError(
                f"{self.name}: {len(self.rows)} images, {len(self.labels)} labels and {len(self.ids)} ids do not pair "
                "up. Give one label and one id for each image."
            )
        if len(self.rows) == 0:
            raise DataError(f"{self.name}: there are no images.")
        refuse_labels_out_of_range(self.name, self.labels, len(self.classes))
        object.__setattr__(self, "labels", np.require(self.labels, np.int64, ["C", "W"]))

    @property
    def shape(self) -> tuple[int, int, int]:
        return 3, self.square.size, self.square.size

    def read(self, positions: np.ndarray) -> np.ndarray:
        out = np.empty((len(positions), self.square.size, self.square.size, 3), np.uint8)
        with ThreadPoolExecutor(cores()) as pool:
            runs = [slice(start, start + RUN) for start in range(0, len(positions), RUN)]
            list(pool.map(lambda run: self.decode(positions[run], out[run]), runs))
        return out

    def decode(self, positions: np.ndarray, out: np.ndarray, boxes: BoxesOf | None = None) -> None:
        """Decodes the images at some positions into `out`, in this thread; see `Square.decode`."""
        self.square.decode(self.encoded, self.rows[positions], out, where=self.name, boxes=boxes)

    def at(self, square: Square) -> StoredImages:
        """Gives the same images, seen in another square."""
        return replace(self, square=square)

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"square": self.square.plain()}


def stored_images(
    source: AbstractSource,
    encoded: AbstractEncoded,
    labels: np.ndarray,
    classes: Sequence[str],
    *,
    square: Square,
    parts: Sequence[np.ndarray | bytes | str],
    stem: str,
    part: str,
    rows: np.ndarray | None = None,
    held_out: bool = False,
    paths: Sequence[str] | None = None,
) -> StoredImages:
    """Checks what a source found and makes the data set; no image is read.

    Args:
        source: asks.
        encoded: where the images lie.
        labels: of all of them, whole numbers.
        classes: their names.
        square: how an image becomes a square.
        parts: what is hashed into the fingerprint of the pool, in place of the images themselves.
        stem: the name in reports; the catalog's name by default.
        part: which part was read.
        rows: the images of the split; all by default.
        held_out: whether the part is a share of a larger one.
        paths: where each image lies, for image files.
    """
    chosen = np.arange(len(encoded)) if rows is None else rows
    if len(labels) == 0:
        raise DataError(f"{source.where}: there are no images in {part}.")
    source.check_labels(labels[chosen], classes, part)
    mean, std = source.normalisation or IMAGENET_STATISTICS
    return StoredImages(
        encoded=encoded, rows=chosen, labels=labels[chosen], classes=tuple(classes), square=square, mean=mean, std=std,
        augmentation=source.standard or IMAGENET,
        paths=None if paths is None else tuple(paths[row] for row in chosen.tolist()), whiten=source.whiten_of(part),
        **source.identified(len(chosen), reader="stored", parts=parts, stem=stem, part=part, held_out=held_out),
    )  # fmt: skip


def refuse_no_size(source: AbstractSource, size: int | None, stored: bool) -> None:
    """Raises MethodError for images that stay encoded, of any sizes, and no size at which a network sees them."""
    if stored and size is None:
        raise MethodError(
            f"{type(source).__name__}(stored=True): images that stay encoded may have any size, and a network sees "
            "squares of one. Set size, such as 224."
        )


def cores() -> int:
    """Gives how many threads decode by default: one a core that is free to this process of one or several."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, usable // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
