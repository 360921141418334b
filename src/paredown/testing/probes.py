"""The contract of a probe: of networks, of selections, or of sets to train on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from paredown.artifacts import EmbeddingMatrix, Row, Selection
from paredown.evaluation import (
    AbstractContrastProbe,
    AbstractProbe,
    AbstractSelectionProbe,
    AbstractTrainingSetProbe,
)
from paredown.evaluation.base import AnyProbe
from paredown.rng import stream
from paredown.runtime import Runtime
from paredown.testing.promises import (
    EXAMPLES,
    check_plain,
    example_data,
    example_network,
    left_alone,
    promise,
    rows_of,
    same_values,
)


def check_probe(probe: AnyProbe) -> None:
    """Checks a probe.

    - It is plain data: `build` gives it back from `plain()`.
    - Each figure is a row of a report, finite and with n; no two have the same metric and group.
    - The same again gives the same, but for the metrics that it declares as timed.
    - Of networks, and of sets to train on: a figure with n above 1 has a spread; the batch size changes nothing.
    - Of networks: the network comes back as it was.
    - Of sets to train on: each figure is about one of them; with what a killed measurement left it gives the same.
    - Of selections: neither the order of the data nor that of the selections beside it changes a figure; what it is
      given is only read.

    Raises:
        BrokenPromise: one of these does not hold.
    """
    check_plain(probe)
    if isinstance(probe, AbstractSelectionProbe):
        _check_selection_probe(probe)
    elif isinstance(probe, AbstractTrainingSetProbe):
        _check_training_set_probe(probe)
    else:
        _check_network_probe(probe)


def _check_network_probe(probe: AbstractProbe | AbstractContrastProbe) -> None:
    name, data, other, network = type(probe).__name__, example_data(), example_data("other"), example_network()

    def measure(batch_size: int) -> list[Row]:
        how = Runtime(batch_size=batch_size)
        if isinstance(probe, AbstractContrastProbe):
            figures = probe.measure(network, data, other, rows=np.arange(EXAMPLES), runtime=how, seed=0)
        else:
            figures = probe.measure(network, data, runtime=how, seed=0)
        return [Row(**({"spread": None, "data": data.name, "subject": "network"} | dict(figure))) for figure in figures]

    with left_alone(network, name):
        rows = measure(EXAMPLES)
    _check_spreads(name, rows)
    again: list[tuple[Callable[[], list[Row]], str]] = [
        (lambda: measure(EXAMPLES), "measuring again"),
        (lambda: measure(5), "batches of 5"),
    ]
    _check_rows(name, rows, again, timed=probe.timed)


def _check_selection_probe(probe: AbstractSelectionProbe) -> None:
    name, data = type(probe).__name__, example_data()
    rng = stream(0, "contract", "selections")
    vectors = rng.standard_normal((EXAMPLES, 4)).astype(np.float32)

    def chosen(count: int) -> Selection:
        return Selection(data.ids.take(rng.permutation(EXAMPLES)[:count]), base=EXAMPLES)

    first, others = chosen(8), [chosen(8), chosen(12)]
    keys = first.ids.keys.copy()

    def measure(rows: np.ndarray, beside: Sequence[Selection]) -> list[Row]:
        matrix = EmbeddingMatrix(data.ids.take(rows), vectors[rows], metric="euclidean")
        figures = probe.measure(
            first, rows_of(data, rows), others=[first, *beside], embeddings=matrix, runtime=Runtime(), seed=0
        )
        same = np.array_equal(first.ids.keys, keys) and np.array_equal(matrix.vectors, vectors[rows])
        promise(same, name, "it writes into what it is given")
        return [Row(**({"data": data.name, "subject": "selection"} | dict(figure))) for figure in figures]

    everything, order = np.arange(EXAMPLES), rng.permutation(EXAMPLES)
    again: list[tuple[Callable[[], list[Row]], str]] = [
        (lambda: measure(everything, others), "measuring again"),
        (lambda: measure(order, others), "another order of the data"),
        (lambda: measure(everything, others[::-1]), "another order of the selections beside it"),
    ]
    _check_rows(name, measure(everything, others), again)


def _check_training_set_probe(probe: AbstractTrainingSetProbe) -> None:
    name, data, test = type(probe).__name__, example_data(), example_data("other")
    order = stream(0, "contract", "sets").permutation(EXAMPLES)
    sets = [Selection(data.ids.take(rows), base=EXAMPLES) for rows in (order[:8], order[8:14])]
    kept = [one.ids.keys.copy() for one in sets]

    def measure(batch_size: int, folder: Path) -> list[Row]:
        how = Runtime(batch_size=batch_size, progress=False)
        figures = probe.measure(sets, test, against=data, runtime=how, seed=0, folder=folder)
        return [Row(**({"data": test.name} | dict(figure))) for figure in figures]

    def afresh(batch_size: int) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            return measure(batch_size, Path(folder))

    with tempfile.TemporaryDirectory() as folder:
        rows = measure(EXAMPLES, Path(folder))
        promise(rows == measure(EXAMPLES, Path(folder)), name, "what a killed measurement left gives other figures")
    strange = {row.subject for row in rows} - {one.digest()[:16] for one in sets}
    promise(not strange, name, f"{strange} is none of the sets")
    same = all(np.array_equal(one.ids.keys, keys) for one, keys in zip(sets, kept, strict=True))
    promise(same, name, "it writes into what it is given")
    _check_spreads(name, rows)
    _check_rows(name, rows, [(lambda: afresh(EXAMPLES), "measuring again"), (lambda: afresh(5), "batches of 5")])


def _check_spreads(name: str, rows: list[Row]) -> None:
    bare = [row.metric for row in rows if row.n > 1 and row.spread is None]
    promise(not bare, name, f"{bare} has n above 1 and no spread")


def _check_rows(
    name: str, rows: list[Row], again: Sequence[tuple[Callable[[], list[Row]], str]], timed: tuple[str, ...] = ()
) -> None:
    promise(bool(rows), name, "it measures nothing")
    known = {(row.metric, row.subject, row.group, row.threat): row.value for row in rows}
    promise(len(known) == len(rows), name, "two figures have the same metric and group")
    for measure, what in again:
        found = {(row.metric, row.subject, row.group, row.threat): row.value for row in measure()}
        same = found.keys() == known.keys()
        steady = [label for label in known if not (timed and label[0].startswith(timed))]
        same = same and all(same_values(np.array(found[label]), np.array(known[label])) for label in steady)
        promise(same, name, f"{what} gives other figures")
