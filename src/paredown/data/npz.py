"""Images and labels from any `.npz` file, by the names that people give such arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import ImageDataset, Whiten
from paredown.data.source import AbstractSource, choose_part, held_out
from paredown.data.tables import PART_WORDS
from paredown.errors import DataError

IMAGE_WORDS = ("images", "image", "x", "data", "img", "imgs")
LABEL_WORDS = ("labels", "label", "y", "targets", "target")
CLASS_WORDS = ("classes", "class_names", "names")


@dataclass(frozen=True)
class Npz(AbstractSource):
    """Arrays `x` and `y` (or `images`, `labels`, `x_train`, `y_test`, `train_images`, …) of one `.npz` file.

    Images are (N, H, W), (N, H, W, C) or (N, C, H, W); uint8, whole numbers in 0 … 255, or floats in 0 … 1 or 0 …
    255. Labels are whole numbers, one-hot rows or text. Without arrays for testing, a fifth of each class is held
    out. Files with pickled objects are refused.

    Args:
        path: the file.
        split: train or test, or as the file's arrays are called.
        noise: label noise for the training rows.
        whiten: "zca" lets networks begin by whitening the images.
    """

    splits: ClassVar[tuple[str, ...]] = ()

    path: str
    split: str = "train"
    noise: LabelNoise | None = None
    whiten: Whiten = None

    def read(self, workers: int) -> ImageDataset:
        arrays = _arrays(self.where, Path(self.path).expanduser())
        found = _pairs(self.where, arrays)
        part, (images_key, labels_key), share = choose_part(self, found)
        numbered = {key: _label_numbers(self.where, key, arrays[key]) for _, key in found.values()}
        classes = _class_names(arrays, list(numbered.values()))
        images = _pixels(self.where, images_key, arrays[images_key])
        labels = _indices(numbered[labels_key], classes)
        if len(images) != len(labels):
            raise DataError(
                f"{self.where}: '{images_key}' has {len(images)} rows and '{labels_key}' {len(labels)}. "
                "Give one label for each image."
            )
        self.check_labels(labels, classes, part)
        rows = held_out(labels, self.split) if share else np.arange(len(labels))
        return self.dataset(
            images[rows], labels[rows], classes,
            reader="npz", parts=[arrays[images_key], arrays[labels_key]],
            stem=Path(self.path).stem, part=self.split if share else part, held_out=share,
        )  # fmt: skip


def _arrays(where: str, path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"{where}: there is no such file. Give the path of an .npz file.")
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                raise DataError(
                    f"{where}: the file holds one nameless array. Store images and labels with numpy.savez."
                )
            with stored:
                return {key: stored[key] for key in stored.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        if "allow_pickle" in str(error) or "Object arrays" in str(error):
            raise DataError(
                f"{where}: the file holds pickled Python objects, which can run code when read. "
                "Store plain arrays of numbers or text."
            ) from error
        raise DataError(f"{where}: the file is truncated or is no .npz ({error}). Make or copy it again.") from error


def _pairs(where: str, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[str, str]]:
    """Gives the keys of images and labels for each part of the file; one part "all" when none is named."""
    named = {key.lower(): key for key in arrays}
    parts: dict[str, tuple[str, str]] = {}
    for part, words in PART_WORDS.items():
        images = _key(named, [f"{kind}_{word}" for kind in IMAGE_WORDS for word in words], words, IMAGE_WORDS)
        labels = _key(named, [f"{kind}_{word}" for kind in LABEL_WORDS for word in words], words, LABEL_WORDS)
        if images and not labels:
            raise DataError(f"{where}: '{images}' has no labels beside it. Add '{_partner(images)}'.")
        if images and labels:
            parts[part] = (images, labels)
    if parts:
        return parts
    images = next((named[word] for word in IMAGE_WORDS if word in named), None)
    labels = next((named[word] for word in LABEL_WORDS if word in named), None)
    if images and labels:
        return {"all": (images, labels)}
    lacking = "labels" if images else "images"
    raise DataError(
        f"{where}: no {lacking} among its arrays ({', '.join(arrays) or 'there are none'}). "
        "Name the arrays x and y, or x_train, y_train, x_test and y_test."
    )


def _key(named: Mapping[str, str], before: list[str], words: Sequence[str], kinds: Sequence[str]) -> str | None:
    after = [f"{word}_{kind}" for word in words for kind in kinds]
    return next((named[key] for key in [*before, *after] if key in named), None)


def _partner(images: str) -> str:
    for kind, label in zip(IMAGE_WORDS, LABEL_WORDS, strict=False):
        if kind in images.lower().split("_"):
            return "_".join(label if word.lower() == kind else word for word in images.split("_"))
    return "y"


def _label_numbers(where: str, key: str, labels: np.ndarray) -> np.ndarray:
    """Gives labels as whole numbers or text, one a row."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise DataError(
                f"{where}: '{key}' has several labels a row, and one is needed. Store one class number a row."
            )
        return labels.argmax(axis=1)
    if labels.ndim != 1 or labels.dtype.kind not in "biufUS":
        raise DataError(f"{where}: '{key}' of type {labels.dtype} and shape {labels.shape} is not one label a row.")
    if labels.dtype.kind == "f":
        wrong = np.flatnonzero(labels != np.floor(np.nan_to_num(labels, nan=0.5)))
        if len(wrong):
            raise DataError(
                f"{where}: '{key}' holds {labels[wrong[0]]} in row {wrong[0]}, which is not a class number."
            )
    return labels if labels.dtype.kind in "US" else labels.astype(np.int64)


