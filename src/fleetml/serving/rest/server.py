"""Uvicorn on the server's own event loop."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from fleetml.serving.options import Options
from fleetml.serving.rest.app import App
from fleetml.serving.rest.protocol import impatient


class _Server(uvicorn.Server):
    """Signals are the business of whoever runs both servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def listening(app: App, listener: socket.socket, options: Options, drain: float) -> AsyncIterator[None]:
    """Serve `app` on a bound socket inside the block; what is under way at its end has `drain` seconds."""
    access = options.access
    config = uvicorn.Config(
        app,
        http=impatient(options.limits.request_seconds),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=options.limits.held(),
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(drain),
        ssl_certfile=access.certificate,
        ssl_keyfile=access.key,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
