"""`AbstractDataset` and `ImageDataset`: labelled examples in their native order, with ids that outlive the run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch

from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.whitening import Whitening
from paredown.data.augment import Augmentation
from paredown.data.corrupt import LabelNoise
from paredown.data.fingerprint import fingerprint
from paredown.data.whitening import whitening_of
from paredown.errors import DataError, MethodError

PLAIN = Augmentation()
Whiten = Literal["zca"] | None


class AbstractDataset(ABC):
    """Examples with ids, and with labels where they have any; what training, scoring and selection look at."""

    name: str
    ids: ExampleIds
    labels: np.ndarray | None
    """int64 (N,), below `len(classes)`; none for a pool without labels."""
    classes: tuple[str, ...]
    noun: ClassVar[str]
    """What one example is, in the plural: images, sentences."""

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """Gives what tells this data apart from any other, as data that JSON can hold; it enters addresses."""

    @property
    def form(self) -> str:
        """What one example is like, in words: `images of 3×32×32`."""
        return self.noun

    def column(self, name: str) -> np.ndarray:
        """Gives a column that is stored beside the examples, shape (N,).

        Raises:
            DataError: there is none of that name; the sentence names those that are there.
        """
        raise DataError(f"{self.name}: there is no column '{name}', because these data have none.")

    def parts(self, name: str, start: int = 0) -> Iterator[Any]:
        """Gives a column from a row on, in consecutive parts; for what would be large in one piece.

        Raises:
            DataError: as `column`.
        """
        yield self.column(name)[start:]


class LearnableDataset(AbstractDataset):
    """Labelled examples that a network can take: what one trains on, scores with a network and evaluates on.

    Every kind is a frozen dataclass, so that label noise makes another data set and leaves the first as it was.
    """

    labels: np.ndarray
    augmentation: Augmentation | None
    """What training does to the examples by default; none for data that are taken as they are."""
    corrupted: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    targets: np.ndarray | None = None
    """float32 (N, C): what is learnt in place of the labels, where labels were learnt; `labels` names the highest."""
    settings: Mapping[str, Any]
    """What besides the pool decides the content: the reader's fields, label noise."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of one example: channels, height and width of an image; how many sentences, for text."""

    @abstractmethod
    def read(self, positions: np.ndarray) -> Any:
        """Gives the examples at some positions, as they are stored."""

    def with_noise(self, noise: LabelNoise) -> Self:
        """Gives the same rows and ids under noisy labels, with the clean labels and the corruption mask beside them."""
        if self.corrupted is not None:
            raise MethodError(f"{self.name} already has noisy labels. Apply label noise to clean data.")
        noisy, mask = noise.apply(self.labels, len(self.classes))
        settings = {**self.settings, "noise": noise.identity()}
        changes: dict[str, Any] = {"clean_labels": self.labels, "corrupted": mask, "settings": settings}
        return replace(self, labels=noisy, **changes)  # type: ignore[type-var]


class AbstractImages(LearnableDataset):
    """Labelled images that are all of one size when they are read, wherever they lie."""

    noun: ClassVar[str] = "images"

    name: str
    ids: ExampleIds
    labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Per channel, in units of [0, 1] pixels; what a network's first layer is made from."""
    whiten: Whiten = None
    """Whether that layer whitens too, by a matrix fitted to these images."""
    whitening: Whitening | None = None
    """What it does then; none for nothing."""
    augmentation: Augmentation
    paths: tuple[str, ...] | None
    """Where each image lies below its folder, for data made of image files."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""

    @abstractmethod
    def read(self, positions: np.ndarray) -> np.ndarray:
        """Gives the images at some positions: uint8 (B, H, W, C)."""

    @property
    def form(self) -> str:
        return "images of " + "×".join(map(str, self.shape))

    def __getitem__(self, position: int) -> tuple[torch.Tensor, int]:
        """Gives one image as float32 (C, H, W) in [0, 1], and its label: what torch's own loaders collate."""
        image = torch.from_numpy(self.read(np.array([position]))[0]).permute(2, 0, 1).to(torch.float32).div_(255)
        return image, int(self.labels[position])

    def identity(self) -> dict[str, Any]:
        # What follows the settings shapes a training as much as the pixels do; an array of one's own comes with any.
        whiten = {} if self.whiten is None else {"whiten": self.whiten}  # so that addresses made before it hold
        return {
            "pool": self.ids.pool.fingerprint,
            **self.settings,
            "augmentation": self.augmentation.identity(),
            "mean": list(self.mean),
            "std": list(self.std),
            **whiten,
        }

    def __repr__(self) -> str:
        channels, height, width = self.shape
        noise = "" if self.corrupted is None else f", {int(self.corrupted.sum())} labels changed"
        return f"{self.name}: {len(self)} images {height}×{width}×{channels}, {len(self.classes)} classes{noise}"


class AbstractByteImages(AbstractImages):
    """Images of 8 bits a channel, to which a whitening may be fitted."""

    @cached_property
    def whitening(self) -> Whitening | None:  # type: ignore[override]
        # Fitted when it is first asked for, which for most work is never.
        return None if self.whiten is None else whitening_of(self)


