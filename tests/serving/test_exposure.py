"""Beyond loopback, and deploy's own way in: what a server warns of, and who gets past tokens and rates."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.deploy import smoke
from fleetml.errors import FleetMLError
from fleetml.serving import deployment
from fleetml.serving.admission import Admission
from fleetml.serving.client import Client
from fleetml.serving.deployment import Card
from fleetml.serving.errors import TooManyRequests, Unauthenticated
from fleetml.serving.options import Access, Limits
from fleetml.serving.tokens import issue

SOME = Path("file")
HISTORY = [float(value) for value in range(12)]


@pytest.mark.parametrize(
    ("host", "access", "words"),
    [
        ("0.0.0.0", Access(), "no --tokens"),
        ("[::]", Access(), "no --tokens"),
        ("models.example.com", Access(certificate=SOME, key=SOME), "no --tokens"),
        ("10.0.0.7", Access(tokens=SOME), "in the clear to 10.0.0.7"),
        ("0.0.0.0", Access(SOME, SOME, SOME), ""),
        ("127.0.0.1", Access(), ""),
        ("::1", Access(), ""),
        ("[::1]", Access(tokens=SOME), ""),
        ("localhost", Access(), ""),
    ],
)
def test_whoever_listens_beyond_loopback_is_warned(host: str, access: Access, words: str) -> None:
    assert words in access.exposed(host)
    assert bool(words) == bool(access.exposed(host))


def test_the_warning_stands_in_the_servers_log(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fleetml.serving", "--dir", str(tmp_path), "--host", "0.0.0.0", "--port", "-1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "WARNING" in done.stderr
    assert "whoever reaches 0.0.0.0 may ask" in done.stderr


@pytest.fixture
def card(tmp_path: Path, graph: Callable[..., Path]) -> Card:
    path = graph()
    made = Card("bandwidth", "1", deployment.digest(path))
    deployment.install(tmp_path / "serving", made, {deployment.GRAPH: path})
    deployment.point(tmp_path / "serving", "bandwidth", "1")
    return made


def ask(client: Client, card: Card) -> dict[str, Any]:
    """More questions than the rate allows."""
    return {"answers": [client.predict_bandwidth("vm-1", HISTORY, 5).model_version for _ in range(5)]}


def test_deploy_gets_past_tokens_and_rate(tmp_path: Path, card: Card, serve: Callable[..., str]) -> None:
    root, tokens = tmp_path / "serving", tmp_path / "tokens"
    tokens.write_text("a-token-of-somebody-else somebody\n")
    address = serve(root, access=Access(tokens=tokens), limits=Limits(client_rate=0.001))
    assert smoke.live(root, address, card, SimpleNamespace(ask=ask))["answers"] == ["1"] * 5
    assert stat.S_IMODE((root / deployment.MAY_ASK).stat().st_mode) == 0o600
    with Client(address) as stranger, pytest.raises(FleetMLError, match="needs a valid token"):
        stranger.predict_bandwidth("vm-1", HISTORY, 5)


def test_deploy_speaks_tls_where_the_server_does(
    tmp_path: Path, card: Card, certificate: Access, serve: Callable[..., str]
) -> None:
    address = serve(tmp_path / "serving", access=certificate)
    code = f"""
from pathlib import Path
from types import SimpleNamespace
from components.deploy import smoke
from fleetml.serving.deployment import Card
from tests.serving.test_exposure import ask
card = Card("bandwidth", "1", {card.sha256!r})
print(smoke.live(Path({str(tmp_path / "serving")!r}), {address!r}, card, SimpleNamespace(ask=ask)))
"""
    # gRPC reads the certificates it trusts once a process
    env = {**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(certificate.certificate)}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=env, cwd=root)
    assert done.returncode == 0, done.stderr
    assert "['1', '1', '1', '1', '1']" in done.stdout


def test_the_token_of_a_folder_is_made_once(tmp_path: Path) -> None:
    made = {issue(tmp_path) for _ in range(5)}
    assert made == {deployment.token(tmp_path)}
    assert len(made.pop()) > 30
    assert deployment.token(tmp_path / "nowhere") == issue(tmp_path / "nowhere") == ""


def test_an_empty_token_lets_nobody_in(tmp_path: Path) -> None:
    tokens = SimpleNamespace(client=lambda authorization: (_ for _ in ()).throw(Unauthenticated("no")))
    for authorization in ("", "Bearer", "Bearer "):
        with pytest.raises(Unauthenticated):
            Admission(tokens, 0.0).admit(authorization, "1.2.3.4")  # type: ignore[arg-type]
    admission = Admission(None, 1.0, "the-token")
    for _ in range(3):
        admission.admit("Bearer the-token", "1.2.3.4")
    admission.admit("Bearer another", "1.2.3.4")
    with pytest.raises(TooManyRequests):
        admission.admit("Bearer another", "1.2.3.4")
