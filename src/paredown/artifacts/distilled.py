"""`DistilledSet`: learnt images with learnt labels, in the space in which they were learnt, and the way back to pixels.

The images are kept as they were learnt, normalised and, where the data were, whitened; pixels are computed from them
and may leave [0, 1], because nothing held them there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from safetensors.numpy import load_file, save_file

from paredown.artifacts.base import Artifact
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.whitening import Whitening
from paredown.errors import ArtifactError, DataError, require

if TYPE_CHECKING:
    import torch


class DistilledSet(Artifact):
    """Learnt images and their labels.

    Args:
        images: float32 (n, C, H, W), normalised by mean and std and, where there is a whitening, whitened.
        labels: float32 (n, classes), what a regression on the images aims at: centred, so that a row sums to about 0.
        classes: the names of all classes of the data, also of those that have no image here.
        mean, std: per channel, in units of [0, 1] pixels.
        whitening: of the space in which the images are; none where they are only normalised.
        ids: which real images they began as, in the order of `images`.
        step: after how many steps.
        asked: what was asked for, as plain data: distiller, images a class, classes, seed.
        notes: what else a reader should know, as data that JSON can hold.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        classes: Sequence[str],
        mean: Sequence[float],
        std: Sequence[float],
        whitening: Whitening | None = None,
        ids: ExampleIds,
        step: int,
        asked: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.images = np.ascontiguousarray(images, np.float32)
        self.labels = np.ascontiguousarray(labels, np.float32)
        self.classes = tuple(str(name) for name in classes)
        self.mean, self.std = (tuple(float(value) for value in values) for values in (mean, std))
        self.whitening = whitening
        self.ids = ids
        self.step = int(step)
        self.asked, self.notes = dict(asked or {}), dict(notes or {})
        count = len(self.images)
        if self.images.ndim != 4 or not count:
            raise ArtifactError(f"DistilledSet: images have shape (n, C, H, W), and these have {self.images.shape}.")
        if self.labels.shape != (count, len(self.classes)) or len(ids) != count:
            raise ArtifactError(
                f"DistilledSet: {count} images, labels of shape {self.labels.shape}, {len(ids)} ids and "
                f"{len(self.classes)} classes do not belong together. One label a class and one id an image is needed."
            )
        if not (np.isfinite(self.images).all() and np.isfinite(self.labels).all()):
            raise ArtifactError("DistilledSet: an image or a label is not finite, so nothing can be learnt from it.")
        if whitening is not None and whitening.shape != self.shape:
            raise ArtifactError(
                f"DistilledSet: images of {_sides(self.shape)} and a whitening of images of {_sides(whitening.shape)}. "
                "Give the whitening that the images were learnt under."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def hard_labels(self) -> np.ndarray:
        """The class that stands highest in each label, int64 (n,)."""
        return self.labels.argmax(axis=1).astype(np.int64)

    def pixels(self) -> np.ndarray:
        """Gives the images in units of [0, 1] pixels, float32 (n, C, H, W); some lie outside."""
        if self.whitening is not None:
            return self.whitening.invert(self.images)
        mean, std = (np.asarray(part, np.float32)[:, None, None] for part in (self.mean, self.std))
        return self.images * std + mean

    def pictures(self) -> np.ndarray:
        """Gives the images as one can look at them, cut off at black and white: uint8 (n, H, W, C)."""
        levels = np.round(self.pixels().clip(0, 1) * 255).astype(np.uint8)
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))

    def grid(self) -> bytes:
        """Gives a picture of the set as PNG: a row a class, ten images in it at most."""
        from paredown.artifacts.pictures import grid

        return grid(self.pictures(), self.hard_labels, self.classes)

    def with_hard_labels(self) -> DistilledSet:
        """Gives the same images, each with the label of its class alone, as centred labels are: one-hot less 1/C."""
        count = len(self.classes)
        labels = np.eye(count, dtype=np.float32)[self.hard_labels] - np.float32(1 / count)
        return self._like(self.images, labels, self.ids, notes=self.notes | {"labels": "hard"})

    def to_torch(self) -> torch.utils.data.TensorDataset:
        """Gives a torch data set of (pixels, label): float32 (C, H, W) and float32 (classes,)."""
        import torch
        from torch.utils.data import TensorDataset

        return TensorDataset(torch.from_numpy(self.pixels()), torch.from_numpy(self.labels.copy()))

    def to_hf(self) -> Any:
        """Gives a Hugging Face `datasets.Dataset`: the picture, its class, the learnt label, and the exact pixels.

        Raises:
            MissingExtra: the library is not installed.
        """
        hf = require("datasets", "text")
        from PIL import Image

        levels = self.pictures()
        levels = levels if self.shape[0] == 3 else levels[..., 0]
        columns = {
            "image": [Image.fromarray(picture) for picture in levels],
            "label": self.hard_labels.tolist(),
            "soft_label": list(self.labels),
            "pixels": list(self.pixels()),
        }
        kinds = {
            "image": hf.Image(),
            "label": hf.ClassLabel(names=list(self.classes)),
            "soft_label": hf.Sequence(hf.Value("float32"), length=len(self.classes)),
            "pixels": hf.Array3D(self.shape, "float32"),
        }
        return hf.Dataset.from_dict(columns, features=hf.Features(kinds))

    @classmethod
    def union(cls, sets: Sequence[DistilledSet]) -> DistilledSet:
        """Gives several sets as one, such as the phases that each hold other classes.

        Raises:
            DataError: none is given; they know other classes, begin with the same images, or were learnt under
                different whitenings.
        """
        if not sets:
            raise DataError("DistilledSet.union needs at least one set, and was given none.")
        first = sets[0]
        for other in sets[1:]:
            if other.classes != first.classes or other.shape != first.shape:
                raise DataError(
                    f"Distilled sets of {_sides(first.shape)} in {len(first.classes)} classes and of "
                    f"{_sides(other.shape)} in {len(other.classes)} classes do not join. Distil them from one data set."
                )
            if not first.same_space(other):
                raise DataError(
                    "Distilled sets that were learnt under different whitenings, means or deviations do not join, "
                    "because one network has one first layer. Distil them from one data set, opened in one way."
                )
            other.ids.same_pool(first.ids, "a distilled set's first images", "the others'")
        keys = np.concatenate([one.ids.keys for one in sets])
        if len(np.unique(keys)) < len(keys):
            raise DataError("Two of the distilled sets begin with the same image. Distil them with other seeds.")
        return first._like(
            np.concatenate([one.images for one in sets]),
            np.concatenate([one.labels for one in sets]),
            ExampleIds(keys, first.ids.pool),
            notes={"union": [one.digest() for one in sets]},
        )

    def same_space(self, other: DistilledSet) -> bool:
        """Says whether the images of two sets mean the same pixels where they are equal."""
        if (self.mean, self.std) != (other.mean, other.std):
            return False
        mine, others = (_arrays(one.whitening) for one in (self, other))
        return mine.keys() == others.keys() and all(np.array_equal(mine[name], others[name]) for name in mine)

    def header(self) -> dict[str, Any]:
        return {
            "pool": self.ids.pool.plain(),
            "shape": [len(self), *self.shape],
            "classes": list(self.classes),
            "mean": list(self.mean),
            "std": list(self.std),
            "whitened": self.whitening is not None,
            "step": self.step,
            "asked": self.asked,
            "notes": self.notes,
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "image", self.images
        yield "label", self.labels
        yield "id", self.ids.keys
        yield from ((f"whitening/{name}", array) for name, array in sorted(_arrays(self.whitening).items()))

    def write(self, folder: Path) -> None:
        save_file({"image": self.images, "label": self.labels, "id": self.ids.keys}, folder / "set.safetensors")
        if self.whitening is not None:
            save_file(_arrays(self.whitening), folder / "whitening.safetensors")
        (folder / "grid.png").write_bytes(self.grid())

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        held = load_file(folder / "set.safetensors")
        whitening = Whitening.of_arrays(load_file(folder / "whitening.safetensors")) if header["whitened"] else None
        if list(held["image"].shape) != header["shape"]:
            raise ArtifactError(f"{folder}: set.safetensors holds other images than meta.json says. Distil again.")
        return cls(
            held["image"],
            held["label"],
            classes=header["classes"],
            mean=header["mean"],
            std=header["std"],
            whitening=whitening,
            ids=ExampleIds(held["id"], Pool.from_plain(header["pool"])),
            step=header["step"],
            asked=header["asked"],
            notes=header["notes"],
        )

    def describe(self) -> str:
        present = len(np.unique(self.hard_labels))
        how = self.asked.get("distiller", {}).get("name", "given images")
        whitened = ", whitened" if self.whitening is not None else ""
        return (
            f"{len(self)} distilled images of {_sides(self.shape)} in {present} of {len(self.classes)} classes of "
            f"{' + '.join(self.ids.pool.sources)} ({how}, {self.step} steps{whitened})"
        )

    def _like(self, images: np.ndarray, labels: np.ndarray, ids: ExampleIds, notes: Mapping[str, Any]) -> DistilledSet:
        return DistilledSet(
            images,
            labels,
            classes=self.classes,
            mean=self.mean,
            std=self.std,
            whitening=self.whitening,
            ids=ids,
            step=self.step,
            asked=self.asked,
            notes=notes,
        )


def _arrays(whitening: Whitening | None) -> dict[str, np.ndarray]:
    return {} if whitening is None else {name: np.ascontiguousarray(a) for name, a in whitening.arrays().items()}


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
