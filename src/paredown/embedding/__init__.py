"""Encoders: one vector an example."""

from paredown.embedding.base import AbstractEncoder
from paredown.embedding.clip import Clip
from paredown.embedding.gradients import LastLayerGradient
from paredown.embedding.penultimate import Penultimate
from paredown.embedding.sentences import SentenceEncoder
from paredown.embedding.sscd import Sscd
from paredown.embedding.stored import Stored
from paredown.embedding.vision import PretrainedResNet

__all__ = [
    "AbstractEncoder",
    "Clip",
    "LastLayerGradient",
    "Penultimate",
    "PretrainedResNet",
    "SentenceEncoder",
    "Sscd",
    "Stored",
]
