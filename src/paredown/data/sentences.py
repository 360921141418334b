"""`SentenceDataset`: labelled sentences, or pairs of them, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts.ids import ExampleIds, Pool
from paredown.data.dataset import LearnableDataset, refuse_labels_out_of_range
from paredown.data.fingerprint import fingerprint
from paredown.errors import DataError


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts one behind the other: a Python string takes 50 bytes and more beside its letters.

    Args:
        content: all of them in UTF-8, uint8.
        ends: where each ends, int64 (N,).
    """

    content: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Gives strings in this form; half of a surrogate pair, which UTF-8 cannot hold, becomes a question mark."""
        stored = [text.encode("utf-8", "replace") for text in texts]
        ends = np.cumsum(np.fromiter(map(len, stored), np.int64, len(stored)))
        return cls(np.frombuffer(b"".join(stored), np.uint8), ends)

    def __len__(self) -> int:
        return len(self.ends)

    def read(self, positions: np.ndarray) -> list[str]:
        """Gives the texts at some positions."""
        where = np.asarray(positions, dtype=np.int64)
        ends = self.ends[where]
        starts = np.where(where > 0, self.ends[where - 1], 0)
        pairs = zip(starts.tolist(), ends.tolist(), strict=True)
        return [self.content[start:end].tobytes().decode("utf-8") for start, end in pairs]

    @property
    def lengths(self) -> np.ndarray:
        """Bytes of each, int64 (N,)."""
        return np.diff(self.ends, prepend=0)


@dataclass(frozen=True, eq=False, repr=False)
class SentenceDataset(LearnableDataset):
    """Labelled sentences, or pairs of sentences, in memory.

    Args:
        name: source and split, such as `rotten-tomatoes:train`.
        texts: one column, or two for pairs.
        labels: int64 (N,), below `len(classes)`.
        classes: the name of each class.
        ids: one id a row; for whole sources the positions 0 … N-1.
        corrupted: bool (N,), which rows label noise changed; None without noise.
        clean_labels: int64 (N,), the labels before noise; None without noise.
        settings: what besides the pool decides the content (the reader's fields, label noise).
    """

    noun: ClassVar[str] = "sentences"
    augmentation: ClassVar[None] = None  # type: ignore[misc]

    name: str
    texts: tuple[Texts, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    ids: ExampleIds
    corrupted: np.ndarray | None = None
    clean_labels: np.ndarray | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        labels = self.labels
        if len(self.texts) not in (1, 2):
            raise DataError(f"{self.name}: an example is one sentence or two, not {len(self.texts)}.")
        if len(labels) == 0:
            raise DataError(f"{self.name}: there are no sentences.")
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise DataError(
                f"{self.name}: labels are one whole number a sentence, not {labels.dtype} of shape {labels.shape}."
            )
        if {len(column) for column in self.texts} != {len(labels)} or len(self.ids) != len(labels):
            counts = " and ".join(str(len(column)) for column in self.texts)
            raise DataError(
                f"{self.name}: {counts} sentences, {len(labels)} labels and {len(self.ids)} ids do not pair up. "
                "Give one label and one id for each."
            )
        refuse_labels_out_of_range(self.name, labels, len(self.classes))
        object.__setattr__(self, "labels", np.require(labels, np.int64, ["C", "W"]))

    @classmethod
    def from_lists(
        cls,
        texts: Sequence[str],
        labels: Sequence[int] | np.ndarray,
        *,
        pairs: Sequence[str] | None = None,
        classes: Sequence[str] | None = None,
        name: str = "lists",
    ) -> SentenceDataset:
        """Makes a data set of one's own sentences; they and their labels are its fingerprint.

        Args:
            texts: one an example.
            labels: whole numbers (N,).
            pairs: the second sentence of each example; none for single sentences.
            classes: the names of the classes; numbers by default.
            name: what the data is called in messages and reports.
        """
        numbers = np.asarray(labels)
        if classes is None:
            classes = [str(number) for number in range(int(numbers.max(initial=0)) + 1)]
        columns = tuple(Texts.of(column) for column in (texts, pairs) if column is not None)
        pool = Pool((name,), len(numbers), fingerprint("sentences", name, stored(columns, numbers)))
        return cls(name, columns, numbers, tuple(classes), ExampleIds.of_pool(pool))

    @property
    def shape(self) -> tuple[int, ...]:
        """How many sentences an example has: (1,) or (2,)."""
        return (len(self.texts),)

    @property
    def form(self) -> str:
        return "sentences" if len(self.texts) == 1 else "pairs of sentences"

    def read(self, positions: np.ndarray) -> list[Any]:
        """Gives the sentences at some positions: a string each, or a tuple of two."""
        columns = [column.read(positions) for column in self.texts]
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

    def shown(self, positions: np.ndarray) -> list[str]:
        """Gives each example in one line, as people read it."""
        return [" ".join(" → ".join([one] if isinstance(one, str) else one).split()) for one in self.read(positions)]

    def __getitem__(self, position: int) -> tuple[Any, int]:
        """Gives one example and its label."""
        return self.read(np.array([position]))[0], int(self.labels[position])

    def identity(self) -> dict[str, Any]:
        return {"pool": self.ids.pool.fingerprint, **self.settings}

    def __repr__(self) -> str:
        noise = "" if self.corrupted is None else f", {int(self.corrupted.sum())} labels changed"
        return f"{self.name}: {len(self)} {self.form}, {len(self.classes)} classes{noise}"


def stored(columns: Sequence[Texts], labels: np.ndarray) -> list[np.ndarray]:
    """Gives what tells sentences apart, whatever the form of their files: texts and labels, for the fingerprint."""
    return [part for column in columns for part in (column.content, column.ends)] + [np.asarray(labels, np.int64)]
