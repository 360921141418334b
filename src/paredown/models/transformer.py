"""A small transformer that learns sentences from nothing, its vocabulary included."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from paredown.artifacts.checkpoint import Checkpoint
from paredown.data.dataset import LearnableDataset
from paredown.data.loader import runs
from paredown.data.sentences import SentenceDataset
from paredown.errors import MethodError, require
from paredown.models.build import AbstractModel
from paredown.models.tokens import CHUNK, SentenceNetwork, as_text
from paredown.rng import key

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
PAD = 0
DEVIATION = 0.02
"""Of initial weights, as in BERT."""
SEEN = 2
"""A piece of a word that is seen less often gets no token of its own."""


class Attention(nn.Module):
    """Attention over the tokens of an example; separate projections, each of which is one linear layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        query, key, value = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, inside[:, None, None], dropout_p=dropout)
        return self.out(seen.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention, then two linear layers on each token; both normalise what they read and add to it."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.before, self.attention = nn.LayerNorm(width), Attention(width, heads, dropout)
        self.between = nn.LayerNorm(width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, inside: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.before(x), inside))
        return x + self.dropout(self.fall(functional.gelu(self.rise(self.between(x)))))


class Encoder(nn.Module):
    """Tokens, positions and segments as vectors, blocks, the mean over the tokens, logits.

    Args:
        vocabulary: how many tokens there are.
        width: of a token's vector.
        depth: blocks.
        heads: of attention.
        length: positions.
        segments: sentences of an example.
        classes: number of logits.
        dropout: share of what is left out.
    """

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int,
        depth: int,
        heads: int,
        length: int,
        segments: int,
        classes: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(length, width)
        self.segments = nn.Embedding(segments, width)
        blocks = [Block(width, heads, dropout) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.normal_(layer.weight, std=DEVIATION)
            if isinstance(layer, nn.Linear):
                nn.init.zeros_(layer.bias)
        # What each block adds is smaller the more there are, so that the sum keeps its size (GPT-2).
        for added in (layer for block in blocks for layer in (block.attention.out, block.fall)):
            nn.init.normal_(added.weight, std=DEVIATION / math.sqrt(2 * depth))

    def forward(self, x: Tensor) -> Tensor:
        tokens, inside = x[:, 0], x[:, 1] > 0
        # One row of positions an example: an example's gradient is then its own.
        places = torch.arange(tokens.shape[1], device=x.device).expand(tokens.shape)
        made = self.tokens(tokens) + self.positions(places) + self.segments((x[:, 1] - 1).clamp_min(0))
        made = self.dropout(made)
        for block in self.blocks:
            made = block(made, inside)
        weight = inside.to(made.dtype)[:, :, None]
        mean = (self.norm(made) * weight).sum(1) / weight.sum(1)
        return self.head(self.dropout(mean))


@dataclass(frozen=True)
class Transformer(AbstractModel):
    """A small transformer encoder (Vaswani et al. 2017), normalisation first, that is trained from nothing.

    Its vocabulary is learnt from all sentences of the data before training (byte-pair encoding of lower-case words,
    Sennrich et al. 2016), whatever part of them is trained on; labels have no part in it. The checkpoint holds it.

    Args:
        width: of a token's vector.
        depth: blocks.
        heads: of attention; they share the width.
        length: tokens of an example, at most; what is longer is cut.
        vocabulary: tokens, at most.
        dropout: share that training leaves out: of attention, of what each layer adds, of the first and last vectors.
    """

    takes: ClassVar[str] = "sentences"
    usual: ClassVar[Mapping[str, Any]] = {
        "batch_size": 64,
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "schedule": {"name": "linear"},
    }

    width: int = 128
    depth: int = 4
    heads: int = 4
    length: int = 64
    vocabulary: int = 8192
    dropout: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 1), ("heads", 1), ("length", 8), ("vocabulary", 300)):
            if getattr(self, name) < least:
                raise MethodError(f"Transformer({name}={getattr(self, name)}): at least {least} is needed.")
        if self.width % self.heads:
            raise MethodError(
                f"Transformer(width={self.width}, heads={self.heads}): the heads cannot share the width evenly. "
                f"Give a multiple of {self.heads}."
            )
        if not 0 <= self.dropout < 1:
            raise MethodError(f"Transformer(dropout={self.dropout}): a share lies from 0 up to below 1.")

    def build(self, shape: Any, classes: int) -> nn.Module:
        return self._encoder(self.vocabulary, shape, classes)

    def start(self, data: LearnableDataset, seed: int) -> SentenceNetwork:
        self.refuse_other_data(data)
        assert isinstance(data, SentenceDataset)
        tokenizer = learnt_tokenizer(data, self.vocabulary)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(seed, "init"))
            return self._network(tokenizer, data.shape, len(data.classes))

    def empty(self, checkpoint: Checkpoint) -> SentenceNetwork:
        return self._network(as_text(checkpoint.weights["tokenizer"]), checkpoint.shape, checkpoint.classes)

    def _network(self, tokenizer: str, shape: tuple[int, ...], classes: int) -> SentenceNetwork:
        described: dict[str, Any] = json.loads(tokenizer)
        body = self._encoder(len(described["model"]["vocab"]), shape, classes)
        return SentenceNetwork(body, tokenizer=tokenizer, shape=shape, classes=classes, length=self.length, pad=PAD)

    def _encoder(self, vocabulary: int, shape: tuple[int, ...], classes: int) -> Encoder:
        return Encoder(
            vocabulary=vocabulary,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            length=self.length,
            segments=shape[0],
            classes=classes,
            dropout=self.dropout,
        )


def learnt_tokenizer(data: SentenceDataset, vocabulary: int) -> str:
    """Gives a tokenizer for some sentences, as JSON; the same sentences give the same.

    Args:
        data: the sentences.
        vocabulary: tokens, at most.
    """
    library = require("tokenizers", "text")
    # Of the library's ways byte-pair encoding alone does not depend on the number of threads.
    made = library.Tokenizer(library.models.BPE(unk_token="[UNK]"))
    made.normalizer = library.normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary, min_frequency=SEEN, special_tokens=list(SPECIAL), show_progress=False
    )
    columns = (column.read(rows) for column in data.texts for rows in runs(len(data), CHUNK))
    made.train_from_iterator(columns, trainer)
    numbers = [(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")]
    made.post_processor = library.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=numbers
    )
    return made.to_str()
