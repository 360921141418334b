"""Selection: which examples to keep, best first."""

from paredown.selection.base import AbstractSelector, Candidates, FunctionSelector, choose
from paredown.selection.simple import Highest, HighestMagnitude, Lowest, LowestMagnitude, Random, Window

__all__ = [
    "AbstractSelector",
    "Candidates",
    "FunctionSelector",
    "Highest",
    "HighestMagnitude",
    "Lowest",
    "LowestMagnitude",
    "Random",
    "Window",
    "choose",
]
