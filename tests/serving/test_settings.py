"""What a server is told when it starts, and does: batches, samples of the log, the cache, and what it refuses to start with."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import grpc
import pyarrow.dataset as ds
import pytest

from fleetml.errors import ConfigurationError, Unavailable
from fleetml.serving import deployment, listeners
from fleetml.serving.admission import Admission
from fleetml.serving.deployment import Card
from fleetml.serving.options import Access, Limits, Options
from fleetml.serving.proto import open_inference_pb2 as oip
from fleetml.serving.proto.open_inference_pb2_grpc import GRPCInferenceServiceStub
from fleetml.serving.tokens import Tokens
from fleetml.stack.processes import wait_until
from fleetml_client import ai_service_pb2 as ai
from fleetml_client.ai_service_pb2_grpc import AIServiceStub

TOKEN = "a-token-of-some-length"
ASK = ai.BandwidthRequest(vm_id="vm-1", historical_metrics=range(12), horizon_minutes=10)


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    path, folder = graph(), tmp_path / "serving"
    deployment.install(folder, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(folder, "bandwidth", "1")
    return folder


def logged(root: Path) -> int:
    files = list((root / "predictions").rglob("*.parquet"))
    return int(ds.dataset(files).count_rows()) if files else 0


def test_a_batch_is_answered_in_its_order_and_logged_one_by_one(root: Path, serve: Callable[..., str]) -> None:
    requests = [ASK, ai.BandwidthRequest(vm_id="vm-2", historical_metrics=[3.0] * 12, horizon_minutes=5)]
    with grpc.insecure_channel(serve(root)) as channel:
        stub = AIServiceStub(channel)
        answer = stub.PredictBandwidthBatch(ai.BandwidthBatchRequest(requests=requests), timeout=60)
        assert [list(each.predictions) for each in answer.responses] == [[11.0, 11.0], [3.0]]
        assert len(stub.PredictBandwidthBatch(ai.BandwidthBatchRequest(), timeout=60).responses) == 0
        assert wait_until(lambda: logged(root) == 2, 60, 0.05)
        requests[1].vm_id = ""
        with pytest.raises(grpc.RpcError) as refused:
            stub.PredictBandwidthBatch(ai.BandwidthBatchRequest(requests=requests), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().startswith("question 1 of the batch: a forecast needs the VM")


def test_a_share_of_the_answers_is_logged(root: Path, serve: Callable[..., str]) -> None:
    requests = ai.BandwidthBatchRequest(requests=[ASK] * 400)
    with grpc.insecure_channel(serve(root, log_share=0.25)) as channel:
        AIServiceStub(channel).PredictBandwidthBatch(requests, timeout=60)
        assert wait_until(lambda: logged(root) > 0, 60, 0.05)
    assert 50 < logged(root) < 150  # six standard deviations


def test_a_cached_answer_is_the_same_and_goes_with_its_version(
    root: Path, serve: Callable[..., str], graph: Callable[..., Path]
) -> None:
    with grpc.insecure_channel(serve(root, limits=Limits(cache_entries=10))) as channel:
        stub = AIServiceStub(channel)
        assert [list(stub.PredictBandwidth(ASK, timeout=60).predictions) for _ in range(2)] == [[11.0, 11.0]] * 2
        path = graph(add=1, name="second.onnx")
        deployment.install(root, Card("bandwidth", "2", deployment.digest(path)), {deployment.GRAPH: path})
        deployment.point(root, "bandwidth", "2")
        assert wait_until(lambda: stub.PredictBandwidth(ASK, timeout=60).model_version == "2", 60, 0.02)
        assert list(stub.PredictBandwidth(ASK, timeout=60).predictions) == [12.0, 12.0]


def test_streams_need_their_token_too(root: Path, serve: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f"{TOKEN} a\n")
    request = oip.ModelInferRequest(model_name="nonsense")
    with grpc.insecure_channel(serve(root, access=Access(tokens=tmp_path / "tokens"))) as channel:
        stub = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            list(stub.ModelStreamInfer(iter([request]), timeout=60))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        (answer,) = stub.ModelStreamInfer(iter([request]), timeout=60, metadata=(("authorization", f"Bearer {TOKEN}"),))
        assert "must be deployed" in answer.error_message


def test_a_broken_file_of_tokens_leaves_those_from_before(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN} a\n")
    known = Tokens(path)
    path.write_text("broken\n")
    known.refresh()
    assert known.client(f"Bearer {TOKEN}") == "a"
    path.unlink()
    known.refresh()
    path.write_text(f"{TOKEN[::-1]} b\n")
    known.refresh()
    assert known.client(f"Bearer {TOKEN[::-1]}") == "b"


def test_ports_that_are_taken_are_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port} for itself.*--http-port"):
            listeners.bind_http(Options(tmp_path, http_port=port), 1, shared=False)
        with pytest.raises(Unavailable, match="choose another --port"):
            listeners.reserve("127.0.0.1", port, "port")
        other = listeners.bind_http(Options(tmp_path), port - 1, shared=False)  # the next is taken: any other
        assert other.getsockname()[1] != port
        other.close()


@pytest.mark.parametrize(
    ("names", "words"),
    [(("c.pem",), "got one of them"), (("c.pem", "k.pem"), "must be a certificate and its key in PEM")],
)
def test_half_a_certificate_and_a_wrong_one_are_refused_at_the_start(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    for name in names:
        (tmp_path / name).write_text("no PEM")
    options = Options(tmp_path, port=0, access=Access(*(tmp_path / name for name in names)))

    async def bind() -> None:
        listeners.bind_grpc(listeners.grpc_server(Admission(None, 0), shared=False, connections=9), options)

    with pytest.raises(ConfigurationError, match=words):
        asyncio.run(bind())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--log-share", "2"], "--log-share must be from 0 to 1"),
        (["--workers", "0"], "--workers must be from 1 to 256"),
        (["--tokens", "/nowhere"], "the file of tokens must be readable"),
    ],
)
def test_what_no_server_can_do_is_refused(tmp_path: Path, more: list[str], words: str) -> None:
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(tmp_path / "serving"), "--port", "0", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
