"""The client package: what its wheel holds, installed by itself, against a real server; retries, deadlines, errors."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path

import grpc
import numpy as np
import pytest

import fleetml_client
from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.options import Access
from fleetml.stack import environments
from fleetml_client import AnomalyQuestion, AsyncClient, BandwidthQuestion, Client, Node, ai_service_pb2
from fleetml_client.ai_service_pb2_grpc import AIServiceServicer, add_AIServiceServicer_to_server
from fleetml_client.calls import SERVICE
from tests.small_graphs import anomaly

ROOT = Path(__file__).parents[2]
HISTORY = [float(value) for value in range(12)]
PAIR = [BandwidthQuestion("vm-1", HISTORY, 5), BandwidthQuestion("vm-2", HISTORY, 10)]
TOKEN = "a-token-of-the-client-package"
ASK = """
import asyncio, importlib.util, json, sys
from pathlib import Path
from fleetml_client import AsyncClient, BandwidthQuestion, Client, Denied
address, trusted, token = sys.argv[1:]
history = [float(value) for value in range(12)]

async def later():
    async with AsyncClient(address, 60, token=token, trusted=Path(trusted)) as client:
        return await client.predict_bandwidth("vm-1", history, 10)

with Client(address, 60, token=token, trusted=Path(trusted)) as client:
    one = client.predict_bandwidth("vm-1", history, 10)
    many = client.predict_bandwidth_batch([BandwidthQuestion("vm-1", history, 5)] * 3)
try:
    Client(address, 60, token="wrong", trusted=Path(trusted)).predict_bandwidth("vm-1", history, 10)
except Denied as error:
    denied = error.code.name
