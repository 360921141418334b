"""The replication of the data-diet paper, scaled down: a table from the stored artifacts of `data_diet/fashion_mnist`.

Runs the recipe (what is in the store is not made again; the whole takes about an hour on two cores), then prints
accuracy over the share kept, the rank correlation of EL2N and GraNd, and the overlap of what they would keep.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from paredown import Recipe, Runtime, Store
from paredown.account import FULL, Account
from paredown.evaluation.comparison import paired, summary
from paredown.evaluation.ranking import correlation, shared_share
from paredown.runner import Runner

RESULT = Path(__file__).with_name("results") / "data_diet.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="data_diet/fashion_mnist")
    parser.add_argument("--store", default="store")
    parser.add_argument("--runs", default="runs")
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    store = Store(asked.store)
    console = Console()
    runner = Runner(
        store,
        runs=asked.runs,
        runtime=Runtime(threads=asked.threads),
        say=lambda made: console.print(f"{made.link}: {made.seconds:.0f} s" + (" (reused)" if made.reused else "")),
    )
    run = runner.run(Recipe.read(asked.recipe))
    outcomes = Account(run, store).outcomes()
    full = {o.seed: o.accuracy for o in outcomes if o.arm == FULL}
    rows = [{"arm": FULL, "fraction": 1.0, **vars(summary(list(full.values())))}]
    table = Table("trained on", "kept", "accuracy, %", "sd", "n", "against random (95 % interval)", title=asked.recipe)
    table.add_row("all", "100 %", f"{100 * rows[0]['mean']:.2f}", _points(rows[0]["spread"]), str(len(full)), "")
    for fraction in sorted({o.fraction for o in outcomes if o.arm != FULL}, reverse=True):
        by_arm = {
            arm: {o.seed: o.accuracy for o in outcomes if (o.arm, o.fraction) == (arm, fraction)}
            for arm in ("chosen", "random")
        }
        against = paired(by_arm["chosen"], by_arm["random"])
        for arm, accuracies in by_arm.items():
            row = {"arm": arm, "fraction": fraction, **vars(summary(list(accuracies.values())))}
            if arm == "chosen":
                row["against_random"] = vars(against)
            rows.append(row)
            interval = "" if arm == "random" else f"{100 * against.low:+.2f} to {100 * against.high:+.2f}"
            table.add_row(
                arm, f"{fraction:.0%}", f"{100 * row['mean']:.2f}", _points(row["spread"]), str(row["n"]), interval
            )
    console.print(table)
    el2n, grand = (run.results[name][0].artifact for name in ("el2n", "grand"))
    agreement = {
        "spearman_el2n_grand": correlation(el2n, grand),
        "overlap_of_the_highest_half": shared_share(el2n, grand, 0.5),
        "runs": el2n.runs,
    }
    console.print(agreement)
    made = store.find(run.results["full"][0].address).made
    about = {name: made[name] for name in ("device", "cores", "threads", "versions")}
    about |= {"recipe": asked.recipe, "data": run.data["train"].name, "command": f"pare run {asked.recipe}"}
    seconds = {name: sum(one.seconds for one in results) for name, results in run.results.items()}
    result = about | {"rows": rows, "agreement": agreement, "seconds": seconds}
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False, default=str) + "\n")


def _points(spread: float | None) -> str:
    return "–" if spread is None else f"{100 * spread:.2f}"


if __name__ == "__main__":
    main()
