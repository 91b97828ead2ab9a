"""One node a region: of two processes that have a region's key the link hears one, and tells the other.

Flower knows a node by its key alone: two with one key would share what the region is asked, and each keep a ledger of its own.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import httpx
from flwr.common.constant import HEARTBEAT_MIN_INTERVAL
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleetml.errors import ConfigurationError

TAKEN = 409
"""What the link answers a node while another has its region's key."""
SILENT_SECONDS = 1.2 * HEARTBEAT_MIN_INTERVAL
"""A node that was not heard for as long, in which it would have told twice that it lives, may be replaced."""
_HEADER = "fleetml-session"
_FLEET, _GOODBYE = "/v1/fleet/", "/deactivate-node"


class Session:
    """Names the process in all that a node sends."""

    def __init__(self) -> None:
        self._name = secrets.token_hex(16)

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers[_HEADER] = self._name
        return call_next(context)


class OneNode:
    """A layer of the link, within that which checks signatures: who speaks for a key first goes on until it leaves or falls silent."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self._heard: dict[str, tuple[str, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Of two headers of a name it takes the first, as who checks signatures does
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        key, session = (headers.get(it, "") for it in (FLEET_HTTP_PUBLIC_KEY_HEADER, _HEADER))
        if not key or not scope["path"].startswith(_FLEET):
            await self._app(scope, receive, send)
            return
        speaks, heard = self._heard.get(key, (session, 0.0))
        if speaks != session and self._clock() - heard < SILENT_SECONDS:
            await JSONResponse({"detail": "another node has the region's key"}, TAKEN)(scope, receive, send)
            return

        async def noting(message: Message) -> None:
            """Strangers, whose keys are not admitted, are not remembered."""
            if message["type"] == "http.response.start" and message["status"] < 400:
                self._heard[key] = (session, self._clock())
                if scope["path"].endswith(_GOODBYE):
                    del self._heard[key]
            await send(message)

        await self._app(scope, receive, noting)


def taken(address: str) -> ConfigurationError:
    """Return what to tell who starts a second node."""
    return ConfigurationError(
        f"a region has one node, another with this key is connected with the link at {address}; end that one first, or make a "
        "region of its own for this one (fleetml federation keys --region)"
    )
