"""Who may ask, how much, and over which wire; what the server refuses is refused alike over gRPC and HTTP."""

import http.client
import json
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fleetml.errors import ConfigurationError
from fleetml.serving import deployment, tokens
from fleetml.serving.admission import Admission
from fleetml.serving.deployment import Card
from fleetml.serving.errors import TooManyRequests, Unauthenticated
from fleetml.serving.options import Access, Limits
from fleetml.serving.proto import open_inference_pb2 as oip
from fleetml.serving.proto.open_inference_pb2_grpc import GRPCInferenceServiceStub
from fleetml.serving.tokens import Tokens
from fleetml.stack.processes import wait_until
from fleetml_client import ai_service_pb2 as messages
from fleetml_client.ai_service_pb2_grpc import AIServiceStub

GOOD, OTHER, ENDED = "a-good-token-of-a-client", "another-token-of-another", "a-token-that-ended-once"
REQUEST = messages.BandwidthRequest(vm_id="vm-1", historical_metrics=[1.0] * 12, horizon_minutes=5)
BODY = json.dumps({"vm_id": "vm-1", "historical_metrics": [1.0] * 12, "horizon_minutes": 5}).encode()


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    path, folder = graph(), tmp_path / "serving"
    deployment.install(folder, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(folder, "bandwidth", "1")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    path.write_text(f"# who may ask\n{GOOD} team-a 2999-01-01\n{ENDED} team-b {past}\n")
    return path


def by_grpc(channel: grpc.Channel, token: str = "", scheme: str = "Bearer") -> str:
    """Return the name of the status that the server answers with."""
    metadata = (("authorization", f"{scheme} {token}"),) if token else ()
    try:
        AIServiceStub(channel).PredictBandwidth(REQUEST, metadata=metadata, timeout=30)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def by_http(address: str, token: str = "", context: ssl.SSLContext | None = None) -> int:
    kind: Any = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
    connection = kind(address, timeout=30, **({"context": context} if context else {}))
    connection.request("POST", "/api/v1/predict", BODY, {"Authorization": f"Bearer {token}"} if token else {})
    return int(connection.getresponse().status)


def test_without_a_valid_token_nobody_is_answered(root: Path, file: Path, serve: Callable[..., str]) -> None:
    address = serve(root, access=Access(tokens=file))
    web = deployment.status(root)["http"]
    with grpc.insecure_channel(address) as channel:
        assert by_grpc(channel, GOOD) == "OK"
        assert {by_grpc(channel, token) for token in ("", "wrong", ENDED, GOOD[:-1])} == {"UNAUTHENTICATED"}
        assert by_grpc(channel, GOOD, "Basic") == "UNAUTHENTICATED"
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert check.status == health_pb2.HealthCheckResponse.SERVING  # probes need no token
        assert by_http(web, GOOD) == 200
        assert {by_http(web, token) for token in ("", "wrong", ENDED)} == {401}
        file.write_text(f"{OTHER} team-c\n")
        assert wait_until(lambda: by_grpc(channel, OTHER) == "OK", 60, 0.05)
        assert by_grpc(channel, GOOD) == "UNAUTHENTICATED"
        file.write_text("broken\n")  # those from before stay valid
        assert by_http(web, OTHER) == 200


def test_one_client_has_its_rate_and_another_its_own(root: Path, file: Path, serve: Callable[..., str]) -> None:
    file.write_text(f"{GOOD} a\n{OTHER} b\n")
    address = serve(root, access=Access(tokens=file), limits=Limits(client_rate=0.001))
    web = deployment.status(root)["http"]
    with grpc.insecure_channel(address) as channel:
        assert [by_grpc(channel, GOOD), by_grpc(channel, GOOD)] == ["OK", "RESOURCE_EXHAUSTED"]
        assert [by_http(web, GOOD), by_http(web, OTHER), by_http(web, OTHER)] == [429, 200, 429]


def test_each_request_of_a_stream_counts(root: Path, file: Path, serve: Callable[..., str]) -> None:
    address = serve(root, access=Access(tokens=file), limits=Limits(client_rate=0.001))
    requests = [oip.ModelInferRequest(model_name="nonsense")] * 2
    with grpc.insecure_channel(address) as channel:
        answers = GRPCInferenceServiceStub(channel).ModelStreamInfer(
            iter(requests), timeout=60, metadata=(("authorization", f"Bearer {GOOD}"),)
        )
        assert "must be deployed" in next(answers).error_message
        with pytest.raises(grpc.RpcError) as refused:
            next(answers)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    web = http.client.HTTPConnection(deployment.status(root)["http"], timeout=60)
    web.request("GET", "/metrics", headers={"Authorization": f"Bearer {deployment.token(root)}"})
    told = web.getresponse().read().decode()
    assert 'grpc_code="RESOURCE_EXHAUSTED",grpc_method="ModelStreamInfer"' in told


def test_a_client_may_ask_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("fleetml.serving.admission.time.monotonic", lambda: now)
    admission = Admission(None, 2.0)
    for _ in range(2):
        admission.admit("", "1.2.3.4")
    with pytest.raises(TooManyRequests, match=r"2 times a second, 1\.2\.3\.4"):
        admission.admit("", "1.2.3.4")
    now += 0.5
    admission.admit("", "1.2.3.4")
    assert not admission.open


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold a token"),
        ("short client", "tokens:1 must be"),
        (f"{GOOD}", "got 1 words"),
        (f"{GOOD} client tomorrow", "must be ISO 8601, got 'tomorrow'"),
    ],
)
def test_a_file_of_tokens_that_is_none_is_named_without_its_content(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=words) as refused:
        tokens.read(file)
    assert GOOD not in str(refused.value)
    with pytest.raises(ConfigurationError, match="must be readable"):
        Tokens(file.with_name("nowhere"))


def test_a_token_without_an_end_does_not_end(file: Path) -> None:
    file.write_text(f"{OTHER} b\n")
    assert Tokens(file).client(f"bearer {OTHER}") == "b"
    with pytest.raises(Unauthenticated):
        Tokens(file).client(OTHER)


def test_tls_answers_those_who_speak_it_and_no_plaintext(
    root: Path, certificate: Access, serve: Callable[..., str]
) -> None:
    assert certificate.certificate is not None
    address = serve(root, access=certificate)
    web = deployment.status(root)["http"]
    trusted = certificate.certificate.read_bytes()
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted)) as channel:
        assert by_grpc(channel) == "OK"
    assert by_http(web, context=ssl.create_default_context(cadata=trusted.decode())) == 200
    with grpc.insecure_channel(address) as channel:
        assert by_grpc(channel) == "UNAVAILABLE"
    with pytest.raises((http.client.HTTPException, OSError)):
        by_http(web)
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted)) as channel:  # nothing broke
        assert by_grpc(channel) == "OK"
