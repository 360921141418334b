"""The contracts that every method and artifact keeps, as checks for ours and for yours.

A method of your own, wherever it stands, is held to them by one call: `check_scorer(MyScorer())`. A check makes its own
small data and returns nothing; a promise that is not kept is a `BrokenPromise` that says which.
"""

from paredown.testing.artifacts import check_artifact, check_source
from paredown.testing.attacks import check_attack
from paredown.testing.distillers import check_distiller
from paredown.testing.extrapolations import check_extrapolation
from paredown.testing.indexes import check_index
from paredown.testing.probes import check_probe
from paredown.testing.promises import BrokenPromise, example_data, example_dynamics, example_network
from paredown.testing.pruners import check_pruner
from paredown.testing.scorers import check_scorer
from paredown.testing.searchers import check_searcher
from paredown.testing.selectors import check_selector

__all__ = [
    "BrokenPromise",
    "check_artifact",
    "check_attack",
    "check_distiller",
    "check_extrapolation",
    "check_index",
    "check_probe",
    "check_pruner",
    "check_scorer",
    "check_searcher",
    "check_selector",
    "check_source",
    "example_data",
    "example_dynamics",
    "example_network",
]
