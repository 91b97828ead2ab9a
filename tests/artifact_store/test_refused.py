"""Every way in which a store cannot be used is told, and leaves nothing that looks like a result."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleetml.artifact_store import ArtifactStore
from fleetml.errors import ConfigurationError, Unavailable
from fleetml.records import Run
from tests.artifact_store.conftest import forget
from tests.artifact_store.pipelines import go


def test_a_bucket_that_is_not_there_is_told_before_anything_is_computed(
    s3: Any, two_steps: Path, machines: Any
) -> None:
    said = r"the artifact store s3://elsewhere/x must be there.*create the bucket, or correct FLEETML_STORE"
    with pytest.raises(ConfigurationError, match=said):
        go(two_steps, replace(machines[0], store="s3://elsewhere/x"), "r")
    assert not Run(machines[0].home, "r").exists()


class Server(http.server.BaseHTTPRequestHandler):
    """Answers with `status`; where that is 0, hangs up on what is sent."""

    status = 403

    def _answer(self) -> None:
        if self.command == "PUT" and not self.status:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>" if self.status else b""
        self.send_response(self.status or 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_PUT = do_POST = _answer

    def log_message(self, *known: object) -> None:
        pass


@contextmanager
def serving(status: int) -> Iterator[str]:
    kind = type("Kind", (Server,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:  # also of a test that fails, or its process never ends
            server.shutdown()
            thread.join()


def test_no_access_is_told(s3_variables: Callable[[str], None], tmp_path: Path) -> None:
    with serving(403) as address:
        s3_variables(address)
        with pytest.raises(ConfigurationError, match=r"s3://lake must let us in.*AWS_ACCESS_KEY_ID"):
            ArtifactStore("s3://lake", tmp_path).ready()


def test_no_credentials_are_told(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    forget()
    with pytest.raises(ConfigurationError, match=r"s3://lake must let us in"):
        ArtifactStore("s3://lake", tmp_path).ready()


def test_nobody_there_is_told(s3_variables: Callable[[str], None], tmp_path: Path) -> None:
    s3_variables("http://127.0.0.1:1")
    with pytest.raises(Unavailable, match=r"s3://lake must answer.*AWS_ENDPOINT_URL"):
        ArtifactStore("s3://lake", tmp_path).ready()


def test_an_upload_that_is_cut_off_fails_the_step_and_leaves_no_result(
    s3_variables: Callable[[str], None], two_steps: Path, machines: Any
) -> None:
    with serving(0) as address:
        s3_variables(address)
        latest = go(two_steps, machines[0], "r")
    failure = latest["make"].failure
    assert failure is not None
    assert (failure["type"], latest["use"].state) == ("Unavailable", "upstream_failed")
    assert "must answer, putting make-" in failure["message"]
    assert list((machines[0].home / "results").iterdir()) == []
    assert not list((machines[0].home / "cache").rglob("*.json"))
