"""Uvicorn's HTTP, less patient: a request whose head does not come in time, or does not end, closes its connection."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 1024 * 1024
"""Of the request line and headers, at most; the parser itself has no limit."""


class Impatient(HttpToolsProtocol):
    """`seconds` for the head of a request, from the connection's or the request's first byte on."""

    seconds = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = self.loop.call_later(self.seconds, transport.close)
        self._head = 0

    def data_received(self, data: bytes) -> None:
        if self._late is not None:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self.transport.abort()
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        if self._late is None:
            self._late, self._head = self.loop.call_later(self.seconds, self.transport.close), 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_time()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._in_time()
        super().connection_lost(exc)

    def _in_time(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def impatient(seconds: float) -> Any:
    """Return the protocol with its `seconds`; Uvicorn makes the instances."""
    return type("Impatient", (Impatient,), {"seconds": seconds})
