"""The Open Inference Protocol over real gRPC and HTTP, with a client written from the specification."""

import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.proto import open_inference_pb2 as messages
from fleetml.serving.proto.open_inference_pb2_grpc import GRPCInferenceServiceStub

HISTORY = np.arange(24, dtype=np.float32).reshape(2, 12)
COVARIATES = np.array([[1.0], [np.nan]], np.float32)
ANSWER = [[12.0] * 4, [23.0] * 4]
INPUTS = [("history", HISTORY), ("covariates", COVARIATES)]


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path], serve: Callable[..., str]) -> Path:
    """A served forecaster, the last value plus its covariate."""
    path, folder = graph(), tmp_path / "serving"
    deployment.install(folder, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(folder, "bandwidth", "1")
    serve(folder)
    return folder


@pytest.fixture
def stub(root: Path) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(deployment.status(root)["address"]) as channel:
        yield GRPCInferenceServiceStub(channel)


class Http:
    """Asks over one connection."""

    def __init__(self, address: str) -> None:
        self.connection = http.client.HTTPConnection(address, timeout=60)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, dict[str, str]]:
        sent = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        self.connection.request(method, path, sent, {name.replace("_", "-"): text for name, text in headers.items()})
        response = self.connection.getresponse()
        content, told = response.read(), {name.lower(): text for name, text in response.getheaders()}
        return response.status, json.loads(content) if told["content-type"] == "application/json" else content, told


@pytest.fixture
def ask(root: Path) -> Http:
    return Http(deployment.status(root)["http"])


def infer_request(raw: bool, **changes: Any) -> messages.ModelInferRequest:
    request = messages.ModelInferRequest(**{"model_name": "bandwidth", "id": "q1", **changes})
    for name, array in INPUTS:
        tensor = request.inputs.add(name=name, datatype="FP32", shape=array.shape)
        if raw:
            request.raw_input_contents.append(array.tobytes())
        else:
            tensor.contents.fp32_contents.extend(array.ravel().tolist())
    return request


def as_json(**changes: Any) -> dict[str, Any]:
    inputs = [
        {"name": name, "shape": list(array.shape), "datatype": "FP32", "data": array.ravel().tolist()}
        for name, array in (("history", HISTORY), ("covariates", np.zeros((2, 1), np.float32)))
    ]
    return {"inputs": inputs, "id": "q1", **changes}


def test_server_and_model_tell_of_themselves_alike(stub: GRPCInferenceServiceStub, ask: Http) -> None:
    assert stub.ServerLive(messages.ServerLiveRequest()).live
    assert stub.ServerReady(messages.ServerReadyRequest()).ready
    assert stub.ModelReady(messages.ModelReadyRequest(name="bandwidth", version="1")).ready
    assert not stub.ModelReady(messages.ModelReadyRequest(name="bandwidth", version="2")).ready
    assert stub.ServerMetadata(messages.ServerMetadataRequest()).name == "fleetml"
    about = stub.ModelMetadata(messages.ModelMetadataRequest(name="bandwidth"))
    assert [(t.name, t.datatype, list(t.shape)) for t in about.inputs] == [
        ("history", "FP32", [-1, 12]),
        ("covariates", "FP32", [-1, 1]),
    ]
    assert ask("GET", "/v2/health/live")[0] == ask("GET", "/v2/health/ready")[0] == 200
    assert ask("GET", "/v2")[1]["name"] == "fleetml"
    assert ask("GET", "/v2/models/bandwidth/ready")[0] == 200
    assert ask("GET", "/v2/models/bandwidth/versions/2/ready")[0] == 503
    _, told, _ = ask("GET", "/v2/models/bandwidth")
    assert told["outputs"] == [{"name": "forecast", "datatype": "FP32", "shape": [-1, 4]}]
    assert (told["versions"], told["platform"]) == (["1"], about.platform)


@pytest.mark.parametrize("raw", [True, False])
def test_tensors_over_grpc(stub: GRPCInferenceServiceStub, raw: bool) -> None:
    answer = stub.ModelInfer(infer_request(raw))
    assert (answer.model_name, answer.model_version, answer.id) == ("bandwidth", "1", "q1")
    (output,), (content,) = answer.outputs, answer.raw_output_contents
    assert (output.name, output.datatype, list(output.shape)) == ("forecast", "FP32", [2, 4])
    assert np.frombuffer(content, np.float32).reshape(2, 4).tolist() == ANSWER


