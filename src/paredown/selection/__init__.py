"""Selection: which examples to keep, best first."""

from paredown.selection.base import AbstractSelector, FunctionSelector, choose, decide
from paredown.selection.bins import Bins
from paredown.selection.candidates import Candidates, Choice
from paredown.selection.coverage import Ccs
from paredown.selection.craig import Craig
from paredown.selection.deduplicate import NearDuplicates
from paredown.selection.glister import Glister
from paredown.selection.gradient_matching import GradMatch
from paredown.selection.herding import Herding
from paredown.selection.kcenter import KCenter
from paredown.selection.message_passing import D2
from paredown.selection.moderate import Moderate
from paredown.selection.simple import Highest, HighestMagnitude, Lowest, LowestMagnitude, Random, Window
from paredown.selection.submodular import FacilityLocation, GraphCut, SaturatedCoverage
from paredown.selection.threshold import OfClasses, Threshold
from paredown.selection.weighted import Weighted

__all__ = [
    "D2",
    "AbstractSelector",
    "Bins",
    "Candidates",
    "Ccs",
    "Choice",
    "Craig",
    "FacilityLocation",
    "FunctionSelector",
    "Glister",
    "GradMatch",
    "GraphCut",
    "Herding",
    "Highest",
    "HighestMagnitude",
    "KCenter",
    "Lowest",
    "LowestMagnitude",
    "Moderate",
    "NearDuplicates",
    "OfClasses",
    "Random",
    "SaturatedCoverage",
    "Threshold",
    "Weighted",
    "Window",
    "choose",
    "decide",
]
