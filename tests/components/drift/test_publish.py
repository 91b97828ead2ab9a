"""What MLflow and Prometheus are told."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from components.drift.publish import TEXTFILE, publish
from fleetml.component import Artifact
from fleetml.errors import Unavailable
from tests.docker.promtool import PROMTOOL

FOUND = {"drifted": True, "score": 0.7, "features": {"cpu_usage": 0.6}, "missing": ["latency"], "accuracy": 0.9}


def tell(folder: Path, model: str = "bandwidth", registry: str = "", **found: Any) -> dict[str, Any]:
    report, metrics = Artifact("report", str(folder / "report")), Artifact("metrics", "")
    report.path.write_text("<p>drift")
    (folder / "serving").mkdir(exist_ok=True)
    publish(report, metrics, model, str(folder / "serving"), registry, run_id="run-1", **{**FOUND, **found})
    return metrics.metadata


def figures(folder: Path) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families((folder / "serving" / TEXTFILE).read_text())
    return {(s.name, s.labels["model"]): s.value for family in families for s in family.samples}


def test_prometheus_reads_the_last_verdict_of_every_model(tmp_path: Path) -> None:
    assert "score" not in tell(tmp_path, accuracy=-1.0, features={}, missing=[], score=-1.0)
    assert tell(tmp_path, "cpu")["score"] == 0.7
    known = figures(tmp_path)
    assert known["model_data_drift_score", "cpu"] == 0.7
    assert known["model_features_drifted", "cpu"] == 2
    assert known["model_features_missing", "cpu"] == 1
    assert known["model_prediction_accuracy", "cpu"] == 0.9
    unknown = (
        "model_prediction_accuracy",
        "model_data_drift_score",
        "model_features_drifted",
        "model_features_missing",
    )
    assert not any((name, "bandwidth") in known for name in unknown)  # what is unknown is no number
    assert known["model_monitor_timestamp_seconds", "bandwidth"] > 1.7e9
    assert known["model_monitor_timestamp_seconds", "cpu"] > 1.7e9


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool (Debian: apt-get install prometheus)")
def test_the_exposition_is_what_prometheus_takes(tmp_path: Path) -> None:
    tell(tmp_path)
    text = (tmp_path / "serving" / TEXTFILE).read_text()
    checked = subprocess.run([str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr


def test_mlflow_gets_the_figures_and_the_report(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/registry/mlflow.db"
    assert "experiments/" in tell(tmp_path, registry=uri)["mlflow"]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("monitor/bandwidth")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics["drift_score"] == 0.7
    assert run.data.metrics["excess.cpu_usage"] == 0.6
    assert run.data.metrics["accuracy"] == 0.9
    assert run.data.tags["fleetml.run_id"] == "run-1"
    assert run.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["report.html"]


def test_prometheus_is_told_though_the_registry_is_down(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        tell(tmp_path, registry="http://127.0.0.1:9")
    assert figures(tmp_path)["model_data_drift_score", "bandwidth"] == 0.7
