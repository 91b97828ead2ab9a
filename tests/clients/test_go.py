"""The example in Go, built by Debian's packages, against a real server."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetml.serving import deployment
from fleetml.serving.deployment import Card
from fleetml.serving.options import Access
from tests.small_graphs import anomaly

ROOT = Path(__file__).parents[2]
LIBRARY = Path("/usr/share/gocode/src/google.golang.org/grpc")
TOKEN = "a-token-of-the-example-in-go"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program."""
    if not shutil.which("go") or not LIBRARY.is_dir():
        pytest.skip("needs Go and its gRPC (Debian: golang-go, golang-google-grpc-dev)")
    folder = tmp_path_factory.mktemp("go")
    command = ["make", "-C", str(ROOT / "clients/go"), "debian", f"BUILD={folder}"]
    done = subprocess.run(
        [*command, f"PROTOC={sys.executable} -m grpc_tools.protoc"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "ask"


@pytest.fixture
def root(tmp_path: Path, graph: Callable[..., Path]) -> Path:
    """A serving folder with a forecaster and a model of anomalies."""
    folder, judge = tmp_path / "serving", tmp_path / "judge.onnx"
    judge.write_bytes(anomaly())
    for name, path in (("bandwidth", graph()), ("anomaly", judge)):
        deployment.install(folder, Card(name, "7", deployment.digest(path)), {deployment.GRAPH: path})
        deployment.point(folder, name, "7")
    return folder


def run(ask: Path, address: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [str(ask), "-address", address, "-timeout", "60s", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_it_is_answered_over_tls_with_a_token_and_refused_without(
    ask: Path, root: Path, certificate: Access, tmp_path: Path, serve: Callable[..., str]
) -> None:
    token, tokens = tmp_path / "token", tmp_path / "tokens"
    token.write_text(f"{TOKEN}\n")
    tokens.write_text(f"{TOKEN} tests\n")
    address = serve(root, access=Access(certificate.certificate, certificate.key, tokens))
    trusting = ("-trusted", str(certificate.certificate))
    done = run(ask, address, *trusting, "-token-file", str(token))
    assert done.returncode == 0, done.stderr
    assert [line.split(",")[-1] for line in done.stdout.splitlines()] == [" version 7", " version 7"]
    assert "anomaly true (" in done.stdout
    refused = run(ask, address, *trusting)
    assert refused.returncode == 1
    assert "code = Unauthenticated" in refused.stderr


def test_what_the_server_refuses_is_told(ask: Path, root: Path, serve: Callable[..., str]) -> None:
    refused = run(ask, serve(root), "-points", "3")
    assert refused.returncode == 1
    assert "at least 12 values" in refused.stderr
