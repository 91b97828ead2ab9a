"""The HTTP server of an endpoint: standard library, a thread for each connection, of which there is a limit."""

from __future__ import annotations

import http.server
import logging
import socket
import socketserver
import threading
from http import HTTPStatus
from typing import Any

from fleetml.access import Access, Tokens, Unauthenticated
from fleetml.cost.exporters.pages import Board, Page
from fleetml.errors import Unavailable

CONNECTIONS = 64
"""Of an endpoint at once; one more is closed unanswered. Each may hold a thread for `SECONDS` of silence."""
SECONDS = 60.0
OPEN = ("/health",)
"""Paths that need no token."""

log = logging.getLogger(__name__)


class _Answer(http.server.BaseHTTPRequestHandler):
    """One connection, which may ask many times."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "fleetml", ""
    timeout = SECONDS
    disable_nagle_algorithm = True  # the head and the body are two writes: the second would wait for an acknowledgement
    server: Endpoint

    def do_GET(self) -> None:
        length = self.headers.get("Content-Length", "").strip()
        sound = not length or (length.isascii() and length.isdecimal())
        page = self._page() if sound else _said(HTTPStatus.BAD_REQUEST, "Content-Length is a whole number from 0 up")
        packed = bool(page.packed) and accepts_gzip(self.headers.get("Accept-Encoding", ""))
        body = page.packed if packed else page.plain
        self.send_response(page.status)
        self.send_header("Content-Type", page.kind)
        self.send_header("Content-Length", str(len(body)))
        if page.packed:
            self.send_header("Vary", "Accept-Encoding")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        if page.status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        if length.strip("0") or "Transfer-Encoding" in self.headers:
            self.send_header("Connection", "close")  # a body that nobody reads would be taken for the next request
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET

    def _page(self) -> Page:
        path = self.path.partition("?")[0]
        if self.server.tokens and path not in OPEN:
            try:
                self.server.tokens.refresh()
                self.server.tokens.client(self.headers.get("Authorization", ""))
            except Unauthenticated as error:
                return _said(HTTPStatus.UNAUTHORIZED, str(error))
        pages = self.server.board.pages
        return pages.get(path) or _said(HTTPStatus.NOT_FOUND, f"there are {', '.join(pages)}")

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):  # gone, or not speaking TLS or HTTP: nobody is there to be told
            log.debug("a connection from %s broke", self.client_address[0], exc_info=True)

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _said(status: HTTPStatus, text: str) -> Page:
    return Page(f"{status.phrase.lower()}: {text}\n".encode(), b"", "text/plain; charset=utf-8", status)


def accepts_gzip(header: str) -> bool:
    """Say whether an ``Accept-Encoding`` header takes gzip (RFC 9110, 12.5.3)."""
    for part in header.lower().split(","):
        name, _, weight = part.partition(";")
        if name.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class Endpoint(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """One port, which answers what stands on its board."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, board: Board, access: Access) -> None:
        """Listen. `port` 0: any free one. Raises Unavailable where it is taken, ConfigurationError for wrong certificates or tokens."""
        self.board = board
        self.tokens = Tokens(access.tokens) if access.tokens else None
        self._left = threading.BoundedSemaphore(CONNECTIONS)
        context = access.context()
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host.strip("[]"), port), _Answer)
        except OSError as error:
            raise Unavailable(
                f"the exporter needs {host}:{port} for itself, and it is taken or not this machine's ({error.strerror}); "
                "end what listens there or choose another port (0: any free one)"
            ) from error
        if context:  # the handshake is left to the connection's thread: who is silent must not hold up the others
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Bind, without the question of who we are that `HTTPServer` asks of DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._left.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread was to be had
            self._left.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._left.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.exception("a question from %s was not answered; a mistake of FleetML itself", client_address)
