"""The contract of a probe."""

from __future__ import annotations

import numpy as np

from paredown.artifacts import Row
from paredown.evaluation import AbstractProbe
from paredown.runtime import Runtime
from paredown.testing.promises import (
    EXAMPLES,
    check_plain,
    example_data,
    example_network,
    left_alone,
    promise,
    same_values,
)


def check_probe(probe: AbstractProbe) -> None:
    """Checks a probe.

    - It is plain data: `build` gives it back from `plain()`.
    - Each figure is a row of a report: finite, with n, and with a spread where n is above 1.
    - The same again gives the same; the batch size changes nothing; the network comes back as it was.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(probe)
    name, data, network = type(probe).__name__, example_data(), example_network()

    def measure(batch_size: int) -> list[Row]:
        figures = probe.measure(network, data, runtime=Runtime(batch_size=batch_size), seed=0)
        return [Row(**({"spread": None, "data": data.name, "subject": "network"} | dict(figure))) for figure in figures]

    with left_alone(network, name):
        rows = measure(EXAMPLES)
    promise(bool(rows), name, "it measures nothing")
    labels = [(row.metric, row.group, row.threat) for row in rows]
    promise(len(set(labels)) == len(labels), name, "two figures have the same metric and group")
    bare = [row.metric for row in rows if row.n > 1 and row.spread is None]
    promise(not bare, name, f"{bare} has n above 1 and no spread")
    for batch_size, what in ((EXAMPLES, "measuring again"), (5, "batches of 5")):
        found = measure(batch_size)
        same = [(row.metric, row.group, row.threat) for row in found] == labels
        same = same and all(same_values(np.array(a.value), np.array(b.value)) for a, b in zip(rows, found, strict=True))
        promise(same, name, f"{what} gives other figures")
