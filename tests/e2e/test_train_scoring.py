"""train_placement, train_anomaly and train_window_anomaly on this machine, from a source to an answer over gRPC; a second run keeps the champion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleetml.cli import main
from fleetml.learn import scorer
from fleetml.learn.forecaster import session
from fleetml.serving import deployment
from fleetml.serving.client import Client, Node

ROOT = Path(__file__).parents[2]
SMALL = {
    "placement": {"nodes": "cluster://?nodes=40", "trials": 2, "test_episodes": 2},
    "anomaly": {"source": "synthetic://?vms=8&days=6", "window_days": 6, "window_end": "2026-01-07", "epochs": 4},
    "window_anomaly": {
        "source": "synthetic://?vms=2&days=6",
        "window_days": 6,
        "window_end": "2026-01-07",
        "vm": "web-0001",
        "model_name": "window_anomaly.web-0001",
        "false_alarms_per_vm_week": 0.0,  # six days are too few to be quiet
    },
}

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not (ROOT / ".venv/ml/bin/python").exists(), reason="no .venv/ml: make setup"),
]


def train(home: Path, kind: str) -> int:
    places = {"registry": f"sqlite:///{home}/mlflow.db", "serving_dir": f"{home}/serving", "latency_budget_ms": 1000.0}
    given = [text for name, value in {**SMALL[kind], **places}.items() for text in ("-p", f"{name}={value}")]
    return main(["run", str(ROOT / "dags" / f"train_{kind}"), *given])


@pytest.mark.parametrize("kind", list(SMALL))
def test_a_model_is_trained_gated_registered_and_served(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Callable[..., str]
) -> None:
    monkeypatch.setenv("FLEETML_HOME", str(tmp_path / "home"))
    assert train(tmp_path, kind) == 0
    name = str(SMALL[kind].get("model_name", kind))
    served = deployment.read(tmp_path / "serving")[name]
    assert served.version == "1"
    card = json.loads((tmp_path / "serving" / served.graph).with_name("model.json").read_text())
    assert card["metadata"]["kind"] == kind
    with Client(serve(tmp_path / "serving"), timeout=60) as client:
        if kind == "placement":
            nodes = [Node("a", 16, 65536, [1000, 300])]
            answer = client.optimize_placement("job", {"cpu": 2, "gpu": 1, "gpu_milli": 200}, nodes)
            assert [each.node_id for each in answer.candidates] == ["a"]
        elif kind == "window_anomaly":
            about = scorer.described(session(tmp_path / "serving" / served.graph)).about
            wild = np.full((1, about["rows"], len(about["columns"])), 1e8, np.float32)
            assert client.infer(name, {"metrics": wild}, "web-0001").outputs["score"][0, 0] > 1
        else:
            assert client.detect_anomaly("vm", {"cpu": 30.0, "disk_io": 1e8}).anomaly_type == "disk"
    assert train(tmp_path, kind) == 0  # the same again: as good as the champion, which stays
    assert deployment.read(tmp_path / "serving")[name].version == "1"
