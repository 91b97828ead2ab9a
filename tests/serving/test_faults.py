"""Clients that are slow, many, gone or wrong; whatever comes in is answered or refused, and others are served on."""

import contextlib
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetml.errors import FleetMLError, InvalidParameter
from fleetml.serving import deployment
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.serving.oip import datatypes
from fleetml.serving.oip import service as oip
from fleetml.serving.options import Limits
from fleetml.serving.proto import open_inference_pb2 as messages
from fleetml.serving.rest import messages as bodies
from fleetml.serving.rest.infer import parse
from fleetml.stack.processes import wait_until
from fleetml_client import ai_service_pb2 as ai
from fleetml_client.ai_service_pb2_grpc import AIServiceStub

HISTORY = [float(value) for value in range(12)]
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    path, folder = graph(), tmp_path / "serving"
    deployment.install(folder, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(folder, "bandwidth", "1")
    return folder


def connect(root: Path) -> socket.socket:
    host, _, port = deployment.status(root)["http"].rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def status(connection: socket.socket) -> int:
    return int(connection.recv(4096).split()[1])


def ready(connection: socket.socket) -> int:
    connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
    return status(connection)


@pytest.mark.parametrize("begun", [b"{", b""])
def test_a_client_that_does_not_send_its_body_is_not_waited_for(
    root: Path, serve: Callable[..., str], begun: bytes
) -> None:
    address = serve(root, limits=Limits(request_seconds=0.2))
    with connect(root) as slow, Client(address) as client:
        slow.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n" + begun)
        assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
        assert status(slow) == 504


def test_a_client_that_goes_away_and_one_that_talks_nonsense_hurt_nobody(root: Path, serve: Callable[..., str]) -> None:
    address = serve(root)
    with connect(root) as gone:
        gone.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    with connect(root) as nonsense:
        nonsense.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP at all\r\n\r\n")
        assert nonsense.recv(4096)[:12] in (b"HTTP/1.1 400", b"")
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(OSError):
            plain.recv(4096)
    with Client(address) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)


def test_many_connections_are_held_and_more_are_told_so(root: Path, serve: Callable[..., str]) -> None:
    address = serve(root, limits=Limits(connections=150))
    with contextlib.ExitStack() as held:
        many = [held.enter_context(connect(root)) for _ in range(149)]
        assert all(ready(connection) == 200 for connection in many)
        more = [held.enter_context(connect(root)) for _ in range(10)]
        assert [ready(connection) for connection in more][-5:] == [503] * 5
        with Client(address) as client:
            assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
    with connect(root) as again:
        assert wait_until(lambda: ready(again) == 200, 60, 0.05)


def test_a_body_that_is_too_long_is_refused(root: Path, serve: Callable[..., str]) -> None:
    serve(root)
    with connect(root) as long:
        long.sendall(b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n")
        with contextlib.suppress(OSError):  # the server may close before it has read all
            for _ in range(30):
                long.sendall(b" " * 1_000_000)
        assert status(long) == 400


def test_a_deadline_in_the_past_is_not_run(root: Path, serve: Callable[..., str]) -> None:
    with grpc.insecure_channel(serve(root)) as channel:
        request = ai.BandwidthRequest(vm_id="vm-1", historical_metrics=HISTORY, horizon_minutes=5)
        with pytest.raises(grpc.RpcError) as refused:
            AIServiceStub(channel).PredictBandwidth(request, timeout=0.0)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert AIServiceStub(channel).PredictBandwidth(request, timeout=60).model_version == "1"


def test_bytes_that_are_no_message_are_refused_over_grpc(root: Path, serve: Callable[..., str]) -> None:
    with grpc.insecure_channel(serve(root)) as channel:
        call = channel.unary_unary("/novacron.ai.AIService/PredictBandwidth")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\xff\xff\xff", timeout=60)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "must be a message of the contract" in refused.value.details()
        request = ai.BandwidthRequest(vm_id="vm-1", historical_metrics=HISTORY, horizon_minutes=5)
        assert AIServiceStub(channel).PredictBandwidth(request, timeout=60).model_version == "1"


def test_two_deploys_at_once_end_with_one_of_them_served(
    root: Path, serve: Callable[..., str], graph: Callable[..., Path]
) -> None:
    with Client(serve(root)) as client:
        for version, add in (("2", 1.0), ("3", 2.0)):
            path = graph(add=add, name=f"{version}.onnx")
            deployment.install(root, Card("bandwidth", version, deployment.digest(path)), {deployment.GRAPH: path})
        for version in ("2", "3", "2", "3"):
            deployment.point(root, "bandwidth", version)
            answer = client.predict_bandwidth("vm-1", HISTORY, 5)
            assert answer.values[0] == 11.0 + max(0, int(answer.model_version) - 1)
        assert wait_until(lambda: client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "3", 60, 0.02)


@FUZZ
@given(st.binary(max_size=300), st.none() | st.binary(max_size=6) | st.integers(0, 400).map(lambda n: b"%d" % n))
def test_any_body_is_a_request_or_refused(body: bytes, header: bytes | None) -> None:
    with contextlib.suppress(InvalidParameter):
        parse(body, header)
    for decoder in (bodies.PREDICT, bodies.BATCH):
        with contextlib.suppress(InvalidParameter):
            bodies.decode(decoder, body)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@FUZZ
@given(
    st.fixed_dictionaries(
        {
            "name": st.just("x"),
            "shape": st.lists(st.integers(-(2**70), 2**70) | st.integers(-2, 5), max_size=4),
            "datatype": st.sampled_from(sorted(datatypes.DTYPES)) | st.text(max_size=4),
            "data": st.none() | st.lists(JSON, max_size=6),
            "parameters": st.dictionaries(st.just("binary_data_size"), JSON, max_size=1),
        }
    ),
    st.binary(max_size=40),
)
def test_any_tensor_is_an_array_or_refused(tensor: dict[str, Any], raw: bytes) -> None:
    head = json.dumps({"inputs": [tensor]}).encode()
    with contextlib.suppress(InvalidParameter):
        _, inputs = parse(head + raw, b"%d" % len(head))
        assert list(inputs["x"].shape) == tensor["shape"]


@FUZZ
@given(st.binary(max_size=200), st.integers(0, 199), st.integers(0, 255))
def test_any_message_is_a_request_or_refused(content: bytes, place: int, value: int) -> None:
    whole = messages.ModelInferRequest(model_name="m", raw_input_contents=[content[:48]])
    whole.inputs.add(name="x", datatype="FP32", shape=[1, 12])
    changed = bytearray(whole.SerializeToString())
    changed[place % len(changed)] = value
    for sent in (content, bytes(changed)):
        with contextlib.suppress(DecodeError, InvalidParameter):
            oip.parse(messages.ModelInferRequest.FromString(sent))


@FUZZ
@given(st.lists(st.binary(max_size=8), max_size=5))
def test_texts_come_back_as_they_went(texts: list[bytes]) -> None:
    array = np.array([text.decode("utf-8", "replace") for text in texts], dtype=object)
    raw = datatypes.to_bytes(array)
    assert datatypes.from_bytes(raw, "BYTES", [len(texts)], "x").tolist() == array.tolist()
    for wrong in (raw + b"\x01", raw[:-1] if raw else b"\0"):
        with pytest.raises(FleetMLError):
            datatypes.from_bytes(wrong, "BYTES", [len(texts)], "x")
