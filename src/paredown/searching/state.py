"""What an agent sees of the next layer: eleven numbers, as the published search has them.

`[t, inputs, outputs, height, width, "stride", kernel, cost, reduced, rest, last share]`; Zhao et al., AutoML 2022:

- height and width are those of what the entry before gives (of the image for the first entry);
- "stride" is outputs / inputs, 1 for the first entry and 0 for a linear layer; the published code calls it so;
- cost is the number of weights; `reduced` what was removed so far, `rest` what later entries hold, as shares.

The first eight are scaled to [0, 1] over all entries, but for one that is the same everywhere, which stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from paredown.artifacts.layers import Layer

COLUMNS = (
    "t",
    "inputs",
    "outputs",
    "height",
    "width",
    "outputs-per-input",
    "kernel",
    "cost",
    "reduced",
    "rest",
    "last-share",
)
STATIC = 8
"""How many of the columns do not change during a walk."""

State = Literal["fixed", "as-coded"]


def raw_rows(listed: Sequence[Layer], side: int, costs: Sequence[float]) -> np.ndarray:
    """Gives the static rows before scaling, with the dynamic columns as they stand at the beginning: 0, 0 and 1.

    Args:
        listed: the entries in their order.
        side: of the image, in pixels.
        costs: of each entry. The published code reads them, in channel mode, from a list that also has projections, so
            that behind the first projection they belong to other layers.

    Returns:
        float64, shape (entries, 11).
    """
    rows = np.zeros((len(listed), len(COLUMNS)))
    before = (side, side)
    for place, layer in enumerate(listed):
        ratio = layer.outputs / layer.inputs if layer.kind == "conv" else 0.0
        rows[place] = (
            place,
            layer.inputs,
            layer.outputs,
            *before,
            ratio if place else 1.0,
            layer.kernel[0],
            costs[place],
            0.0,
            0.0,
            1.0,
        )
        before = layer.side
    return rows


def scaled(rows: np.ndarray) -> np.ndarray:
    """Gives rows whose static columns lie in [0, 1], but for those that are the same everywhere."""
    found = rows.copy()
    static = rows[:, :STATIC]
    low, high = static.min(axis=0), static.max(axis=0)
    varied = high > low
    found[:, :STATIC][:, varied] = (static[:, varied] - low[varied]) / (high - low)[varied]
    return found


def misaligned(layers_in_list_order: Sequence[Layer], entries: int) -> list[float]:
    """Gives the costs that the published code takes for the first `entries` of a list that leaves out projections."""
    return [layer.weights for layer in layers_in_list_order[:entries]]
