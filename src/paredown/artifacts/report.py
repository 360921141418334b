"""`Report`: tidy rows of what was measured; no figure without its n and its spread."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from paredown.artifacts.base import Artifact, canonical
from paredown.errors import ArtifactError


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        metric: what was measured, such as `accuracy`.
        value: the figure; accuracies are shares in [0, 1].
        n: how many things it is a mean of: test examples for one network, networks for a mean over runs.
        spread: standard error over test examples for one network, standard deviation over runs for a mean; none only
            where n is 1 or the metric has no spread by its nature.
        data: what it was measured on, such as `cifar10:test`.
        subject: what was measured: the first 16 digits of a checkpoint's digest, or a name.
        group: a part of the data, such as a class; empty for all of it.
        threat: the threat model; empty for none.
        reported: the published figure beside it, where there is one.
    """

    metric: str
    value: float
    n: int
    spread: float | None
    data: str
    subject: str
    group: str = ""
    threat: str = ""
    reported: float | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ArtifactError(f"Row(metric={self.metric!r}, n={self.n}): a figure is a mean of at least one thing.")
        if not math.isfinite(self.value):
            raise ArtifactError(f"Row(metric={self.metric!r}, value={self.value}): not a finite figure.")
        object.__setattr__(self, "value", float(self.value))  # 1 and 1.0 are one figure, and one digest


class Report(Artifact):
    """Rows of measurements."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = tuple(rows)

    def __add__(self, other: Report) -> Report:
        return Report(self.rows + other.rows)

    def of(self, metric: str, subject: str | None = None, group: str = "") -> list[Row]:
        """Gives the rows of a metric, of one subject if it is named."""
        return [
            row
            for row in self.rows
            if row.metric == metric and row.group == group and (subject is None or row.subject == subject)
        ]

    def over_runs(self, name: Callable[[str], str], *, whole: Callable[[str], bool] = lambda subject: False) -> Report:
        """Gives one row for each set of subjects that share a name: mean, number of runs, standard deviation.

        Args:
            name: from a row's subject to the name of its set.
            whole: says of a subject whether its figures are means already, such as over the networks that a probe
                trained; where a set has only one of those, it keeps its n and its spread.

        Where two probes measured the same of one subject, what was measured on more examples counts.
        """
        most: dict[tuple[str, ...], int] = {}
        for row in self.rows:
            key = (row.metric, row.subject, row.data, row.group, row.threat)
            most[key] = max(row.n, most.get(key, row.n))
        sets: dict[tuple[str, ...], list[Row]] = {}
        for row in self.rows:
            if row.n < most[row.metric, row.subject, row.data, row.group, row.threat]:
                continue
            sets.setdefault((row.metric, name(row.subject), row.data, row.group, row.threat), []).append(row)
        rows = []
        for (metric, subject, data, group, threat), members in sets.items():
            if len(members) == 1 and whole(members[0].subject):
                rows.append(replace(members[0], subject=subject))
                continue
            values = np.array([member.value for member in members])
            spread = float(values.std(ddof=1)) if len(values) > 1 else None
            rows.append(
                Row(
                    metric, float(values.mean()), len(values), spread, data, subject, group, threat, members[0].reported
                )
            )
        return Report(rows)

    def to_markdown(self) -> str:
        """Gives the rows as a Markdown table."""
        lines = ["| metric | value | n | spread | data | subject |", "|---|---|---|---|---|---|"]
        for row in self.rows:
            spread = "" if row.spread is None else _figure(row.spread)
            under = ", ".join(part for part in (row.group, row.threat) if part)
            metric = f"{row.metric} ({under})" if under else row.metric
            lines.append(f"| {metric} | {_figure(row.value)} | {row.n} | {spread} | {row.data} | {row.subject} |")
        return "\n".join(lines) + "\n"

    def to_csv(self) -> str:
        """Gives the rows as comma-separated values, all columns."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        return text.getvalue()

    @classmethod
    def from_csv(cls, text: str, where: str = "the text") -> Self:
        """Gives the rows that `to_csv` wrote.

        Args:
            text: with a line of names above.
            where: it stands, for the message.

        Raises:
            ArtifactError: a column is missing, or a figure is not one.
        """
        kinds = {"n": int, "value": float, "spread": float, "reported": float}
        rows = []
        try:
            for line in csv.DictReader(io.StringIO(text)):
                held = {name: value for name, value in line.items() if value or name not in kinds}
                rows.append(Row(**{"spread": None} | {name: kinds.get(name, str)(v) for name, v in held.items()}))
        except (TypeError, ValueError, AttributeError) as error:
            raise ArtifactError(f"{where} holds no figures as to_csv writes them. Run the recipe again.") from error
        return cls(rows)

    def header(self) -> dict[str, Any]:
        return {"rows": len(self.rows)}

    def arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        text = canonical([asdict(row) for row in self.rows])
        yield "rows", np.frombuffer(text.encode(), np.uint8)

    def write(self, folder: Path) -> None:
        columns = {field.name: [getattr(row, field.name) for row in self.rows] for field in fields(Row)}
        import pyarrow as pa
        import pyarrow.parquet as pq

        sorts = {"n": pa.int64(), "value": pa.float64(), "spread": pa.float64(), "reported": pa.float64()}
        schema = pa.schema([(name, sorts.get(name, pa.string())) for name in columns])
        pq.write_table(pa.table(columns, schema=schema), folder / "report.parquet", compression="zstd")
        (folder / "report.md").write_text(self.to_markdown(), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path, header: Mapping[str, Any]) -> Self:
        import pyarrow.parquet as pq

        return cls([Row(**row) for row in pq.read_table(folder / "report.parquet").to_pylist()])

    def describe(self) -> str:
        metrics = sorted({row.metric for row in self.rows})
        return f"{len(self.rows)} figures: {', '.join(metrics)}"


def _figure(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"
