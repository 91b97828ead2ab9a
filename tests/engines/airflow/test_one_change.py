"""The API server's plugin, on an application that does what Airflow's does, with a database as its own is."""

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI

from fleetml.stack.airflow_plugins.one_change import OneChange, OneChangePlugin

WAIT = 20.0  # s for the database; nobody may need them


def application(database: Path, made: threading.Event) -> FastAPI:
    """A change is noted on the event loop before it begins; it is committed after its function, by way of the loop.

    `made` is set when a change has the database.
    """
    app = FastAPI()
    notes = itertools.count(1)
    second = threading.Event()  # the second change is about to be noted

    def connected() -> sqlite3.Connection:
        return sqlite3.connect(database, timeout=WAIT, check_same_thread=False)

    def transaction() -> Iterator[sqlite3.Connection]:
        connection = connected()
        yield connection
        connection.commit()
        connection.close()

    async def noted() -> None:
        if next(notes) == 2:
            second.set()
        connection = connected()
        connection.execute("INSERT INTO audit VALUES (1)")
        connection.commit()
        connection.close()

    @app.post("/change", dependencies=[Depends(noted)])
    def change(connection: Annotated[sqlite3.Connection, Depends(transaction, scope="function")]) -> None:
        connection.execute("INSERT INTO changes VALUES (1)")
        made.set()
        second.wait(1)

    @app.get("/look")
    async def look() -> int:
        return int(connected().execute("SELECT count(*) FROM changes").fetchone()[0])

    return app


@asynccontextmanager
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test", timeout=60) as found:
        yield found


def test_changes_that_come_at_once_do_not_wait_for_each_other_s_end(tmp_path: Path) -> None:
    database = tmp_path / "airflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript("CREATE TABLE audit (n); CREATE TABLE changes (n);")
    made = threading.Event()
    app = application(database, made)
    app.add_middleware(OneChange)

    async def both_at_once() -> list[httpx.Response]:
        async with client(app) as asking:
            first = asyncio.ensure_future(asking.post("/change"))
            await asyncio.to_thread(made.wait, 60)
            return [await asking.post("/change"), await first, await asking.get("/look")]

    answers = asyncio.run(both_at_once())
    assert {answer.status_code for answer in answers} == {200}
    assert answers[-1].json() == 2


def test_who_only_looks_waits_for_nobody() -> None:
    app, changing, looked = FastAPI(), asyncio.Event(), asyncio.Event()
    app.add_middleware(OneChange)

    @app.post("/change")
    async def change() -> None:
        changing.set()
        await looked.wait()

    @app.get("/look")
    async def look() -> str:
        return "seen"

    async def both() -> list[int]:
        async with client(app) as asking:
            first = asyncio.ensure_future(asking.post("/change"))
            await asyncio.wait_for(changing.wait(), 60)
            seen = await asyncio.wait_for(asking.get("/look"), 60)
            looked.set()
            return [seen.status_code, (await first).status_code]

    assert asyncio.run(both()) == [200, 200]


def test_airflow_finds_it() -> None:
    assert [entry["middleware"] for entry in OneChangePlugin.fastapi_root_middlewares] == [OneChange]
