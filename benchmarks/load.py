"""Load on a server, from processes of its own: how long answers took, how many came, and what that cost both sides.

Closed: each client asks again as soon as it is answered. Offered (`rate`): each client asks by a schedule, whether or not
the server keeps up, and what it had to wait before it could ask counts as the server's time.
"""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import psutil
import uvloop

WARM_SECONDS = 0.25
SECONDS_AHEAD = 0.1
"""The processes begin together, so much after they have been told."""


@dataclass(frozen=True)
class Ask:
    """A request and where it goes; `target` is a path or an rpc's full name. `protocol`: http, unary or stream (gRPC)."""

    protocol: str
    address: str
    target: str
    body: bytes
    content_type: str = "application/json"


@dataclass
class Load:
    """Answers in `seconds`; `taken` by each in seconds; CPU seconds of the server's processes and of those that ask."""

    seconds: float
    taken: list[float] = field(default_factory=list)
    server_cpu: float = 0.0
    client_cpu: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.taken) / self.seconds

    def quantile(self, share: float) -> float:
        """Milliseconds; NaN where no answer came."""
        if not self.taken:
            return float("nan")
        return float(np.quantile(self.taken, share)) * 1e3


class Generators:
    """`count` processes that ask; they live until the block ends."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))

    def __enter__(self) -> "Generators":
        list(self._pool.map(_begun, range(self._count)))
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def load(self, ask: Ask, clients: int, seconds: float, server: psutil.Process, rate: float = 0.0) -> Load:
        """Ask from `clients` connections; `rate` requests a second of all together, 0: as fast as answers come."""
        among = min(self._count, clients)
        begin = time.monotonic() + SECONDS_AHEAD + WARM_SECONDS
        shares = [clients // among + (number < clients % among) for number in range(among)]
        asked = [
            self._pool.submit(_ask, ask, share, begin, seconds, rate * share / clients, number / among)
            for number, share in enumerate(shares)
        ]
        time.sleep(max(0.0, begin - time.monotonic()))
        before = _cpu(server)
        parts = [future.result() for future in asked]
        load = Load(seconds, [taken for part in parts for taken in part[0]], _cpu(server) - before)
        load.client_cpu = sum(part[1] for part in parts)
        return load


def _begun(number: int) -> None:
    """Hold a process up long enough that another takes the next; all have imported this module then."""
    time.sleep(0.2)


def _ask(ask: Ask, clients: int, begin: float, seconds: float, rate: float, phase: float) -> tuple[list[float], float]:
    """Return what each answer between `begin` and `begin` + `seconds` took, and this process's CPU seconds in that time."""
    taken: list[float] = []
    asked = {"http": _http, "unary": _unary, "stream": _stream}[ask.protocol]
    before = [0.0]

    async def one(number: int) -> None:
        times = _Times(begin, seconds, clients / rate if rate else 0.0, (number + phase) / clients, taken)
        await asked(ask, times)

    async def everyone() -> None:
        asyncio.get_running_loop().call_later(
            max(0.0, begin - time.monotonic()), lambda: before.__setitem__(0, time.process_time())
        )
        await asyncio.gather(*(one(number) for number in range(clients)))

    uvloop.run(everyone())
    return taken, time.process_time() - before[0]


class _Times:
    """When one client asks, and what it noted. `every` seconds by schedule; 0: at once."""

    def __init__(self, begin: float, seconds: float, every: float, phase: float, taken: list[float]) -> None:
        self.begin, self.end, self.every, self.taken = begin, begin + seconds, every, taken
        self.due = time.monotonic() + phase * every
        self.since = 0.0

    async def asks(self) -> bool:
        """Wait until it is time to ask again; False: it is over. Only a late answer, not a late timer, is the server's."""
        now = self.since = time.monotonic()
        if self.every:
            if now < self.due:
                await asyncio.sleep(self.due - now)
                self.since = time.monotonic()
            else:
                self.since = self.due
            self.due += self.every
        return self.since < self.end

    def answered(self) -> None:
        now = time.monotonic()
        if self.begin <= self.since and now <= self.end + 1.0:
            self.taken.append(now - self.since)


async def _http(ask: Ask, times: _Times) -> None:
    """One connection, kept open; raises RuntimeError for an answer that is none."""
    host, _, port = ask.address.rpartition(":")
    head = f"POST {ask.target} HTTP/1.1\r\nHost: {ask.address}\r\nContent-Type: {ask.content_type}\r\n"
    request = f"{head}Content-Length: {len(ask.body)}\r\n\r\n".encode() + ask.body
    connection = _Connection()
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: connection, host, int(port))
    while await times.asks():
        transport.write(request)
        await connection.answer()
        times.answered()
    transport.close()


class _Connection(asyncio.Protocol):
    """Reads one answer after the other; cheaper than asyncio's streams, which a load generator must be."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answered: asyncio.Future[None] | None = None

    async def answer(self) -> None:
        self._answered = asyncio.get_running_loop().create_future()
        await self._answered

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        lower = self._buffer[:head].lower()
        at = lower.find(b"content-length: ")
        if at < 0 or b" 200 " not in lower[:20]:
            return self._end(self._buffer[:300].decode(errors="replace"))
        if len(self._buffer) >= head + 4 + int(lower[at + 16 :].split(b"\r\n", 1)[0]):
            self._buffer = b""
            self._end()

    def connection_lost(self, error: Exception | None) -> None:
        self._end("the server closed the connection")

    def _end(self, fault: str = "") -> None:
        if self._answered and not self._answered.done():
            self._answered.set_exception(RuntimeError(fault)) if fault else self._answered.set_result(None)


def _channel(ask: Ask) -> Any:
    """A connection of its own."""
    return grpc.aio.insecure_channel(ask.address, [("grpc.use_local_subchannel_pool", 1)])


async def _unary(ask: Ask, times: _Times) -> None:
    async with _channel(ask) as channel:
        call = channel.unary_unary(ask.target)
        while await times.asks():
            await call(ask.body)
            times.answered()


async def _stream(ask: Ask, times: _Times) -> None:
    async with _channel(ask) as channel:
        call = channel.stream_stream(ask.target)()
        while await times.asks():
            await call.write(ask.body)
            await call.read()
            times.answered()
        await call.done_writing()


def _cpu(server: psutil.Process) -> float:
    """User and system seconds of a server and its children."""
    times = [each.cpu_times() for each in _family(server)]
    return sum(each.user + each.system for each in times)


def _family(server: psutil.Process) -> Iterator[psutil.Process]:
    yield server
    yield from server.children(recursive=True)
