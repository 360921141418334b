"""How similar an example is to the most similar one of others: copies, and images that leaked from a test set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.artifacts.scores import Direction
from paredown.data.device import choose, limited
from paredown.errors import MethodError
from paredown.neighbors import Exact
from paredown.neighbors.base import refuse_bad_vectors, slices, without_self
from paredown.progress import bar as open_bar
from paredown.runtime import Runtime
from paredown.scoring.base import AbstractEmbeddingScorer


@dataclass(frozen=True)
class NearestSimilarity(AbstractEmbeddingScorer):
    """Nearest similarity: the cosine similarity to the most similar vector of a reference, or of the other examples.

    max_r cos(x, r), exactly. With the test images as the reference it shows which training images are copies of them;
    with the original images, which generated ones are copies of those. `threshold` with `at_most` then leaves copies
    out. By descriptors of SSCD (Pizzi et al. 2022), pairs above 0.75 are copies nine times in ten.

    Args:
        reference: the folder of other embeddings, by the same encoder; in an address it stands by its content. None
            compares each example with the others of its own embeddings.
    """

    reference: str | None = None

    important: ClassVar[Direction] = "low"
    low: ClassVar[float] = -1.0
    high: ClassVar[float] = 1.0
    paper: ClassVar[str] = "Pizzi et al. 2022, A Self-Supervised Descriptor for Image Copy Detection"

    def identity(self) -> dict[str, Any]:
        content = None if self.reference is None else EmbeddingMatrix.open(self.reference).digest()
        return super().identity() | {"reference": content}

    def of(self, embeddings: EmbeddingMatrix, *, runtime: Runtime, seed: int) -> np.ndarray:
        other = embeddings if self.reference is None else EmbeddingMatrix.open(self.reference)
        self._refuse(embeddings, other)
        own = self.reference is None
        refuse_bad_vectors(embeddings.vectors, metric="cosine", keys=embeddings.ids.keys)
        if not own:
            refuse_bad_vectors(other.vectors, metric="cosine", keys=other.ids.keys)
        index, size, device = Exact(), len(embeddings.ids), choose(runtime.device)
        found = np.empty(size)
        with limited(runtime.threads), open_bar(self.name, size, unit="examples", shown=runtime.progress) as bar:
            state = index.prepare(other.vectors, metric="cosine", device=device, block_mb=runtime.block_mb, folder=None)
            for rows in slices(size, index.together):
                near, apart = index.nearest(state, np.asarray(embeddings.vectors[rows]), 1 + own)
                if own:
                    near, apart = without_self(near, apart, np.arange(rows.start, rows.stop))
                found[rows] = 1 - apart[:, 0].astype(np.float64)
                bar.move(rows.stop)
        return np.clip(found, self.low, self.high)

    def _refuse(self, embeddings: EmbeddingMatrix, other: EmbeddingMatrix) -> None:
        for what, mine, theirs in (
            ("encoder", embeddings.encoder, other.encoder),
            ("width", embeddings.width, other.width),
        ):
            if mine != theirs:
                raise MethodError(
                    f"NearestSimilarity(reference={self.reference!r}): its vectors have {what} {theirs or 'unnamed'}, "
                    f"the embeddings {mine or 'unnamed'}, so similarities say nothing. Embed both in the same way."
                )
        if len(other.ids) < 1 + (self.reference is None):
            raise MethodError("NearestSimilarity: there is no other vector to compare with. Embed more examples.")
        if embeddings.factors or other.factors:
            raise MethodError(
                "NearestSimilarity: these vectors are the factors of outer products, which do not compare. Embed with "
                "an encoder whose vectors stand for themselves."
            )
