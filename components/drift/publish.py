"""What the monitor found, told to MLflow, to Prometheus and to whoever reads the serving folder."""

import json
import time
from pathlib import Path
from typing import Any

from components.drift.folder import existing
from fleetml import atomic
from fleetml.component import Artifact
from fleetml.serving import deployment
from fleetml.serving.deployment import VERDICTS

TEXTFILE = f"{deployment.METRICS}/monitor.prom"


def publish(
    report: Artifact,
    metrics: Artifact,
    model_name: str,
    serving_dir: str,
    registry: str,
    drifted: bool,
    score: float,
    features: dict[str, float],
    missing: list[str],
    accuracy: float,
    run_id: str,
) -> None:
    """Write the verdict to ``monitor/<model>.json`` and, for all models, ``metrics/monitor.prom`` of the serving folder.

    MLflow's experiment ``monitor/<model>`` gets the figures and the report; a registry that does not answer fails the step, after
    the files are written. An accuracy or a score below 0 is unknown.
    """
    root = existing(serving_dir)
    verdict = {
        "time": time.time(),
        "run": run_id,
        "drifted": drifted,
        "score": score if score >= 0 else None,
        "features": features,
        "missing": missing,
        "accuracy": accuracy if accuracy >= 0 else None,
    }
    atomic.write_json(root / VERDICTS / f"{model_name}.json", verdict)
    atomic.write_text(root / TEXTFILE, exposition(root))
    if score >= 0:
        metrics.log(score=round(score, 3), features_drifted=len(features) + len(missing))
    if registry:
        metrics.log(mlflow=_note(registry, model_name, verdict, report.path))


def exposition(root: Path) -> str:
    """Return the last verdict of every model in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, Gauge, generate_latest

    registry = CollectorRegistry()
    score = Gauge("model_data_drift_score", "Drift of the worst feature, 0 to 1", ["model"], registry=registry)
    count = Gauge("model_features_drifted", "Features that drifted or went missing", ["model"], registry=registry)
    gone = Gauge("model_features_missing", "Features that went missing", ["model"], registry=registry)
    accuracy = Gauge("model_prediction_accuracy", "1 - WAPE over 7 rolling days", ["model"], registry=registry)
    looked = Gauge("model_monitor_timestamp_seconds", "When monitor looked last", ["model"], registry=registry)
    for path in sorted((root / VERDICTS).glob("*.json")):
        verdict = json.loads(path.read_text(encoding="utf-8"))
        if verdict["score"] is not None:
            score.labels(path.stem).set(verdict["score"])
            count.labels(path.stem).set(len(verdict["features"]) + len(verdict["missing"]))
            gone.labels(path.stem).set(len(verdict["missing"]))
        looked.labels(path.stem).set(verdict["time"])
        if verdict["accuracy"] is not None:
            accuracy.labels(path.stem).set(verdict["accuracy"])
    return generate_latest(registry).decode()


def _note(registry: str, model: str, verdict: dict[str, Any], report: Path) -> str:
    from fleetml.serving.registry import Registry

    figures = {"drifted": float(verdict["drifted"])}
    if verdict["score"] is not None:
        figures |= {"drift_score": verdict["score"]}
        figures |= {"features_drifted": float(len(verdict["features"]) + len(verdict["missing"]))}
    figures |= {f"excess.{name}": value for name, value in verdict["features"].items()}
    if verdict["accuracy"] is not None:
        figures["accuracy"] = verdict["accuracy"]
    tags = {"fleetml.run_id": verdict["run"], "fleetml.model": model}
    place = Registry(registry).note(f"monitor/{model}", verdict["run"] or model, figures, tags, {"report.html": report})
    return f"{place}/artifacts/report.html" if place.startswith("http") else place