def test_a_stream_goes_on_after_a_mistake(stub: GRPCInferenceServiceStub) -> None:
    requests = [infer_request(True), infer_request(True, model_name="nonsense", id="q2"), infer_request(True)]
    answers = list(stub.ModelStreamInfer(iter(requests)))
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert answers[1].infer_response.id == "q2"
    assert "must be deployed" in answers[1].error_message


def test_tensors_as_json(ask: Http) -> None:
    status, answer, _ = ask("POST", "/v2/models/bandwidth/infer", as_json())
    assert status == 200
    assert answer == {
        "model_name": "bandwidth",
        "model_version": "1",
        "id": "q1",
        "outputs": [
            {"name": "forecast", "datatype": "FP32", "shape": [2, 4], "data": [11.0] * 4 + [23.0] * 4},
        ],
    }
    nested = as_json()
    nested["inputs"][0]["data"] = HISTORY.tolist()
    assert ask("POST", "/v2/models/bandwidth/versions/1/infer", nested)[1] == answer


def test_raw_tensors_behind_the_json(ask: Http) -> None:
    inputs = [
        {"name": name, "shape": list(a.shape), "datatype": "FP32", "parameters": {"binary_data_size": a.nbytes}}
        for name, a in INPUTS
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    body = head + b"".join(array.tobytes() for _, array in INPUTS)
    length = str(len(head))
    status, content, told = ask("POST", "/v2/models/bandwidth/infer", body, Inference_Header_Content_Length=length)
    assert (status, told["content-type"]) == (200, "application/octet-stream")
    at = int(told["inference-header-content-length"])
    assert json.loads(content[:at])["outputs"][0]["parameters"] == {"binary_data_size": 32}
    assert np.frombuffer(content[at:], np.float32).reshape(2, 4).tolist() == ANSWER
    for wrong in ("99999", "-1", "x", ""):
        assert ask("POST", "/v2/models/bandwidth/infer", body, Inference_Header_Content_Length=wrong)[0] == 400
    assert ask("POST", "/v2/models/bandwidth/infer", body + b"more", Inference_Header_Content_Length=length)[0] == 400


@pytest.mark.parametrize("shape", [[1] * 65, [0, 2**62, 2**62], [2**63 - 1] * 2000])
def test_a_shape_that_no_array_has_is_refused(ask: Http, shape: list[int]) -> None:
    parameters = {"binary_data_size": 4}
    head = json.dumps({"inputs": [{"name": "history", "shape": shape, "datatype": "FP32", "parameters": parameters}]})
    body, length = head.encode() + bytes(4), str(len(head))
    status, answer, _ = ask("POST", "/v2/models/bandwidth/infer", body, Inference_Header_Content_Length=length)
    assert (status, "given in full" in answer["error"]) == (400, True), answer


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": [2, 13]}, "must have 26 values, got 24"),
        ({"shape": [24]}, "must be float32 of shape"),
        ({"shape": [3, 8]}, "must be float32 of shape"),
        ({"shape": [-1, 12]}, "given in full"),
        ({"shape": [2**63 - 1] * 2000}, "given in full"),
        ({"data": [], "shape": [0, 2**70]}, "given in full"),
        ({"datatype": "FP64"}, "must be float32"),
        ({"datatype": "FP128"}, "must be one of BOOL"),
        ({"data": ["a"] * 24}, "must hold FP32 values"),
        ({"data": [[1.0] * 12, 1.0]}, "nested to one depth"),
        ({"data": None}, "must have data"),
        ({"name": "past"}, "takes the inputs"),
        ({"data": [], "shape": [0, 12]}, "not empty"),
        ({"shape": [1, 12], "data": [1.0] * 12}, "as many rows"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_rule(ask: Http, change: dict[str, Any], words: str) -> None:
    request = as_json()
    request["inputs"][0].update(change)
    status, answer, _ = ask("POST", "/v2/models/bandwidth/infer", request)
    assert (status, words in answer["error"]) == (400, True), answer


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v2/models/nonsense/infer", as_json(), 404),
        ("POST", "/v2/models/bandwidth/versions/9/infer", as_json(), 404),
        ("POST", "/v2/models/bandwidth/other/1/infer", as_json(), 404),
        ("POST", "/v2/models/bandwidth/infer", b"{", 400),
        ("POST", "/v2/models/bandwidth/infer", b"\xff\xfe", 400),
        ("POST", "/v2/models/bandwidth/infer", b"[" * 100_000, 400),
        ("POST", "/v2/models/bandwidth/infer", as_json(outputs=[{"name": "past"}]), 400),
        ("GET", "/v2/models/bandwidth/infer", None, 405),
        ("GET", "/api/v1/predict", None, 405),
        ("GET", "/", None, 404),
        ("DELETE", "/v2/models/bandwidth", None, 405),
        ("POST", "/api/v1/predict", b"{}", 400),
    ],
)
def test_what_is_not_there_or_no_request(ask: Http, method: str, path: str, body: Any, status: int) -> None:
    found, answer, _ = ask(method, path, body)
    assert found == status
    assert answer["error"]


