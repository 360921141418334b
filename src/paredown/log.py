"""What a long job leaves in writing: a file of metrics, and what it tells the trackers of other people's making.

`metrics.jsonl` holds no clock times: an interrupted and resumed training leaves the same bytes as an undisturbed one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from paredown.errors import ArtifactError, MethodError, require


class MetricsFile:
    """A file of JSON lines that can be cut back to a cursor, so that a resumed job repeats no line.

    Args:
        path: the file; its folder is made when it is not there.
        cursor: how many bytes of it to keep.
    """

    def __init__(self, path: Path, *, cursor: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("r+b" if path.exists() else "w+b")
        size = self._file.seek(0, 2)
        if size < cursor:
            self._file.close()
            raise ArtifactError(
                f"{path} holds {size} bytes, and {cursor} were written before the interruption. "
                "Remove the unfinished folder and train again."
            )
        self._file.truncate(cursor)
        self._file.seek(cursor)

    @property
    def cursor(self) -> int:
        """How many bytes are written."""
        return self._file.tell()

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes one line; it is with the operating system when this returns, so that killing the job keeps it."""
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a metrics file, the first of which says what is trained."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Tracker(Protocol):
    """Where metrics go besides the file."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Takes the metrics of a step."""

    def close(self) -> None:
        """Is told that nothing more comes."""


class TensorBoard:
    """Writes scalars as TensorBoard event files into a folder."""

    def __init__(self, folder: Path) -> None:
        self._writer = require("tensorboard.summary", "tensorboard").Writer(str(folder))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """Writes metrics as an MLflow run, to wherever `MLFLOW_TRACKING_URI` points."""

    def __init__(self, run: str) -> None:
        self._mlflow = require("mlflow", "mlflow")
        try:
            self._mlflow.start_run(run_name=run)
        except self._mlflow.exceptions.MlflowException as error:
            why = str(error).partition(". ")[0]
            raise MethodError(
                f"MLflow takes no run: {why}. Set MLFLOW_TRACKING_URI to a server or a database."
            ) from error

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step)

    def close(self) -> None:
        self._mlflow.end_run()


def open_trackers(names: Sequence[str], folder: Path) -> list[Tracker]:
    """Opens the trackers of a job.

    They write outside the job's own folder, whose content depends on nothing but the job: TensorBoard's files, which
    hold clock times, go to `tensorboard/` beside it.

    Args:
        names: `tensorboard`, `mlflow`.
        folder: the job's folder; its name is the run's name.
    """
    run = folder.name.removesuffix(".partial")
    make: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder.parent / "tensorboard" / run),
        "mlflow": lambda: MLflow(run),
    }
    return [make[name]() for name in names]
