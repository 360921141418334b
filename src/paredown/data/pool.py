"""Several data sets as one pool: rows one after the other, one row of ids.

Nothing is copied: a pool of a data set in memory and of millions of images that are mapped into it takes no more memory
than the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.selection import Selection
from paredown.data.augment import Augmentation
from paredown.data.dataset import AbstractDataset, AbstractDecoded, Whiten, refuse_labels_out_of_range
from paredown.data.fingerprint import fingerprint
from paredown.errors import DataError, PoolMismatch


@dataclass(frozen=True, eq=False, repr=False)
class ImagePool(AbstractDecoded):
    """Labelled images of several data sets, all of one size; made by `pooled`.

    Args:
        name: those of the members.
        members: in the order that defines the ids; only their pixels are looked at.
        labels: int64 (N,), below `len(classes)`.
        classes: the name of each class.
        ids: one id a row, over all parts.
        mean, std: per channel, in units of [0, 1] pixels.
        augmentation: the standard one.
        corrupted: bool (N,), which rows label noise changed; None without noise.
        clean_labels: int64 (N,), the labels before noise; None without noise.
        paths: where each image lies below its folder, if all are made of image files.
        settings: what besides the pool decides the content.
        whiten: how the images are whitened, if at all.
    """

    name: str
    members: tuple[AbstractDecoded, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    ids: ExampleIds
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augmentation: Augmentation
    corrupted: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    paths: tuple[str, ...] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    whiten: Whiten = None

    def __post_init__(self) -> None:
        refuse_labels_out_of_range(self.name, self.labels, len(self.classes))

    @property
    def blocks(self) -> tuple[np.ndarray, ...]:
        return tuple(block for member in self.members for block in member.blocks)


def pooled(datasets: Sequence[AbstractDataset]) -> AbstractDataset:
    """Gives data sets one after the other; the first says how pixels are normalised and augmented.

    Args:
        datasets: in the order that defines the ids; all of one image shape and with the same classes.

    Raises:
        DataError: none are given, shapes or classes differ, or one stands there twice.
    """
    if not datasets:
        raise DataError("A pool needs at least one data set, and the list is empty.")
    if len(datasets) == 1:
        return datasets[0]
    other_kind = next((data for data in datasets if not isinstance(data, AbstractDecoded)), None)
    if other_kind is not None:
        raise DataError(
            f"{other_kind.name} cannot be part of a pool, because only images in memory can. Open it by itself, or "
            "without stored=true."
        )
    return _of_images([data for data in datasets if isinstance(data, AbstractDecoded)])


def parted(selection: Selection, datasets: Sequence[AbstractDataset]) -> list[Selection]:
    """Gives what was chosen from a pool as a choice from each of its members, in the order of the choice.

    Args:
        selection: of the pool of these data sets in this order.
        datasets: its members; pools among them count by their own members too.

    Raises:
        PoolMismatch: the selection is of something else.
    """
    if not of_pool(selection, datasets):
        members = " + ".join(data.name for data in datasets)
        raise PoolMismatch(
            f"The selection indexes {selection.ids.pool}, which is not the pool of {members} in this order. Select "
            "from that pool."
        )
    starts = np.cumsum([0, *map(len, datasets)])
    found = []
    for start, data in zip(starts[:-1].tolist(), datasets, strict=True):
        keys = selection.ids.keys
        mine = (keys >= start) & (keys < start + len(data))
        stratum, weight = selection.stratum, selection.weight
        part = Selection(
            ExampleIds(keys[mine] - start, data.ids.pool),
            base=len(data),
            asked=selection.asked | {"of": selection.ids.pool.fingerprint},
            stratum=None if stratum is None else stratum[mine],
            weight=None if weight is None else weight[mine],
            nested=False,
        )
        found.append(part)
    return found


def of_pool(selection: Selection, datasets: Sequence[AbstractDataset]) -> bool:
    """Says whether a selection is of the pool of some data sets, in this order."""
    members = [member for data in datasets for member in (data.members if isinstance(data, ImagePool) else [data])]
    prints = ([part.ids.pool.fingerprint for part in parts] for parts in (datasets, members))
    return selection.ids.pool.fingerprint in {fingerprint("pool", "", several) for several in prints}


def fingerprints(data: AbstractDataset) -> set[str]:
    """Gives the fingerprint of a data set, or of each member of a pool."""
    if isinstance(data, ImagePool):
        return {found for member in data.members for found in fingerprints(member)}
    return {data.ids.pool.fingerprint}


def _of_images(datasets: Sequence[AbstractDecoded]) -> ImagePool:
    first = datasets[0]
    for other in datasets[1:]:
        if other.shape != first.shape:
            raise DataError(
                f"{other.name} has images of {_size(other)} and {first.name} of {_size(first)}, which cannot be "
                "one pool. Open both with the same size."
            )
        if other.classes != first.classes:
            raise DataError(
                f"{other.name} and {first.name} have different classes, so their labels do not mean the same."
            )
        if other.whiten != first.whiten:
            raise DataError(
                f"{other.name} and {first.name} cannot be one pool, because one is whitened and the other is not. "
                "Give both the same whiten."
            )
    parts = [fingerprints(data) for data in datasets]
    if len(set().union(*parts)) < sum(map(len, parts)):
        raise DataError(f"A pool cannot hold the same data twice: {', '.join(data.name for data in datasets)}.")
    sources = tuple(source for data in datasets for source in data.ids.pool.sources)
    prints = [data.ids.pool.fingerprint for data in datasets]
    pool = Pool(sources, sum(map(len, datasets)), fingerprint("pool", "", prints))
    noisy = any(data.corrupted is not None for data in datasets)
    paths = [data.paths for data in datasets]
    return ImagePool(
        name=" + ".join(data.name for data in datasets),
        members=tuple(datasets),
        labels=np.concatenate([data.labels for data in datasets]),
        classes=first.classes,
        ids=ExampleIds.of_pool(pool),
        mean=first.mean,
        std=first.std,
        augmentation=first.augmentation,
        corrupted=np.concatenate([_mask(data) for data in datasets]) if noisy else None,
        clean_labels=np.concatenate([_clean(data) for data in datasets]) if noisy else None,
        paths=tuple(p for part in paths for p in part or ()) if all(part is not None for part in paths) else None,
        settings={"parts": [data.identity() for data in datasets]},
        whiten=first.whiten,
    )


def _size(data: AbstractDecoded) -> str:
    channels, height, width = data.shape
    return f"{height}×{width}×{channels}"


def _mask(data: AbstractDecoded) -> np.ndarray:
    return np.zeros(len(data), dtype=bool) if data.corrupted is None else data.corrupted


def _clean(data: AbstractDecoded) -> np.ndarray:
    return data.labels if data.clean_labels is None else data.clean_labels
