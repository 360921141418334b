from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from paredown.errors import ArtifactError, MethodError, MissingExtra
from paredown.log import MetricsFile, open_trackers, read_metrics


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
    (tracker,) = open_trackers(["tensorboard"], tmp_path / "train-12ab.partial")
    tracker.log({"loss": 0.5, "lr": 0.1}, step=7)
    tracker.close()
    events = loader.EventAccumulator(str(tmp_path / "tensorboard" / "train-12ab"))
    events.Reload()
    (tensor,) = events.Tensors("loss")
    assert tensor.step == 7 and tensor.tensor_proto.float_val[0] == 0.5
    assert not (tmp_path / "train-12ab.partial").exists()


def test_mlflow_itself_keeps_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/kept")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/kept")
    (tracker,) = open_trackers(["mlflow"], tmp_path / "train-12ab.partial")
    tracker.log({"loss": 0.5}, step=3)
    tracker.close()
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([found.experiment_id for found in client.search_experiments()])
    assert run.info.run_name == "train-12ab"
    assert [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "loss")] == [(3, 0.5)]


def test_mlflow_that_takes_no_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    mlflow.set_tracking_uri(f"file:{tmp_path}/kept")
    with pytest.raises(MethodError, match="MLflow takes no run: The filesystem tracking backend"):
        open_trackers(["mlflow"], tmp_path / "train-12ab.partial")


def test_mlflow_gets_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    stand_in = types.ModuleType("mlflow")
    stand_in.start_run = lambda run_name: calls.append(("start", run_name))
    stand_in.log_metrics = lambda metrics, step: calls.append(("log", metrics, step))
    stand_in.end_run = lambda: calls.append(("end",))
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    (tracker,) = open_trackers(["mlflow"], tmp_path / "train-12ab.partial")
    tracker.log({"loss": 0.5}, step=7)
    tracker.close()
    assert calls == [("start", "train-12ab"), ("log", {"loss": 0.5}, 7), ("end",)]


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r"mlflow is needed here.*paredown\[mlflow\]"):
        open_trackers(["mlflow"], tmp_path)
