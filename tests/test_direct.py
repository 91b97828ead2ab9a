"""HTTP that goes where its address says, and nowhere else."""

from __future__ import annotations

import http.server
import threading
import urllib.error
from collections.abc import Iterator

import pytest

from fleetml import direct


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """An address whose server sends all who ask to /there; the paths that were asked."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200 if self.path == "/there" else 307)
            self.send_header("Location", "/there")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *known: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


def test_a_redirect_is_an_answer_and_is_not_followed(elsewhere: tuple[str, list[str]]) -> None:
    address, asked = elsewhere
    with pytest.raises(urllib.error.HTTPError, match="307"):
        direct.opener(f"{address}/here").open(f"{address}/here", timeout=30)
    assert asked == ["/here"]


def test_no_proxy_stands_before_this_machine(elsewhere: tuple[str, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    address, asked = elsewhere
    direct.opener(address).open(f"{address}/there", timeout=30).close()
    assert asked == ["/there"]
    with pytest.raises(urllib.error.URLError, match="refused"):
        direct.opener("http://example.invalid").open("http://example.invalid/", timeout=30)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("", False),
    ],
)
def test_what_is_this_machine(host: str, here: bool) -> None:
    assert direct.is_loopback(host) is here


def test_a_token_in_the_clear_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        direct.warn_of_clear("http://user:word@exposed.example:9090/path?key=word")
    (line,) = caplog.messages
    assert "a token travels in the clear to exposed.example:9090, which is beyond loopback" in line
    assert "word" not in line


@pytest.mark.parametrize(
    "url", ["https://there.example", "http://127.0.0.1:9090", "http://[::1]:9090", "http://localhost"]
)
def test_of_what_nobody_else_can_read_nothing_is_warned(url: str, caplog: pytest.LogCaptureFixture) -> None:
    direct.warn_of_clear(url)
    assert caplog.messages == []
