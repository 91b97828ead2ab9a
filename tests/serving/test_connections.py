"""Ten thousand connections to a server process, more than its limit of files allows, and those that dawdle."""

import contextlib
import resource
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.options import OTHER_FILES, Limits
from fleetml.stack.processes import wait_until
from fleetml_client import Client, Unavailable

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
MANY = min(10_000, (HARD - OTHER_FILES) // 2 - 50)
HISTORY = [float(value) for value in range(12)]
READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    path, folder = graph(), tmp_path / "serving"
    deployment.install(folder, Card("bandwidth", "1", deployment.digest(path)), {deployment.GRAPH: path})
    deployment.point(folder, "bandwidth", "1")
    return folder


@contextlib.contextmanager
def server(root: Path, files: tuple[int, int]) -> Iterator[Path]:
    """A server process with these limits of open files, soft and hard; yield its log."""
    command = ["sh", "-c", f'ulimit -Sn {files[0]} && ulimit -Hn {files[1]} && exec "$@"', "sh"]
    command += [sys.executable, "-m", "fleetml.serving", "--dir", str(root), "--port", "0"]
    with (root / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            assert wait_until(lambda: bool(deployment.status(root).get("models")), 120, 0.05)
            yield root / "log"
            assert process.poll() is None
        finally:
            process.terminate()


def connect(address: str) -> socket.socket:
    """A connection from an address of its own, so that no other test lacks ports; it ends without lingering."""
    host, _, port = address.rpartition(":")
    made = socket.create_connection((host, int(port)), timeout=120, source_address=("127.0.0.2", 0))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return made


def served(connection: socket.socket, greeting: bytes) -> bool:
    """Say whether a greeting is answered; False: 503, or closed."""
    try:
        connection.sendall(greeting)
        said = connection.recv(4096)
        while greeting is READY and said and not said.endswith(b"}"):  # head and body may come apart
            if b"503 Service Unavailable" in said:
                break
            said += (more := connection.recv(4096))
            if not more:
                break
    except OSError:
        return False
    return said[3:4] == b"\x04" if greeting is PREFACE else said.startswith(b"HTTP/1.1 200")


@pytest.fixture
def files() -> Iterator[None]:
    """Let this process open as many files as the system allows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (HARD, HARD))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("kind", "greeting"), [("http", READY), ("address", PREFACE)], ids=["http", "grpc"])
def test_ten_thousand_connections_are_held(root: Path, files: None, kind: str, greeting: bytes) -> None:
    if MANY < 2000:
        pytest.skip(f"needs open files for 2,000 connections or more, the system allows {HARD} a process")
    with server(root, (1024, HARD)), contextlib.ExitStack() as held:  # it raises its own soft limit
        address = deployment.status(root)[kind]
        many = [held.enter_context(connect(address)) for _ in range(MANY)]
        assert all(served(connection, greeting) for connection in many)
        with Client(deployment.status(root)["address"], 60) as client:
            assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
        if kind == "http":
            assert served(many[0], greeting)
            assert served(many[-1], greeting)


@pytest.mark.parametrize(("kind", "greeting"), [("http", READY), ("address", PREFACE)], ids=["http", "grpc"])
def test_beyond_the_limit_of_files_more_are_refused_and_others_are_answered(
    root: Path, kind: str, greeting: bytes
) -> None:
    with server(root, (200, 400)) as log:
        address, both = deployment.status(root)[kind], deployment.status(root)
        with contextlib.ExitStack() as held:
            tried = [held.enter_context(connect(address)) for _ in range(450)]
            found = [served(connection, greeting) for connection in tried]
            assert 100 <= sum(found) <= (400 - OTHER_FILES) // 2
            with connect(both["http"]) as other:  # the other protocol has its own share
                assert kind == "http" or served(other, READY)
            with Client(both["address"], 60) as client:
                assert kind != "http" or client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)

        def again() -> bool:
            with connect(address) as fresh:
                return served(fresh, greeting)

        assert wait_until(again, 60, 0.05)
        with Client(both["address"], 60) as client:
            assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
        assert "Traceback" not in log.read_text()


def closed(connection: socket.socket) -> bool:
    """Wait for the other side to close."""
    try:
        return connection.recv(4096) == b""
    except OSError:
        return True


def test_a_head_that_does_not_come_or_does_not_end_closes_its_connection(root: Path, serve: Callable[..., str]) -> None:
    address = serve(root, limits=Limits(request_seconds=0.3))
    web = deployment.status(root)["http"]
    with connect(web) as silent, connect(web) as slow, connect(web) as endless, connect(web) as second:
        slow.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHos")
        assert served(second, READY)
        second.sendall(b"GET /v2/")  # a good beginning does not help
        assert all(closed(connection) for connection in (silent, slow, second))
        with contextlib.suppress(OSError):
            endless.sendall(b"GET /v2/health/ready HTTP/1.1\r\n")
            for _ in range(40):
                endless.sendall(b"X-More: " + b"x" * 60_000 + b"\r\n")
        assert closed(endless)
    with Client(address, 60) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)


def test_tls_to_a_plaintext_port_is_refused_and_others_are_answered(root: Path, serve: Callable[..., str]) -> None:
    address = serve(root)
    for target in (address, deployment.status(root)["http"]):
        context = ssl.create_default_context()
        with connect(target) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
            context.wrap_socket(plain, server_hostname="localhost")
    with Client(address, timeout=60, tls=True, attempts=1) as mistaken, pytest.raises(Unavailable) as refused:
        mistaken.predict_bandwidth("vm-1", HISTORY, 5)
    assert refused.value.code is grpc.StatusCode.UNAVAILABLE
    with Client(address, 60) as client:
        assert client.predict_bandwidth("vm-1", HISTORY, 5).values == (11.0,)