def _class_names(arrays: Mapping[str, np.ndarray], labels: list[np.ndarray]) -> list[str]:
    stated = next((arrays[key] for key in arrays if key.lower() in CLASS_WORDS), None)
    if stated is not None:
        return [str(name) for name in stated.reshape(-1)]
    if any(part.dtype.kind in "US" for part in labels):
        return sorted({str(name) for part in labels for name in part.tolist()})
    return [str(number) for number in range(max(int(part.max(initial=0)) for part in labels) + 1)]


def _indices(labels: np.ndarray, classes: list[str]) -> np.ndarray:
    if labels.dtype.kind not in "US":
        return labels
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number.get(str(name), -1) for name in labels.tolist()], dtype=np.int64)


def _pixels(where: str, key: str, images: np.ndarray) -> np.ndarray:
    """Gives uint8 (N, H, W, C)."""
    if images.ndim not in (3, 4) or images.dtype.kind not in "biuf":
        raise DataError(
            f"{where}: '{key}' of type {images.dtype} and shape {images.shape} is not images. "
            "Store numbers of shape (N, H, W), (N, H, W, C) or (N, C, H, W)."
        )
    if images.ndim == 3:
        images = images[..., None]
    elif images.shape[-1] not in (1, 3) and images.shape[1] in (1, 3):
        images = images.transpose(0, 2, 3, 1)
    if images.dtype == np.uint8 or not images.size:
        return images.astype(np.uint8, copy=False)
    if images.dtype.kind == "f":
        finite = np.isfinite(images).all(axis=(1, 2, 3))
        if not finite.all():
            raise DataError(
                f"{where}: '{key}' has NaN or infinite pixels in {int((~finite).sum())} images, the first in row "
                f"{int(np.argmin(finite))}. Repair or drop them."
            )
    low, high = float(images.min()), float(images.max())
    if low < 0 or high > 255:
        raise DataError(
            f"{where}: '{key}' has pixels from {low:g} to {high:g}, and they must lie in 0…255 or 0…1. "
            "Store images before any normalisation."
        )
    if images.dtype.kind == "f":
        images = np.round(images * 255 if high <= 1 else images)
    return images.astype(np.uint8)
