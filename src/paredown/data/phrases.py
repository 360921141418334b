"""Small sentences made by formula, for tests, documentation and dry runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from paredown import rng
from paredown.data.corrupt import LabelNoise
from paredown.data.sentences import SentenceDataset, Texts, stored
from paredown.data.source import AbstractSource
from paredown.errors import MethodError

SOUNDS = ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "cha")
OF_CLASS = 12
"""Words that only one class uses as its own."""
OF_ALL = 200
"""Words that say nothing about the class."""


@dataclass(frozen=True)
class SyntheticSentences(AbstractSource):
    """Sentences of made-up words, some of which tell the class.

    Each word of sentence i is one of its class's own with probability c_i, one of another class's with c_i/4, and else
    one that all classes use, with c_i drawn from 0 to twice `clarity`: sentences that say little are hard. Row i has
    class i mod C. Train and test share the words.

    Args:
        split: train or test.
        n: sentences in this split.
        classes: how many.
        words: in a sentence, at most; at least half as many.
        clarity: mean share of the words that tell the class, up to 0.4.
        seed: of the sentences.
        noise: label noise for the training rows.
    """

    noun: ClassVar[str] = "sentences"

    split: Literal["train", "test"] = "train"
    n: int = 512
    classes: int = 4
    words: int = 16
    clarity: float = 0.2
    seed: int = 0
    noise: LabelNoise | None = None

    def __post_init__(self) -> None:
        for name, least in (("classes", 2), ("n", self.classes), ("words", 2)):
            if getattr(self, name) < least:
                raise MethodError(f"SyntheticSentences({name}={getattr(self, name)}): at least {least} is needed.")
        if not 0 <= self.clarity <= 0.4:
            raise MethodError(f"SyntheticSentences(clarity={self.clarity}): a share of the words from 0 to 0.4.")

    def read(self, workers: int) -> SentenceDataset:
        draw = rng.stream(self.seed, "synthetic-sentences", self.split)
        labels = np.arange(self.n) % self.classes
        clear = 2 * self.clarity * draw.random(self.n)[:, None]
        kind = draw.random((self.n, self.words))
        other = (labels[:, None] + draw.integers(1, self.classes, (self.n, self.words))) % self.classes
        speaker = np.where(kind < clear, labels[:, None], other)
        word = np.where(
            kind < 1.25 * clear,
            speaker * OF_CLASS + draw.integers(0, OF_CLASS, kind.shape),
            self.classes * OF_CLASS + draw.integers(0, OF_ALL, kind.shape),
        )
        lengths = draw.integers((self.words + 1) // 2, self.words + 1, self.n)
        texts = (
            Texts.of(" ".join(map(_word, row[:length])) for row, length in zip(word.tolist(), lengths, strict=True)),
        )
        return SentenceDataset(
            texts=texts, labels=labels, classes=tuple(f"class {number}" for number in range(self.classes)),
            **self.identified(
                self.n, reader="synthetic", parts=stored(texts, labels), stem="", part=self.split, held_out=False
            ),
        )  # fmt: skip


def _word(number: int) -> str:
    base = len(SOUNDS)
    return SOUNDS[number // base**2] + SOUNDS[number // base % base] + SOUNDS[number % base]
