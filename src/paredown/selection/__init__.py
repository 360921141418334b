"""Selection: which examples to keep, best first."""

from paredown.selection.base import AbstractSelector, FunctionSelector, choose, decide
from paredown.selection.candidates import Candidates, Choice
from paredown.selection.simple import Highest, HighestMagnitude, Lowest, LowestMagnitude, Random, Window

__all__ = [
    "AbstractSelector",
    "Candidates",
    "Choice",
    "FunctionSelector",
    "Highest",
    "HighestMagnitude",
    "Lowest",
    "LowestMagnitude",
    "Random",
    "Window",
    "choose",
    "decide",
]
