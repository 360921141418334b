"""Sentences as networks take them: token ids beside segment numbers, cut to the longest of each batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paredown.data.augment import AbstractAugmentation
from paredown.data.dataset import LearnableDataset
from paredown.data.loader import AbstractInputs, runs
from paredown.data.sentences import SentenceDataset
from paredown.errors import MethodError, require
from paredown.models.build import AbstractNetwork

CHUNK = 4096
"""Sentences that are cut into tokens at once; the library's own records of them take some kilobytes each."""


class Tokens(AbstractInputs):
    """Sentences of a data set where the network is, cut into tokens once.

    Tokens lie one behind the other, 5 bytes each, on the device; a batch gathers its rows.

    Args:
        data: the sentences.
        tokenizer: of the `tokenizers` library, as JSON.
        length: tokens of an example, at most; of a pair the longer sentence is cut first.
        pad: token that fills the shorter rows of a batch.
        device: where batches are wanted.
    """

    def __init__(
        self, data: SentenceDataset, tokenizer: str, *, length: int, pad: int, device: str | torch.device
    ) -> None:
        self.device, self.pad = torch.device(device), pad
        parts = list(encoded(data, tokenizer, length))
        tokens, segments, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
        self.lengths: np.ndarray = lengths
        self._starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(self.device)
        self._lengths = torch.from_numpy(lengths).to(self.device)
        self._tokens = torch.from_numpy(tokens).to(self.device)
        self._segments = torch.from_numpy(segments).to(self.device)
        self._labels = torch.from_numpy(data.labels).to(self.device)

    def labels(self, positions: np.ndarray) -> Tensor:
        return self._labels.index_select(0, self._rows(positions))

    def batch(self, positions: np.ndarray) -> tuple[Tensor, Tensor]:
        """Gives int32 (B, 2, L), token ids and segment + 1 (0 where there is no token), and labels, int64 (B,)."""
        return self.augmented(positions, None, 0), self.labels(positions)

    def augmented(self, positions: np.ndarray, augmentation: AbstractAugmentation | None, seed: int) -> Tensor:
        rows = self._rows(positions)
        longest = int(self.lengths[positions].max())
        column = torch.arange(longest, device=self.device)
        inside = column < self._lengths[rows][:, None]
        # Beyond a row's end stands another row's token; it is read and not used.
        where = (self._starts[rows][:, None] + column).clamp_max_(len(self._tokens) - 1)
        tokens = torch.where(inside, self._tokens[where], self.pad)
        return torch.stack([tokens, torch.where(inside, self._segments[where].int() + 1, 0)], dim=1)

    def _rows(self, positions: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(positions, dtype=np.int64)).to(self.device, non_blocking=True)


def encoded(data: SentenceDataset, tokenizer: str, length: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Gives sentences as tokens, chunk by chunk: token ids int32 (T,), segments uint8 (T,), lengths int64 (N,)."""
    made = opened(tokenizer)
    made.no_padding()
    made.enable_truncation(length, strategy="longest_first")
    for rows in runs(len(data), CHUNK):
        found = made.encode_batch_fast(data.read(rows))
        lengths = np.fromiter((len(one) for one in found), np.int64, len(found))
        total = int(lengths.sum())
        tokens = np.fromiter((token for one in found for token in one.ids), np.int32, total)
        segments = np.fromiter((segment for one in found for segment in one.type_ids), np.uint8, total)
        yield tokens, segments, lengths


def opened(tokenizer: str) -> Any:
    """Gives the tokenizer that JSON describes."""
    return require("tokenizers", "text").Tokenizer.from_str(tokenizer)


def as_bytes(text: str) -> Tensor:
    """Gives text as a tensor, uint8 (N,), so that it is stored among the weights."""
    return torch.frombuffer(bytearray(text.encode("utf-8")), dtype=torch.uint8)


def as_text(stored: Tensor | np.ndarray) -> str:
    """Gives back what `as_bytes` was given."""
    return bytes(np.asarray(stored.cpu() if isinstance(stored, Tensor) else stored)).decode("utf-8")


class SentenceNetwork(AbstractNetwork):
    """A network on sentences that carries its tokenizer among its weights, so that a checkpoint needs nothing else.

    Args:
        body: takes int32 (B, 2, L), gives logits (B, classes).
        tokenizer: of the `tokenizers` library, as JSON.
        shape: (1,) for sentences, (2,) for pairs.
        classes: number of logits.
        length: tokens of an example, at most.
        pad: token that fills the shorter rows of a batch.
        about: text that is stored beside the weights, by name.
    """

    tokenizer: Tensor

    def __init__(
        self,
        body: nn.Module,
        *,
        tokenizer: str,
        shape: tuple[int, ...],
        classes: int,
        length: int,
        pad: int,
        **about: str,
    ) -> None:
        super().__init__()
        self.body = body
        self.shape, self.classes, self.length, self.pad = shape, classes, length, pad
        for name, text in {"tokenizer": tokenizer, **about}.items():
            self.register_buffer(name, as_bytes(text))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)

    def inputs(self, data: LearnableDataset, device: torch.device, workers: int = 0) -> Tokens:
        if not isinstance(data, SentenceDataset) or data.shape != self.shape:
            wanted = "sentences" if self.shape == (1,) else "pairs of sentences"
            raise MethodError(
                f"The network takes {wanted}, and {data.name} has {data.form}. Use the data that it was trained for."
            )
        return Tokens(data, as_text(self.tokenizer), length=self.length, pad=self.pad, device=device)
