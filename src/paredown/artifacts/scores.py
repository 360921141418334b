"""`ScoreTable`: one value an example, with its direction and range, so that nobody sorts by guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast

import numpy as np

from paredown.artifacts.base import Artifact
from paredown.artifacts.ids import ExampleIds, Pool
from paredown.artifacts.uids import told
from paredown.errors import ArtifactError, MethodError

Direction = Literal["high", "low", "none"]


class ScoreTable(Artifact):
    """Scores of examples.

    Args:
        ids: the examples.
        values: float64, shape (N,), in the order of `ids`; the mean over runs where there were several.
        name: the scorer's name.
        important: whether a `high` or a `low` value marks an example that teaches much; `none` where it says nothing.
        low, high: the range the values can have; infinite ends are allowed and then infinite values are too.
        per_run: float64, shape (R, N): the values of each run, when there were several.
        paper: where the score was published.
        notes: what else a reader should know of how the values came about, as data that JSON can hold.
    """

    def __init__(
        self,
        ids: ExampleIds,
        values: np.ndarray,
        *,
        name: str,
        important: Direction,
        low: float,
        high: float,
        per_run: np.ndarray | None = None,
        paper: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.ids = ids
        self.values = np.asarray(values, dtype=np.float64)
        self.name = name
        self.important = important
        self.low = float(low)
        self.high = float(high)
        self.per_run = None if per_run is None else np.asarray(per_run, dtype=np.float64)
        self.paper = paper
        self.notes = dict(notes or {})
        if important not in ("high", "low", "none"):
            raise MethodError(f"ScoreTable(important={important!r}): the direction is high, low or none.")
        if self.values.shape != (len(ids),):
            raise ArtifactError(
                f"ScoreTable '{name}': {len(ids)} ids and values of shape {self.values.shape}; one an id is needed."
            )
        if self.per_run is not None and (self.per_run.ndim != 2 or self.per_run.shape[1] != len(ids)):
            raise ArtifactError(
                f"ScoreTable '{name}': the values by run have shape {self.per_run.shape}; (runs, {len(ids)}) is needed."
            )
        self._check_range()

    def _check_range(self) -> None:
        # Rounding may leave the range by a hair; NaN and true strangers may not.
        slack = 1e-4 * max(1.0, *(abs(end) for end in (self.low, self.high) if np.isfinite(end)), 0.0)
        wrong = ~((self.values >= self.low - slack) & (self.values <= self.high + slack))
        if wrong.any():
            where = int(np.flatnonzero(wrong)[0])
            raise ArtifactError(
                f"ScoreTable '{self.name}': id {told(self.ids.keys[where])} has the value {self.values[where]}, "
                f"outside the score's range [{self.low:g}, {self.high:g}]; {int(wrong.sum())} of {len(self.ids)} "
                "values do. Look for NaN in the network's outputs."
            )

    @property
    def runs(self) -> int:
        """How many runs the values are a mean of."""
        return 1 if self.per_run is None else len(self.per_run)

    @property
    def spread(self) -> np.ndarray | None:
        """Standard deviation over runs of each example (n - 1 in the denominator), shape (N,); none for one run."""
        if self.per_run is None or len(self.per_run) < 2:
            return None
        with np.errstate(invalid="ignore"):
            return self.per_run.std(axis=0, ddof=1)

    def importance(self) -> np.ndarray:
        """Gives values turned so that high means important, shape (N,).

        Raises:
            MethodError: the score has no direction.
        """
        if self.important == "none":
            raise MethodError(
                f"The score '{self.name}' has no direction, so it does not say which examples are important. "
                "Use a selector that goes by value (highest, lowest, window) or another score."
            )
        return self.values if self.important == "high" else -self.values

    @classmethod
    def mean(cls, tables: Sequence[ScoreTable]) -> ScoreTable:
        """Gives the mean over runs of the same score: the mean of the values, not of what they were made from.

        An infinite value in one run (forgetting's `infinite`) makes the mean infinite, as in the original.

        Raises:
            MethodError: no table, or tables of different scores.
            PoolMismatch: tables of different examples.
        """
        if not tables:
            raise MethodError("ScoreTable.mean needs at least one table, and was given none.")
        first = tables[0]
        if len(tables) == 1:
            return first
        for other in tables[1:]:
            if (other.name, other.important) != (first.name, first.important):
                raise MethodError(
                    f"ScoreTable.mean: '{first.name}' and '{other.name}' are different scores, and a mean needs one."
                )
        rows = [
            table.values[table.ids.positions_of(first.ids, "a run's scores", "the first run's")] for table in tables
        ]
        per_run = np.stack(rows)
        return cls(
            first.ids,
            per_run.mean(axis=0),
            name=first.name,
            important=first.important,
            low=min(table.low for table in tables),
            high=max(table.high for table in tables),
            per_run=per_run,
            paper=first.paper,
            notes=first.notes,
        )

    def of(self, ids: ExampleIds) -> np.ndarray:
        """Gives the values of some examples, in their order."""
        return self.values[self.ids.positions_of(ids, "the scores", "the examples")]

    def header(self) -> dict[str, Any]:
        return {
            "pool": self.ids.pool.plain(),
            "name": self.name,
            "important": self.important,
            "range": [_end(self.low), _end(self.high)],
            "runs": self.runs,
            "paper": self.paper,
            "notes": self.notes,
        }

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        yield "id", self.ids.keys
        yield "value", self.values
        if self.per_run is not None:
            yield "runs", self.per_run

    def write(self, folder: Path) -> None:
        columns = {"value": self.values}
        if self.per_run is not None:
            if (spread := self.spread) is not None:
                columns["spread"] = spread
            columns |= {f"run_{number}": row for number, row in enumerate(self.per_run)}
        self.ids.write(folder / "scores.parquet", columns)

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        ids, columns = ExampleIds.read(folder / "scores.parquet", Pool.from_plain(header["pool"]))
        runs = [columns[f"run_{number}"] for number in range(int(header["runs"])) if f"run_{number}" in columns]
        low, high = (float(end) for end in header["range"])
        return cls(
            ids,
            columns["value"],
            name=header["name"],
            important=cast(Direction, header["important"]),
            low=low,
            high=high,
            per_run=np.stack(runs) if runs else None,
            paper=header["paper"],
            notes=header["notes"],
        )

    def describe(self) -> str:
        runs = f", mean of {self.runs} runs" if self.runs > 1 else ""
        how = ""
        if extrapolated := self.notes.get("extrapolated"):
            held_out = extrapolated["held_out"]
            sure = "unchecked" if held_out is None else f"rank correlation {held_out['spearman']:.2f} on held-out ones"
            by_class = "class by class " if extrapolated.get("by_class") else ""
            how = f", predicted {by_class}from {extrapolated['measured']} measured, {sure}"
        marks = {"high": "high is important", "low": "low is important", "none": "no direction"}[self.important]
        return f"{self.name} of {len(self.ids)} examples of {' + '.join(self.ids.pool.sources)} ({marks}{runs}{how})"


def _end(value: float) -> float | str:
    # JSON has no infinity; the words are read back by float().
    return value if np.isfinite(value) else ("inf" if value > 0 else "-inf")
