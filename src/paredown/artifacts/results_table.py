"""Tables of results across runs, from stored reports: a row for each network or selection, a column for each metric."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paredown.artifacts.base import HEADER
from paredown.artifacts.report import Report, Row
from paredown.errors import ArtifactError, did_you_mean

FIGURES = "figures.csv"
"""What a finished run leaves in its folder: means over seeds, under names that a person knows."""

SHARES = re.compile(r"accuracy|^top-|^kept|^two-in-four$|^check-")
"""Metrics that are shares of one, which people read in percent."""

_LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}


@dataclass(frozen=True)
class ResultsTable:
    """Figures side by side.

    Args:
        columns: what was measured.
        rows: for each subject its name and its figure in each column; none where it was not measured.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Row | None, ...]], ...]

    def to_markdown(self) -> str:
        """Gives the table as Markdown: mean ± spread, shares in percent, and n."""
        heads, *lines = self._texts()
        rule = ["---"] + ["---:"] * (len(heads) - 1)
        return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in (heads, rule, *lines))

    def to_latex(self) -> str:
        """Gives the table as LaTeX, for the package `booktabs`."""
        heads, *lines = [[_escaped(cell) for cell in line] for line in self._texts()]
        body = "".join(f"  {' & '.join(line)} \\\\\n" for line in lines)
        columns = "l" + "r" * (len(heads) - 1)
        return (
            f"\\begin{{tabular}}{{{columns}}}\n  \\toprule\n  {' & '.join(heads)} \\\\\n  \\midrule\n{body}"
            "  \\bottomrule\n\\end{tabular}\n"
        )

    def to_csv(self) -> str:
        """Gives the table as comma-separated values: for each column the plain figure, its spread and its n."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["subject", *(name for c in self.columns for name in (c, f"{c} spread", f"{c} n"))])
        for subject, cells in self.rows:
            parts = [("", "", "") if row is None else (row.value, row.spread, row.n) for row in cells]
            writer.writerow([subject, *(part for three in parts for part in three)])
        return text.getvalue()

    def _texts(self) -> list[list[str]]:
        heads = ["subject", *(f"{name} (%)" if SHARES.search(name) else name for name in self.columns), "n"]
        lines = [heads]
        for subject, cells in self.rows:
            many = ", ".join(str(n) for n in dict.fromkeys(row.n for row in cells if row is not None))
            told = ["" if row is None else _told(row) for row in cells]
            lines.append([subject, *told, many])
        return lines


def results_table(reports: Iterable[tuple[str, Report]], metrics: Sequence[str] = ()) -> ResultsTable:
    """Puts reports side by side; figures of single classes stay out.

    Args:
        reports: each with a name, which stands before its subjects where there are several.
        metrics: the columns, in their order; none takes every metric, in the order of the reports.

    Raises:
        ArtifactError: no report, none of a metric that is asked for, or two figures for one place.
    """
    named = list(reports)
    rows = [(name, row) for name, report in named for row in report.rows if not row.group]
    known = list(dict.fromkeys(row.metric for _, row in rows))
    for metric in metrics:
        if metric not in known:
            hint = did_you_mean(metric, known) or f" There are: {', '.join(known) or 'none'}."
            raise ArtifactError(f"No report has the metric '{metric}'.{hint}")
    wanted = list(metrics) or known
    kept = [(name, row) for name, row in rows if row.metric in wanted]
    if not kept:
        raise ArtifactError("There is no figure to put into a table. Name runs that evaluate something.")
    kept.sort(key=lambda pair: wanted.index(pair[1].metric))
    titles = _titles([row for _, row in kept])
    several = len({name for name, _ in named}) > 1
    cells: dict[str, dict[str, Row]] = {}
    for name, row in sorted(kept, key=lambda pair: [first for first, _ in named].index(pair[0])):
        subject = f"{name}: {row.subject}" if several else row.subject
        title = titles[_place(row)]
        before = cells.setdefault(subject, {}).setdefault(title, row)
        if before != row:
            raise ArtifactError(f"'{subject}' has two figures for {title}. Put the reports into two tables.")
    columns = tuple(dict.fromkeys(titles.values()))
    return ResultsTable(
        columns, tuple((subject, tuple(row.get(title) for title in columns)) for subject, row in cells.items())
    )


def stored_reports(folders: Sequence[str | Path]) -> list[tuple[str, Report]]:
    """Gives what runs, and stored reports, have measured, each under the name of its folder.

    Args:
        folders: of finished runs, or of reports.

    Raises:
        ArtifactError: a folder is neither.
    """
    found = []
    for folder in map(Path, folders):
        if (folder / FIGURES).exists():
            report = Report.from_csv((folder / FIGURES).read_text(encoding="utf-8"), str(folder / FIGURES))
        elif (folder / HEADER).exists():
            report = Report.open(folder)
        else:
            raise ArtifactError(
                f"{folder} is neither a finished run, which has {FIGURES}, nor a report. Name the folder that "
                "`pare run` or `pare evaluate` printed."
            )
        found.append((folder.resolve().name, report))
    return found


def _place(row: Row) -> tuple[str, str, str]:
    return row.metric, row.threat, row.data


def _titles(rows: Sequence[Row]) -> Mapping[tuple[str, str, str], str]:
    """A column's title says threat model and data only where a metric has several of them."""
    threats: dict[str, set[str]] = {}
    sets: dict[str, set[str]] = {}
    for row in rows:
        threats.setdefault(row.metric, set()).add(row.threat)
        sets.setdefault(row.metric, set()).add(row.data)
    found = {}
    for row in rows:
        more = [row.threat] if len(threats[row.metric]) > 1 and row.threat else []
        more += [row.data] if len(sets[row.metric]) > 1 else []
        found[_place(row)] = f"{row.metric} ({', '.join(more)})" if more else row.metric
    return found


def _told(row: Row) -> str:
    if SHARES.search(row.metric):
        return f"{100 * row.value:.2f}" + ("" if row.spread is None else f" ± {100 * row.spread:.2f}")
    return number(row.value) + ("" if row.spread is None else f" ± {number(row.spread)}")


def number(value: float) -> str:
    """Gives a figure as people read it: whole above a thousand, else four digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _escaped(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text).replace("±", r"$\pm$")
