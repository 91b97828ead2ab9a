"""Whatever bytes come over the wire, they are answered or refused by name: no INTERNAL, no traceback, no dead process."""

import http.client
import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetml.data import cluster as table
from fleetml.learn.placement import cluster, policies
from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.proto import open_inference_pb2 as oip
from fleetml.stack.processes import wait_until
from fleetml_client import Client
from fleetml_client import ai_service_pb2 as ai
from tests.small_graphs import anomaly, forecaster

FUZZ = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
OURS = (
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
"""What a request must never be answered with here: the server failed, is gone, or hangs."""

RPCS = {
    "/novacron.ai.AIService/PredictBandwidth": ai.BandwidthRequest(
        vm_id="vm", historical_metrics=range(12), horizon_minutes=5
    ),
    "/novacron.ai.AIService/Forecast": ai.ForecastRequest(
        model="bandwidth", vm_id="vm", history=range(12), horizon_minutes=5, covariates={"vm_metrics:cpu_usage": 1.0}
    ),
    "/novacron.ai.AIService/OptimizePlacement": ai.PlacementRequest(
        workload_id="job",
        requirements={"cpu": 1.0, "gpu": 1.0, "gpu_milli": 200.0, "gpu_model.T4": 1.0},
        available_nodes=[ai.NodeInfo(node_id="a", cpu_available=4, memory_available=9, gpu_milli_available=[500])],
    ),
    "/novacron.ai.AIService/DetectAnomaly": ai.AnomalyRequest(vm_id="vm", current_metrics=ai.VMMetrics(cpu=1.0)),
    "/novacron.ai.AIService/PredictBandwidthBatch": ai.BandwidthBatchRequest(
        requests=[ai.BandwidthRequest(vm_id="vm", historical_metrics=range(12), horizon_minutes=5)] * 2
    ),
    "/inference.GRPCInferenceService/ModelInfer": oip.ModelInferRequest(
        model_name="bandwidth",
        inputs=[
            oip.ModelInferRequest.InferInputTensor(name="history", datatype="FP32", shape=[1, 12]),
            oip.ModelInferRequest.InferInputTensor(name="covariates", datatype="FP32", shape=[1, 1]),
        ],
        raw_input_contents=[bytes(48), bytes(4)],
    ),
    "/inference.GRPCInferenceService/ModelMetadata": oip.ModelMetadataRequest(name="bandwidth"),
    "/inference.GRPCInferenceService/ModelReady": oip.ModelReadyRequest(name="bandwidth"),
    "/grpc.health.v1.Health/Check": ai.BandwidthResponse(model_version="x"),
}
REST = {
    "/api/v1/predict": {"vm_id": "vm", "historical_metrics": list(range(12)), "horizon_minutes": 5},
    "/api/v1/predict/batch": {
        "requests": [{"vm_id": "vm", "historical_metrics": list(range(12)), "horizon_minutes": 5}]
    },
    "/v2/models/bandwidth/infer": {
        "inputs": [
            {"name": "history", "shape": [1, 12], "datatype": "FP32", "data": list(range(12))},
            {"name": "covariates", "shape": [1, 1], "datatype": "FP32", "data": [0]},
        ]
    },
}
NUMBERS = (
    st.floats()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([float("nan"), float("inf"), -1, 0, 1e39, 2**31, 2**63])
)
JSON: Any = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The serving folder of a server process of its own, with a model of each kind."""
    folder = tmp_path_factory.mktemp("fuzz")
    for name, content in _graphs().items():
        graph = folder / f"{name}.onnx"
        graph.write_bytes(content)
        deployment.install(folder, Card(name, "1", deployment.digest(graph)), {deployment.GRAPH: graph})
        deployment.point(folder, name, "1")
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(folder), "--port", "0"]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            assert wait_until(lambda: len(deployment.status(folder).get("models", {})) == 3, 120, 0.05)
            yield folder
            assert server.poll() is None
        finally:
            server.terminate()
    assert "Traceback" not in (folder / "log").read_text()
    assert server.returncode == 0


def _graphs() -> dict[str, bytes]:
    small = cluster.from_table(table.generate("cluster://?nodes=24"))
    placement = policies.build(small, policies.FGD, "fgd")
    return {"bandwidth": forecaster(), "anomaly": anomaly(), "placement": placement.SerializeToString()}


@pytest.fixture(scope="module")
def channel(root: Path) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(deployment.status(root)["address"]) as opened:
        yield opened


def code(channel: grpc.Channel, rpc: str, sent: bytes) -> grpc.StatusCode:
    try:
        channel.unary_unary(rpc)(sent, timeout=60)
    except grpc.RpcError as error:
        refused = error
    else:
        return grpc.StatusCode.OK
    assert refused.code() not in OURS, (rpc, sent, refused.details())
    return refused.code()


@FUZZ
@given(st.sampled_from(sorted(RPCS)), st.data())
def test_bytes_that_were_changed_in_a_message(channel: grpc.Channel, rpc: str, data: st.DataObject) -> None:
    sent = bytearray(RPCS[rpc].SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(sent)))
        change = data.draw(st.sampled_from(("flip", "cut", "insert")))
        if change == "flip" and at < len(sent):
            sent[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del sent[at : at + data.draw(st.integers(1, 9))]
        else:
            sent[at:at] = data.draw(st.binary(max_size=9))
    code(channel, rpc, bytes(sent))


@FUZZ
@given(st.sampled_from(sorted(RPCS)), st.binary(max_size=200))
def test_any_bytes(channel: grpc.Channel, rpc: str, sent: bytes) -> None:
    code(channel, rpc, sent)


def test_bytes_that_are_no_message_in_a_stream(channel: grpc.Channel) -> None:
    stream = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")
    good = RPCS["/inference.GRPCInferenceService/ModelInfer"].SerializeToString()
    answers = stream(iter([good, b"\xff\xff", good]), timeout=60)
    assert oip.ModelStreamInferResponse.FromString(next(answers)).infer_response.model_version == "1"
    with pytest.raises(grpc.RpcError) as refused:
        next(answers)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    watch = channel.unary_stream("/grpc.health.v1.Health/Watch")
    assert next(watch(b"", timeout=60)) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as refused:
        next(watch(b"\xff", timeout=60))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@FUZZ
@given(
    st.text(max_size=5),
    st.lists(st.floats(), max_size=14),
    st.integers(-(2**31), 2**31 - 1),
    st.dictionaries(st.sampled_from(["cpu", "memory", "gpu", "gpu_milli", "gpu_model.T4", "x"]), st.floats()),
    st.lists(st.tuples(st.floats(), st.floats(), st.lists(st.floats(), max_size=10)), max_size=3),
    st.lists(st.floats(), min_size=6, max_size=6),
)
def test_any_numbers_in_any_field(
    channel: grpc.Channel,
    vm: str,
    history: list[float],
    horizon: int,
    needs: dict[str, float],
    nodes: list[tuple[float, float, list[float]]],
    metrics: list[float],
) -> None:
    service = "/novacron.ai.AIService"
    sent = ai.BandwidthRequest(vm_id=vm, historical_metrics=history, horizon_minutes=horizon)
    sent.as_of.seconds = horizon * 10**6
    code(channel, f"{service}/PredictBandwidth", sent.SerializeToString())
    covariates = dict.fromkeys(["vm_metrics:cpu_usage", "x"][: len(history) % 3], metrics[0])
    asked = ai.ForecastRequest(
        model="bandwidth", vm_id="vm", history=range(12), horizon_minutes=5, covariates=covariates
    )
    code(channel, f"{service}/Forecast", asked.SerializeToString())
    room = [
        ai.NodeInfo(node_id=vm, cpu_available=cpu, memory_available=memory, gpu_milli_available=gpus, gpu_model="T4")
        for cpu, memory, gpus in nodes
    ]
    placed = ai.PlacementRequest(workload_id="job", requirements=needs, available_nodes=room)
    code(channel, f"{service}/OptimizePlacement", placed.SerializeToString())
    names = ai.VMMetrics.DESCRIPTOR.fields_by_name
    usual = ai.AnomalyRequest(vm_id="vm", current_metrics=ai.VMMetrics(**dict(zip(names, metrics, strict=True))))
    code(channel, f"{service}/DetectAnomaly", usual.SerializeToString())


@FUZZ
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["history", "covariates", "x"]),
            st.sampled_from(["FP32", "FP64", "FP16", "BYTES", "INT64", "BOOL", "?"]),
            st.lists(st.integers(-2, 13) | st.integers(-(2**63), 2**63 - 1), max_size=4),
        ),
        max_size=3,
    ),
    st.lists(st.binary(max_size=60), max_size=3),
    st.lists(st.sampled_from(["forecast", "x"]), max_size=2),
)
def test_any_tensors(
    channel: grpc.Channel, tensors: list[tuple[str, str, list[int]]], raw: list[bytes], outputs: list[str]
) -> None:
    sent = oip.ModelInferRequest(model_name="bandwidth", raw_input_contents=raw)
    for name, datatype, shape in tensors:
        sent.inputs.add(name=name, datatype=datatype, shape=shape)
    for name in outputs:
        sent.outputs.add(name=name)
    assert code(channel, "/inference.GRPCInferenceService/ModelInfer", sent.SerializeToString())


def post(root: Path, path: str, body: bytes, headers: dict[str, str] | None = None) -> None:
    connection = http.client.HTTPConnection(deployment.status(root)["http"], timeout=60)
    try:
        connection.request("POST", path, body, headers or {})
        assert (status := connection.getresponse().status) < 500, (status, path, body)
    finally:
        connection.close()


@FUZZ
@given(st.sampled_from(sorted(REST)), st.data())
def test_a_value_that_was_changed_in_a_body(root: Path, path: str, data: st.DataObject) -> None:
    body: Any = json.loads(json.dumps(REST[path]))
    at = body
    while isinstance(at, (dict, list)) and at:
        key = data.draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
        if not isinstance(at[key], (dict, list)) or data.draw(st.booleans()):
            at[key] = data.draw(JSON)
            break
        at = at[key]
    post(root, path, json.dumps(body).encode())


@FUZZ
@given(st.sampled_from(sorted(REST)), st.binary(max_size=100), st.none() | st.integers(-5, 10**13))
def test_any_body(root: Path, path: str, body: bytes, length: int | None) -> None:
    post(root, path, body, {} if length is None else {"Inference-Header-Content-Length": str(length)})


@FUZZ
@given(
    st.lists(st.integers(-2, 13) | st.integers(-(2**63), 2**63), max_size=3),
    st.integers(-1, 60) | st.just(True) | st.text(max_size=2),
    st.binary(max_size=60),
)
def test_any_raw_tensor_behind_a_body(root: Path, shape: list[int], size: Any, raw: bytes) -> None:
    tensor = {"name": "history", "datatype": "FP32", "shape": shape, "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    post(root, "/v2/models/bandwidth/infer", head + raw, {"Inference-Header-Content-Length": str(len(head))})


def test_whole_frames_of_http2_that_are_none(root: Path) -> None:
    import contextlib
    import socket

    host, _, port = deployment.status(root)["address"].rpartition(":")
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for kind in range(12):
        with socket.create_connection((host, int(port)), timeout=60) as raw, contextlib.suppress(OSError):
            raw.sendall(preface + struct.pack(">I", 9)[1:] + bytes([kind, 255]) + struct.pack(">I", 1) + b"\xff" * 9)
    with Client(deployment.status(root)["address"], timeout=60) as client:
        assert client.predict_bandwidth("vm", [1.0] * 12, 5).values == (1.0,)
