"""What recorded trainings say of the data: what was never learnt, where each example lies, which labels look wrong.

The trainings have all seen the same examples, which may be fewer than the data hold: those of a validation are left
out. What is said here is of the whole data, and nothing is said of the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from paredown.artifacts import ExampleIds, TrainingDynamics
from paredown.page import DataMap, Suspects
from paredown.scoring.base import AbstractDynamicsScorer
from paredown.scoring.dynamics import Aum, Correctness, RecordedMean, Variability

SUSPECTS = 60
"""How many likely label errors are named."""


def never_learned(watched: list[TrainingDynamics], ids: ExampleIds) -> np.ndarray | None:
    """Gives which examples no epoch of any training classified rightly; nothing where that was not recorded."""
    if not watched or "correct" not in watched[0].quantities:
        return None
    learned = np.zeros(len(watched[0].ids), bool)
    for dynamics in watched:
        for epoch in dynamics:
            learned |= np.nan_to_num(epoch["correct"]) > 0.5
    return _whole(~learned, watched, ids, False)


def _whole(values: np.ndarray, watched: list[TrainingDynamics], ids: ExampleIds, missing: Any) -> np.ndarray:
    """Puts values of the recorded examples where these stand in the data."""
    whole = np.full(len(ids), missing, values.dtype)
    whole[ids.positions_of(watched[0].ids, "the data", "the dynamics")] = values
    return whole


def _mean(scorer: AbstractDynamicsScorer, watched: list[TrainingDynamics], ids: ExampleIds) -> np.ndarray:
    """The mean over runs; NaN, which the page leaves out, for an example that a run never presented."""
    values = []
    for dynamics in watched:
        state = scorer.init(len(dynamics.ids))
        for epoch in dynamics:
            state = scorer.update(state, epoch)
        values.append(scorer.finish(state))
    return _whole(np.mean(values, axis=0), watched, ids, np.nan)


def data_map(watched: list[TrainingDynamics], ids: ExampleIds) -> DataMap | None:
    """Gives where each example lies on the data map, the mean over trainings; nothing where that was not recorded."""
    if not watched or not {"confidence", "correct"} <= set(watched[0].quantities):
        return None
    scorers = (RecordedMean("confidence"), Variability(), Correctness())
    confidence, variability, correctness = (_mean(scorer, watched, ids) for scorer in scorers)
    epochs = " and ".join(sorted({str(len(dynamics)) for dynamics in watched}))
    runs = f" of {len(watched)} trainings" if len(watched) > 1 else ""
    return DataMap(confidence, variability, correctness, epochs=f"{epochs} epochs{runs}")


def suspects(watched: list[TrainingDynamics], data: Any) -> Suspects | None:
    """Gives the examples of the lowest margins, where these are negative; nothing where margins were not recorded."""
    if not watched or "margin" not in watched[0].quantities:
        return None
    margins = _mean(Aum(), watched, data.ids)
    lowest = np.argsort(margins, kind="stable")[: min(SUSPECTS, math.ceil(len(data) / 20))]
    return Suspects(
        # A label that training comes to prefer over the given one has a negative margin; others are no suspects.
        positions=lowest[margins[lowest] < 0],
        by="a negative area under the margin (Pleiss et al. 2020): over training, another class had the larger logit",
        corrupted=data.corrupted,
        clean=data.clean_labels,
    )