class AbstractDecoded(AbstractByteImages):
    """Labelled images whose pixels lie in arrays, in memory or mapped into it."""

    @property
    @abstractmethod
    def blocks(self) -> tuple[np.ndarray, ...]:
        """The images in their order, in one array or several: uint8 (N, H, W, C)."""

    @property
    def shape(self) -> tuple[int, int, int]:
        _, height, width, channels = self.blocks[0].shape
        return channels, height, width

    def read(self, positions: np.ndarray) -> np.ndarray:
        blocks = self.blocks
        if len(blocks) == 1:
            return blocks[0][positions]
        chosen = np.empty((len(positions), *blocks[0].shape[1:]), np.uint8)
        for number, where, inside in dealt(positions, [len(block) for block in blocks]):
            chosen[where] = blocks[number][inside]
        return chosen


def dealt(positions: np.ndarray, sizes: Sequence[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Gives which of some positions lie in each of several consecutive blocks.

    Args:
        positions: in any order, int64 (B,).
        sizes: of the blocks.

    Returns:
        For each block that holds any: its number, where in `positions` those stand, and their positions inside it.
    """
    starts = np.cumsum([0, *sizes])
    owners = np.searchsorted(starts, positions, side="right") - 1
    found = []
    for number in np.unique(owners).tolist():
        where = np.flatnonzero(owners == number)
        found.append((number, where, positions[where] - starts[number]))
    return found


@dataclass(frozen=True, eq=False, repr=False)
class ImageDataset(AbstractDecoded):
    """Labelled images, all of one size, in one array.

    Args:
        name: source and split, such as `digits:train`.
        images: uint8 (N, H, W, C), contiguous.
        labels: int64 (N,), below `len(classes)`.
        classes: the name of each class.
        ids: one id a row; for whole sources the positions 0 … N-1.
        mean, std: per channel, in units of [0, 1] pixels; what a network's first layer is made from.
        augmentation: this data's standard one.
        corrupted: bool (N,), which rows label noise changed; None without noise.
        clean_labels: int64 (N,), the labels before noise; None without noise.
        paths: where each image lies below its folder, for data made of image files.
        settings: what besides the pool decides the content (the reader's fields, label noise).
        whiten: whether that layer whitens too, by a matrix fitted to these images.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    ids: ExampleIds
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation = PLAIN
    corrupted: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    whiten: Whiten = None

    def __post_init__(self) -> None:
        images, labels, count = self.images, self.labels, len(self.classes)
        if images.ndim != 4 or images.dtype != np.uint8:
            raise DataError(
                f"{self.name}: images are uint8 of shape (N, H, W, C), not {images.dtype} of shape {images.shape}."
            )
        if len(images) == 0:
            raise DataError(f"{self.name}: there are no images.")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(
                f"{self.name}: labels are one whole number an image, not {labels.dtype} of shape {labels.shape}."
            )
        if not len(images) == len(labels) == len(self.ids):
            raise DataError(
                f"{self.name}: {len(images)} images, {len(labels)} labels and {len(self.ids)} ids do not pair up. "
                "Give one label and one id for each image."
            )
        refuse_labels_out_of_range(self.name, labels, count)
        # Own, writable memory in row order: torch refuses to share arrays that it must not write to.
        object.__setattr__(self, "images", np.require(images, requirements=["C", "W"]))
        object.__setattr__(self, "labels", np.require(labels, np.int64, ["C", "W"]))

    @classmethod
    def from_arrays(
        cls,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        classes: Sequence[str] | None = None,
        name: str = "arrays",
        augmentation: Augmentation = PLAIN,
    ) -> ImageDataset:
        """Makes a data set of one's own arrays; their bytes are its fingerprint.

        Args:
            images: uint8 (N, H, W, C), or (N, H, W) for grey.
            labels: whole numbers (N,).
            classes: the names of the classes; numbers by default.
            name: what the data is called in messages and reports.
            augmentation: the standard one for such images.
        """
        images, labels = np.asarray(images), np.asarray(labels)
        images = images[..., None] if images.ndim == 3 else images
        if classes is None:
            classes = [str(number) for number in range(int(labels.max(initial=0)) + 1)]
        pool = Pool((name,), len(images), fingerprint("arrays", name, [images, labels]))
        mean, std = pixel_statistics(images)
        return cls(name, images, labels, tuple(classes), ExampleIds.of_pool(pool), mean, std, augmentation)

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return (self.images,)


def refuse_labels_out_of_range(name: str, labels: np.ndarray, count: int) -> None:
    """Raises DataError for a label that none of `count` classes has; `name` begins the message."""
    if labels.min() < 0 or labels.max() >= count:
        row = int(np.flatnonzero((labels < 0) | (labels >= count))[0])
        raise DataError(
            f"{name}: label {labels[row]} of row {row} is out of range, because there are {count} classes "
            f"(0 to {count - 1}). Correct that label or name all classes."
        )


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Gives the mean and standard deviation of each channel in units of [0, 1] pixels, exactly.

    A channel that is constant has the standard deviation of one grey level, so that dividing by it stays harmless.
    """
    levels = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[-1]):
        # Counting levels is exact in whole numbers; block by block, since bincount copies what it counts to 64 bits.
        blocks = (images[start : start + 4096, ..., channel] for start in range(0, len(images), 4096))
        counts = sum((np.bincount(block.reshape(-1), minlength=256) for block in blocks), np.zeros(256, np.int64))
        share = counts / max(counts.sum(), 1)
        mean = float(share @ levels)
        means.append(mean)
        deviations.append(max(float(np.sqrt(share @ (levels - mean) ** 2)), 1 / 255))
    return tuple(means), tuple(deviations)
