"""One change at a time: SQLite has one writer, and an API server that waits for itself answers nobody.

Before a change Airflow notes it in its audit log, on the event loop, which waits there for the database. A change that
was made meanwhile has the database until it is committed, and that needs the event loop. So changes wait for each other
here, before they begin: without holding up the loop, and first come, first served, which SQLite's lock is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar

from airflow.plugins_manager import AirflowPlugin

_READS = frozenset({"GET", "HEAD", "OPTIONS"})

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]


class OneChange:
    """An ASGI application that passes all on to `app`, requests that may change something one after another."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in _READS:
            return await self._app(scope, receive, send)
        async with self._turn:
            await self._app(scope, receive, send)


class OneChangePlugin(AirflowPlugin):
    """What Airflow finds."""

    name = "fleetml_one_change"
    fastapi_root_middlewares: ClassVar = [{"middleware": OneChange, "name": "one change at a time"}]
