"""Raw tensors in the prediction log: one row that names whom it is about, over either protocol; nothing else."""

import json
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pyarrow.dataset as ds
import pytest

from fleetml.serving import deployment
from fleetml.serving.contract import PROBE
from fleetml.serving.deployment import Card
from fleetml.serving.proto import open_inference_pb2 as messages
from fleetml.serving.proto.open_inference_pb2_grpc import GRPCInferenceServiceStub
from fleetml.stack.processes import wait_until
from fleetml_client import Client
from tests.small_graphs import anomaly

HISTORY = [float(value) for value in range(12)]


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    """A serving folder with a forecaster and a model of anomalies."""
    folder, judge = tmp_path / "serving", tmp_path / "judge.onnx"
    judge.write_bytes(anomaly())
    for name, path in (("bandwidth", graph()), ("anomaly", judge)):
        deployment.install(folder, Card(name, "1", deployment.digest(path)), {deployment.GRAPH: path})
        deployment.point(folder, name, "1")
    return folder


def logged(root: Path) -> list[dict[str, Any]]:
    """All rows of the log, by whom they are about."""
    folders = [path for path in (root / "predictions").glob("model=*") if list(path.rglob("*.parquet"))]
    rows = [row for path in folders for row in ds.dataset(path, exclude_invalid_files=True).to_table().to_pylist()]
    return sorted(rows, key=lambda row: str(row["vm_id"]))


def request(vm: str, history: list[list[float]], model: str = "bandwidth") -> messages.ModelInferRequest:
    made = messages.ModelInferRequest(model_name=model, id="id")
    if vm:
        made.parameters["vm_id"].string_param = vm
    inputs = (
        {"history": history, "covariates": [[30.0]] * len(history)} if model == "bandwidth" else {"metrics": history}
    )
    for name, rows in inputs.items():
        array = np.array(rows, np.float32)
        made.inputs.add(name=name, datatype="FP32", shape=array.shape)
        made.raw_input_contents.append(array.tobytes())
    return made


def test_one_row_that_names_its_vm_is_logged_like_a_forecast(root: Path, serve: Callable[..., str]) -> None:
    address, before = serve(root), datetime.now(UTC)
    with grpc.insecure_channel(address) as channel, Client(address, 60) as client:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        infer(request("", [HISTORY]), timeout=60)
        infer(request("several", [HISTORY] * 2), timeout=60)
        infer(request("nan", [[float("nan")] * 12]), timeout=60)
        infer(request("probe", [HISTORY]), timeout=60, metadata=((PROBE, "1"),))
        infer(request("raw", [HISTORY]), timeout=60)
        pinned = request("pinned", [HISTORY])
        pinned.model_version = "1"
        infer(pinned, timeout=60)
        infer(request("sick", [[99.0] * 6], "anomaly"), timeout=60)
        assert client.forecast("bandwidth", "typed", HISTORY, 20, {"vm_metrics:cpu_usage": 30.0}).values[0] == 41.0
    body = {
        "parameters": {"vm_id": "rest"},
        "inputs": [
            {"name": "history", "shape": [1, 12], "datatype": "FP32", "data": HISTORY},
            {"name": "covariates", "shape": [1, 1], "datatype": "FP32", "data": [30.0]},
        ],
    }
    url = f"http://{deployment.status(root)['http']}/v2/models/bandwidth/infer"
    for headers in ({PROBE: "1"}, {}):
        asked = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        urllib.request.urlopen(asked, timeout=60).close()
    assert wait_until(lambda: len(logged(root)) >= 4, 60, 0.05)
    rows = {row["vm_id"]: row for row in logged(root)}
    assert list(rows) == ["raw", "rest", "sick", "typed"]
    varying = ("vm_id", "time", "origin", "latency_ms")
    alike = [
        {name: value for name, value in rows[vm].items() if name not in varying} for vm in ("raw", "rest", "typed")
    ]
    assert alike[0] == alike[1] == alike[2]
    assert alike[0]["predictions"] == [41.0] * 4
    assert all(row["origin"] >= before and row["latency_ms"] > 0 for row in rows.values())
    assert rows["sick"]["predictions"][0] > 0.9


def test_a_rollout_has_pairs_of_raw_questions(
    root: Path, graph: Callable[..., Path], serve: Callable[..., str]
) -> None:
    path = graph(add=5.0, name="second.onnx")
    deployment.install(root, Card("bandwidth", "2", deployment.digest(path)), {deployment.GRAPH: path})
    rollout = deployment.begin(root, "bandwidth", "2", "ab", 1.0, datetime.now(UTC))
    with grpc.insecure_channel(serve(root)) as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        assert infer(request("raw", [HISTORY]), timeout=60).model_version == "2"
    assert wait_until(lambda: len(logged(root)) == 2, 60, 0.05)
    told = {(row["model_version"], row["role"], row["rollout"], row["predictions"][0]) for row in logged(root)}
    assert told == {("2", "challenger", rollout.id, 46.0), ("1", "shadow", rollout.id, 41.0)}
