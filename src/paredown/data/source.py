"""`AbstractSource`: where examples come from, as a method; and `open_data`, which takes a name, a path or fields."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from paredown import catalog, rng
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.dataset import AbstractDataset, ImageDataset, LearnableDataset, Whiten, pixel_statistics
from paredown.data.fingerprint import Stretch, fingerprint
from paredown.data.metadata import is_pool
from paredown.data.pool import pooled
from paredown.data.tables import SUFFIXES, holds_text
from paredown.errors import DataError, did_you_mean
from paredown.method import Method, build

Part = TypeVar("Part")

HELD_OUT = 0.2
"""Share of each class that is the test part of data that have none."""


class AbstractSource(Method):
    """A place that examples come from, and which part of it: `load()` reads it into memory.

    A subclass declares the fields `split` and `noise`, and writes `read`, which ends in `self.dataset(…)`. Rows keep
    the order in which the source stores them, so that the id of an example is its position there on every machine.
    """

    kind: ClassVar[str] = "data"
    noun: ClassVar[str] = "images"
    """What one example is, in the plural, as far as that is known before anything is read."""
    splits: ClassVar[tuple[str, ...]] = ("train", "test")
    """The splits there are; empty where they stand in the files, so that only reading shows them."""
    standard: ClassVar[Augmentation | None] = None
    """The usual augmentation; None takes one by the size of the images."""
    normalisation: ClassVar[tuple[tuple[float, ...], tuple[float, ...]] | None] = None
    """The usual mean and standard deviation of each channel; None computes them."""

    split: str
    noise: LabelNoise | None
    whiten: Whiten = None
    """Sources of images have it as a field: whether a network's first layer whitens them."""

    @abstractmethod
    def read(self, workers: int) -> AbstractDataset:
        """Reads the asked split with its clean labels."""

    def unlabelled(self, workers: int) -> AbstractDataset:
        """Gives the examples for someone who labels them anew; a source whose files may lack labels writes its own."""
        return self.load(workers=workers)

    def load(self, *, workers: int = 0) -> AbstractDataset:
        """Gives the examples of the asked split, with label noise where it was asked for.

        Args:
            workers: threads that decode compressed images; 0 takes as many as there are processors, up to eight.

        Raises:
            DataError: whatever is wrong with the files, in one sentence.
        """
        if self.splits:
            self.check_split(self.splits)
        if self.noise is not None and self.split in ("test", "validation"):
            raise DataError(
                f"{type(self).__name__}(split={self.split!r}, noise=…): noise is for training labels, because "
                "accuracy is measured on true ones. Drop noise here."
            )
        data = self.read(workers)
        if self.noise is None:
            return data
        assert isinstance(data, LearnableDataset), "only sources of labelled data have noise"
        return data.with_noise(self.noise)

    def identity(self) -> dict[str, Any]:
        found = super().identity()
        # As if the field did not exist where it says nothing, so that addresses made before it hold.
        return {key: value for key, value in found.items() if key != "whiten" or value is not None}

    @property
    def where(self) -> str:
        """The beginning of a message: the class and where it reads."""
        path = getattr(self, "path", None)
        return type(self).__name__ + (f"(path={str(path)!r})" if path else "")

    def check_split(self, known: Sequence[str]) -> None:
        """Refuses a split that is not among those known."""
        if self.split not in known:
            raise DataError(
                f"{self.where}: there is no split '{self.split}', only {', '.join(known)}."
                f"{did_you_mean(self.split, known)}"
            )

    def dataset(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[str],
        *,
        reader: str,
        parts: Iterable[np.ndarray | Stretch | bytes | str | Path],
        stem: str = "",
        part: str = "",
        held_out: bool = False,
        paths: Sequence[str] | None = None,
    ) -> ImageDataset:
        """Checks what was read and makes the data set.

        Args:
            images: uint8 (N, H, W, C).
            labels: whole numbers (N,).
            classes: their names.
            reader: the format, for the fingerprint.
            parts: what is stored, for the fingerprint.
            stem: the name in reports; the catalog's name by default.
            part: which part was read; the split by default.
            held_out: whether the part is a share of a larger one.
            paths: where each image lies, for image files.
        """
        part = part or self.split
        if len(labels) == 0:
            raise DataError(f"{self.where}: there are no images in {part}.")
        if len(images) != len(labels):
            raise DataError(
                f"{self.where}: {len(images)} images and {len(labels)} labels do not pair up in {part}. "
                "Give one label for each image."
            )
        self.check_labels(labels, classes, part)
        mean, std = self.normalisation or pixel_statistics(images)
        augmentation = self.standard or usual_augmentation(images.shape)
        return ImageDataset(
            images=images, labels=labels, classes=tuple(classes), mean=mean, std=std, augmentation=augmentation,
            paths=None if paths is None else tuple(paths), whiten=self.whiten_of(part),
            **self.identified(len(images), reader=reader, parts=parts, stem=stem, part=part, held_out=held_out),
        )  # fmt: skip

    def identified(
        self,
        count: int,
        *,
        reader: str,
        parts: Iterable[np.ndarray | Stretch | bytes | str | Path],
        stem: str,
        part: str,
        held_out: bool,
    ) -> dict[str, Any]:
        """Gives name, ids and settings of a data set: the fields that every kind has. See `dataset`."""
        name = f"{stem or self.name}:{part}"
        asked = f"{part}, {HELD_OUT} held out" if held_out and self.split != "all" else part
        settings = {key: value for key, value in self.identity().items() if key not in ("path", "noise", "whiten")}
        pool = Pool((name,), count, fingerprint(reader, asked, parts))
        return {"name": name, "ids": ExampleIds.of_pool(pool), "settings": {"source": settings}}

    def whiten_of(self, part: str) -> Whiten:
        """Gives whether the images of a part are whitened: those to test on are so by the network that sees them."""
        return None if part in ("test", "validation") else self.whiten

    def check_labels(self, labels: np.ndarray, classes: Sequence[str], part: str) -> None:
        """Refuses labels that no class has and, where one learns from them, classes that no label has."""
        among = "" if part == "all" else f" in {part}"
        wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
        if len(wrong):
            raise DataError(
                f"{self.where}: label {labels[wrong[0]]} of row {wrong[0]}{among} is out of range, because there "
                f"are {len(classes)} classes (0 to {len(classes) - 1}). Correct that label."
            )
        missing = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
        if len(missing) and part not in ("test", "validation"):
            raise DataError(
                f"{self.where}: class {missing[0]} ('{classes[missing[0]]}') has no example{among}, so it cannot be "
                f"learned. Add some, or number the labels from 0 to {len(classes) - len(missing) - 1} without gaps."
            )


