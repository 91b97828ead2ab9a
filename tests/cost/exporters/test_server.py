"""An endpoint over HTTP: what it answers, to whom, and what it does with those who ask badly."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetml.access import Access
from fleetml.cost.exporters import server
from fleetml.cost.exporters.pages import Board, document, page
from fleetml.cost.exporters.server import Endpoint
from fleetml.errors import ConfigurationError, Unavailable

TEXT = b"cost_exporter_alive 1\n" * 100
NOBODY_REFUSED = Access()
TOKEN = "a-token-of-prometheus"


@contextlib.contextmanager
def listening(access: Access = NOBODY_REFUSED) -> Iterator[Endpoint]:
    board = Board(
        {"/metrics": page([TEXT]), "/health": document(200, {}), "/ready": document(503, {"problems": ["x"]})}
    )
    with Endpoint("127.0.0.1", 0, board, access) as endpoint:
        threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield endpoint
        finally:
            endpoint.shutdown()


def ask(
    endpoint: Endpoint, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", endpoint.server_port, timeout=30)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def sent(endpoint: Endpoint, request: bytes) -> bytes:
    """Return all that is answered to bytes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", endpoint.server_port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_a_scrape_gets_the_bytes_on_the_board_and_the_next_one_those_that_replaced_them() -> None:
    with listening() as endpoint:
        status, headers, body = ask(endpoint)
        assert (status, body) == (200, TEXT)
        assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        endpoint.board.pages["/metrics"] = page([b"new ", b"1\n"])
        assert ask(endpoint, "/metrics?name=x")[2] == b"new 1\n"


@pytest.mark.parametrize(
    ("header", "packed"),
    [("gzip", True), ("deflate, GZIP;q=0.5", True), ("*", True), ("", False), ("gzip;q=0", False), ("br", False)],
)
def test_it_is_compressed_for_those_who_ask_for_it(header: str, packed: bool) -> None:
    with listening() as endpoint:
        _, headers, body = ask(endpoint, Accept_Encoding=header)
        assert headers.get("content-encoding") == ("gzip" if packed else None)
        assert (gzip.decompress(body) if packed else body) == TEXT
        assert int(headers["content-length"]) == len(body)


def test_head_tells_the_length_and_sends_no_body() -> None:
    with listening() as endpoint:
        got = sent(endpoint, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Length: %d\r\n" % len(TEXT) in got
        assert got.endswith(b"\r\n\r\n")


def test_a_path_that_is_none_says_which_are() -> None:
    with listening() as endpoint:
        status, _, body = ask(endpoint, "/metric")
        assert status == 404
        assert b"/metrics, /health, /ready" in body
        assert ask(endpoint, method="POST")[0] == 501
        assert ask(endpoint, "/ready")[0] == 503


def test_one_connection_may_ask_many_times() -> None:
    with (
        listening() as endpoint,
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", endpoint.server_port, timeout=30)) as connection,
    ):
        for _ in range(3):
            connection.request("GET", "/metrics")
            assert connection.getresponse().read() == TEXT


def test_a_body_is_not_taken_for_the_next_request() -> None:
    smuggled = (
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\nGET /ready HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    )
    with listening() as endpoint:
        assert sent(endpoint, smuggled).count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("length", [b"abc", b"-1", b"1e3", b"9" * 5000])
def test_a_length_that_is_none_is_told_and_the_connection_closed(length: bytes) -> None:
    ask = b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: " + length + b"\r\n\r\n"
    with listening() as endpoint:
        got = sent(endpoint, ask)
    known = length.isdigit()
    assert got.startswith(b"HTTP/1.1 200 OK\r\n" if known else b"HTTP/1.1 400 Bad Request\r\n")
    assert b"\r\nConnection: close\r\n" in got
    assert (b"bad request: Content-Length" in got) is not known


@pytest.mark.parametrize(
    "nonsense", [b"\x16\x03\x01 hello\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000]
)
def test_nonsense_ends_its_connection_and_nothing_else(nonsense: bytes) -> None:
    with listening() as endpoint:
        with socket.create_connection(("127.0.0.1", endpoint.server_port), timeout=30) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(1 << 16):
                    pass
        assert ask(endpoint)[0] == 200


def test_more_connections_than_the_limit_are_closed_until_one_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)
    with listening() as endpoint:
        with contextlib.ExitStack() as held:
            for _ in range(2):
                connection = http.client.HTTPConnection("127.0.0.1", endpoint.server_port, timeout=30)
                held.enter_context(contextlib.closing(connection))
                connection.request("GET", "/health")
                connection.getresponse().read()
            with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
                ask(endpoint)
        answered = False
        for _ in range(1000):
            with contextlib.suppress(http.client.RemoteDisconnected, ConnectionError):
                answered = ask(endpoint)[0] == 200
                break
        assert answered


def test_without_a_valid_token_only_its_health_is_told(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{TOKEN} prometheus\n")
    with listening(Access(tokens=file)) as endpoint:
        status, headers, body = ask(endpoint)
        assert (status, headers["www-authenticate"]) == (401, "Bearer")
        assert b"needs a valid token" in body
        assert ask(endpoint, "/ready")[0] == ask(endpoint, "/none")[0] == 401
        assert ask(endpoint, Authorization="Bearer wrong")[0] == 401
        assert ask(endpoint, "/health")[0] == 200
        assert ask(endpoint, Authorization=f"Bearer {TOKEN}")[2] == TEXT
        file.write_text("another-token-of-another prometheus\n")
        assert ask(endpoint, Authorization=f"Bearer {TOKEN}")[0] == 401


def test_tls_is_spoken_and_who_is_silent_holds_up_nobody(certificate: Access) -> None:
    trusted = ssl.create_default_context(cafile=str(certificate.certificate))
    with (
        listening(certificate) as endpoint,
        socket.create_connection(("127.0.0.1", endpoint.server_port)),  # never greets
        contextlib.closing(
            http.client.HTTPSConnection("127.0.0.1", endpoint.server_port, timeout=30, context=trusted)
        ) as connection,
    ):
        connection.request("GET", "/metrics")
        assert connection.getresponse().read() == TEXT


def test_what_cannot_be_listened_on_is_said() -> None:
    with (
        listening() as endpoint,
        pytest.raises(Unavailable, match=f"{endpoint.server_port} for itself, and it is taken"),
    ):
        Endpoint("127.0.0.1", endpoint.server_port, Board({}), Access())
    with pytest.raises(Unavailable, match=r"no\.such\.host\.invalid:0 for itself"):
        Endpoint("no.such.host.invalid", 0, Board({}), Access())


def test_a_certificate_without_its_key_is_refused(certificate: Access, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="TLS needs a certificate and its key"):
        Endpoint("127.0.0.1", 0, Board({}), Access(certificate=certificate.certificate))
    (tmp_path / "none.pem").write_text("none")
    with pytest.raises(ConfigurationError, match="must be a certificate and its key in PEM"):
        Endpoint("127.0.0.1", 0, Board({}), Access(tmp_path / "none.pem", certificate.key))
    with pytest.raises(ConfigurationError, match="must be a certificate and its key in PEM"):
        Endpoint("127.0.0.1", 0, Board({}), Access(tmp_path / "nowhere.pem", certificate.key))