absent = [name for name in ("fleetml", "numpy", "grpc_health") if importlib.util.find_spec(name)]
print(json.dumps([one.values, asyncio.run(later()).values, len(many), denied, absent]))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, and a virtual environment that holds it and what it needs."""
    folder = tmp_path_factory.mktemp("client")
    python = str(folder / "venv/bin/python")
    _uv("build", "--out-dir", str(folder), str(ROOT / "clients/python"))  # the wheel out of the source distribution
    _uv("venv", "--python", sys.executable, str(folder / "venv"))
    _uv("pip", "install", "--python", python, *map(str, folder.glob("*.whl")))
    return folder


def _uv(*arguments: str) -> None:
    command = [str(environments.find_uv(ROOT)), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environments._uv_environment(), timeout=600, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    path, folder = graph(), tmp_path / "serving"
    deployment.install(folder, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(folder, "bandwidth", "1")
    return folder


def test_the_wheel_by_itself_asks_a_server_over_tls_with_a_token(
    bare: Path, root: Path, certificate: Access, tmp_path: Path, serve: Callable[..., str]
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{TOKEN} tests\n")
    address = serve(root, access=Access(certificate.certificate, certificate.key, tokens))
    command = [str(bare / "venv/bin/python"), "-I", "-c", ASK, address, str(certificate.certificate), TOKEN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=bare)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[11.0, 11.0], [11.0, 11.0], 3, "UNAUTHENTICATED", []]


def test_the_wheel_holds_all_sources_and_its_types(bare: Path) -> None:
    (wheel,) = bare.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("fleetml_client/")}
    sources = (ROOT / "src/fleetml_client").glob("*.py*")
    assert names == {"fleetml_client/py.typed", *(f"fleetml_client/{path.name}" for path in sources)}


def test_arrays_lists_and_generators_are_one(root: Path, serve: Callable[..., str]) -> None:
    with Client(serve(root), 60) as client:
        given = [HISTORY, tuple(HISTORY), np.array(HISTORY), np.array(HISTORY, np.float32), (v for v in HISTORY)]
        assert {client.predict_bandwidth("vm-1", history, 5).values for history in given} == {(11.0,)}
        assert client.healthy()
        assert client.healthy(SERVICE)
        assert client.healthy(f"{SERVICE}/bandwidth")
        assert not client.healthy(f"{SERVICE}/cpu")


def test_asyncio_asks_many_at_once(root: Path, serve: Callable[..., str]) -> None:
    address = serve(root)

    async def ask() -> list[fleetml_client.Forecast]:
        async with AsyncClient(address, 60) as client:
            assert await client.healthy()
            with pytest.raises(fleetml_client.UnknownModel, match="model 'cpu' must be deployed"):
                await client.forecast("cpu", "vm-1", HISTORY, 5)
            job = fleetml_client.PlacementQuestion("job", {"cpu": 1.0}, [Node("a", 1, 1)])
            for asked in (
                client.optimize_placement("job", {"cpu": 1.0}, [Node("a", 1, 1)]),
                client.optimize_placement_batch([job]),
                client.detect_anomaly("vm-1", {"cpu": 1.0}),
                client.detect_anomaly_batch([AnomalyQuestion("vm-1", {"cpu": 1.0})]),
            ):
                with pytest.raises(fleetml_client.UnknownModel, match=r"'anomaly'|'placement'"):
                    await asked
            assert [len(one.values) for one in await client.predict_bandwidth_batch(PAIR)] == [1, 2]
            return await asyncio.gather(*[client.predict_bandwidth("vm-1", HISTORY, 5) for _ in range(50)])

    assert {answer.values for answer in asyncio.run(ask())} == {(11.0,)}


def test_answers_are_values_of_their_own(root: Path, tmp_path: Path, serve: Callable[..., str]) -> None:
    graph = tmp_path / "judge.onnx"
    graph.write_bytes(anomaly())
    deployment.install(root, Card("anomaly", "4", deployment.digest(graph)), {deployment.GRAPH: graph})
    deployment.point(root, "anomaly", "4")
    with Client(serve(root), 60) as client:
        one = client.detect_anomaly("vm-1", {"cpu": 99.0})
        assert client.detect_anomaly_batch([AnomalyQuestion("vm-1", {"cpu": 99.0})] * 2) == [one, one]
        assert (one.is_anomaly, one.anomaly_type, one.model_version) == (True, "cpu", "4")
        assert sum(one.contributions.values()) == pytest.approx(1)
        with pytest.raises(fleetml_client.UnknownModel):
            client.optimize_placement_batch([fleetml_client.PlacementQuestion("job", {"cpu": 1.0}, [Node("a", 1, 1)])])


def test_what_the_server_refuses_is_told_by_its_kind(root: Path, serve: Callable[..., str]) -> None:
    with Client(serve(root), 60) as client:
        with pytest.raises(fleetml_client.InvalidQuestion, match="from 1 to 20") as refused:
            client.predict_bandwidth("vm-1", HISTORY, 0)
        assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(fleetml_client.InvalidQuestion, match="question 1 of the batch"):
            client.predict_bandwidth_batch([BandwidthQuestion("vm-1", HISTORY, 5), BandwidthQuestion("", HISTORY, 5)])
        for metrics in ({"speed": 1.0}, {"cpu": "much"}):
            with pytest.raises(fleetml_client.InvalidQuestion, match=r"the fields of ai_service\.proto"):
                client.detect_anomaly("vm-1", metrics)  # type: ignore[arg-type]


def test_a_certificate_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(fleetml_client.Error, match="trusted must be a readable PEM file"):
        Client("127.0.0.1:1", trusted=tmp_path / "nowhere.pem")


class _Failing(AIServiceServicer):
    """Fails with `code` until it was asked `times` times."""

    def __init__(self, code: grpc.StatusCode, times: int) -> None:
        self.code, self.times, self.asked = code, times, 0

    def PredictBandwidth(self, request: object, context: grpc.ServicerContext) -> ai_service_pb2.BandwidthResponse:
        self.asked += 1
        if self.asked <= self.times:
            context.abort(self.code, "not now")
        return ai_service_pb2.BandwidthResponse(model_version="1")


@contextlib.contextmanager
def _failing(code: grpc.StatusCode, times: int) -> Iterator[tuple[str, _Failing]]:
    server, service = grpc.server(futures.ThreadPoolExecutor(2)), _Failing(code, times)
    add_AIServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", service
    server.stop(0)


def test_only_what_is_unavailable_is_tried_again() -> None:
    with _failing(grpc.StatusCode.UNAVAILABLE, 2) as (address, service), Client(address, 60) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).model_version == "1"
        assert service.asked == 3
    with _failing(grpc.StatusCode.UNAVAILABLE, 2) as (address, service), Client(address, 60, attempts=1) as client:
        with pytest.raises(fleetml_client.Unavailable, match="not now"):
            client.predict_bandwidth("vm-1", HISTORY, 5)
        assert service.asked == 1
    for code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT):
        with _failing(code, 1) as (address, service), Client(address, 60) as client:
            with pytest.raises(fleetml_client.Error) as refused:
                client.predict_bandwidth("vm-1", HISTORY, 5)
            assert (service.asked, refused.value.code) == (1, code)


def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # the kernel connects, nobody speaks
        Client(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.2) as client,
    ):
        with pytest.raises((fleetml_client.DeadlineExceeded, fleetml_client.Unavailable)):
            client.predict_bandwidth("vm-1", HISTORY, 5)
        assert not client.healthy()
