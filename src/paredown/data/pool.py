"""Several data sets as one pool: rows one after the other, one row of ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paredown.artifacts.ids import ExampleIds, Pool
from paredown.data.dataset import AbstractDataset, ImageDataset, fingerprint
from paredown.errors import DataError


def pooled(datasets: Sequence[AbstractDataset]) -> AbstractDataset:
    """Gives the concatenation of data sets; the first says how pixels are normalised and augmented.

    Args:
        datasets: in the order that defines the ids; all of one image shape and with the same classes.

    Raises:
        DataError: none are given, shapes or classes differ, or one stands there twice.
    """
    if not datasets:
        raise DataError("A pool needs at least one data set, and the list is empty.")
    if len(datasets) == 1:
        return datasets[0]
    other_kind = next((data for data in datasets if not isinstance(data, ImageDataset)), None)
    if other_kind is not None:
        raise DataError(
            f"{other_kind.name} cannot be part of a pool, because only images in memory can. Open it by itself, or "
            "without stored=true."
        )
    return _of_images([data for data in datasets if isinstance(data, ImageDataset)])


def _of_images(datasets: Sequence[ImageDataset]) -> ImageDataset:
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
    prints = [data.ids.pool.fingerprint for data in datasets]
    if len(set(prints)) < len(prints):
        raise DataError(f"A pool cannot hold the same data twice: {', '.join(data.name for data in datasets)}.")
    sources = tuple(source for data in datasets for source in data.ids.pool.sources)
    pool = Pool(sources, sum(map(len, datasets)), fingerprint("pool", "", prints))
    noisy = any(data.corrupted is not None for data in datasets)
    paths = [data.paths for data in datasets]
    return ImageDataset(
        name=" + ".join(data.name for data in datasets),
        images=np.concatenate([data.images for data in datasets]),
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
    )


def _size(data: ImageDataset) -> str:
    channels, height, width = data.shape
    return f"{height}×{width}×{channels}"


def _mask(data: ImageDataset) -> np.ndarray:
    return np.zeros(len(data), dtype=bool) if data.corrupted is None else data.corrupted


def _clean(data: ImageDataset) -> np.ndarray:
    return data.labels if data.clean_labels is None else data.clean_labels
