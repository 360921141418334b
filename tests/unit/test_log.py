from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from paredown.errors import ArtifactError, MethodError, MissingExtra
from paredown.log import MetricsFile, flat, open_trackers, read_metrics


def test_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "deep" / "metrics.jsonl")
    rows = [{"training": "é"}, {"step": 1, "loss": 0.1 + 0.2}]
    for row in rows:
        file.append(row)
    file.close()
    assert read_metrics(tmp_path / "deep" / "metrics.jsonl") == rows


def test_a_file_cut_back_to_its_cursor_repeats_no_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path)
    file.append({"step": 1})
    cursor = file.cursor
    file.append({"step": 2})
    file.close()
    again = MetricsFile(path, cursor=cursor)
    assert again.cursor == cursor
    again.append({"step": 3})
    again.close()
    assert read_metrics(path) == [{"step": 1}, {"step": 3}]


def test_a_line_is_on_disk_before_the_file_is_closed(tmp_path: Path) -> None:
    file = MetricsFile(tmp_path / "metrics.jsonl")
    file.append({"step": 1})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1}]
    file.close()


def test_a_file_shorter_than_its_cursor_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(ArtifactError, match="holds 3 bytes, and 50 were written before the interruption"):
        MetricsFile(tmp_path / "metrics.jsonl", cursor=50)


def test_tensorboard_gets_the_metrics_beside_the_jobs_folder(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (tracker,) = open_trackers(["tensorboard"], tmp_path / "train-12ab.partial").values()
    tracker.parameters({"model": {"name": "convnet", "width": 4}, "seed": 3})
    tracker.log({"loss": 0.5, "lr": 0.1}, step=7)
    tracker.artifacts([tmp_path])
    tracker.close()
    events = loader.EventAccumulator(str(tmp_path / "tensorboard" / "train-12ab"))
    events.Reload()
    (tensor,) = events.Tensors("loss")
    assert tensor.step == 7 and tensor.tensor_proto.float_val[0] == 0.5
    (table,) = events.Tensors("parameters")
    assert b"| model.width | 4 |" in table.tensor_proto.string_val[0]
    assert not (tmp_path / "train-12ab.partial").exists()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow itself, which keeps its files in a folder."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/kept")
    return mlflow


def runs(mlflow: Any) -> list[Any]:
    client = mlflow.MlflowClient()
    return client.search_runs([found.experiment_id for found in client.search_experiments()])


def test_mlflow_itself_keeps_parameters_metrics_and_artifacts(tmp_path: Path, kept: Any) -> None:
    (tracker,) = open_trackers(["mlflow"], tmp_path / "train-12ab.partial").values()
    many = {f"field-{number}": number for number in range(150)}
    tracker.parameters({"training": {"optimizer": {"lr": 0.4}, "checkpoints_at": (1, 2)}, "seed": 3, "many": many})
    tracker.log({"loss": 0.5}, step=3)
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "weights").write_text("w")
    (tmp_path / "metrics.jsonl").write_text("{}")
    tracker.artifacts([tmp_path / "checkpoint", tmp_path / "metrics.jsonl"])
    tracker.close()
    (run,) = runs(kept)
    assert run.info.run_name == "train-12ab" and run.info.run_id == tracker.run
    client = kept.MlflowClient()
    assert [(metric.step, metric.value) for metric in client.get_metric_history(tracker.run, "loss")] == [(3, 0.5)]
    assert run.data.params["training.optimizer.lr"] == "0.4" and run.data.params["training.checkpoints_at"] == "[1, 2]"
    assert len(run.data.params) == 153
    assert [found.path for found in client.list_artifacts(tracker.run)] == ["checkpoint", "metrics.jsonl"]
    assert [found.path for found in client.list_artifacts(tracker.run, "checkpoint")] == ["checkpoint/weights"]


def test_an_interrupted_job_goes_on_in_its_mlflow_run(tmp_path: Path, kept: Any) -> None:
    folder = tmp_path / "train-12ab.partial"
    (first,) = open_trackers(["mlflow"], folder).values()
    first.parameters({"seed": 3})
    first.log({"loss": 0.5}, step=1)
    first.close()
    (second,) = open_trackers(["mlflow"], folder, runs={"mlflow": first.run}).values()
    second.parameters({"seed": 3})
    second.log({"loss": 0.4}, step=2)
    second.close()
    (run,) = runs(kept)
    assert second.run == first.run == run.info.run_id
    assert [metric.step for metric in kept.MlflowClient().get_metric_history(first.run, "loss")] == [1, 2]
    # A run that is gone is begun anew.
    (third,) = open_trackers(["mlflow"], folder, runs={"mlflow": "0" * 32}).values()
    third.close()
    assert third.run != first.run and len(runs(kept)) == 2


def test_artifacts_that_mlflow_does_not_take_are_told(tmp_path: Path, kept: Any, monkeypatch: Any) -> None:
    (tracker,) = open_trackers(["mlflow"], tmp_path / "train-12ab.partial").values()
    refusal = kept.exceptions.MlflowException("The server is away. Come back later.")

    def refused(*_: Any) -> None:
        raise refusal

    monkeypatch.setattr(kept, "log_artifact", refused)
    with pytest.raises(MethodError, match=r"MLflow takes no artifacts: The server is away\. What was made lies in"):
        tracker.artifacts([tmp_path / "metrics.jsonl"])
    tracker.close()


def test_mlflow_that_takes_no_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    mlflow.set_tracking_uri(f"file:{tmp_path}/kept")
    with pytest.raises(MethodError, match="MLflow takes no run: The filesystem tracking backend"):
        open_trackers(["mlflow"], tmp_path / "train-12ab.partial")


def test_mlflow_gets_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    info = types.SimpleNamespace(run_id="7f")
    stand_in = types.ModuleType("mlflow")
    stand_in.exceptions = types.SimpleNamespace(MlflowException=RuntimeError)
    stand_in.start_run = lambda run_name: calls.append(("start", run_name)) or types.SimpleNamespace(info=info)
    stand_in.log_metrics = lambda metrics, step: calls.append(("log", metrics, step))
    stand_in.end_run = lambda: calls.append(("end",))
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    (tracker,) = open_trackers(["mlflow"], tmp_path / "train-12ab.partial").values()
    tracker.log({"loss": 0.5}, step=7)
    tracker.close()
    assert calls == [("start", "train-12ab"), ("log", {"loss": 0.5}, 7), ("end",)]


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r"mlflow is needed here.*paredown\[mlflow\]"):
        open_trackers(["mlflow"], tmp_path)


def test_parameters_inside_parameters_get_dots() -> None:
    nested = {"a": {"b": {"c": None, "d": [1, "é"]}}, "e": 2}
    assert flat(nested) == {"a.b.c": None, "a.b.d": '[1, "é"]', "e": 2}
