"""Tables of results: what stands where, in three forms, from what is stored."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from paredown.artifacts import Report, Row
from paredown.artifacts.results_table import FIGURES, number, results_table, stored_reports
from paredown.cli import main
from paredown.errors import ArtifactError

FIRST = Report(
    [
        Row("accuracy", 0.8312, 3, 0.0021, "svhn:test", "dense"),
        Row("accuracy", 0.9, 3, 0.0, "svhn:test", "dense", group="7"),
        Row("robust-accuracy", 0.5, 3, 0.01, "svhn:test", "dense", threat="linf 8/255"),
        Row("robust-accuracy", 0.25, 3, 0.01, "svhn:test", "dense", threat="l2 128/255"),
        Row("macs", 555_422_720, 1, None, "svhn:test", "dense"),
        Row("accuracy", 0.8, 1, None, "svhn:test", "half_kept"),
        Row("latency-1-float32", 1.23456, 20, 0.1, "cpu, 2 threads", "half_kept"),
    ]
)


def test_markdown() -> None:
    assert results_table([("run", FIRST)], ["macs", "accuracy"]).to_markdown() == (
        "| subject | macs | accuracy (%) | n |\n"
        "| --- | ---: | ---: | ---: |\n"
        "| dense | 555,422,720 | 83.12 ± 0.21 | 1, 3 |\n"
        "| half_kept |  | 80.00 | 1 |\n"
    )


def test_threats_are_told_apart_and_classes_stay_out() -> None:
    table = results_table([("run", FIRST)])
    assert table.columns == (
        "accuracy",
        "robust-accuracy (linf 8/255)",
        "robust-accuracy (l2 128/255)",
        "macs",
        "latency-1-float32",
    )
    assert "0.9" not in table.to_csv() and "1.235 ± 0.1" in table.to_markdown()


def test_latex() -> None:
    assert results_table([("run", FIRST)], ["accuracy"]).to_latex() == (
        "\\begin{tabular}{lrr}\n"
        "  \\toprule\n"
        "  subject & accuracy (\\%) & n \\\\\n"
        "  \\midrule\n"
        "  dense & 83.12 $\\pm$ 0.21 & 3 \\\\\n"
        "  half\\_kept & 80.00 & 1 \\\\\n"
        "  \\bottomrule\n"
        "\\end{tabular}\n"
    )


def test_csv_holds_the_plain_figures() -> None:
    rows = list(csv.DictReader(io.StringIO(results_table([("run", FIRST)]).to_csv())))
    assert float(rows[0]["accuracy"]) == 0.8312 and rows[0]["accuracy n"] == "3"
    assert rows[1]["macs"] == rows[1]["accuracy spread"] == ""


def test_several_runs() -> None:
    other = Report([Row("accuracy", 0.7, 3, 0.1, "svhn:test", "dense")])
    table = results_table([("one", FIRST), ("two", other)], ["accuracy"])
    assert [subject for subject, _ in table.rows] == ["one: dense", "one: half_kept", "two: dense"]
    assert results_table([("one", other), ("one", other)]).rows == results_table([("one", other)]).rows
    with pytest.raises(ArtifactError, match=r"'dense' has two figures for accuracy"):
        results_table([("one", FIRST), ("one", other)], ["accuracy"])


def test_what_is_not_there() -> None:
    with pytest.raises(ArtifactError, match=r"No report has the metric 'acuracy'. Did you mean 'accuracy'\?"):
        results_table([("run", FIRST)], ["acuracy"])
    with pytest.raises(ArtifactError, match=r"There is no figure to put into a table"):
        results_table([("run", Report([]))])
    with pytest.raises(ArtifactError, match=r"There are: none"):
        results_table([], ["accuracy"])


def test_figures() -> None:
    assert [number(value) for value in (0.00012345, 12.3456, 999.94, 1234.5)] == [
        "0.0001234",
        "12.35",
        "999.9",
        "1,234",
    ]


def test_rows_come_back_from_csv() -> None:
    rows = [*FIRST.rows, Row('a, "b"', 1.0, 1, None, "d", "s", reported=0.5)]
    assert Report.from_csv(Report(rows).to_csv()) == Report(rows)
    for text in ("metric,value\naccuracy,0.5\n", FIRST.to_csv().replace("0.8312", "much"), "a,b\n1,2,3\n"):
        with pytest.raises(ArtifactError, match=r"the file holds no figures"):
            Report.from_csv(text, "the file")


def test_folders_of_runs_and_of_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FIGURES).write_text(FIRST.to_csv(), encoding="utf-8")
    FIRST.save(tmp_path / "report")
    found = stored_reports([tmp_path / "run", tmp_path / "report"])
    assert [name for name, _ in found] == ["run", "report"] and found[0][1] == found[1][1]
    assert main(["table", str(tmp_path / "run"), "--metric", "accuracy", "--form", "latex"]) == 0
    assert capsys.readouterr().out == results_table([("run", FIRST)], ["accuracy"]).to_latex()
    assert main(["table", str(tmp_path)]) == 2
    assert "is neither a finished run" in capsys.readouterr().err
