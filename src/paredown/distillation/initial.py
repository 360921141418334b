"""Which real images are learnt from, and which of them the learnt images begin as."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from paredown.data.dataset import AbstractImages
from paredown.errors import MethodError
from paredown.rng import stream


def members(data: AbstractImages, classes: Sequence[int] | None) -> np.ndarray:
    """Gives the rows of some classes, ascending; of all classes where none are named.

    Raises:
        MethodError: a class that the data have not, that is named twice, or that has no image; or no class at all.
    """
    known = len(data.classes)
    wanted = range(known) if classes is None else [int(label) for label in classes]
    if not len(wanted) or len(set(wanted)) < len(wanted):
        raise MethodError(f"distill(classes={list(wanted)}): name each class once, and one at least.")
    counts = np.bincount(data.labels, minlength=known)
    for label in wanted:
        if not 0 <= label < known:
            raise MethodError(f"distill(classes=…): there is no class {label}; {data.name} has 0 to {known - 1}.")
        if not counts[label]:
            raise MethodError(
                f"distill: class {label} ('{data.classes[label]}') has no image in {data.name}, so nothing can be "
                "learnt of it. Name the other classes: classes=…"
            )
    return np.flatnonzero(np.isin(data.labels, list(wanted)))


def begin_as(
    data: AbstractImages, rows: np.ndarray, *, per_class: int, chosen: np.ndarray | None, seed: int
) -> np.ndarray:
    """Gives the rows that the learnt images begin as: as many of each class, the classes in their order, int64 (n,).

    Args:
        data: the real images.
        rows: those that are learnt from.
        per_class: how many of each class.
        chosen: rows that a selection chose, best first; the first of each class are taken. None draws at random.
        seed: of the draw.

    Raises:
        MethodError: fewer than that in a class, or none asked for.
    """
    if per_class < 1:
        raise MethodError(f"distill(per_class={per_class}): nothing would be learnt. Ask for at least one.")
    order = stream(seed, "first").permutation(rows) if chosen is None else chosen[np.isin(chosen, rows)]
    source = data.name if chosen is None else "the selection"
    parts = []
    for label in np.unique(data.labels[rows]):
        part = order[data.labels[order] == label][:per_class]
        if len(part) < per_class:
            raise MethodError(
                f"distill(per_class={per_class}): class {label} ('{data.classes[label]}') has {len(part)} images in "
                f"{source}, and each learnt image begins as another one. Ask for at most {len(part)} a class."
                if len(part)
                else f"distill: class {label} ('{data.classes[label]}') has no image in {source} to begin as. Select "
                "by class, so that each is there."
            )
        parts.append(part)
    return np.concatenate(parts).astype(np.int64)