def test_a_path_tells_the_method_it_takes(ask: Http) -> None:
    _, told, headers = ask("GET", "/api/v1/predict")
    assert headers["allow"] == "POST"
    assert told["error"] == "/api/v1/predict takes POST, got GET; see docs/serving.md"


def test_grpc_refuses_by_the_same_rules(stub: GRPCInferenceServiceStub) -> None:
    wrong = infer_request(True)
    wrong.raw_input_contents.pop()
    for request, code in (
        (wrong, grpc.StatusCode.INVALID_ARGUMENT),
        (infer_request(True, model_version="9"), grpc.StatusCode.NOT_FOUND),
        (infer_request(True, model_name="nonsense"), grpc.StatusCode.NOT_FOUND),
        (
            infer_request(True, model_name="ü" * 100_000),
            grpc.StatusCode.NOT_FOUND,
        ),  # no error text is too long to travel
    ):
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(request)
        assert refused.value.code() is code


def test_forecasts_over_http_one_and_many(ask: Http) -> None:
    one = {"vm_id": "vm-1", "historical_metrics": HISTORY[0].tolist(), "horizon_minutes": 10}
    expected = {"predictions": [11.0, 11.0], "confidence": 0.0, "model_version": "1", "step_seconds": 300}
    assert ask("POST", "/api/v1/predict", one)[:2] == (200, expected)
    late = {**one, "as_of": "2026-11-21T12:00:00+01:00", "covariates": {"vm_metrics:cpu_usage": 2.0}}
    answer = ask("POST", "/api/v1/predict/batch", {"requests": [one, late]})[1]
    assert [response["predictions"] for response in answer["responses"]] == [[11.0] * 2, [13.0] * 2]
    status, answer, _ = ask("POST", "/api/v1/predict", {**one, "as_of": "0001-01-01T00:00:00+14:00"})
    assert (status, "from the year 1 to 9999" in answer["error"]) == (400, True)
    status, answer, _ = ask("POST", "/api/v1/predict", {**one, "horizn": 1})
    assert (status, "unknown field `horizn`" in answer["error"]) == (400, True)
    status, answer, _ = ask("POST", "/api/v1/predict", {**one, "covariates": {"cpu_usage": 1.0}})
    assert (status, "did you mean 'vm_metrics:cpu_usage'?" in answer["error"]) == (400, True)
    status, answer, _ = ask("POST", "/api/v1/predict/batch", {"requests": [one, {**one, "vm_id": ""}]})
    assert (status, "question 1 of the batch" in answer["error"]) == (400, True)


def test_prometheus_is_told(
    ask: Http, stub: GRPCInferenceServiceStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))  # as Feast does when a model needs its features
    stub.ModelInfer(infer_request(True))
    status, content, _ = ask("GET", "/metrics")
    text = content.decode()
    assert status == 200
    assert 'model_prediction_latency_seconds_bucket{le="0.01",model="bandwidth",role="champion",version="1"}' in text
    assert 'grpc_method="ModelInfer",grpc_service="inference.GRPCInferenceService"' in text
    assert 'model_version_info{model="bandwidth",role="champion",version="1"} 1.0' in text


def test_prometheus_is_told_what_others_left(ask: Http, root: Path) -> None:
    figure = 'model_data_drift_score{model="bandwidth"} 0.4\n'
    (root / "metrics").mkdir()
    (root / "metrics/monitor.prom").write_text(figure)
    assert ask("GET", "/metrics")[1].decode().endswith(figure)
