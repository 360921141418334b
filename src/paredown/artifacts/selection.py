"""`Selection`: the examples that were chosen, in the order in which they were chosen.

Because the order is kept, one run of a selector serves every smaller budget: `with_fraction` takes the beginning and
computes nothing again. A choice made class by class takes the classes in turns, so each beginning is balanced too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from paredown.artifacts.base import Artifact
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.uids import NATIVE, ranked, read_uids, repeated, same, write_uids
from paredown.errors import ArtifactError, MethodError
from paredown.rng import stream

if TYPE_CHECKING:
    import torch


class Selection(Artifact):
    """Chosen examples.

    Args:
        ids: the chosen, best first.
        base: how many examples the share is counted on (the whole data, also when the choice was `within` a part).
        asked: what was asked for, as plain data: selector, fraction or count, by class or not, within what.
        stratum: int64 (K,), the class or stratum of each chosen example, when budgets went by stratum.
        weight: float64 (K,), how much each chosen example counts in training, where the method defines it.
        nested: whether each beginning is what the same choice would have been at that smaller budget.
    """

    def __init__(
        self,
        ids: ExampleIds,
        *,
        base: int,
        asked: Mapping[str, Any] | None = None,
        stratum: np.ndarray | None = None,
        weight: np.ndarray | None = None,
        nested: bool = True,
    ) -> None:
        self.ids = ids
        self.nested = nested
        self.base = int(base)
        self.asked = dict(asked or {})
        self.stratum = None if stratum is None else np.asarray(stratum, np.int64)
        self.weight = None if weight is None else np.asarray(weight, np.float64)
        if len(repeated(ids.keys)):
            raise ArtifactError("Selection: an example was chosen twice. A selector must name each example once.")
        for name, column in (("stratum", self.stratum), ("weight", self.weight)):
            if column is not None and column.shape != (len(ids),):
                raise ArtifactError(
                    f"Selection: {len(ids)} ids and a {name} of shape {column.shape}; one an id is needed."
                )
        if self.weight is not None and not (np.isfinite(self.weight).all() and (self.weight >= 0).all()):
            raise ArtifactError("Selection: weights are finite and not negative, and one of these is not.")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fraction(self) -> float:
        """The share of the whole data that was chosen."""
        return len(self) / self.base

    def with_fraction(self, fraction: float) -> Selection:
        """Gives what the same choice would have been at a smaller budget.

        Args:
            fraction: share of the whole data, at most the share that was chosen.

        Raises:
            MethodError: a larger share than was chosen, none at all, or a method whose smaller choices are others.
        """
        if not self.nested:
            how = self.asked.get("selector", {}).get("name", "this method")
            raise MethodError(
                f"Selection.with_fraction({fraction:g}): a smaller choice of {how} is not the beginning of this one. "
                "Select again with the smaller fraction."
            )
        count = count_of(fraction, self.base)
        if count > len(self):
            raise MethodError(
                f"Selection.with_fraction({fraction:g}): {count} examples are wanted and {len(self)} were chosen. "
                "Select again with the larger fraction."
            )
        return Selection(
            self.ids.take(np.arange(count)),
            base=self.base,
            asked=self.asked | {"fraction": float(fraction), "count": None},
            stratum=None if self.stratum is None else self.stratum[:count],
            weight=None if self.weight is None else self.weight[:count],
        )

    def mask(self, ids: ExampleIds) -> np.ndarray:
        """Gives for each of some examples whether it was chosen, bool of shape (len(ids),)."""
        ids.same_pool(self.ids, "the examples", "the selection")
        return self.ids.holds(ids)

    def to_uids(self) -> np.ndarray:
        """Gives the keys of the chosen, best first: int64 positions, or 16-byte native ids.

        A saved selection of native ids has them in `uids.npy` too, ascending, as DataComp's resharder takes them.
        """
        return self.ids.keys.copy()

    def positions_in(self, dataset: Any) -> np.ndarray:
        """Gives where the chosen stand in a data set: by its ids if it has them, else keys are taken as positions."""
        ids = getattr(dataset, "ids", None)
        if isinstance(ids, ExampleIds):
            return ids.positions_of(self.ids, "the data", "the selection")
        if self.ids.keys.dtype != np.int64:
            raise MethodError("A selection of 16-byte ids needs a data set that has `ids`, and this one has none.")
        if len(dataset) != self.ids.pool.size:
            raise MethodError(
                f"The selection indexes {self.ids.pool}, and the data set has {len(dataset)} rows. "
                "Use the data set that was scored, whole and in its own order."
            )
        return self.ids.keys.copy()

    def to_subset(self, dataset: Any) -> torch.utils.data.Subset[Any]:
        """Gives the chosen rows of a torch data set, best first."""
        from torch.utils.data import Subset

        return Subset(dataset, self.positions_in(dataset).tolist())

    def to_hf(self, dataset: Any) -> Any:
        """Gives the chosen rows of a Hugging Face `datasets.Dataset`, best first."""
        return dataset.select(self.positions_in(dataset))

    def to_sampler(self, *, seed: int = 0, shuffle: bool = True) -> SelectionSampler:
        """Gives a sampler of positions for a torch `DataLoader`; `set_epoch` changes the order."""
        if self.ids.keys.dtype != np.int64:
            raise MethodError("A sampler needs positions, and this selection holds 16-byte ids. Use to_subset instead.")
        return SelectionSampler(self.ids.keys, seed=seed, shuffle=shuffle)

    def header(self) -> dict[str, Any]:
        return {
            "pool": self.ids.pool.plain(),
            "base": self.base,
            "chosen": len(self),
            "asked": self.asked,
            "nested": self.nested,
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "id", self.ids.keys
        yield from self._columns().items()

    def _columns(self) -> dict[str, np.ndarray]:
        columns = {"stratum": self.stratum, "weight": self.weight}
        return {name: column for name, column in columns.items() if column is not None}

    def write(self, folder: Path) -> None:
        self.ids.write(folder / "kept.parquet", self._columns())
        if self.ids.keys.dtype == NATIVE:
            write_uids(folder / "uids.npy", self.ids.keys)

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        ids, columns = ExampleIds.read(folder / "kept.parquet", Pool.from_plain(header["pool"]))
        if ids.keys.dtype == NATIVE:
            uids = read_uids(folder / "uids.npy")
            if len(uids) != len(ids) or not same(uids, ids.keys[ranked(ids.keys)]).all():
                raise ArtifactError(f"{folder}: uids.npy names other examples than kept.parquet. Select again.")
        return cls(
            ids,
            base=header["base"],
            asked=header["asked"],
            stratum=columns.get("stratum"),
            weight=columns.get("weight"),
            nested=header.get("nested", True),
        )

    def describe(self) -> str:
        how = self.asked.get("selector", {}).get("name", "given ids")
        return (
            f"{len(self)} of {self.base} examples of {' + '.join(self.ids.pool.sources)} ({self.fraction:.1%}, {how})"
        )


class SelectionSampler:
    """Positions of the chosen examples, in a new order each epoch; what a torch `DataLoader` takes as `sampler`."""

    def __init__(self, positions: np.ndarray, *, seed: int, shuffle: bool) -> None:
        self.positions, self.seed, self.shuffle, self.epoch = positions, seed, shuffle, 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order: the same seed and epoch give the same order."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.positions)

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(self.positions.tolist())
        return iter(stream(self.seed, "sampler", self.epoch).permutation(self.positions).tolist())


def count_of(fraction: float, base: int) -> int:
    """Gives how many examples a share is, rounded half up.

    Raises:
        MethodError: the share is not in (0, 1], or is less than one example.
    """
    if not 0 < fraction <= 1:
        raise MethodError(f"fraction={fraction:g}: a share lies above 0 and is at most 1.")
    count = int(np.floor(fraction * base + 0.5))
    if count < 1:
        raise MethodError(f"fraction={fraction:g} of {base} examples is less than one example. Ask for more.")
    return count
