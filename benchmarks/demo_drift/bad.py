"""A version that should never have been pushed, recorded and deployed by the steps of train_forecaster, but without its gate."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from components.deploy.deploy import deploy
from components.register.register import register
from fleetml.component import Artifact
from fleetml.learn import quantile_head
from fleetml.records import Run
from fleetml.settings import Settings

FACTOR = 3.0


def push(settings: Settings, target: str, run: Run) -> str:
    """Register and deploy, as a canary, the model of `run` with its forecasts trebled; return the version."""
    made = run.latest()
    model, scores = _artifact(made["gate"], "model"), _artifact(made["evaluate"], "scores")
    train, test = _artifact(made["features"], "train"), _artifact(made["features"], "test")
    data = _artifact(made["validate"], "valid")
    with tempfile.TemporaryDirectory() as scratch:
        spoilt = Artifact(
            "model", f"{scratch}/model.onnx", model.type, {**model.metadata, "candidate": "pushed by hand"}
        )
        spoil(model.path, spoilt.path)
        place = {"registry": settings.registry, "model_name": target, "rollout": "canary"}
        metrics = Artifact("metrics", f"{scratch}/metrics")
        version = str(register(spoilt, scores, data, train, metrics, run_id="pushed-by-hand", **place)["version"])
        where = {"serving_dir": str(settings.serving_dir), "address": settings.serving_address}
        deploy(spoilt, test, train, metrics, version=version, **where, **place)
    return version


def spoil(graph: Path, spoilt: Path) -> None:
    """Write the graph, without calibrated quantiles, with its forecasts times `FACTOR`."""
    model = quantile_head.taken_off(onnx.load(graph))
    for node in model.graph.node:
        node.output[:] = [f"{name}_honest" if name == "forecast" else name for name in node.output]
        node.input[:] = [f"{name}_honest" if name == "forecast" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.array(FACTOR, np.float32), "spoilt_by"))
    model.graph.node.append(helper.make_node("Mul", ["forecast_honest", "spoilt_by"], ["forecast"]))
    onnx.save(model, spoilt)


def _artifact(attempt: Any, name: str) -> Artifact:
    entry = (attempt.outcome or {})["artifacts"][name][0]
    return Artifact(name, entry["uri"], entry.get("type", "system.Artifact"), dict(entry.get("metadata") or {}))
