"""DetectAnomaly: over gRPC what the graph says of the metrics; types, severities, what cannot be asked."""

import math
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from fleetml.errors import InvalidParameter
from fleetml.learn.anomaly import graphs
from fleetml.learn.anomaly.graphs import Calibration, Scaling
from fleetml.learn.graph import InvalidGraph
from fleetml.serving import anomaly, deployment
from fleetml.serving.anomaly import Question, severity
from fleetml.serving.backends import choose
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml_client import ai_service_pb2 as messages
from fleetml_client.ai_service_pb2_grpc import AIServiceStub

SCALING = Scaling(np.log1p(np.array([20, 40, 50, 100, 10, 1], np.float32)), np.full(6, 0.5, np.float32))
USUAL = {"cpu": 20.0, "memory": 40.0, "disk_io": 50.0, "network_io": 100.0, "latency": 10.0, "error_rate": 1.0}
GRAPH = graphs.distance(SCALING, Calibration(3.0, -6.0, 0.9), "z_score").SerializeToString()


@pytest.fixture
def client(tmp_path: Path, serve: Callable[..., str]) -> Client:
    root = tmp_path / "serving"
    root.mkdir()
    graph = root / "graph.onnx"
    graph.write_bytes(GRAPH)
    deployment.install(root, Card("anomaly", "5", deployment.digest(graph)), {deployment.GRAPH: graph})
    deployment.point(root, "anomaly", "5")
    return Client(serve(root))


def test_usual_metrics_are_no_anomaly(client: Client) -> None:
    answer = client.detect_anomaly("vm-1", USUAL)
    assert (answer.is_anomaly, answer.anomaly_type, answer.severity, answer.model_version) == (False, "", "", "5")
    assert answer.score < 0.1


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"cpu": 5000.0}, "cpu"),
        ({"memory": 5000.0}, "memory"),
        ({"disk_io": 0.0}, "disk"),
        ({"network_io": 1e6}, "network"),
        ({"latency": 9000.0}, "latency"),
        ({"error_rate": 500.0}, "errors"),
        ({"disk_io": 50_000.0, "network_io": 100_000.0, "cpu": 20_000.0}, "combined"),
    ],
)
def test_an_anomaly_is_named_after_what_makes_it(client: Client, changed: dict[str, float], kind: str) -> None:
    answer = client.detect_anomaly("vm-1", {**USUAL, **changed})
    assert (answer.is_anomaly, answer.anomaly_type) == (True, kind)
    assert answer.severity in ("low", "medium", "high")
    assert sum(answer.contributions.values()) == pytest.approx(1.0, abs=1e-4)


def test_absent_metrics_count_for_nothing(client: Client) -> None:
    answer = client.detect_anomaly("vm-1", {"cpu": 20.0, "latency": 0.0})
    assert not answer.is_anomaly
    assert answer.contributions["latency"] == 0


def test_a_batch_is_answered_in_its_order(client: Client) -> None:
    asked = [
        messages.AnomalyRequest(
            vm_id="vm", current_metrics=messages.VMMetrics(**{**USUAL, "cpu": 20.0 if even else 5000.0})
        )
        for even in (True, False) * 5
    ]
    stub = AIServiceStub(grpc.insecure_channel(client.address))
    answer = stub.DetectAnomalyBatch(messages.AnomalyBatchRequest(requests=asked), timeout=60)
    assert [each.is_anomaly for each in answer.responses] == [False, True] * 5
    with pytest.raises(grpc.RpcError) as refused:
        stub.DetectAnomaly(messages.AnomalyRequest(vm_id="vm"), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no current_metrics" in (refused.value.details() or "")


@pytest.mark.parametrize(
    ("vm", "metrics", "words"),
    [
        ("", USUAL, "empty vm_id"),
        ("vm", {}, "at least one"),
        ("vm", {"cpu": math.nan}, "at least one"),
        ("vm", {"cpu": math.inf}, "cpu must be a finite number"),
        ("vm", {"cpu": -1.0}, "got -1.0"),
        ("vm", {"cpu": 1e300}, "finite"),
        ("vm", {"gpu": 1.0}, "got 'gpu'"),
    ],
)
def test_what_cannot_be_is_refused_with_the_rule(vm: str, metrics: dict[str, float], words: str) -> None:
    with pytest.raises(InvalidParameter, match=words):
        Question(vm, metrics)


def test_severity_grows_with_the_score() -> None:
    assert [severity(score, 0.5) for score in (0.5, 0.9, 0.99, 0.99999, 1.0)] == [
        "low",
        "low",
        "medium",
        "high",
        "high",
    ]


def test_a_graph_of_another_kind_is_refused_and_the_log_names_the_metrics() -> None:
    about = anomaly.KIND.open("anomaly", choose("cpu").load(GRAPH))
    assert anomaly.KIND.columns(about) == ("cpu", "memory", "disk_io", "network_io", "latency", "error_rate")
    row = np.arange(6, dtype=np.float32)[None, :]
    assert anomaly.KIND.features(about, [{"metrics": row}] * 2).tolist() == [row[0].tolist()] * 2
    never = graphs.distance(SCALING, Calibration(threshold=1.0), "z_score").SerializeToString()
    with pytest.raises(InvalidGraph, match="threshold 1"):
        anomaly.KIND.open("anomaly", choose("cpu").load(never))
