"""The contract of a distiller."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from paredown.artifacts import DistilledSet
from paredown.distillation.base import AbstractDistiller, distilled
from paredown.runtime import Runtime
from paredown.testing.promises import check_plain, example_data, promise

CPU = Runtime(device="cpu", precision="float32", progress=False)


def check_distiller(distiller: AbstractDistiller) -> None:
    """Checks a distiller; give it few steps and a small network.

    - It is plain data: `build` gives it back from `plain()`.
    - It gives as many images of each class as asked, with a finite label for every class of the data.
    - They say as which real images they began: of their class, each once.
    - The same seed gives the same set, another seed another one; the data are only read.
    - Asked again for what its folder holds, it gives that; a saved set is read back equal.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(distiller)
    name, data = type(distiller).__name__, example_data()
    before = data.images.copy()
    with tempfile.TemporaryDirectory(prefix="paredown-") as place:

        def made(folder: str, seed: int = 0) -> DistilledSet:
            where = Path(place) / folder
            return distilled(distiller, data, per_class=2, seed=seed, runtime=CPU, folder=where)

        first, again, other = made("first"), made("again"), made("other", seed=1)
        count = len(data.classes)
        promise(first.shape == data.shape, name, "it gives images of another size")
        promise(len(first) == 2 * count, name, "it gives another number of images")
        promise(first.labels.shape == (2 * count, count), name, "it gives no label for every class of the data")
        begun = data.labels[data.ids.positions_of(first.ids, "the data", "the first images")]
        promise(np.array_equal(begun, np.repeat(np.arange(count), 2)), name, "they begin as images of other classes")
        promise(first == again, name, "the same seed gives another set")
        promise(first != other, name, "another seed gives the same set")
        promise(np.array_equal(data.images, before), name, "it changes the data")
        promise(made("first") == first, name, "asked again it gives another set than its folder holds")
        promise(DistilledSet.open(Path(place) / "first") == first, name, "the set that it saves is another one")
