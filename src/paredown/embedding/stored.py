"""Vectors that are stored beside the data already, such as the CLIP embeddings of DataComp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.artifacts.uids import told
from paredown.data.dataset import AbstractDataset
from paredown.data.metadata import in_order
from paredown.embedding.base import AbstractEncoder, assemble
from paredown.errors import MethodError
from paredown.runtime import Runtime


@dataclass(frozen=True)
class Stored(AbstractEncoder):
    """Stored vectors: columns of vectors beside the data, as they are, or several of them one after the other.

    With `normalise` each column's part is divided by its length and by the root of the number of columns, so that the
    whole has length 1 and every column counts alike: the cosine similarity of two pairs is the mean of the columns'.

    Args:
        columns: of vectors, such as `l14_img`, or `l14_img` and `l14_txt` for [image ‖ text].
        normalise: give each vector length 1 and mean cosine distances; otherwise Euclidean ones.
    """

    columns: tuple[str, ...]
    normalise: bool = True

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.columns)) < len(self.columns):
            raise MethodError(f"Stored(columns={list(self.columns)}): at least one column is needed, each once.")

    def embed(
        self,
        data: AbstractDataset,
        *,
        checkpoint: Checkpoint | None = None,
        runtime: Runtime,
        folder: Path | None = None,
    ) -> EmbeddingMatrix:
        def produce(start: int) -> Iterator[np.ndarray]:
            yield from in_order(partial(self._joined, data), self._blocks(data, start, runtime), runtime.workers)

        return assemble(
            data.ids,
            produce,
            metric="cosine" if self.normalise else "euclidean",
            normalised=self.normalise,
            encoder="+".join([self.name, *self.columns]),
            runtime=runtime,
            folder=folder,
        )

    def _blocks(
        self, data: AbstractDataset, start: int, runtime: Runtime
    ) -> Iterator[tuple[int, Sequence[np.ndarray]]]:
        """Gives consecutive rows of all columns side by side, not read yet where they are mapped into memory."""
        first = start
        for parts in zip(*(data.parts(name, start) for name in self.columns), strict=True):
            vectors = [self._as_vectors(data, name, part) for name, part in zip(self.columns, parts, strict=True)]
            lengths = {len(part) for part in vectors}
            assert len(lengths) == 1, "the parts of two columns of one data set cover the same rows"
            width = sum(part.shape[1] for part in vectors)
            # Several blocks are on their way at a time, each as it is stored and twice in float32.
            rows = max(1, runtime.block_mb * 2**20 // (80 * width))
            for begin in range(0, lengths.pop(), rows):
                yield first + begin, [part[begin : begin + rows] for part in vectors]
            first += len(vectors[0])

    def _joined(self, data: AbstractDataset, block: tuple[int, Sequence[np.ndarray]]) -> np.ndarray:
        first, parts = block
        kept = np.result_type(*parts, np.float16)
        kept = kept if kept == np.float16 else np.dtype(np.float32)
        whole = np.empty((len(parts[0]), sum(part.shape[1] for part in parts)), kept)
        column = 0
        for name, part in zip(self.columns, parts, strict=True):
            numbers = part.astype(np.float32)
            # The sum of squares shows in one pass both what is not finite and what has no direction.
            length = np.sqrt(np.einsum("nd,nd->n", numbers, numbers))
            good = np.isfinite(length) & ((length > 0) | (not self.normalise))
            if not good.all():
                row = int(np.argmin(good))
                fault = "zero, so it has no direction" if length[row] == 0 else "not finite"
                raise MethodError(
                    f"Stored: the vector '{name}' of id {told(data.ids.keys[first + row])} of {data.name} is {fault}. "
                    "Repair it, or leave that example out of the data."
                )
            if self.normalise:
                numbers /= length[:, None] * np.float32(len(parts) ** 0.5)
            whole[:, column : column + part.shape[1]] = numbers
            column += part.shape[1]
        return whole

    def _as_vectors(self, data: AbstractDataset, name: str, column: Any) -> np.ndarray:
        """Gives (n, D) from an array, or from an Arrow column of lists of one length."""
        if not isinstance(column, np.ndarray) and (listed := _from_lists(column)) is not None:
            column = listed
        if not isinstance(column, np.ndarray) or column.ndim != 2 or column.dtype.kind != "f":
            what = f"{column.dtype} of shape {column.shape}" if isinstance(column, np.ndarray) else column.type
            raise MethodError(
                f"Stored(columns={list(self.columns)}): '{name}' of {data.name} is {what}, and vectors are floats, as "
                "many for each example. Name a column of vectors."
            )
        return column


def _from_lists(column: Any) -> np.ndarray | None:
    """Gives (n, D) from an Arrow column of lists; none where it is none, or lists differ in length or are missing."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as kinds

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    listed = kinds.is_list(column.type) or kinds.is_large_list(column.type) or kinds.is_fixed_size_list(column.type)
    if not listed or column.null_count or not len(column):
        return None
    lengths = pc.min_max(pc.list_value_length(column)).as_py()
    values = column.flatten()
    if lengths["min"] != lengths["max"] or values.null_count or not kinds.is_floating(values.type):
        return None
    return np.asarray(values.to_numpy(zero_copy_only=False).reshape(len(column), lengths["max"]))
