"""How well scores are predicted where the truth is known: EL2N of labelled images.

    python benchmarks/extrapolation_quality.py                                          digits, some minutes
    python benchmarks/extrapolation_quality.py --data cifar10 --rows 10000 --draws 1    a quarter of an hour

The truth is the EL2N of a network that was trained on all images. Half of the digits, else a fifth, count as measured;
a network trained on these alone gives the vectors, and the scores of the others are predicted: from all, and class by
class. Beside them stand the EL2N of a second network trained on all, which is the most that one could hope for, and
that of the small network itself, which has not seen the others and only needs their labels. Spearman's rank
correlation over the unmeasured, the mean over the draws. Results are added to `results/extrapolation_quality.json`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from paredown import Runtime, ScoreTable, embed, extrapolate, open_data, score, select, train
from paredown.data import ImageDataset
from paredown.scoring.quality import Quality, quality
from paredown.training.devices import in_words

RESULT = Path(__file__).with_name("results") / "extrapolation_quality.json"
MODEL = {"name": "convnet", "width": 32}
EPOCHS, EPOCHS_OF_SAMPLE = 5, 12
METHODS: dict[str, dict[str, Any]] = {
    "nearest-mean": {"name": "nearest-mean"},
    "nearest-mean, k = 50": {"name": "nearest-mean", "neighbors": 50},
    "nearest-mean, exponential": {"name": "nearest-mean", "weights": "exponential"},
    "kernel-ridge": {"name": "kernel-ridge"},
    "graph-network": {"name": "graph-network", "width": 128},
}
console = Console(width=120, highlight=False)


def opened(name: str, rows: int | None) -> ImageDataset:
    data = open_data(name)
    assert isinstance(data, ImageDataset), "a benchmark of images"
    if rows is None or rows >= len(data):
        return data
    images, labels = data.images[:rows], data.labels[:rows]
    stem = f"{data.name}, the first {rows}"
    return ImageDataset.from_arrays(images, labels, classes=data.classes, name=stem, augmentation=data.augmentation)


def measured(data: ImageDataset, share: float, draws: int, runtime: Runtime) -> dict[str, list[dict[str, Any]]]:
    """Gives for each way to know the scores of the unmeasured how good it was, draw by draw."""
    found: dict[str, list[dict[str, Any]]] = {}

    def keep(name: str, quality: Quality, seconds: float) -> None:
        row = {"spearman": quality.spearman, "half": quality.overlap[0.5], "slope": quality.slope, "seconds": seconds}
        found.setdefault(name, []).append(row)
        console.print(f"{name}: {row}")

    def el2n(checkpoint: Any) -> np.ndarray:
        return score("el2n", checkpoint=checkpoint, data=data, runtime=runtime).values

    truth, again = (el2n(train(data, MODEL, {"epochs": EPOCHS}, seed=s, runtime=runtime).checkpoint) for s in (0, 1))
    for draw in range(draws):
        sample = select("random", data=data, fraction=share, seed=draw, runtime=runtime)
        part = {"epochs": EPOCHS_OF_SAMPLE, "budget": "epochs"}
        checkpoint = train(data, MODEL, part, selection=sample, seed=draw, runtime=runtime).checkpoint
        vectors = embed("penultimate", data=data, checkpoint=checkpoint, runtime=runtime)
        rest = np.setdiff1d(np.arange(len(data)), sample.ids.keys)
        keep("a second training on all", quality(again[rest], truth[rest]), 0.0)
        keep("the network of the sample", quality(el2n(checkpoint)[rest], truth[rest]), 0.0)
        known = np.sort(sample.ids.keys)
        scores = ScoreTable(data.ids.take(known), truth[known], name="el2n", important="high", low=0.0, high=2**0.5)
        for name, method in METHODS.items():
            for words, classes in (("", None), (", by class", data)):
                begin = time.process_time()
                how: dict[str, Any] = {"held_out": 0, "seed": draw, "runtime": runtime}
                made = extrapolate(scores, vectors, vectors, method, data=classes, **how)
                keep(name + words, quality(made.values[rest], truth[rest]), time.process_time() - begin)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--rows", type=int, help="the first so many images alone")
    parser.add_argument("--share", type=float, help="of images that are measured; half of the digits, else a fifth")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    runtime = Runtime(device="cpu", threads=asked.threads, progress=False)
    data = opened(asked.data, asked.rows)
    share = asked.share or (0.5 if asked.data == "digits" else 0.2)
    found = measured(data, share, asked.draws, runtime)
    means = {name: {key: statistics.mean(row[key] for row in rows) for key in rows[0]} for name, rows in found.items()}
    table = Table(title=f"EL2N of {data.name}, {share:.0%} measured, {asked.draws} draws")
    for column in ("known by", "rank correlation", "of the higher half", "slope", "CPU seconds"):
        table.add_column(column, justify="left" if column == "known by" else "right")
    for name, row in means.items():
        cells = f"{row['spearman']:.2f}", f"{row['half']:.0%}", f"{row['slope']:.2f}", f"{row['seconds']:.1f}"
        table.add_row(name, *cells)
    console.print(table)
    setting = {"data": data.name, "images": len(data), "share": share, "draws": asked.draws, "model": MODEL}
    setting |= {"epochs": EPOCHS, "epochs_of_the_sample": EPOCHS_OF_SAMPLE, "threads": asked.threads}
    setting |= {"device": in_words(runtime)["device"], "torch": metadata.version("torch")}
    results = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(results | {data.name: {"setting": setting, "means": means}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
