"""The few API calls that a runner makes, over real HTTP: plain answers, watches, logs that are followed."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import json
import time
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.cluster.manifests import Refused

if TYPE_CHECKING:
    from tests.cluster import Cluster


_STATUS = {400: "BadRequest", 403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}


class Handler(http.server.BaseHTTPRequestHandler):
    cluster: Cluster
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        asked = dict(urllib.parse.parse_qsl(query))
        self.cluster.requests.append(("GET", path))
        if path.endswith("/log"):
            self.stream(self.logged(path.split("/")[-2], asked))
        elif asked.get("watch"):
            self.stream(self.watched(asked))
        else:
            self.plain("GET", path, asked)

    def do_POST(self) -> None:
        self.with_body("POST")

    def do_DELETE(self) -> None:
        self.with_body("DELETE")

    def with_body(self, method: str) -> None:
        path, _, query = self.path.partition("?")
        self.cluster.requests.append((method, path))
        self.plain(method, path, dict(urllib.parse.parse_qsl(query)))

    def plain(self, method: str, path: str, query: dict[str, str]) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.send(200, self.cluster.answer(method, path, query, json.loads(content) if content else None))
        except Refused as refused:
            self.refuse(refused)

    def refuse(self, refused: Refused) -> None:
        status, reason = refused.status, _STATUS.get(refused.status, "Unknown")
        told = {"kind": "Status", "status": "Failure", "message": str(refused), "reason": reason, "code": status}
        self.send(status, told)

    def send(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, chunks: Iterator[bytes]) -> None:
        """Send what comes, an empty piece first (headers alone) unless the call is refused."""
        try:
            next(chunks)
        except Refused as refused:
            return self.refuse(refused)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for chunk in chunks:
                self.chunk(chunk)
            self.chunk(b"")
        except ConnectionError:
            self.close_connection = True

    def chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def watched(self, query: dict[str, str]) -> Iterator[bytes]:
        """Yield the events of one pod, as they come."""
        name, seen = query["fieldSelector"].removeprefix("metadata.name="), int(query.get("resourceVersion") or 0)
        pod, until = self.cluster.pods.get(name), time.monotonic() + float(query.get("timeoutSeconds", 60))
        yield b""
        while pod and time.monotonic() < until:
            with self.cluster.changed:
                events = [event for event in pod.events if event[0] > seen]
                if not events:
                    self.cluster.changed.wait(0.5)
            for version, kind, body in events:
                seen = version
                yield f'{{"type": "{kind}", "object": {body}}}\n'.encode()
                if kind == "DELETED":
                    return

    def logged(self, name: str, query: dict[str, str]) -> Iterator[bytes]:
        """Yield the lines of a pod's log, as they come."""
        pod = self.cluster.pod(name)
        if not pod.process and not pod.over.is_set():
            raise Refused(
                400, f'container "{query["container"]}" in pod "{name}" is waiting to start: ContainerCreating'
            )
        yield b""
        follow, stamped = query.get("follow") == "True", query.get("timestamps") == "True"
        since, cut, told = _since(query), self.cluster.cut_logs > 0, 0
        while True:
            with self.cluster.changed:
                over = pod.over.is_set()
                lines = pod.log[told:]
                if not lines and follow and not over:
                    self.cluster.changed.wait(0.5)
            for stamp, line in lines:
                told += 1
                if stamp >= since:
                    yield (stamp.encode() + b" " if stamped else b"") + line + b"\n"
                    if cut:
                        self.cluster.cut_logs -= 1
                        raise ConnectionResetError
            if (over or not follow) and told == len(pod.log):
                return


def _since(query: dict[str, str]) -> str:
    """Return the time from which on lines of a log are asked for."""
    if "sinceSeconds" not in query:
        return ""
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=int(query["sinceSeconds"]))
    return f"{begin:%Y-%m-%dT%H:%M:%S.%f}"
