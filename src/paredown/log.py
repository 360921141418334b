"""What a long job leaves in writing: a file of metrics, and what it tells the trackers of other people's making.

`metrics.jsonl` holds no clock times: an interrupted and resumed training leaves the same bytes as an undisturbed one.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from paredown.errors import ArtifactError, MethodError, require

MOST_PARAMETERS = 100
"""That MLflow takes in one request."""


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

    run: str
    """The name by which an interrupted job finds its record again; empty where it needs none."""

    def parameters(self, values: Mapping[str, Any]) -> None:
        """Takes, at the beginning, what is being done: plain data, mappings inside mappings."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Takes the metrics of a step."""

    def artifacts(self, paths: Sequence[Path]) -> None:
        """Takes, at the end, the files and folders that were made."""

    def show(self, name: str, png: bytes, step: int) -> None:
        """Takes a picture of a step."""

    def close(self) -> None:
        """Is told that nothing more comes."""


class TensorBoard:
    """Writes scalars, pictures and a table of the parameters as TensorBoard event files into a folder; no artifacts."""

    run: str = ""

    def __init__(self, folder: Path) -> None:
        files = require("tensorboard.summary.writer.event_file_writer", "tensorboard")
        self._events = files.EventFileWriter(str(folder))

    def parameters(self, values: Mapping[str, Any]) -> None:
        from tensorboard.plugins.text import metadata

        rows = [f"| {name} | {value} |" for name, value in flat(values).items()]
        table = "\n".join(["| parameter | value |", "|---|---|", *rows])
        self._add("parameters", table, 0, metadata.create_summary_metadata("", ""))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        from tensorboard.plugins.scalar import metadata

        for name, value in metrics.items():
            self._add(name, float(value), step, metadata.create_summary_metadata("", ""))

    def artifacts(self, paths: Sequence[Path]) -> None:
        pass

    def show(self, name: str, png: bytes, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=time.time(), step=step)
        event.summary.value.add(tag=name).image.encoded_image_string = png
        self._events.add_event(event)

    def close(self) -> None:
        self._events.close()

    def _add(self, name: str, value: str | float, step: int, metadata: Any) -> None:
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.util.tensor_util import make_tensor_proto

        event = Event(wall_time=time.time(), step=step)
        event.summary.value.add(tag=name, tensor=make_tensor_proto(value), metadata=metadata)
        self._events.add_event(event)


class MLflow:
    """Writes parameters, metrics and artifacts as an MLflow run, to wherever `MLFLOW_TRACKING_URI` points.

    Args:
        name: of the run.
        run: the id of the run that an interrupted job began; where it is gone, another one is begun.
    """

    run: str

    def __init__(self, name: str, run: str = "") -> None:
        self._mlflow = require("mlflow", "mlflow")
        self._refusal = self._mlflow.exceptions.MlflowException
        begun = None
        if run:
            with suppress(self._refusal):
                begun = self._mlflow.start_run(run_id=run)
        if begun is None:
            try:
                begun = self._mlflow.start_run(run_name=name)
            except self._refusal as error:
                raise MethodError(
                    f"MLflow takes no run: {_first_words(error)}. Set MLFLOW_TRACKING_URI to a server or a database."
                ) from error
        self.run = begun.info.run_id

    def parameters(self, values: Mapping[str, Any]) -> None:
        named = list(flat(values).items())
        for first in range(0, len(named), MOST_PARAMETERS):
            self._mlflow.log_params(dict(named[first : first + MOST_PARAMETERS]))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self._mlflow.log_metrics(dict(metrics), step=step)

    def artifacts(self, paths: Sequence[Path]) -> None:
        try:
            for path in paths:
                if path.is_dir():
                    self._mlflow.log_artifacts(str(path), path.name)
                else:
                    self._mlflow.log_artifact(str(path))
        except (self._refusal, OSError) as error:
            raise MethodError(
                f"MLflow takes no artifacts: {_first_words(error)}. What was made lies in {paths[0].parent}: give the "
                "command again when the server can be reached, or without this tracker."
            ) from error

    def show(self, name: str, png: bytes, step: int) -> None:
        from PIL import Image

        self._mlflow.log_image(Image.open(io.BytesIO(png)), key=name, step=step)

    def close(self) -> None:
        self._mlflow.end_run()


def open_trackers(names: Sequence[str], folder: Path, *, runs: Mapping[str, str] | None = None) -> dict[str, Tracker]:
    """Opens the trackers of a job.

    They write outside the job's own folder, whose content depends on nothing but the job: TensorBoard's files, which
    hold clock times, go to `tensorboard/` beside it.

    Args:
        names: `tensorboard`, `mlflow`.
        folder: the job's folder; its name is the run's name.
        runs: of an interrupted job, what each tracker's `run` was.

    Returns:
        The trackers by name.
    """
    name = folder.name.removesuffix(".partial")
    make: dict[str, Callable[[], Tracker]] = {
        "tensorboard": lambda: TensorBoard(folder.parent / "tensorboard" / name),
        "mlflow": lambda: MLflow(name, (runs or {}).get("mlflow", "")),
    }
    return {tracker: make[tracker]() for tracker in names}


def flat(values: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    """Gives mappings inside mappings as one, with dots between the names; lists become text."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{under}{name}.")
        else:
            found[under + name] = json.dumps(value, ensure_ascii=False) if isinstance(value, list | tuple) else value
    return found


def _first_words(error: Exception) -> str:
    return str(error).partition(". ")[0]