def usual_augmentation(shape: Sequence[int]) -> Augmentation:
    """Gives the augmentation for images of no known data set: shifts of an eighth, and flips where there is colour.

    Args:
        shape: (N, H, W, C).
    """
    side, channels = min(shape[1:3]), shape[3]
    return Augmentation(crop=min(max(1, side // 8), side - 1), flip=channels == 3)


def choose_part(source: AbstractSource, parts: Mapping[str, Part], *, official: bool = False) -> tuple[str, Part, bool]:
    """Gives the part that serves a split: its name, what it holds, and whether the split is a share of it.

    `test` falls back on `validation`; data with neither give up `HELD_OUT` of each class of what they have.

    Args:
        source: asks by its `split`.
        parts: train, validation, test as far as there are; or "all" for data without parts.
        official: the parts are published ones, which nothing stands in for and nothing is taken from.
    """
    split = source.split
    if official and split in parts:
        return split, parts[split], False
    if not official and not {"test", "validation"} & parts.keys() and split in ("train", "test", "all"):
        whole = "all" if "all" in parts else "train"
        return whole, parts[whole], True
    if split == "test" and not official and "test" not in parts:
        split = "validation"
    if split not in parts:
        source.check_split(("train", "test", "all") if "all" in parts else sorted(parts))
    return split, parts[split], False


def held_out(labels: np.ndarray, split: str) -> np.ndarray:
    """Gives the rows of a split of data that have no test part, in their own order.

    From each class the same `HELD_OUT` share is drawn on every machine: at least one row of a class of two or more,
    none of a class of one.

    Args:
        labels: of all rows.
        split: "train", "test", or "all".
    """
    # Raw words of the counter-based generator are the same in every version of numpy; its shuffles need not be.
    draws = rng.stream(0, "hold-out").bit_generator.random_raw(len(labels))
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = max(1, round(HELD_OUT * len(rows))) if len(rows) > 1 else 0
        test[rows[np.argsort(draws[rows], kind="stable")[:count]]] = True
    return np.flatnonzero({"train": ~test, "test": test}.get(split, np.ones(len(labels), dtype=bool)))


def open_data(
    data: str | Path | Mapping[str, Any] | AbstractSource | AbstractDataset | Sequence[Any],
    *,
    workers: int = 0,
    **fields: Any,
) -> AbstractDataset:
    """Gives a data set, read into memory and checked.

    Args:
        data: a catalog name (`cifar10`); a path (a folder of classes, an `.npz` file, a Parquet file or folder, a
            folder of IDX, CIFAR, SVHN or CINIC files, sentences in Parquet, JSON lines or CSV, the files of a DataComp
            pool); a mapping of name and fields; a source; a data set, which is given back; or a list of these, which
            makes one pool.
        workers: threads that decode compressed images; 0 takes as many as there are processors, up to eight.
        fields: settings of the source, such as `split="test"`.

    Raises:
        DataError: nothing is there, or what is there cannot be read.
        MethodError: the source has no such field.
    """
    if isinstance(data, AbstractDataset):
        if fields:
            raise DataError(
                f"{data.name} is open already, so {', '.join(fields)} cannot be set. Give its name instead."
            )
        return data
    if isinstance(data, Sequence) and not isinstance(data, str):
        parts = [open_data(part, workers=workers, **fields) for part in data]
        return pooled(parts)
    return find_source(data, **fields).load(workers=workers)


def find_source(data: str | Path | Mapping[str, Any] | AbstractSource, **fields: Any) -> AbstractSource:
    """Gives the source that a name, a path or fields stand for, without reading it."""
    if isinstance(data, AbstractSource):
        return build("data", {**data.plain(), **fields}) if fields else data
    if isinstance(data, Mapping):
        # The name may be a path, so that a recipe's one dial can hold either.
        rest = {**data, **fields}
        place = rest.pop("name", None) or rest.pop("path", None)
        if place is None:
            raise DataError("Data need a name or a path: {name: digits} or {path: photos}.")
        return find_source(place, **rest)
    text, path = str(data), Path(data).expanduser()
    if text in catalog.names("data") or (":" in text and not path.exists()):
        return build("data", {"name": text, **fields})
    if not path.exists():
        names = catalog.names("data")
        hint = did_you_mean(text, names) or " Give a path, or a name that `pare list data` shows."
        raise DataError(f"Data '{text}': no data set is called so, and there is no such file or folder.{hint}")
    return build("data", {"name": _reader_of(path), "path": str(path), **fields})


def _reader_of(path: Path) -> str:
    """Gives the name of the source that reads a path, by the names of the files there."""
    if path.is_file():
        suffix = path.suffix.lower()
        if suffix == ".parquet":
            return "sentences" if holds_text(path) else "parquet"
        reader = "npz" if suffix == ".npz" else "sentences" if suffix in SUFFIXES else None
        if reader is None:
            raise DataError(
                f"Data '{path}': a file of type '{path.suffix}' is none of those that are read. "
                "Give an .npz, .parquet, .jsonl or .csv file, or a folder with one sub-folder of images for each class."
            )
        return reader
    if is_pool(path):  # before the tables of text, which captions would make it one of
        return "datacomp"
    # A folder of images may have tables beside it, so of the tables only those of examples come before it.
    signs = (
        ("parquet", ("*.parquet", "*/*.parquet", "*/*/*.parquet")),
        ("idx", ("*-images-idx3-ubyte*", "raw/*-images-idx3-ubyte*")),
        ("cifar10", ("data_batch_1*",)),
        ("cifar100", ("train.bin", "meta")),
        ("svhn", ("train_32x32.mat", "test_32x32.mat")),
        ("cinic10", ("X_train.npy",)),
        ("tiny-imagenet", ("wnids.txt",)),
        ("cub-200", ("image_class_labels.txt",)),
        ("imagenet-resized", ("train_data_batch_1.npz", "*/train_data_batch_1.npz")),
        ("sentences", ("*.jsonl", "*.arrow", "*/*.arrow")),
        ("folder", ("*/",)),
        ("sentences", ("*.csv", "*.tsv", "*.json")),
    )
    for reader, patterns in signs:
        first = next((file for pattern in patterns for file in path.glob(pattern)), None)
        if first is not None:
            return "sentences" if reader == "parquet" and holds_text(first) else reader
    raise DataError(
        f"Data '{path}': nothing in this folder can be read. "
        "It should hold one sub-folder of images for each class, Parquet files, tables of text, or IDX, CIFAR, SVHN or "
        "CINIC files."
    )
