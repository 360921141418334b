"""Encoders: one vector an example."""

from paredown.embedding.base import AbstractEncoder
from paredown.embedding.penultimate import Penultimate

__all__ = ["AbstractEncoder", "Penultimate"]
