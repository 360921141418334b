"""The data pruned and then the network: what a search and a pruning cost with a part of the data, and in accuracy.

Runs a recipe of `robust_network_pruning/both_at_once` (what is in the store is not made again), then prints for each
part of the data the seconds of search and pruning, as they were made, beside clean and attacked accuracy on test data.
Seconds are wall time; on a machine that others use only the ratio within a run says something, and that little.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from paredown import Recipe, Runtime, Store
from paredown.artifacts import Report
from paredown.runner import Made, Run, Runner
from paredown.training.devices import in_words

RESULT = Path(__file__).with_name("results") / "both_at_once.json"
CHOICES = {"kept": "highest uncertainty", "random": "random"}


def rows(run: Run) -> list[dict[str, object]]:
    """Gives a row for each part of the data, from what the steps of the recipe left."""
    report: Report = run.results["result"][0].artifact
    found = []
    for choice, told in CHOICES.items():
        for number, small in enumerate(run.results[f"by_{choice}"]):
            searched = run.results[f"shares_by_{choice}"][number]
            pruned = run.results[f"masked_by_{choice}"][number]
            share = float(searched.varied["fraction"])
            seconds = {"search": searched.seconds, "prune": pruned.seconds}
            found.append(
                {"data": told if share < 1 else "all", "share": share, **seconds, **_accuracies(report, small)}
            )
    (dense,) = run.results["dense"]
    return [{"data": "all, dense", "share": 1.0, **_accuracies(report, dense)}, *found]


def _accuracies(report: Report, made: Made) -> dict[str, object]:
    subject = getattr(made.artifact, "checkpoint", made.artifact).digest()[:16]
    mine = [row for row in report.rows if row.subject == subject and not row.group]
    wanted = [row for row in mine if row.metric == "accuracy" or row.metric.startswith("accuracy-under-pgd-20")]
    kept = [row for row in mine if row.metric == "kept-macs"]
    return {row.metric: [row.value, row.n] for row in wanted if "wagner" not in row.metric} | {
        row.metric: row.value for row in kept
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="robust_network_pruning/both_at_once.fashion_mnist")
    parser.add_argument("--store", default="store")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    console, runtime = Console(), Runtime(threads=asked.threads)
    runner = Runner(
        Store(asked.store),
        runs=asked.runs,
        runtime=runtime,
        say=lambda made: console.print(f"{made.link}: {made.seconds:.0f} s" + (" (reused)" if made.reused else "")),
    )
    found = rows(runner.run(Recipe.read(asked.recipe)))
    table = Table("data", "share", "search, s", "pruning, s", "clean, %", "PGD-20, %", title=asked.recipe)
    for row in found:
        attacked = next(value for name, value in row.items() if name.startswith("accuracy-under"))
        seconds = [f"{row[part]:.0f}" if part in row else "" for part in ("search", "prune")]
        percent = [f"{100 * value[0]:.1f}" for value in (row["accuracy"], attacked)]
        table.add_row(str(row["data"]), f"{row['share']:.0%}", *seconds, *percent)
    console.print(table)
    told = {"recipe": asked.recipe, **in_words(runtime), "rows": found}
    RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
